//! The program on a real terminal (one that `script` makes): what it asks, what it does not echo, what it draws.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    binary::{server, value},
    samples::*,
    server::{Answer, done, note},
};

/// How long a prompt may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs `words` on a terminal; waits for each prompt before it types the answer. Returns the exit code and the screen.
pub fn on_terminal(data: &Path, words: &[&str], dialogue: &[(&str, &str)]) -> (i32, String) {
    let command = format!("{} {}", env!("CARGO_BIN_EXE_ca-server"), words.join(" "));
    let mut child = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--flush",
            "--command",
            &command,
            "/dev/null",
        ])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("HOME", data)
        .env("SSH_CA_DATA", data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script (Debian: bsdutils) runs");
    let mut typed = child.stdin.take().expect("piped");
    let mut shown = child.stdout.take().expect("piped");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = shown.read(&mut piece) {
            if sender.send(piece[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut screen = Vec::new();
    let mut read_to = 0;
    for (prompt, answer) in dialogue {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = String::from_utf8_lossy(&screen[read_to..]).into_owned();
            if text.contains(prompt) {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok(piece) => screen.extend(piece),
                Err(error) => panic!("no {prompt:?} ({error}) on\n{text}"),
            }
        }
        read_to = screen.len();
        typed
            .write_all(format!("{answer}\n").as_bytes())
            .expect("typed");
    }
    while let Ok(piece) = receiver.recv_timeout(PATIENCE) {
        screen.extend(piece);
    }
    drop(typed);
    let code = child.wait().expect("it ended").code().expect("not killed");
    (code, String::from_utf8_lossy(&screen).into_owned())
}

#[test]
fn init_asks_for_the_passphrase_twice_and_shows_it_never() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("ca");
    let words = [
        "init",
        "--name",
        "ca.corp.example",
        "--data",
        &data.display().to_string(),
    ];
    let (first, again) = ("New passphrase", "The same again");

    let differ = [
        (first, "correct horse battery"),
        (again, "correct horse buttery"),
    ];
    let (code, screen) = on_terminal(folder.path(), &words, &differ);
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("the two passphrases differ"), "{screen}");
    let (code, screen) = on_terminal(folder.path(), &words, &[(first, "too short")]);
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("choose at least 12"), "{screen}");
    assert!(!data.exists(), "nothing was changed");

    let stopped = [(first, "correct horse battery"), (again, "corr\x03")];
    let (code, screen) = on_terminal(folder.path(), &words, &stopped);
    assert_eq!(code, 130, "{screen}");
    assert!(!data.exists(), "nothing was changed");

    let same = [
        (first, "correct horse battery"),
        (again, "correct horse battery"),
    ];
    let (code, screen) = on_terminal(folder.path(), &words, &same);
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains("correct horse"), "{screen}");
}

#[test]
fn what_hurts_is_asked_on_a_terminal() {
    let (data, script, _runtime) = server(Answer::done("text", &json!("forgotten")));
    let words = ["machine", "remove", "web-1"];
    for answer in ["", "n", "nope"] {
        let (code, screen) = on_terminal(data.path(), &words, &[("Go on? [y/N]", answer)]);
        assert_eq!(code, 1, "{screen}");
        assert!(
            screen.contains("not confirmed; nothing was changed"),
            "{screen}"
        );
    }
    let verbs = || -> Vec<String> {
        let asked = script.asked();
        let verb = |body: &Value| body["verb"].as_str().unwrap_or_default().to_owned();
        asked.iter().map(|one| verb(&one.body)).collect()
    };
    assert_eq!(verbs(), ["machine_show"; 3], "nothing but looks was sent");
    // Also where the question came after an exchange with the server, whose end Ctrl-C would be otherwise.
    let (code, screen) = on_terminal(data.path(), &words, &[("Go on? [y/N]", "\x03")]);
    assert_eq!(code, 130, "{screen}");
    assert_eq!(verbs(), ["machine_show"; 4], "nothing but looks was sent");
    let (code, screen) = on_terminal(data.path(), &words, &[("Go on? [y/N]", "y")]);
    assert_eq!(code, 0, "{screen}");
    assert_eq!(verbs()[4..], ["machine_show", "machine_remove"]);

    // What is not there is said at once, and nobody has to agree to it first.
    let unknown =
        json!({ "code": "not_found", "message": "there is no machine web-1", "hint": "" });
    let (data, script, _runtime) = server(Answer::json(404, &unknown));
    let (code, screen) = on_terminal(data.path(), &words, &[]);
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("there is no machine web-1"), "{screen}");
    assert!(!screen.contains("Go on?"), "{screen}");
    assert_eq!(script.asked().len(), 1);
}

