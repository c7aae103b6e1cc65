//! `renew --if-due`, as ssh's `Match exec` runs it.

use std::{
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use ca_api::{ApiError, ErrorCode};

use crate::{
    ca::{Ca, PASSWORD, TOTP, now},
    home::{Home, Outcome, PROGRAM},
};

/// Pretends that time has passed: the certificate is due, and ends in `left_secs`.
fn make_due(home: &Home, left_secs: i64, session_left_secs: i64) {
    let now = now();
    let text = format!(
        "1 {} {} {} {} file\n",
        now - 1000,
        now - 1,
        now + left_secs,
        now + session_left_secs
    );
    fs::write(home.path(".ssh/ca/due"), text).unwrap();
}

fn if_due(home: &Home) -> (Outcome, Duration) {
    let begun = Instant::now();
    let outcome = home.run(&["renew", "--if-due"]);
    (outcome, begun.elapsed())
}

#[test]
fn nothing_due_nothing_said_nobody_asked() {
    let (ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    let before = (home.everything(), ca.behaviour.lock().unwrap().seen.len());
    for _ in 0..20 {
        let (outcome, _) = if_due(&home);
        assert_eq!(
            (outcome.code, outcome.out.as_str(), outcome.err.as_str()),
            (0, "", "")
        );
    }
    assert!(before == (home.everything(), ca.behaviour.lock().unwrap().seen.len()));
    // And it needs nothing but the one small file.
    fs::remove_dir_all(home.path(".config")).unwrap();
    fs::remove_file(home.path(".ssh/ca/session.json")).unwrap();
    assert_eq!(if_due(&home).0.code, 0);
}

#[test]
fn due_is_renewed_silently_once_and_by_one_of_many() {
    let (ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    let old = home.read(".ssh/ca/cert-0-cert.pub");
    make_due(&home, 600, 30_000);
    ca.change(|it| it.delay = Duration::from_millis(50));
    // As many as show it, and no more: the one that renews has two and a half seconds, also on a slow machine.
    let children: Vec<_> = (0..4)
        .map(|_| {
            home.command(PROGRAM)
                .args(["renew", "--if-due"])
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let outcome = Outcome::of(child.wait_with_output().unwrap());
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    }
    assert_eq!(ca.behaviour.lock().unwrap().renewals, 1);
    assert_ne!(home.read(".ssh/ca/cert-0-cert.pub"), old);
    if_due(&home);
    assert_eq!(ca.behaviour.lock().unwrap().renewals, 1);
    // The same where nobody can do without it: those who wait find it done.
    make_due(&home, -5, 30_000);
    let children: Vec<_> = (0..4)
        .map(|_| {
            home.command(PROGRAM)
                .args(["renew", "--if-due"])
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        assert_eq!(Outcome::of(child.wait_with_output().unwrap()).code, 0);
    }
    assert_eq!(ca.behaviour.lock().unwrap().renewals, 2);
}

#[test]
fn a_ca_that_is_down_is_never_in_the_way_and_not_asked_at_each_ssh() {
    let (mut ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    ca.stop();
    make_due(&home, 600, 30_000);
    let (first, took) = if_due(&home);
    assert_eq!(first.code, 0);
    assert!(
        first.err.lines().count() == 1 && first.err.contains("good until"),
        "{first:?}"
    );
    assert!(took < Duration::from_secs(120), "{took:?}");
    let (second, _) = if_due(&home);
    assert_eq!((second.code, second.err.as_str()), (0, ""), "backed off");
    make_due(&home, -1, 30_000);
    let (ended, _) = if_due(&home);
    assert!(
        ended.code == 1
            && ended.err.lines().count() == 1
            && ended.err.contains("could not be renewed"),
        "{ended:?}"
    );
}

#[test]
fn a_ca_that_is_slow_costs_ssh_three_seconds_at_most() {
    let (ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    make_due(&home, 600, 30_000);
    ca.change(|it| it.delay = Duration::from_secs(600));
    let (outcome, took) = if_due(&home);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    // Three seconds, and what a busy machine takes to start a program.
    assert!(took < Duration::from_secs(120), "{took:?}");
    let asked = || ca.behaviour.lock().unwrap().seen.len();
    let before = asked();
    home.ssh_g(&["web-1"]);
    assert_eq!(asked(), before, "backed off: ssh itself does not wait");
}

#[test]
fn a_session_that_is_over_never_prompts_without_a_terminal() {
    let (ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    make_due(&home, -5, -1);
    let (outcome, took) = if_due(&home);
    assert!(
        outcome.err.lines().count() == 1 && outcome.err.contains("ca-client login"),
        "{outcome:?}"
    );
    assert!(took < Duration::from_secs(120), "{took:?}");
    // Ended by the CA while the certificate is good: said once, and then ssh is left alone until it ends.
    make_due(&home, 600, 30_000);
    ca.change(|it| {
        it.refuse = Some(ApiError::new(
            ErrorCode::SessionOver,
            "your session was ended",
        ))
    });
    let (told, _) = if_due(&home);
    assert!(
        told.code == 0 && told.err.lines().count() == 1 && told.err.contains("was ended at the CA"),
        "{told:?}"
    );
    let asked = ca.count("/v1/renew");
    let (quiet, _) = if_due(&home);
    assert_eq!((quiet.code, quiet.err.as_str()), (0, ""));
    assert_eq!(ca.count("/v1/renew"), asked);
}

/// With a terminal the same line offers the login: `script` gives the program a real one.
#[test]
fn a_session_that_is_over_offers_the_login_on_a_terminal_with_the_echo_off() {
    let (ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    make_due(&home, -5, -1);
    let mut child = home
        .command("script")
        .args(["-qec", &format!("{PROGRAM} renew --if-due"), "/dev/null"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = Screen::of(&mut child);
    for (prompt, answer) in [
        ("[Y/n] ", ""),
        ("Email [alice@corp.example]: ", ""),
        ("Password: ", PASSWORD),
        ("Code: ", TOTP),
    ] {
        screen.wait_for(prompt);
        screen.type_line(answer);
    }
    screen.wait_for("Logged in until");
    assert!(child.wait().unwrap().success());
    assert!(
        !screen.seen.contains(PASSWORD) && !screen.seen.contains(TOTP),
        "{}",
        screen.seen
    );
    assert_eq!(if_due(&home).0.err, "");
}

/// Ctrl-C at a question leaves the terminal with its echo on.
#[test]
fn cancelling_a_question_restores_the_terminal() {
    let (ca, home) = (Ca::start(), Home::new());
    home.set_up(&ca);
    let mut child = home
        .command("script")
        .args([
            "-qec",
            &format!("{PROGRAM} login --email alice@corp.example; echo code=$?; stty -a"),
            "/dev/null",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = Screen::of(&mut child);
    screen.wait_for("Password: ");
    screen.type_bytes(b"half\x03");
    screen.wait_for("code=1");
    screen.wait_for(" echo ");
    child.wait().unwrap();
    assert!(
        !screen.seen.contains("half") && screen.seen.contains("isig"),
        "{}",
        screen.seen
    );
}

/// What a program on a terminal shows, as it shows it.
struct Screen {
    input: std::process::ChildStdin,
    output: std::sync::mpsc::Receiver<Vec<u8>>,
    seen: String,
    from: usize,
}

impl Screen {
    fn of(child: &mut std::process::Child) -> Self {
        let (sender, output) = std::sync::mpsc::channel();
        let mut stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = std::io::Read::read(&mut stdout, &mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            input: child.stdin.take().unwrap(),
            output,
            seen: String::new(),
            from: 0,
        }
    }

    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !self.seen[self.from..].contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} never came; seen: {}", self.seen),
            }
        }
        self.from += self.seen[self.from..].find(text).unwrap() + text.len();
    }

    fn type_line(&mut self, line: &str) {
        self.type_bytes(format!("{line}\n").as_bytes());
    }

    fn type_bytes(&mut self, bytes: &[u8]) {
        std::io::Write::write_all(&mut self.input, bytes).unwrap();
    }
}

#[test]
fn clocks_that_differ_do_not_confuse_it() {
    // Half a minute more: what a busy machine takes to ask must not make another minute of it.
    for ahead in [-7230, 7230] {
        let (ca, home) = (Ca::start(), Home::new());
        ca.change(|it| it.ahead_secs = ahead);
        home.set_up(&ca);
        assert_eq!(home.log_in().code, 0);
        let due = home.read(".ssh/ca/due");
        let numbers: Vec<i64> = due
            .split(' ')
            .skip(1)
            .take(4)
            .map(|word| word.parse().unwrap())
            .collect();
        // Eight hours, three quarters of them: in local time, wherever the CA's clock is.
        assert!((numbers[1] - now() - 6 * 3600).abs() < 900, "{due}");
        assert!((numbers[3] - now() - 12 * 3600).abs() < 900, "{due}");
        let doctor = home.run(&["doctor"]);
        assert!(
            doctor.out.contains("2 h 0 min") && doctor.out.contains("Set this computer's clock"),
            "{doctor:?}"
        );
    }
}

#[test]
fn logout_ends_everything_and_says_if_the_ca_was_not_reached() {
    let (mut ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    assert_eq!(home.run(&["logout"]).code, 0);
    assert_eq!(ca.count("/v1/logout"), 1);
    let left: Vec<_> = fs::read_dir(home.path(".ssh/ca"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["lock"]);
    assert_eq!(home.run(&["status"]).code, 1);
    assert_eq!(home.log_in().code, 0);
    ca.stop();
    let outcome = home.run(&["logout"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(
        outcome.err.contains("could not be ended at the CA"),
        "{outcome:?}"
    );
    assert!(!home.path(".ssh/ca/session.json").exists());
}
