//! A running machine: its own sshd, accounts, disk and address, and everything that can go wrong with it.

mod faults;
mod power;
pub(crate) mod spec;

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::Fleet;
use crate::machine::power::Power;

/// A machine. It is powered off when this is dropped.
#[derive(Debug)]
pub struct Machine {
    fleet: Fleet,
    name: String,
    number: u32,
    base: PathBuf,
    root: PathBuf,
    power: Mutex<Option<Power>>,
}

/// A program's output that ended with status 0; see [`Machine::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// Standard output as text.
    pub stdout: String,
    /// Standard error as text.
    pub stderr: String,
}

impl Machine {
    /// The machine's host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The machine's address, 10.77.x.y; its sshd listens on port 22.
    #[must_use]
    pub fn addr(&self) -> Ipv4Addr {
        let [.., high, low] = self.number.to_be_bytes();
        // Machine 1 is 10.77.1.1: the first 256 addresses are the operator's.
        Ipv4Addr::new(10, 77, high + 1, low)
    }

    /// The fleet that it belongs to.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The machine's first process, as this host numbers it (for `nsenter --target`); none when it is off.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.power
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|power| power.init_pid)
    }

    /// A command that runs as root on the machine, without a terminal; its status and standard streams pass through. Killing the
    /// child that it spawns does not end the program on the machine.
    ///
    /// # Panics
    /// When the machine is off.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let pid = self.pid().expect("a command needs a machine that is on");
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &pid.to_string(),
                "--mount",
                "--uts",
                "--ipc",
                "--net",
                "--pid",
                "--",
            ])
            .args([
                "setpriv",
                "--bounding-set=-sys_time,-sys_module",
                "--",
                "setsid",
                "--wait",
                "--",
                program,
            ])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8");
        command
    }

    /// Runs a program as root on the machine.
    ///
    /// # Errors
    /// When it cannot be started; its own failure is in the output's status.
    pub fn exec(&self, argv: &[&str]) -> Result<Output> {
        self.exec_with_stdin(argv, b"")
    }

    /// Runs a program as root on the machine, with this standard input.
    ///
    /// # Errors
    /// When it cannot be started; its own failure is in the output's status.
    pub fn exec_with_stdin(&self, argv: &[&str], stdin: &[u8]) -> Result<Output> {
        let (program, arguments) = argv.split_first().context("a program's name is needed")?;
        let mut child = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut pipe = child.stdin.take().expect("piped above");
        std::thread::scope(|scope| {
            // A program that ends without reading its input closes the pipe: its status tells the rest.
            scope.spawn(move || pipe.write_all(stdin).ok());
            Ok(child.wait_with_output()?)
        })
    }

    /// Runs a program as root on the machine that must succeed.
    ///
    /// # Errors
    /// When its status is not 0; the error holds what it said.
    pub fn run(&self, argv: &[&str]) -> Result<Success> {
        let output = self.exec(argv)?;
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        ensure!(
            output.status.success(),
            "{}: {argv:?} ended with {}\n{stdout}{stderr}",
            self.name,
            output.status
        );
        Ok(Success { stdout, stderr })
    }

    /// A file's bytes, read as root.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        let output = self.exec(&["cat", "--", path])?;
        ensure!(
            output.status.success(),
            "{}: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(output.stdout)
    }

    /// Writes a file as root, mode 0644 when it is new; an existing one keeps its owner and mode.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let output = self.exec_with_stdin(
            &["sh", "-c", "umask 022; cat >\"$1\"", "write", path],
            bytes,
        )?;
        ensure!(
            output.status.success(),
            "{}: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// The log of its sshd so far, also while the machine is off or frozen.
    #[must_use]
    pub fn sshd_log(&self) -> String {
        self.fleet.rack.sshd_log(&self.name)
    }

    /// The machine's Ed25519 host key as a line of a `.pub` file.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn host_key(&self) -> Result<String> {
        Ok(
            String::from_utf8(self.read_file("/etc/ssh/ssh_host_ed25519_key.pub")?)?
                .trim_end()
                .to_owned(),
        )
    }

    /// Replaces `/etc/ssh/sshd_config` and reloads sshd, without a check: a bad one ends the listener, as on any machine.
    ///
    /// # Errors
    /// When the file cannot be written or sshd is not running.
    pub fn set_sshd_config(&self, text: &str) -> Result<()> {
        self.write_file("/etc/ssh/sshd_config", text.as_bytes())?;
        self.reload_sshd()
    }

    /// Sends sshd a HUP by its pid file, as Debian's unit does.
    ///
    /// # Errors
    /// When sshd is not running, or has not noticed after a minute.
    pub fn reload_sshd(&self) -> Result<()> {
        let heard = |log: &str| log.matches("Received SIGHUP").count();
        let before = heard(&self.sshd_log());
        self.run(&["sh", "-c", "kill -HUP \"$(cat /run/sshd.pid)\""])?;
        // Until then the old configuration answers.
        let deadline = Instant::now() + Duration::from_secs(60);
        while heard(&self.sshd_log()) == before {
            ensure!(
                Instant::now() < deadline,
                "{}: sshd does not notice that it is to be reloaded:\n{}",
                self.name,
                self.sshd_log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The port of the fleet's bridge that the machine's cable is in.
    pub(crate) fn port(&self) -> String {
        format!("m{}", self.number)
    }

    pub(crate) fn mac(&self) -> String {
        let [a, b, c, d] = self.number.to_be_bytes();
        format!("02:77:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }
}
