//! A whole company on a fleet: the CA serving on the operator's side, and people who enrol and log in with real clients.

mod person;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use totp_rs::Secret;

pub use self::person::Person;
use crate::{CA_ADDRESS, Fleet, Home, Machine};

/// Where the CA listens, on the operator's side of the fleet's network.
const PORT: u16 = 8443;

/// The path of one of the project's programs, built beside this test.
///
/// # Panics
/// When it is not there: `tests/run` builds the programs first.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let me = std::env::current_exe().expect("a test knows its own file");
    let folder = me
        .ancestors()
        .find(|folder| folder.join(name).is_file())
        .unwrap_or_else(|| {
            panic!("{name} is not built: run `cargo build --workspace --bins` first")
        });
    folder.join(name)
}

/// A running CA with an enrolled admin.
pub struct Company {
    fleet: Fleet,
    data: PathBuf,
    server: Option<Child>,
    log: PathBuf,
}

/// Where the library is that shifts a process's clock (Debian: `libfaketime`).
fn faketime() -> Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib")?.flatten();
    folders
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|path| path.exists())
        .context("libfaketime is not installed: tests/setup does it")
}

impl Company {
    /// Makes a CA and starts it.
    ///
    /// # Errors
    /// When a step fails; the error has the program's words.
    pub fn new(fleet: &Fleet) -> Result<Self> {
        Self::with(fleet, &[])
    }

