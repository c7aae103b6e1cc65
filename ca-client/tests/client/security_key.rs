//! Looking for a security key: what is no such key is said before anybody types a password, with what to do.

use ssh_key::{
    PublicKey,
    public::{KeyData, SkEd25519},
};

use crate::{
    ca::{Ca, key, text},
    home::Home,
};

fn security_key(application: &str) -> String {
    let inside = key();
    let KeyData::Ed25519(public) = *inside.public_key().key_data() else {
        unreachable!()
    };
    let data = KeyData::SkEd25519(SkEd25519::new(public, application));
    PublicKey::from(data).to_openssh().unwrap()
}

#[test]
fn what_is_no_security_key_is_said_before_any_password_with_what_to_do() {
    let (ca, home) = (Ca::start(), Home::new());
    home.set_up(&ca);
    std::fs::create_dir_all(home.path(".ssh")).unwrap();
    let make = "ssh-keygen -t ed25519-sk -O verify-required";
    let cases = [
        ("plain", text(&key()), "is no security key", make),
        (
            "web",
            security_key("https://corp.example"),
            "not made for SSH",
            make,
        ),
        ("elsewhere", security_key("ssh:"), "neither at", "ssh-add"),
        (
            "noise",
            "not a key at all".to_owned(),
            "not a public key",
            "id_ed25519_sk",
        ),
    ];
    for (name, public, why, hint) in cases {
        std::fs::write(home.path(&format!(".ssh/{name}.pub")), public).unwrap();
        let path = home.path(&format!(".ssh/{name}"));
        let path = path.to_str().unwrap();
        for path in [path.to_owned(), format!("{path}.pub")] {
            let outcome = home.run(&["login", "--security-key", &path, "--secrets-stdin"]);
            assert_eq!(outcome.code, 1, "{name}: {outcome:?}");
            assert!(
                outcome.err.contains(why) && outcome.err.contains(hint),
                "{name}: {outcome:?}"
            );
        }
    }
    let missing = home.run(&["login", "--security-key", "/nowhere/id_ed25519_sk"]);
    assert!(
        missing.code == 1 && missing.err.contains("/nowhere/id_ed25519_sk"),
        "{missing:?}"
    );
    // None of them is taken for one by accident, and no word went to the CA.
    let none = home.run(&["login", "--security-key", "--secrets-stdin"]);
    assert!(
        none.code == 1 && none.err.contains("no security key") && none.err.contains(make),
        "{none:?}"
    );
    let both = home.run(&["login", "--security-key", "--plain-key"]);
    assert_eq!(both.code, 2, "{both:?}");
    assert_eq!(ca.count("/v1/nonce") + ca.count("/v1/login"), 0);
}

#[test]
fn grants_that_need_a_security_key_are_told_where_they_are_left_out() {
    let (ca, home) = (Ca::start(), Home::new());
    ca.change(|it| it.needs_security_key = 2);
    home.set_up(&ca);
    let login = home.log_in();
    let words = "2 grants need a security key: ca-client login --security-key";
    assert!(login.code == 0 && login.out.contains(words), "{login:?}");
    for command in ["status", "doctor"] {
        let outcome = home.run(&[command]);
        assert!(outcome.out.contains(words), "{outcome:?}");
    }
    // A grant that came or went meanwhile is told after the next renewal.
    ca.change(|it| it.needs_security_key = 0);
    assert_eq!(home.run(&["renew"]).code, 0);
    let status = home.run(&["status"]);
    assert!(!status.out.contains("security key"), "{status:?}");
}
