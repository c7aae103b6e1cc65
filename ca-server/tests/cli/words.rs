//! The command line as a contract: every command, what it takes, and what is refused before it travels.

use ca_api::admin::{AdminRequest, RevokeTarget};
use ca_server::cli::{
    args::{Cli, Command, PassphraseOptions, PassphraseSource},
    order::Order,
};
use clap::{CommandFactory as _, Parser as _};

use crate::{samples::CLOCK, snapshot};

/// A line parted at its spaces; `|` stands for a space inside a word.
fn parse(line: &str) -> Result<Cli, clap::Error> {
    let words = line.split_whitespace().map(|word| word.replace('|', " "));
    Cli::try_parse_from(std::iter::once("ca-server".to_owned()).chain(words))
}

fn order(line: &str) -> Order {
    match parse(line)
        .unwrap_or_else(|error| panic!("{line}: {error}"))
        .command
    {
        Command::Employee(verb) => verb.order(),
        Command::Pool(verb) => verb.order(),
        Command::Team(verb) => verb.order(),
        Command::Grant(verb) => verb.order(CLOCK),
        Command::Policy(verb) => verb.order().expect("its file is there"),
        Command::Machine(verb) => verb.order(),
        Command::Krl(verb) => verb.order().expect("its file is there"),
        Command::Sync(options) => options.order(),
        Command::Check(options) => options.order(),
        Command::Publish(options) => options.order(),
        Command::Cert(verb) => verb.order(),
        Command::Audit(verb) => verb.order().expect("its file is there"),
        other => panic!("no admin command: {other:?}"),
    }
}

/// Every command without commands below it, with its path.
fn leaves() -> Vec<(String, clap::Command)> {
    fn walk(path: &str, command: &clap::Command, out: &mut Vec<(String, clap::Command)>) {
        let path = format!("{path} {}", command.get_name());
        if command.get_subcommands().next().is_none() {
            out.push((path.trim().to_owned(), command.clone()));
        }
        for below in command.get_subcommands() {
            walk(&path, below, out);
        }
    }
    let mut root = Cli::command();
    root.build();
    let mut out = Vec::new();
    walk("", &root, &mut out);
    out
}

#[test]
fn the_command_line_is_a_contract() {
    Cli::command().debug_assert();
    let mut text = String::new();
    for (path, mut command) in leaves() {
        text.push_str(&format!(
            "{}\n",
            command.render_usage().to_string().replace("Usage: ", "")
        ));
        for argument in command.get_arguments() {
            if argument.is_global_set() || argument.get_id() == "help" {
                continue;
            }
            text.push_str(&format!("    {argument}\n"));
        }
        assert!(!path.is_empty());
    }
    snapshot::check("commands", &text);
}

#[test]
fn every_command_has_an_example_that_it_accepts() {
    for (path, command) in leaves() {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(help.contains("Example"), "{path} has no example");
        let examples = help
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("ca-server "));
        for example in examples {
            let words = shell_words(example);
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{example}: {error}");
            }
        }
    }
}

/// Enough of a shell for our own examples: quotes, and an end at a comment, a pipe or a redirection.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars().chain([' ']) {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => {
                if matches!(word.as_str(), "#" | "|" | ">" | "<") {
                    break;
                }
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    words
}

