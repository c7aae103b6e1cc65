//! A person's workstation: a home folder of their own at `/root`, an ssh-agent, and commands that see both.

mod by_hand;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use self::by_hand::Identity;
use crate::{Fleet, Terminal};

/// A person's workstation on the fleet's network. In its commands `~` is this home alone, also for OpenSSH, which asks the password
/// database for it and not `$HOME`: a mount namespace puts the folder at `/root`.
#[derive(Debug)]
pub struct Home {
    fleet: Fleet,
    name: String,
    path: PathBuf,
    holder: Child,
    _holder_stdin: ChildStdin,
    agent: Mutex<Option<Arc<Agent>>>,
    environment: Mutex<BTreeMap<&'static str, PathBuf>>,
}

impl Home {
    pub(crate) fn new(fleet: Fleet, name: &str) -> Result<Self> {
        ensure!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
            "{name:?} is not a person's name here"
        );
        let path = fleet.rack.folder.join("homes").join(name);
        let private = |folder: &Path| fs::DirBuilder::new().mode(0o700).create(folder);
        private(&path).with_context(|| format!("making the home of {name}"))?;
        private(&path.join(".ssh"))?;
        let mut holder = fleet
            .rack
            .in_network()
            .args([
                "unshare",
                "--mount",
                "--",
                "sh",
                "-c",
                include_str!("home/home.sh"),
                "home",
            ])
            .args([&path, &fleet.rack.folder.join("hosts")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().expect("piped above")).read_line(&mut ready)?;
        ensure!(
            ready == "ready\n",
            "the home of {name} could not be mounted (its words are on standard error)"
        );
        let stdin = holder.stdin.take().expect("piped above");
        Ok(Self {
            fleet,
            name: name.to_owned(),
            path,
            holder,
            _holder_stdin: stdin,
            agent: Mutex::default(),
            environment: Mutex::default(),
        })
    }

    /// The person's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The home folder as this host and the tests see it. Its commands see it there too, and as `/root`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file below `~/.ssh` as the tests see it.
    #[must_use]
    pub fn ssh_path(&self, file: &str) -> PathBuf {
        self.path.join(".ssh").join(file)
    }

    /// A command at this workstation, without a terminal, in the home folder, with a clean environment: `HOME`, `PATH`, `LANG`, and
    /// `SSH_AUTH_SOCK` once [`Home::agent`] has been called. Its exit status, pid and standard streams are the program's own.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.prepared();
        command.args(["setsid", "--wait", "--", program]);
        command
    }

    /// As [`Home::command`], for [`Terminal::open`](crate::Terminal::open): the program's terminal is its standard input.
    #[must_use]
    pub fn command_tty(&self, program: &str) -> Command {
        let mut command = self.prepared();
        command.args(["setsid", "--ctty", "--wait", "--", program]);
        command
    }

    /// Runs a program on a terminal of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn terminal(&self, program: &str, arguments: &[&str]) -> Result<Terminal> {
        let mut command = self.command_tty(program);
        command.args(arguments);
        Terminal::open(command)
    }

    /// The words before a program and its arguments that run it at this workstation, for scripts; it keeps the script's terminal.
    #[must_use]
    pub fn command_prefix(&self) -> Vec<String> {
        let agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = agent
            .as_ref()
            .map(|agent| format!("SSH_AUTH_SOCK={}", agent.socket().display()));
        let pid = self.holder.id().to_string();
        let words = [
            "nsenter",
            "--target",
            &pid,
            "--net",
            "--mount",
            "--wdns=/root",
            "--",
            "env",
            "-u",
            "SSH_AUTH_SOCK",
            "HOME=/root",
        ];
        words.into_iter().map(str::to_owned).chain(socket).collect()
    }

    /// This person's ssh-agent, started at the first call; it ends with the home.
    ///
    /// # Errors
    /// When ssh-agent does not come up.
    pub fn agent(&self) -> Result<Arc<Agent>> {
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = &*agent {
            return Ok(Arc::clone(agent));
        }
        let started = Arc::new(Agent::start(self)?);
        *agent = Some(Arc::clone(&started));
        Ok(started)
    }

    /// Puts paths into the environment of every later command, such as `SSH_AUTH_SOCK` for an agent that is not the home's own.
    pub fn set(&self, environment: &[(&'static str, PathBuf)]) {
        let mut held = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.extend(environment.iter().cloned());
    }

    /// Takes one of them out again.
    pub fn unset(&self, name: &str) {
        let mut held = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.remove(name);
    }

    /// The public key of `~/.ssh/id_ed25519`, made without a passphrase at the first call.
    ///
    /// # Errors
    /// When ssh-keygen fails.
    pub fn public_key(&self) -> Result<String> {
        let public = self.ssh_path("id_ed25519.pub");
        if !public.exists() {
            let output = self
                .command("ssh-keygen")
                .args([
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-C",
                    &format!("{}@workstation", self.name),
                    "-f",
                    "/root/.ssh/id_ed25519",
                ])
                .stdin(Stdio::null())
                .output()?;
            ensure!(
                output.status.success(),
                "ssh-keygen: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(fs::read_to_string(public)?.trim_end().to_owned())
    }

    /// Writes a file below `~/.ssh`, mode 0600.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_ssh(&self, file: &str, text: &str) -> Result<()> {
        let path = self.ssh_path(file);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    // Still in the session of whoever spawns it: setsid comes next, with a terminal or without.
    fn prepared(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.holder.id().to_string(),
                "--net",
                "--mount",
                "--wdns=/root",
                "--",
            ])
            .env_clear()
            .env("HOME", "/root")
            .env("USER", "root")
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LANG", "C.UTF-8");
        if let Some(agent) = &*self.agent.lock().unwrap_or_else(PoisonError::into_inner) {
            command.env("SSH_AUTH_SOCK", agent.socket());
        }
        let environment = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        command.envs(&*environment);
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A real ssh-agent in the foreground, killed when dropped.
#[derive(Debug)]
pub struct Agent {
    socket: PathBuf,
    process: Child,
}

impl Agent {
    fn start(home: &Home) -> Result<Self> {
        let socket = home.path.join(".agent");
        let process = home
            .fleet
            .command("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let agent = Self { socket, process };
        let deadline = Instant::now() + Duration::from_secs(120);
        while std::os::unix::net::UnixStream::connect(&agent.socket).is_err() {
            ensure!(
                Instant::now() < deadline,
                "ssh-agent did not open {}",
                agent.socket.display()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(agent)
    }

    /// The agent's socket, the same path here and at the workstation.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The agent's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
