//! `authorized_keys` as sshd reads it: options, quotes, certificates, and lines that are none.

use policies::{
    AccountName,
    import::{
        Imported, KeyOptionKind, KeyType, LineFault, StaticKey, Weight, Whose, authorized_keys,
    },
};
use proptest::prelude::*;

use crate::{
    build::{Draft, email, public},
    cases,
};

fn key() -> String {
    let text = public(1).to_openssh().unwrap();
    text.trim().to_owned()
}

fn read(text: &str) -> Imported {
    let account: AccountName = "deploy".parse().unwrap();
    authorized_keys(
        "/home/deploy/.ssh/authorized_keys",
        Some(&account),
        text.as_bytes(),
    )
}

fn one(text: &str) -> StaticKey {
    let mut imported = read(text);
    assert_eq!(imported.static_keys.len(), 1, "{text}: {imported:?}");
    imported.static_keys.remove(0)
}

#[test]
fn a_plain_line_has_its_place_fingerprint_size_and_comment() {
    let found = one(&format!(
        "# old ones\n\n  \t{} alice@laptop at home\n",
        key()
    ));
    assert_eq!(
        found.at.to_string(),
        "/home/deploy/.ssh/authorized_keys:3:4"
    );
    assert_eq!(
        found.fingerprint,
        public(1).fingerprint(ssh_key::HashAlg::Sha256).to_string()
    );
    assert_eq!((found.key_type, found.bits), (KeyType::Ed25519, 256));
    assert_eq!(found.comment, "alice@laptop at home");
    assert_eq!(found.account, Some("deploy".parse().unwrap()));
    assert!(found.options.is_empty() && found.fault.is_none());
    assert!(read(&format!("{} x", key())).notes.is_empty());
}

#[test]
fn options_with_quotes_blanks_and_escapes() {
    let found = one(&format!(
        r#"restrict,command="/bin/echo \"a b\", c",FROM="10.0.0.0/8,!10.0.0.7" {} the key"#,
        key()
    ));
    let options: Vec<String> = found
        .options
        .iter()
        .map(|option| {
            format!(
                "{}={} {:?}",
                option.name,
                option.value.as_deref().unwrap_or("-"),
                option.kind
            )
        })
        .collect();
    assert_eq!(
        options,
        [
            "restrict=- Limits",
            "command=/bin/echo \"a b\", c Limits",
            "from=10.0.0.0/8,!10.0.0.7 Limits"
        ]
    );
    assert_eq!(found.comment, "the key");
    assert_eq!(found.fault, None);
}

#[test]
fn a_cert_authority_is_an_alarm() {
    let text = format!("cert-authority,principals=\"ops\" {} the old CA", key());
    let found = one(&text);
    assert!(found.is_cert_authority());
    assert_eq!(found.options[0].kind, KeyOptionKind::CertAuthority);
    let note = read(&text).notes.remove(0);
    assert_eq!(note.weight, Weight::Alarm);
    assert!(
        note.sentence
            .contains("can sign any number of certificates for the account deploy"),
        "{note:?}"
    );
}

#[test]
fn what_weakens_a_key_is_told() {
    for (option, told) in [
        (
            "no-touch-required",
            "logs in without a touch of the security key",
        ),
        (
            "no-verify-required",
            "logs in without the security key's PIN or finger",
        ),
        (
            "environment=\"LD_PRELOAD=/tmp/x\"",
            "sets variables of the session",
        ),
    ] {
        let notes = read(&format!("{option} {}", key())).notes;
        assert_eq!(notes[0].weight, Weight::Warning);
        assert!(notes[0].sentence.contains(told), "{notes:?}");
    }
}

#[test]
fn a_line_that_sshd_refuses_is_listed_with_the_reason() {
    let name = |name: &str| name.to_owned();
    for (options, fault) in [
        (
            "no-such-option",
            LineFault::UnknownOption {
                name: name("no-such-option"),
            },
        ),
        (
            "no-restrict",
            LineFault::UnknownOption {
                name: name("no-restrict"),
            },
        ),
        ("restrict,", LineFault::DanglingComma),
        ("restrict=1", LineFault::UnknownOption { name: name("=1") }),
        (
            "command=ls",
            LineFault::UnquotedValue {
                name: name("command"),
            },
        ),
        (
            "command",
            LineFault::UnquotedValue {
                name: name("command"),
            },
        ),
        (
            "from=\"a\",from=\"b\"",
            LineFault::RepeatedOption { name: name("from") },
        ),
        (
            "command=\"a\"x",
            LineFault::UnknownOption { name: name("x") },
        ),
        (",pty", LineFault::UnknownOption { name: name("") }),
    ] {
        let found = one(&format!("{options} {}", key()));
        assert_eq!(found.fault, Some(fault), "{options}");
    }
    // What may stand more than once.
    let fine = one(&format!(
        "permitopen=\"a:1\",permitopen=\"b:2\",pty,pty {}",
        key()
    ));
    assert_eq!((fine.fault, fine.options.len()), (None, 4));
}

