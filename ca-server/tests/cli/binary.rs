//! The program itself: exit codes, what goes to standard output and what to standard error, files, and no prompt
//! without a terminal.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    samples::*,
    server::{Answer, Script, done, note},
};

/// A data folder with a server that answers so.
pub fn server(answer: Answer) -> (tempfile::TempDir, Script, tokio::runtime::Runtime) {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Script::new(vec![answer]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    script.listen(folder.path());
    drop(_inside);
    (folder, script, runtime)
}

pub fn run(data: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ca-server"))
        .args(words)
        .env_clear()
        .env("SSH_CA_DATA", data)
        .env("HOME", data)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("not killed")
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

pub fn value<T: serde::Serialize>(value: T) -> Value {
    serde_json::to_value(value).expect("JSON")
}

#[test]
fn data_goes_to_stdout_without_colour_and_as_json_on_request() {
    let (data, _script, _runtime) = server(Answer::done("employees", &value(employees())));
    let text = run(data.path(), &["employee", "list"]);
    assert_eq!((code(&text), err(&text).as_str()), (0, ""));
    assert!(
        out(&text).starts_with("EMAIL") && !out(&text).contains('\u{1b}'),
        "{}",
        out(&text)
    );
    let json = run(data.path(), &["--json", "employee", "list"]);
    assert_eq!(code(&json), 0);
    let found: Value = serde_json::from_str(&out(&json)).expect("JSON");
    assert_eq!(found[0]["email"], "alice@corp.example");
    assert_eq!(found[0]["last_login_unix"], after(-7320));
    assert_eq!(found[0]["last_login"], "2026-11-22T00:48:00Z");
    assert_eq!(found[1]["last_login"], Value::Null);
}

#[test]
fn an_invitation_is_one_line_on_stdout() {
    let (data, _script, _runtime) = server(Answer::done("invited", &value(invitation())));
    let output = run(data.path(), &["employee", "add", "bob@corp.example"]);
    assert_eq!(code(&output), 0);
    assert_eq!(
        out(&output),
        "ca-client setup https://ca.corp.example:8443 --fingerprint \
         SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE && ca-client enrol K7QD-3M4X-PPTN-2W9C\n"
    );
    assert!(
        err(&output).contains("It works once, until"),
        "{}",
        err(&output)
    );
    assert!(!err(&output).contains("K7QD"), "{}", err(&output));
    let quiet = run(data.path(), &["employee", "add", "bob@corp.example", "-q"]);
    assert_eq!((out(&quiet), err(&quiet)), (out(&output), String::new()));
    let json = run(
        data.path(),
        &["employee", "add", "bob@corp.example", "--json"],
    );
    let found: Value = serde_json::from_str(&out(&json)).expect("JSON");
    assert_eq!(found["code"], "K7QD-3M4X-PPTN-2W9C");
    assert_eq!(found["expires_unix"], after(86_400));
}

#[test]
fn r1_a_revocation_that_is_not_proven_everywhere_exits_3() {
    let machines = vec![
        proven("web-1", &[], &[]),
        not_reached("db-1", Some(after(3600))),
    ];
    let events = |machines| {
        Answer::events(&[
            note("alice@corp.example is revoked, durably (KRL 42)."),
            json!({ "event": "machine", "done": 1, "total": 2, "state": value(proven("web-1", &[], &[])) }),
            done("revoked", &value(revocation(machines))),
        ])
    };
    let (data, script, _runtime) = server(events(machines));
    let words = [
        "krl",
        "revoke",
        "alice@corp.example",
        "--reason",
        "laptop stolen",
    ];
    let output = run(data.path(), &words);
    assert_eq!(code(&output), 3);
    assert!(
        err(&output)
            .starts_with("alice@corp.example is revoked, durably (KRL 42).\n[1/2] web-1: proven"),
        "{}",
        err(&output)
    );
    assert!(
        out(&output).contains("NOT REACHED — would still work there until"),
        "{}",
        out(&output)
    );
    assert_eq!(
        script.asked()[0].body,
        json!({
            "verb": "krl_revoke", "target": { "employee": "alice@corp.example" }, "keep_login": false, "reason": "laptop stolen"
        })
    );
    let quiet = run(
        data.path(),
        &["krl", "revoke", "alice@corp.example", "--quiet"],
    );
    assert_eq!((code(&quiet), err(&quiet).as_str()), (3, ""));
    let json = run(
        data.path(),
        &["krl", "revoke", "alice@corp.example", "--json"],
    );
    assert_eq!(code(&json), 3);
    assert!(
        err(&json)
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "{}",
        err(&json)
    );
    let found: Value = serde_json::from_str(&out(&json)).expect("JSON");
    assert_eq!(found["machines"][1]["outcome"]["state"], "not_reached");

    let (data, _script, _runtime) = server(events(vec![proven("web-1", &[], &[])]));
    assert_eq!(code(&run(data.path(), &words)), 0);
}

#[test]
fn sync_and_check_exit_by_what_they_found() {
    let exit = |answer, words: &[&str]| {
        let (data, _script, _runtime) = server(answer);
        code(&run(data.path(), words))
    };
    let synced = |machines| Answer::done("synced", &value::<Vec<_>>(machines));
    assert_eq!(exit(synced(vec![proven("web-1", &[], &[])]), &["sync"]), 0);
    assert_eq!(exit(synced(vec![not_reached("db-1", None)]), &["sync"]), 3);
    let checked = |machines: &[_]| Answer::done("checked", &value(machines));
    assert_eq!(exit(checked(&checks()), &["check"]), 3);
    assert_eq!(exit(checked(&checks()[1..]), &["check"]), 1);
    assert_eq!(exit(checked(&checks()[1..]), &["check", "--repair"]), 1);
    assert_eq!(exit(checked(&checks()[2..]), &["check"]), 0);
}

#[test]
fn a_failure_is_one_line_and_what_to_do() {
    let failed = json!({ "code": "not_found", "message": "there is no pool web", "hint": "ca-server pool list" });
    let (data, _script, _runtime) = server(Answer::json(404, &failed));
    let text = run(data.path(), &["pool", "show", "web"]);
    assert_eq!((code(&text), out(&text).as_str()), (1, ""));
    assert_eq!(
        err(&text),
        "ca-server: there is no pool web\nca-server pool list\n"
    );
    let json = run(data.path(), &["pool", "show", "web", "--json"]);
    assert_eq!(code(&json), 1);
    let found: Value = serde_json::from_str(&err(&json)).expect("JSON");
    assert_eq!(found, json!({ "error": failed }));

    let usage = run(data.path(), &["pool", "show", "Web Server", "--json"]);
    assert_eq!(code(&usage), 2);
    let found: Value = serde_json::from_str(&err(&usage)).expect("JSON");
    assert_eq!(found["error"]["code"], "usage");
    assert_eq!(
        code(&run(
            data.path(),
            &["serve", "--url", "https://ca.corp.example"]
        )),
        2
    );
    assert_eq!(code(&run(data.path(), &["--version"])), 0);

    let nobody = tempfile::tempdir().expect("a folder");
    let output = run(nobody.path(), &["pool", "list"]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).starts_with("ca-server: no CA runs with the data folder"),
        "{}",
        err(&output)
    );
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let (data, script, _runtime) = server(Answer::done("text", &json!("forgotten")));
    let output = run(data.path(), &["machine", "remove", "web-1"]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("Give --yes if it is meant."),
        "{}",
        err(&output)
    );
    assert_eq!(script.asked().len(), 0, "nothing was sent");
    let output = run(data.path(), &["machine", "remove", "web-1", "--yes"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "forgotten\n"));

    let new = data.path().join("new");
    let output = run(&new, &["init"]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("--passphrase-file"),
        "{}",
        err(&output)
    );
    assert_eq!(err(&output).lines().count(), 1);
    assert!(!new.exists(), "nothing was changed");
}

#[test]
fn what_can_never_be_meant_is_wrong_usage() {
    let data = tempfile::tempdir().expect("a folder");
    let wrong: [(&[&str], &str); 5] = [
        (&["ca", "rotate", "tls", "--step"], "in one step"),
        (
            &["ca", "rotate", "tls", "--leave-behind", "web-1"],
            "in one step",
        ),
        (
            &[
                "ca",
                "move",
                "user",
                "--signer",
                "file",
                "--url",
                "https://ca.example",
            ],
            "on the CA's own host",
        ),
        (
            &[
                "break-glass",
                "make",
                "bg",
                "--shares",
                "2",
                "--needed",
                "3",
            ],
            "more than there are",
        ),
        (&["session", "end", "web-1"], "expected MACHINE:PID-STARTED"),
    ];
    for (words, why) in wrong {
        let output = run(data.path(), words);
        assert_eq!(code(&output), 2, "{words:?}: {}", err(&output));
        assert!(err(&output).contains(why), "{words:?}: {}", err(&output));
    }
}

#[test]
fn exported_files_are_whole_and_private() {
    let krl = b"SSHKRL\n\0 binary \xff".as_slice();
    let (data, _script, _runtime) = server(Answer::done("krl_file", &json!(STANDARD.encode(krl))));
    let file = data.path().join("revoked.krl");
    let output = run(data.path(), &["krl", "export", &file.display().to_string()]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(std::fs::read(&file).expect("there"), krl);
    assert_eq!(
        std::fs::metadata(&file)
            .expect("there")
            .permissions()
            .mode()
            & 0o7777,
        0o600
    );
    let output = run(data.path(), &["krl", "export", "-"]);
    assert_eq!(output.stdout, krl);
    let output = run(data.path(), &["krl", "export", "/nowhere/x"]);
    assert_eq!(code(&output), 1);
    assert!(!err(&output).contains("tmp"), "{}", err(&output));
}

#[test]
fn s3_an_exported_head_is_what_verify_takes() {
    let (data, _script, _runtime) = server(Answer::done("ledger_head", &value(head())));
    let file = data.path().join("head");
    let path = file.display().to_string();
    assert_eq!(code(&run(data.path(), &["audit", "export", &path])), 0);
    assert_eq!(
        std::fs::read_to_string(&file).expect("there"),
        head().signature
    );
    let wrapped = data.path().join("head.json");
    let json = run(data.path(), &["audit", "export", "--json"]);
    std::fs::write(&wrapped, &json.stdout).expect("written");

    let (data, script, _runtime) = server(Answer::done("verified", &value(head())));
    for exported in [&file, &wrapped] {
        let output = run(
            data.path(),
            &["audit", "verify", "--head", &exported.display().to_string()],
        );
        assert_eq!(code(&output), 0, "{}", err(&output));
        let asked = script.asked();
        assert_eq!(asked.last().expect("asked").body["head"], head().signature);
    }
    std::fs::write(&file, "something else").expect("written");
    let output = run(data.path(), &["audit", "verify", "--head", &path]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("is not a head that `audit export` wrote"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let (data, _script, _runtime) =
        server(Answer::done("employees", &value(vec![alice(); 20_000])));
    let mut child = Command::new(env!("CARGO_BIN_EXE_ca-server"))
        .args(["employee", "list"])
        .env("SSH_CA_DATA", data.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
}

#[test]
fn completions_are_printed_for_each_shell() {
    let nobody = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let output = run(nobody.path(), &["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(out(&output).contains("revoke"), "{shell}");
        assert!(out(&output).contains("explain"), "{shell}");
    }
}
