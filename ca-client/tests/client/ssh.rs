//! What real ssh makes of the fragment.

use ca_api::LoginEntry;

use crate::{
    ca::{Ca, machine},
    home::Home,
};

fn lines<'a>(effective: &'a str, keyword: &str) -> Vec<&'a str> {
    effective
        .lines()
        .filter_map(|line| line.strip_prefix(keyword)?.strip_prefix(' '))
        .collect()
}

#[test]
fn a_person_types_ssh_web_1_and_no_further_word() {
    let (ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    let effective = home.ssh_g(&["web-1"]);
    let folder = home.path(".ssh/ca");
    let file = |name: &str| folder.join(name).display().to_string();
    for (keyword, value) in [
        ("hostname", "127.0.0.1"),
        ("port", "2222"),
        ("user", "alice"),
        ("hostkeyalias", "web-1"),
        ("identitiesonly", "yes"),
        ("stricthostkeychecking", "true"),
        ("checkhostip", "no"),
        ("updatehostkeys", "false"),
        ("userknownhostsfile", &file("known_hosts")),
        ("certificatefile", &file("cert-0-cert.pub")),
        ("identityfile", &file("id")),
    ] {
        assert_eq!(lines(&effective, keyword), [value], "{keyword}");
    }
    assert_eq!(lines(&home.ssh_g(&["deploy@web-1"]), "user"), ["deploy"]);
    assert!(
        !home.ssh_g(&["github.com"]).contains("/.ssh/ca/"),
        "a host that is none of ours"
    );
    let known_hosts = home.path(".ssh/ca/known_hosts");
    let found = home
        .command("ssh-keygen")
        .arg("-F")
        .arg("web-1")
        .arg("-f")
        .arg(&known_hosts)
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&found.stdout).contains("@cert-authority"),
        "{found:?}"
    );
    let other = home
        .command("ssh-keygen")
        .arg("-F")
        .arg("github.com")
        .arg("-f")
        .arg(&known_hosts)
        .output()
        .unwrap();
    assert!(
        other.stdout.is_empty(),
        "the host CA speaks for our machines only: {other:?}"
    );
}

#[test]
fn the_certificate_is_picked_by_machine_and_account() {
    let (ca, home) = (Ca::start(), Home::new());
    ca.change(|it| {
        let mut deploy = it.plans[0].clone();
        deploy.principals = vec!["deploy@web".into()];
        deploy.life_secs = 3600;
        it.plans.push(deploy);
        it.directory.machines = vec![
            machine("db-1", &[("deploy", 1)]),
            machine("web-1", &[("alice", 0), ("deploy", 1)]),
            machine("web-2", &[("alice", 0)]),
        ];
        it.directory.machines[1].logins.push(LoginEntry {
            account: "ops".into(),
            certificate: 1,
        });
    });
    home.ready(&ca);
    let certificates = |target: &str| {
        let effective = home.ssh_g(&[target]);
        let found = lines(&effective, "certificatefile");
        found
            .iter()
            .map(|path| path.rsplit('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(certificates("web-1"), ["cert-0-cert.pub"]);
    assert_eq!(certificates("deploy@web-1"), ["cert-1-cert.pub"]);
    assert_eq!(certificates("ops@web-1"), ["cert-1-cert.pub"]);
    assert_eq!(certificates("web-2"), ["cert-0-cert.pub"]);
    assert_eq!(certificates("db-1"), ["cert-1-cert.pub"]);
    assert_eq!(
        lines(&home.ssh_g(&["db-1"]), "user"),
        ["deploy"],
        "the only account there"
    );
    // One condition set less: the file of the other goes, and nothing names it any more.
    ca.change(|it| {
        it.plans.truncate(1);
        it.directory.machines.remove(0);
        it.directory.machines[0].logins.truncate(1);
    });
    assert_eq!(home.run(&["renew"]).code, 0);
    assert!(!home.path(".ssh/ca/cert-1-cert.pub").exists());
    assert_eq!(certificates("web-1"), ["cert-0-cert.pub"]);
    assert!(!home.read(".ssh/ca/config").contains("cert-1"));
}

#[test]
fn the_fragment_works_in_a_home_with_a_space_and_a_percent_sign() {
    let (ca, mut home) = (Ca::start(), Home::new());
    home.folder = tempfile::Builder::new().prefix("a b%c ").tempdir().unwrap();
    home.ready(&ca);
    let effective = home.ssh_g(&["web-1"]);
    let wanted = home.path(".ssh/ca/cert-0-cert.pub").display().to_string();
    assert!(
        effective.replace("%%", "%").contains(&wanted),
        "{effective}"
    );
    // `Match exec` ran the program by its quoted path: with the CA gone from `due`, ssh's renewal would be seen.
    std::fs::write(home.path(".ssh/ca/due"), due_now()).unwrap();
    home.ssh_g(&["web-1"]);
    assert_eq!(ca.behaviour.lock().unwrap().renewals, 1);
}

fn due_now() -> String {
    let now = crate::ca::now();
    format!(
        "1 {} {} {} {} file\n",
        now - 100,
        now - 1,
        now + 1000,
        now + 30_000
    )
}
