//! The key of the day and the ssh-agent: C1 and C3, with OpenSSH's own agent.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    process::{Child, Command, Stdio},
    thread,
};

use crate::{
    ca::{Ca, EMAIL, PASSWORD, SESSION_SECRET, TOTP, key},
    home::Home,
};

/// OpenSSH's agent on a socket in the home, ended with the test.
pub struct RealAgent(Child);

impl RealAgent {
    pub fn start(home: &mut Home) -> Self {
        let socket = home.path("agent.sock");
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut tries = 0;
        while UnixStream::connect(&socket).is_err() {
            tries += 1;
            assert!(tries < 12_000, "the agent does not listen");
            thread::sleep(std::time::Duration::from_millis(10));
        }
        home.agent = Some(socket);
        Self(child)
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listed(home: &Home) -> String {
    let output = home.command("ssh-add").arg("-L").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn has_private_key(content: &[u8]) -> bool {
    String::from_utf8_lossy(content).contains("PRIVATE KEY")
}

#[test]
fn c1_the_key_is_in_the_agent_and_not_on_disk_and_the_secret_is_outside_the_agent() {
    let (ca, mut home) = (Ca::start(), Home::new());
    let _agent = RealAgent::start(&mut home);
    home.ready(&ca);
    let public = home.read(".ssh/ca/id.pub");
    let blob = public.split(' ').nth(1).unwrap();
    assert!(listed(&home).contains(blob));
    for (path, content) in home.everything() {
        assert!(!has_private_key(&content), "{path:?}");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert!(
            path.ends_with("agent.sock") || mode & 0o077 == 0,
            "{path:?} {mode:o}"
        );
    }
    assert!(home.read(".ssh/ca/session.json").contains(SESSION_SECRET));
    assert!(home.read(".ssh/ca/config").contains(".ssh/ca/id.pub"));
    // The agent forgets the key with the session: only a key with a lifetime goes by itself.
    // It has to be seen there first, on a slow machine too.
    ca.change(|it| it.session_secs = 20);
    ca.change(|it| it.plans[0].life_secs = 49);
    assert_eq!(home.log_in().code, 0);
    let public = home.read(".ssh/ca/id.pub");
    let short_lived = public.split(' ').nth(1).unwrap();
    assert!(listed(&home).contains(short_lived));
    assert!(
        !listed(&home).contains(blob),
        "the key of the last login is taken out"
    );
    for _ in 0..3000 {
        if !listed(&home).contains(short_lived) {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the agent still has the key after the session's end");
}

#[test]
fn c1_a_forever_certificate_of_somebody_else_in_the_agent_breaks_nothing() {
    let (ca, mut home) = (Ca::start(), Home::new());
    let _agent = RealAgent::start(&mut home);
    let (theirs, their_ca) = (key(), key());
    let file = home.path("foreign");
    fs::write(
        &file,
        theirs
            .to_openssh(ssh_key::LineEnding::LF)
            .unwrap()
            .as_bytes(),
    )
    .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    // Without -V, ssh-keygen makes a certificate that never ends, which Rust's ssh-key cannot parse.
    fs::write(
        home.path("foreign.pub"),
        theirs.public_key().to_openssh().unwrap(),
    )
    .unwrap();
    let ca_file = home.path("their-ca");
    fs::write(
        &ca_file,
        their_ca
            .to_openssh(ssh_key::LineEnding::LF)
            .unwrap()
            .as_bytes(),
    )
    .unwrap();
    fs::set_permissions(&ca_file, fs::Permissions::from_mode(0o600)).unwrap();
    let made = home
        .command("ssh-keygen")
        .args(["-q", "-s"])
        .arg(&ca_file)
        .args(["-I", "x"])
        .arg(home.path("foreign.pub"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let added = home.command("ssh-add").arg(&file).output().unwrap();
    assert!(
        added.status.success() && listed(&home).contains("cert-v01"),
        "{added:?}"
    );
    home.ready(&ca);
    let status = home.run(&["status"]);
    assert_eq!(status.code, 0, "{status:?}");
    assert_eq!(home.run(&["renew"]).code, 0);
    assert_eq!(home.run(&["logout"]).code, 0);
    assert!(listed(&home).contains("cert-v01"), "theirs stays");
    assert!(!listed(&home).contains("ssh-ca"));
}

/// An agent that says no to everything.
fn refusing_agent(home: &mut Home) {
    let socket = home.path("no.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    home.agent = Some(socket);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut length = [0; 4];
                while stream.read_exact(&mut length).is_ok() {
                    let mut body = vec![0; u32::from_be_bytes(length) as usize];
                    if stream.read_exact(&mut body).is_err()
                        || stream.write_all(&[0, 0, 0, 1, 5]).is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn c1_without_an_agent_or_with_one_that_refuses_the_key_is_in_a_0600_file() {
    let ca = Ca::start();
    for kind in ["none", "gone", "refuses"] {
        let mut home = Home::new();
        match kind {
            "gone" => home.agent = Some(home.path("nobody.sock")),
            "refuses" => refusing_agent(&mut home),
            _ => {}
        }
        home.set_up(&ca);
        let login = home.log_in();
        assert_eq!(login.code, 0, "{kind}: {login:?}");
        assert!(
            login.out.contains("~/.ssh/ca/id, readable by you alone"),
            "{kind}: {}",
            login.out
        );
        let private = home.path(".ssh/ca/id");
        assert!(has_private_key(&fs::read(&private).unwrap()), "{kind}");
        assert_eq!(
            fs::metadata(&private).unwrap().permissions().mode() & 0o777,
            0o600,
            "{kind}"
        );
        assert!(home.ssh_g(&["web-1"]).contains("/.ssh/ca/id\n"), "{kind}");
        assert_eq!(
            home.run(&["renew"]).code,
            0,
            "{kind}: the file's key proves"
        );
        // With an agent again, the next login leaves no private key behind.
        let _agent = RealAgent::start(&mut home);
        assert_eq!(home.log_in().code, 0);
        assert!(!private.exists(), "{kind}");
    }
}

#[test]
fn c3_no_secret_in_arguments_environment_output_or_files_where_it_does_not_belong() {
    let (ca, mut home) = (Ca::start(), Home::new());
    let _agent = RealAgent::start(&mut home);
    home.set_up(&ca);
    for flag in [
        ["--password", PASSWORD],
        ["--totp", TOTP],
        ["--secret", PASSWORD],
    ] {
        let outcome = home.run(&["login", flag[0], flag[1]]);
        assert_eq!(
            outcome.code, 2,
            "there is no way to pass a secret as an argument: {outcome:?}"
        );
    }
    let without_terminal = home.run(&["login", "--email", EMAIL]);
    assert_eq!(without_terminal.code, 1);
    assert!(
        without_terminal.err.contains("no terminal")
            && without_terminal.err.contains("--secrets-stdin")
    );
    let login = home.log_in();
    let file = home.path("answers");
    fs::write(&file, format!("{PASSWORD}\n{TOTP}\n")).unwrap();
    let by_file = home.run(&["login", "--secrets-file", file.to_str().unwrap(), "--json"]);
    assert_eq!(by_file.code, 0, "{by_file:?}");
    let status = home.run(&["status", "--json"]);
    fs::remove_file(&file).unwrap();
    for said in [&login, &by_file, &status] {
        for secret in [PASSWORD, TOTP, SESSION_SECRET] {
            assert!(
                !said.out.contains(secret) && !said.err.contains(secret),
                "{said:?}"
            );
        }
    }
    for (path, content) in home.everything() {
        let content = String::from_utf8_lossy(&content).into_owned();
        assert!(!content.contains(PASSWORD), "{path:?}");
        assert_eq!(
            content.contains(SESSION_SECRET),
            path.ends_with("session.json"),
            "{path:?}"
        );
    }
}

#[test]
fn c1_an_agent_that_was_restarted_is_said_in_one_line_with_the_remedy() {
    let (ca, mut home) = (Ca::start(), Home::new());
    let agent = RealAgent::start(&mut home);
    home.ready(&ca);
    assert_eq!(home.run(&["renew", "--if-due"]).err, "");
    drop(agent);
    fs::remove_file(home.path("agent.sock")).ok();
    let gone = home.run(&["renew", "--if-due"]);
    assert!(
        gone.err.lines().count() == 1 && gone.err.contains("ca-client login"),
        "{gone:?}"
    );
    let _agent = RealAgent::start(&mut home);
    let restarted = home.run(&["renew", "--if-due"]);
    assert!(
        restarted.err.lines().count() == 1 && restarted.err.contains("no longer has your key"),
        "{restarted:?}"
    );
    let status = home.run(&["status"]);
    assert_eq!(status.code, 1);
    assert!(status.out.contains("lost"), "{status:?}");
    assert_eq!(home.log_in().code, 0);
    assert_eq!(home.run(&["status"]).code, 0);
}