#[test]
fn what_is_no_key_is_a_note_and_the_next_line_is_read() {
    let broken = key().replace("AAAA", "AAA");
    let cut = &key()[..60];
    let text = format!(
        "{broken}\n{cut}\nssh-ed25519\nssh-ed25519 ====\ncommand=\"x {}\nhello\nssh-foo AAAA\nssh-rsa {}\n{}\n",
        key(),
        &key()[12..],
        key()
    );
    let imported = read(&text);
    assert_eq!(imported.static_keys.len(), 1);
    assert_eq!(imported.static_keys[0].at.line, 9);
    let told: Vec<(u32, &str)> = imported
        .notes
        .iter()
        .map(|note| (note.at.as_ref().unwrap().line, note.sentence.as_str()))
        .collect();
    assert_eq!(
        told.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
        (1..=8).collect::<Vec<_>>(),
        "{told:?}"
    );
    assert!(
        told[1].1.contains("cut or damaged") || told[1].1.contains("not base64"),
        "{told:?}"
    );
    assert!(
        told[4].1.contains("a quote is opened and not closed"),
        "{told:?}"
    );
    assert!(told[6].1.contains("not one that OpenSSH knows"), "{told:?}");
    assert!(
        told[7]
            .1
            .contains("of another type than the name before them"),
        "{told:?}"
    );
}

#[test]
fn whose_a_key_is_is_read_from_the_comment_or_the_account() {
    let draft = Draft::default().employee("alice").employee("deploy");
    let by_comment = one(&format!("{} Alice@Corp.Example laptop", key()));
    assert_eq!(
        by_comment.whose(&draft.0),
        Some(Whose::Comment {
            email: email("alice")
        })
    );
    let by_account = one(&format!("{} root@old", key()));
    assert_eq!(
        by_account.whose(&draft.0),
        Some(Whose::Account {
            email: email("deploy")
        })
    );
    let none = authorized_keys("f", None, key().as_bytes());
    assert_eq!(none.static_keys[0].whose(&draft.0), None);
    // An email that nobody here has is no owner.
    let stranger = authorized_keys("f", None, format!("{} x@other.example", key()).as_bytes());
    assert_eq!(stranger.static_keys[0].whose(&draft.0), None);
}

#[test]
fn c5_nothing_in_a_file_can_reach_a_terminal_as_a_control_character() {
    let line = format!("command=\"\u{1b}]0;x\u{7}\" {} a\u{1b}[2Jb\u{9b}c", key());
    let found = one(&line);
    assert!(!found.comment.chars().any(char::is_control), "{found:?}");
    assert!(
        !found.options[0]
            .value
            .as_ref()
            .unwrap()
            .chars()
            .any(char::is_control)
    );
    let mut bytes = format!("{} ", key()).into_bytes();
    bytes.extend([0xff, 0xfe, b'x', 0]);
    let found = authorized_keys("f", None, &bytes);
    assert_eq!(found.static_keys.len(), 1);
    let unknown = read(&format!("\u{1b}[2J {}", key()));
    assert!(!format!("{:?}", unknown.static_keys[0].fault).contains('\u{1b}'));
}

#[test]
fn several_files_are_one_list() {
    let mut all = read(&key());
    all.absorb(authorized_keys(
        "/root/.ssh/authorized_keys",
        None,
        format!("no-pty {}\nrubbish\n", key()).as_bytes(),
    ));
    assert_eq!((all.static_keys.len(), all.notes.len()), (2, 1));
}

proptest! {
    #![proptest_config(cases(5_000))]

    #[test]
    fn w3_no_bytes_panic_and_each_key_is_told_once(parts in proptest::collection::vec(0usize..16, 0..40), noise in proptest::collection::vec(any::<u8>(), 0..30)) {
        let key = key();
        let words: [&[u8]; 15] = [
            b" ", b"\t", b"\"", b"\\\"", b"\\", b",", b"=", b"\n", b"\r\n", b"#", b"command=\"a\"", b"restrict", b"ssh-ed25519",
            key.as_bytes(), &key.as_bytes()[12..],
        ];
        let bytes: Vec<u8> = parts.iter().flat_map(|part| words.get(*part).map_or(noise.as_slice(), |word| word).to_vec()).collect();
        let imported = authorized_keys("f", None, &bytes);
        let lines = bytes.split(|byte| *byte == b'\n').count();
        prop_assert!(imported.static_keys.len() <= lines);
        let mut places: Vec<_> = imported.static_keys.iter().map(|key| key.at.line).collect();
        places.dedup();
        prop_assert_eq!(places.len(), imported.static_keys.len());
        for found in &imported.static_keys {
            prop_assert_eq!(found.fingerprint.len(), 50);
        }
    }
}