#[test]
fn i2_names_are_refused_before_they_travel_with_the_rule() {
    let cases = [
        ("employee add alice", "expected name@domain"),
        (
            "employee add alice@corp.example --account root;id",
            "expected 1 to 32 of a-z",
        ),
        (
            "employee add alice@corp.example --pool Web",
            "expected 1 to 32 of a-z",
        ),
        ("pool add web,db", "expected 1 to 32 of a-z"),
        ("team join ops Alice#7@corp.example", "expected name@domain"),
        ("machine show -oProxyCommand=x", "unexpected argument"),
        ("machine show web_1", "expected a host name"),
        ("machine set web-1 --address web-1:0", "expected HOST"),
        ("machine set web-1 --address web-1:+22", "expected HOST"),
        (
            "grant add --team ops --pool db --source 10.0.0.0/33",
            "expected a network",
        ),
        (
            "grant add --team ops --pool db --sudo reboot",
            "commands that begin with /",
        ),
        (
            "grant add --team ops --pool db --until soon",
            "expected 2026-12-24",
        ),
        (
            "grant add --team ops --employee a@b.c --pool db",
            "cannot be used with",
        ),
        ("grant add --pool db", "required"),
        (
            "grant add --team ops --pool db --hours nine-to-five",
            "hours",
        ),
        (
            "grant add --team ops --pool db --allow everything",
            "port-forwarding",
        ),
        ("krl revoke --serial 0", "not in 1..=9223372036854775807"),
        (
            "krl revoke --serial 9223372036854775808",
            "9223372036854775808",
        ),
        ("krl revoke --key MD5:aa", "expected SHA256:"),
        ("krl revoke --serial 5 --keep-login", "cannot be used with"),
        ("krl revoke a@b.c --serial 5", "cannot be used with"),
        ("sync web-1 --pool db", "cannot be used with"),
        ("employee set a@b.c", "required"),
        ("employee list --url http://ca", "expected https://"),
        ("employee list --url https://ca/x", "expected https://"),
        (
            "employee list --fingerprint SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE",
            "--url",
        ),
        ("init --name -x", "unexpected argument"),
        (
            "init --passphrase-stdin --passphrase-file x",
            "cannot be used with",
        ),
        ("init --passphrase hunter2", "unexpected argument"),
        ("serve --listen 8443", "invalid socket address"),
    ];
    for (line, rule) in cases {
        let error = parse(line).map(|_| ()).expect_err(line);
        assert!(error.to_string().contains(rule), "{line}: {error}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn typos_get_a_suggestion() {
    let error = parse("krl revok alice@corp.example")
        .expect_err("a typo")
        .to_string();
    assert!(error.contains("'revoke'"), "{error}");
}

#[test]
fn what_is_written_is_what_is_asked() {
    let json = |line: &str| serde_json::to_value(order(line).request).expect("JSON");
    assert_eq!(
        json("publish /srv/www --plain"),
        serde_json::json!({"verb": "publish_index", "plain": true})
    );
    assert_eq!(
        json("employee add Alice@Corp.Example --pool web --pool db --team ops --role admin"),
        serde_json::json!({
            "verb": "employee_add", "email": "alice@corp.example", "account": null, "name": "",
            "pools": ["web", "db"], "teams": ["ops"], "admin": true
        })
    );
    assert_eq!(
        json(
            "grant add --team ops --pool db --account deploy --sudo all --until 8h --lifetime 30m --no-pty"
        ),
        serde_json::json!({
            "verb": "grant_add", "team": "ops", "employee": null, "pool": "db", "account": "deploy", "sudo": "all",
            "until_unix": CLOCK.now.unix_timestamp() + 8 * 3600, "lifetime_secs": 1800, "sources": [], "command": null,
            "port_forwarding": false, "agent_forwarding": false, "no_pty": true, "system_account": false,
            "allow": null, "hours": null, "security_key": false, "record": false
        })
    );
    let conditions = json(
        "grant add --team ops --pool db --hours Mon-Fri|08:00-18:00|Europe/Berlin --security-key --record --allow x11-forwarding,user-rc --allow port-forwarding",
    );
    assert_eq!(conditions["hours"], "Mon-Fri 08:00-18:00 Europe/Berlin");
    assert_eq!(conditions["security_key"], true);
    assert_eq!(conditions["record"], true);
    assert_eq!(
        conditions["allow"],
        serde_json::json!(["x11-forwarding", "user-rc", "port-forwarding"])
    );
    let revoke = |line: &str| match order(line).request {
        AdminRequest::KrlRevoke {
            target, keep_login, ..
        } => (target, keep_login),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        revoke("krl revoke a@b.c --keep-login"),
        (RevokeTarget::Employee("a@b.c".to_owned()), true)
    );
    assert_eq!(
        revoke("krl revoke --serial 17"),
        (RevokeTarget::Serial(17), false)
    );
    assert!(matches!(
        order("machine enforce web-1").request,
        AdminRequest::MachineEnforce { enforce: true, .. }
    ));
    assert!(matches!(
        order("machine observe web-1").request,
        AdminRequest::MachineEnforce { enforce: false, .. }
    ));
    assert!(matches!(
        order("employee set a@b.c --role none").request,
        AdminRequest::EmployeeSet {
            admin: Some(false),
            ..
        }
    ));
    assert!(matches!(
        order("employee set a@b.c --name x").request,
        AdminRequest::EmployeeSet { admin: None, .. }
    ));
}

#[test]
fn what_hurts_is_asked_and_yes_is_taken() {
    for line in [
        "employee remove a@b.c",
        "pool remove db --force",
        "machine remove web-1",
    ] {
        assert!(order(line).question.is_some(), "{line}");
        assert!(order(&format!("{line} --yes")).question.is_none(), "{line}");
    }
    // At three in the morning nothing stands between the admin and the revocation.
    for line in [
        "krl revoke a@b.c",
        "employee suspend a@b.c",
        "pool remove db",
    ] {
        assert!(order(line).question.is_none(), "{line}");
    }
}

#[test]
fn c3_a_passphrase_comes_from_a_place_never_from_a_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let credentials = Some(folder.path().to_owned());
    let nothing = PassphraseOptions::default;
    assert_eq!(nothing().source(None), PassphraseSource::Terminal);
    assert_eq!(
        nothing().source(credentials.clone()),
        PassphraseSource::Terminal
    );
    let credential = folder.path().join("ssh-ca-passphrase");
    std::fs::write(&credential, "x").expect("written");
    assert_eq!(
        nothing().source(credentials.clone()),
        PassphraseSource::Credential(credential)
    );
    let stdin = PassphraseOptions {
        passphrase_stdin: true,
        ..nothing()
    };
    assert_eq!(stdin.source(credentials), PassphraseSource::Stdin);
}
