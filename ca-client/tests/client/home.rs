//! A home folder of its own, and the real binary run in it.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use crate::ca::{Ca, PASSWORD, TOTP};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ca-client");

pub struct Home {
    pub folder: tempfile::TempDir,
    pub agent: Option<PathBuf>,
}

impl Home {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            agent: None,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The program with this home, without a controlling terminal and with nothing of the developer's environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setsid");
        command
            .arg("--wait")
            .arg(program)
            .env_clear()
            .env("HOME", self.folder.path());
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(PROGRAM).args(arguments).output().unwrap())
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut child: Child = self
            .command(PROGRAM)
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that fails before it reads has closed its end already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Outcome::of(child.wait_with_output().unwrap())
    }

    pub fn set_up(&self, ca: &Ca) {
        let outcome = self.run(&["setup", &ca.url(), "--fingerprint", &ca.fingerprint]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }

    pub fn log_in(&self) -> Outcome {
        let answers = format!("{PASSWORD}\n{TOTP}\n");
        self.run_with_input(
            &["login", "--email", crate::ca::EMAIL, "--secrets-stdin"],
            &answers,
        )
    }

    /// Set up and logged in.
    pub fn ready(&self, ca: &Ca) {
        self.set_up(ca);
        let outcome = self.log_in();
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }

    /// What real ssh would do: `ssh -G` with this home's configuration.
    pub fn ssh_g(&self, arguments: &[&str]) -> String {
        let config = self.path(".ssh/config");
        let output = self
            .command("ssh")
            .arg("-F")
            .arg(config)
            .arg("-G")
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Every file below the home, with its content.
    pub fn everything(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    found.push((path.clone(), fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
