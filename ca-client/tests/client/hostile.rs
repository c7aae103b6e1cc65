//! C5: whatever a lying CA puts into its directory, no line of ssh_config or known_hosts is its own, and no control
//! character reaches the terminal.

use std::path::{Path, PathBuf};

use ca_api::{ApiError, Directory, ErrorCode, LoginEntry, MachineEntry};
use ca_client::{
    directory::Reach,
    render::{Files, fragment, known_hosts},
};
use proptest::prelude::*;

use crate::{
    ca::{Ca, key, machine, text},
    home::Home,
};

/// Texts that try to break out, mixed with good ones and with anything at all.
fn hostile(good: &'static str) -> impl Strategy<Value = String> {
    let seeds = [
        "web-1\n    ProxyCommand touch /tmp/owned",
        "web-1\r\nProxyCommand x",
        "*",
        "!web-1",
        "web-1 *",
        "web-1,*",
        "-oProxyCommand=x",
        "a\" exec \"touch /tmp/owned\"",
        "${HOME}",
        "%h",
        "#",
        "web-1\u{2028}ProxyCommand x",
        "web-1\0",
        "\u{1b}]0;x\u{7}",
        "[web-1]:22",
        "|1|abc|def",
        "",
        " ",
        "a b",
        "web-1\n@cert-authority * ssh-ed25519 AAAA",
        "localhost;id",
        "$(id)",
        "`id`",
        "::1",
    ];
    prop_oneof![
        3 => Just(good.to_owned()),
        3 => prop::sample::select(seeds.to_vec()).prop_map(str::to_owned),
        1 => (prop::sample::select(seeds.to_vec()), ".{0,6}").prop_map(move |(seed, tail)| format!("{good}{seed}{tail}")),
        1 => any::<String>(),
    ]
}

fn directories(key_text: String) -> impl Strategy<Value = Directory> {
    let login = (hostile("alice"), 0_usize..4).prop_map(|(account, certificate)| LoginEntry {
        account,
        certificate,
    });
    let machine = (
        hostile("web-1"),
        hostile("10.0.0.1"),
        any::<u16>(),
        prop::collection::vec(hostile("web"), 0..3),
        prop::collection::vec(login, 0..4),
    )
        .prop_map(|(name, address, port, pools, logins)| MachineEntry {
            name,
            address,
            port,
            pools,
            logins,
        });
    let evil_key = key_text.clone();
    let keys = prop::collection::vec(
        prop_oneof![
            Just(key_text),
            hostile("").prop_map(move |tail| format!("{evil_key}{tail}")),
            hostile("ssh-ed25519 AAAA"),
        ],
        0..3,
    );
    (
        prop::collection::vec(machine, 0..5),
        keys.clone(),
        keys,
        any::<String>(),
    )
        .prop_map(|(machines, host_cas, revoked_hosts, name)| Directory {
            email: "alice@corp.example".into(),
            name,
            account: "alice".into(),
            machines,
            user_cas: Vec::new(),
            host_cas,
            revoked_hosts,
        })
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
}

fn is_account(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

/// The whole grammar of a fragment; anything else is an injection.
fn check_config_line(line: &str) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    match words.as_slice() {
        [] => true,
        [first, ..] if *first == "#" => !line.contains("web-1"),
        [
            "Match",
            "originalhost",
            names,
            "exec",
            "\"/bin/ca-client",
            "renew",
            "--if-due\"",
        ] => names.split(',').all(is_name),
        ["Match", "originalhost", name, "user", accounts] => {
            is_name(name) && accounts.split(',').all(is_account)
        }
        ["Host", names @ ..] => !names.is_empty() && names.iter().all(|name| is_name(name)),
        ["HostName", address] => {
            address
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
                && !address.starts_with('-')
        }
        ["Port", port] => port.parse::<u16>().is_ok_and(|port| port > 0),
        ["User", account] => is_account(account),
        ["HostKeyAlias", name] => is_name(name),
        ["CertificateFile", path] => ["/h/cert-0-cert.pub", "/h/cert-1-cert.pub"].contains(path),
        ["IdentityFile", "/h/id.pub"] | ["UserKnownHostsFile", "/h/known_hosts"] => true,
        ["IdentitiesOnly" | "StrictHostKeyChecking", "yes"]
        | ["CheckHostIP" | "UpdateHostKeys", "no"] => true,
        _ => false,
    }
}