#[test]
fn nobody_is_asked_where_it_cannot_come_to_anything() {
    let nothing = json!({ "keys": [], "machines": 2 });
    let (data, script, _runtime) = server(Answer::done("break_glass", &nothing));
    let (code, screen) = on_terminal(data.path(), &["break-glass", "revoke"], &[]);
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("there is nothing to revoke"), "{screen}");
    assert_eq!(script.asked().len(), 1);

    let taken = data.path().display().to_string();
    let words = ["break-glass", "make", &taken];
    let (code, screen) = on_terminal(data.path(), &words, &[]);
    assert_eq!(code, 1, "{screen}");
    assert!(
        screen.contains("exists already; nothing was changed"),
        "{screen}"
    );

    let never =
        json!({ "restored": false, "open": true, "machines": 0, "instance_epoch": 0, "merged": 0 });
    let (data, _script, _runtime) = server(Answer::done("recovery", &never));
    let (code, screen) = on_terminal(data.path(), &["recovery", "finish"], &[]);
    assert_eq!(code, 1, "{screen}");
    assert!(screen.contains("never restored"), "{screen}");

    // A backup asks for a passphrase only where it can be made.
    let nowhere = data.path().join("nowhere").join("ca.age");
    let nowhere = nowhere.display().to_string();
    let empty = tempfile::tempdir().expect("a folder");
    for (file, why) in [
        (nowhere.as_str(), "No such file or directory"),
        ("/dev/null", "exists already"),
        ("-", "goes into a file"),
        ("ca-that-nobody-made.age", "no CA runs"),
    ] {
        let (code, screen) = on_terminal(empty.path(), &["backup", file], &[]);
        assert_eq!(code, 1, "{screen}");
        assert!(screen.contains(why), "{file}: {screen}");
    }
}

#[test]
fn what_was_said_on_the_way_is_not_said_again_at_the_end() {
    let said = "made user_ca.2, the next user CA key";
    let keys = ca_api::admin::CaKeys {
        did: vec![said.to_owned()],
        ..ca_keys()
    };
    let (data, _script, _runtime) =
        server(Answer::events(&[note(said), done("ca_keys", &value(keys))]));
    let words = ["ca", "rotate", "user"];
    let (_, screen) = on_terminal(data.path(), &words, &[]);
    assert_eq!(screen.matches(said).count(), 1, "{screen}");
    assert!(screen.contains("FINGERPRINT"), "{screen}");
    let together = ["ca", "rotate", "user", "2>&1", "|", "cat"];
    let (_, screen) = on_terminal(data.path(), &together, &[]);
    assert_eq!(screen.matches(said).count(), 1, "{screen}");
    // Where the answer goes elsewhere than the progress it is whole.
    let output = crate::binary::run(data.path(), &words);
    assert_eq!(crate::binary::out(&output).matches(said).count(), 1);
    let (_, screen) = on_terminal(data.path(), &["ca", "rotate", "user", "--quiet"], &[]);
    assert_eq!(screen.matches(said).count(), 1, "{screen}");
}

#[test]
fn a_bar_fills_and_goes_away_and_what_needs_a_look_stays() {
    let machine = |done: usize, state| json!({ "event": "machine", "done": done, "total": 3, "state": value(state) });
    let machines = vec![
        proven("web-1", &[], &[]),
        proven("web-2", &["pts/0"], &[]),
        not_reached("db-1", Some(after(3600))),
    ];
    let mut events = vec![note("alice@corp.example is revoked, durably (KRL 42).")];
    events.extend(
        machines
            .iter()
            .enumerate()
            .map(|(n, state)| machine(n + 1, state.clone())),
    );
    events.push(done("revoked", &value(revocation(machines))));
    let (data, _script, _runtime) = server(Answer::events(&events));
    let (code, screen) = on_terminal(data.path(), &["krl", "revoke", "alice@corp.example"], &[]);
    assert_eq!(code, 3, "{screen}");
    assert!(
        screen.starts_with("alice@corp.example is revoked, durably"),
        "{screen:?}"
    );
    assert!(screen.contains("/3 machines"), "a bar: {screen:?}");
    assert!(screen.contains("1 session ended"), "{screen:?}");
    assert!(
        screen.contains("2 machines proven: half within"),
        "{screen:?}"
    );
    assert!(
        screen.contains("\u{1b}[31m"),
        "colour on a terminal: {screen:?}"
    );
    let end = screen.rfind("MACHINE").expect("the table");
    assert!(
        !screen[end..].contains("/3 machines"),
        "no bar below the table: {screen:?}"
    );
}

#[test]
fn no_color_is_respected_on_a_terminal() {
    let (data, _script, _runtime) = server(Answer::done("employees", &value(employees())));
    let list = ["employee", "list"];
    let (_, screen) = on_terminal(data.path(), &list, &[]);
    assert!(screen.contains("\u{1b}["), "{screen:?}");
    // `script` hands its command to a shell.
    let (_, screen) = on_terminal(
        data.path(),
        &[
            "employee list; NO_COLOR=1",
            env!("CARGO_BIN_EXE_ca-server"),
            "employee list",
        ],
        &[],
    );
    let plain = screen.rfind("EMAIL").expect("the second table");
    assert!(!screen[plain..].contains("\u{1b}["), "{screen:?}");
}