    /// The same, with these further words of `init`.
    ///
    /// # Errors
    /// When a step fails; the error has the program's words.
    pub fn with(fleet: &Fleet, words: &[&str]) -> Result<Self> {
        let folder = fleet.folder().join("company");
        fs::create_dir(&folder)?;
        let passphrase = folder.join("passphrase");
        fs::write(&passphrase, "correct horse battery staple\n")?;
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600))?;
        let mut company = Self {
            fleet: fleet.clone(),
            data: folder.join("ca"),
            server: None,
            log: folder.join("ca.log"),
        };
        let made = company
            .command()
            .args([
                "init",
                "--name",
                &CA_ADDRESS.to_string(),
                "--passphrase-file",
            ])
            .arg(&passphrase)
            .args(words)
            .output()?;
        success("ca-server init", &made)?;
        // What costs a hundred milliseconds on purpose costs one here; everything else is as it ships.
        let config = company.data.join("config.toml");
        let text = fs::read_to_string(&config)?
            .replace("memory_kib = 65536", "memory_kib = 1024")
            .replace("passes = 3", "passes = 1");
        ensure!(
            text.contains("memory_kib = 1024"),
            "the configuration has another shape:\n{text}"
        );
        fs::write(&config, text)?;
        company.start()?;
        Ok(company)
    }

    /// The CA's data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What the server logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts the server; ready when its socket answers.
    ///
    /// # Errors
    /// When it ends or does not answer within two minutes.
    pub fn start(&mut self) -> Result<()> {
        self.start_with_clock(0)
    }

    /// Starts the server with a clock that is off by so many seconds; ready when its socket answers.
    ///
    /// # Errors
    /// When it ends or does not answer within two minutes.
    pub fn start_with_clock(&mut self, offset_secs: i64) -> Result<()> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = self.command();
        if offset_secs != 0 {
            command
                .env("LD_PRELOAD", faketime()?)
                .env("FAKETIME", format!("{offset_secs:+}s"))
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let mut server = command
            .args(["serve", "--listen"])
            .arg(format!("{CA_ADDRESS}:{PORT}"))
            .arg("--passphrase-file")
            .arg(self.data.with_file_name("passphrase"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()?;
        let deadline = Instant::now() + Duration::from_secs(120);
        // It answers, also where it says that some machines are behind (3).
        while !self
            .ca(&["krl", "show"])
            .is_ok_and(|output| matches!(output.status.code(), Some(0 | 3)))
        {
            if let Some(status) = server.try_wait()? {
                bail!("the server ended ({status}):\n{}", self.log());
            }
            ensure!(
                Instant::now() < deadline,
                "the server does not answer:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        self.server = Some(server);
        Ok(())
    }

    /// Kills the server, as a power cut would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            // The child is `setsid --wait`: what it waits for is the server.
            let pid = server.id().to_string();
            let children =
                fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            for child in children.split_whitespace() {
                Command::new("kill").args(["-9", child]).status()?;
            }
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// The server's process, while it runs.
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        // The child is `setsid --wait`, which becomes the server, or has it as its only child.
        let pid = self.server.as_ref()?.id();
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        if name.trim() != "setsid" {
            return Some(pid);
        }
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    fn command(&self) -> Command {
        let mut command = self.fleet.command(&program("ca-server").to_string_lossy());
        command.env("SSH_CA_DATA", &self.data);
        command
    }

    /// A `ca-server` command over the socket.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn ca(&self, words: &[&str]) -> Result<Output> {
        Ok(self.command().args(words).stdin(Stdio::null()).output()?)
    }

    /// A `ca-server` command that must succeed; its standard output.
    ///
    /// # Errors
    /// When it fails.
    pub fn ca_ok(&self, words: &[&str]) -> Result<String> {
        let output = self.ca(words)?;
        success(&format!("ca-server {}", words.join(" ")), &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A `ca-server` command with `--json`; what it printed.
    ///
    /// # Errors
    /// When it prints no JSON.
    pub fn ca_json(&self, words: &[&str]) -> Result<serde_json::Value> {
        let output = self.ca(&[words, &["--json"]].concat())?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("ca-server {}: {}", words.join(" "), said(&output)))
    }

    /// Invites somebody with these further words of `employee add`, and enrols them at a workstation of their own.
    ///
    /// # Errors
    /// When a step fails.
    pub fn hire(&self, email: &str, words: &[&str]) -> Result<Person> {
        let name = email.split('@').next().unwrap_or(email);
        let line = self.ca_ok(&[&["employee", "add", email], words].concat())?;
        let home = self.fleet.home(name)?;
        self.enrol(home, email, &line)
    }

    /// Runs the line that an admin hands over: `ca-client setup … && ca-client enrol …`.
    ///
    /// # Errors
    /// When a step fails.
    pub fn enrol(&self, home: Home, email: &str, line: &str) -> Result<Person> {
        self.enrol_after(home, email, line, 0)
    }

    /// As [`Company::enrol`], for somebody who was enrolled before: codes of a step that they used already are not used again.
    ///
    /// # Errors
    /// When a step fails.
    pub fn enrol_again(&self, person: Person, line: &str) -> Result<Person> {
        self.enrol_after(person.home, &person.email, line, person.last_step)
    }

    fn enrol_after(&self, home: Home, email: &str, line: &str, last_step: u64) -> Result<Person> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |word: &str| {
            words
                .iter()
                .position(|held| *held == word)
                .context(line.to_owned())
        };
        let (setup, enrol) = (at("setup")?, at("enrol")?);
        let mut person = Person {
            home,
            email: email.to_owned(),
            password: format!("wobbly-lantern-eats-41-figs-{}", email.len()),
            secret: Vec::new(),
            last_step,
        };
        let done = person
            .client()
            .args(["setup", words[setup + 1], "--fingerprint", words[setup + 3]])
            .output()?;
        success("ca-client setup", &done)?;
        let mut process = person
            .client()
            .args(["enrol", words[enrol + 1], "--secrets-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut answers = process.stdin.take().context("piped above")?;
        let mut lines = BufReader::new(process.stdout.take().context("piped above")?).lines();
        writeln!(answers, "{}", person.password)?;
        for line in &mut lines {
            if let Some((_, text)) = line?.split_once("or type: ") {
                let text: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
                person.secret = Secret::try_from_base32(&text)
                    .map_err(|error| anyhow::anyhow!("{error:?}"))?
                    .as_bytes()
                    .to_vec();
                break;
            }
        }
        ensure!(
            !person.secret.is_empty(),
            "no authenticator secret was shown: {}",
            said(&process.wait_with_output()?)
        );
        writeln!(answers, "{}", person.code())?;
        drop(answers);
        lines.for_each(drop);
        success("ca-client enrol", &process.wait_with_output()?)?;
        Ok(person)
    }

    /// Puts machines under the CA with `bootstrap` from the admin's workstation, over the CA's socket.
    ///
    /// # Errors
    /// When it fails.
    pub fn bootstrap(&self, admin: &Home, machine: &Machine, pool: &str) -> Result<String> {
        let output = self
            .bootstrap_command(admin)
            .args([
                "add-machine",
                machine.name(),
                "--pool",
                pool,
                "--yes",
                "--host-key",
                &machine.host_key()?,
            ])
            .args(["--address", &machine.addr().to_string()])
            .output()?;
        success(
            &format!("bootstrap add-machine {}", machine.name()),
            &output,
        )?;
        Ok(said(&output))
    }

    /// Bootstraps machines side by side, each into its pool.
    ///
    /// # Errors
    /// When one of them cannot be bootstrapped.
    ///
    /// # Panics
    /// When one of the lanes does.
    pub fn bootstrap_all(
        &self,
        admin: &Home,
        machines: &[Machine],
        pools: &[(&str, &str)],
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let lanes: Vec<_> = machines
                .iter()
                .zip(pools)
                .map(|(machine, (_, pool))| scope.spawn(|| self.bootstrap(admin, machine, pool)))
                .collect();
            for lane in lanes {
                lane.join().expect("bootstrap's lane does not panic")?;
            }
            Ok(())
        })
    }

    /// A `bootstrap` command at a workstation, over the CA's socket.
    #[must_use]
    pub fn bootstrap_command(&self, admin: &Home) -> Command {
        let mut command = admin.command(&program("bootstrap").to_string_lossy());
        command
            .arg("--socket")
            .arg(self.data.join("admin.sock"))
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("the server could not be stopped: {error}");
        }
    }
}

/// Everything that a program said.
#[must_use]
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// # Errors
/// When the program did not end with 0.
pub fn success(what: &str, output: &Output) -> Result<()> {
    ensure!(
        output.status.success(),
        "{what} ended with {}:\n{}",
        output.status,
        said(output)
    );
    Ok(())
}