fn check_hosts_line(line: &str) -> bool {
    let words: Vec<_> = line.split(' ').collect();
    match words.as_slice() {
        ["#", ..] => line.starts_with("# Written by ca-client"),
        ["@cert-authority", names, "ssh-ed25519", blob] => {
            names.split(',').all(is_name)
                && blob
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        }
        ["@revoked", "*", "ssh-ed25519", blob] => blob
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)),
        _ => false,
    }
}

fn files() -> Files {
    Files {
        program: PathBuf::from("/bin/ca-client"),
        identity: PathBuf::from("/h/id.pub"),
        certificates: vec![
            PathBuf::from("/h/cert-0-cert.pub"),
            PathBuf::from("/h/cert-1-cert.pub"),
        ],
        known_hosts: PathBuf::from("/h/known_hosts"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn c5_no_directory_can_inject_a_line(directory in directories(text(&key()))) {
        let reach = Reach::parse(&directory, 2).unwrap();
        let config = fragment(&reach, &files()).unwrap();
        for line in config.split(['\n', '\r', '\u{2028}', '\u{85}', '\u{b}', '\u{c}']) {
            prop_assert!(check_config_line(line), "{line:?} in\n{config}");
        }
        for line in known_hosts(&reach).lines() {
            prop_assert!(check_hosts_line(line), "{line:?}");
        }
        prop_assert!(!reach.name.chars().any(char::is_control));
    }
}

#[test]
fn paths_are_quoted_for_ssh_or_refused() {
    let wire = Directory {
        machines: vec![machine("web-1", &[("alice", 0)])],
        ..Ca::start().behaviour.lock().unwrap().directory.clone()
    };
    let reach = Reach::parse(&wire, 2).unwrap();
    let with = |program: &str| {
        fragment(
            &reach,
            &Files {
                program: PathBuf::from(program),
                ..files()
            },
        )
    };
    assert!(
        with("/opt/my tools/100%/ca-client")
            .unwrap()
            .contains(r#"exec "'/opt/my tools/100%%/ca-client' renew --if-due""#)
    );
    for bad in ["/a\"b", "/a'b", "/a\\b", "/a\nb", "/${HOME}/b"] {
        assert!(with(bad).is_err(), "{bad}");
        assert!(
            ca_client::places::Places::in_home(Path::new(bad), None).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn c5_what_a_hostile_ca_says_reaches_neither_terminal_nor_files() {
    let (ca, home) = (Ca::start(), Home::new());
    ca.change(|it| {
        it.directory.name = "Alice\u{1b}]0;owned\u{7}\u{202e}\nroot".into();
        it.directory.machines.push(machine(
            "evil\nHost *\n  ProxyCommand touch /tmp/owned",
            &[("alice", 0)],
        ));
        it.directory
            .machines
            .push(machine("web-2", &[("alice\nProxyCommand x", 0)]));
        it.directory.machines[0].pools.push("web\u{1b}[2J".into());
    });
    home.set_up(&ca);
    let login = home.log_in();
    assert_eq!(login.code, 0, "{login:?}");
    assert!(
        login.out.contains("Left out") && login.out.contains("ssh web-1"),
        "{login:?}"
    );
    let mut said = vec![
        login,
        home.run(&["machines"]),
        home.run(&["machines", "--json"]),
        home.run(&["status"]),
    ];
    ca.change(|it| {
        it.refuse = Some(
            ApiError::new(ErrorCode::Forbidden, "no\u{1b}[2J\u{9b}x\nfake: ok")
                .hint("\u{202e}ask\u{7}"),
        )
    });
    said.push(home.run(&["renew"]));
    for outcome in &said {
        let hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(
            !outcome.out.contains(hostile) && !outcome.err.contains(hostile),
            "{outcome:?}"
        );
    }
    assert!(said[4].err.contains("no[2Jx fake: ok"), "{:?}", said[4]);
    for file in ["config", "known_hosts", "directory.json", "session.json"] {
        let content = home.read(&format!(".ssh/ca/{file}"));
        assert!(
            !content.contains('\u{1b}') && !content.contains("\\u001b"),
            "{file}"
        );
    }
    let effective = home.ssh_g(&["anything.example"]);
    assert!(!effective.contains("proxycommand"), "{effective}");
}
