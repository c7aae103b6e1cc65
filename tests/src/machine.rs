//! A running machine: its own sshd, accounts, disk and address, and everything that can go wrong with it.

pub(crate) mod faults;
pub(crate) mod spec;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Fleet;
use crate::fleet::only_child;
use crate::machine::spec::{MachineSpec, Sudo};

const BOOT_LIMIT: Duration = Duration::from_secs(30);

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

/// The processes that make a machine run: `outer` is our child, `init_pid` the machine's first process as this host numbers it.
#[derive(Debug)]
struct Power {
    outer: Child,
    init_pid: u32,
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
    pub(crate) fn first_boot(spec: MachineSpec) -> Result<Self> {
        let MachineSpec {
            fleet,
            name,
            keys,
            sudo,
            password,
            root_only,
            disk_mib,
            root,
            sshd_config,
            clock_offset_secs,
        } = spec;
        ensure!(
            (1..=63).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !name.starts_with('-'),
            "{name:?} is not a host name: use a-z, 0-9 and '-'"
        );
        let rack = &fleet.rack;
        let number = rack.enlist(&name)?;
        let base = rack.base(&root)?;

        let seed = rack.folder.join("seeds").join(&name);
        fs::create_dir(&seed)?;
        let plant = |file: &str, text: &str| {
            let mut options = File::options();
            options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(seed.join(file))
                .and_then(|mut file| file.write_all(text.as_bytes()))
        };
        plant(
            "keys",
            &keys
                .iter()
                .map(|key| format!("{key}\n"))
                .collect::<String>(),
        )?;
        if root_only {
            plant("root-only", "")?;
        }
        match (&sudo, root_only) {
            (_, true) | (Sudo::Never, _) => {}
            (Sudo::NoPassword, _) => plant("sudoers", "ssh-admin ALL=(ALL:ALL) NOPASSWD: ALL\n")?,
            (Sudo::Password(_), _) => plant("sudoers", "ssh-admin ALL=(ALL:ALL) ALL\n")?,
        }
        let sudo_password = if let Sudo::Password(password) = &sudo {
            Some(password)
        } else {
            None
        };
        ensure!(
            password.is_none() || sudo_password.is_none() || password.as_ref() == sudo_password,
            "an account has one password: give the same to sudo() and password()"
        );
        if let Some(password) = password.as_ref().or(sudo_password) {
            plant("password", &format!("{password}\n"))?;
        }
        if let Some(lines) = &sshd_config {
            plant("sshd_config", lines)?;
        }
        if clock_offset_secs != 0 {
            plant("clock", &format!("{clock_offset_secs:+}\n"))?;
        }

        let place = rack.place(&name);
        let made = rack
            .inside()
            .args(["sh", "-c", include_str!("machine/place.sh"), "place"])
            .args([&place, &seed])
            .arg(disk_mib.to_string())
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            made.status.success(),
            "{name}: its disk could not be made: {}",
            String::from_utf8_lossy(&made.stderr).trim()
        );
        fs::write(
            rack.place_from_host(&name).join("init"),
            include_str!("machine/init.sh"),
        )?;

        let machine = Self {
            fleet,
            name,
            number,
            base,
            root,
            power: Mutex::new(None),
        };
        machine.power_on()?;
        Ok(machine)
    }

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
    /// When sshd is not running.
    pub fn reload_sshd(&self) -> Result<()> {
        self.run(&["sh", "-c", "kill -HUP \"$(cat /run/sshd.pid)\""])
            .map(drop)
    }

    /// Powers the machine on with the disk that it had, and returns when its sshd answers. Does nothing when it is on.
    ///
    /// # Errors
    /// When it does not come up in time; the error holds its console and sshd log.
    pub fn power_on(&self) -> Result<()> {
        {
            let mut power = self.power.lock().unwrap_or_else(PoisonError::into_inner);
            if power.is_some() {
                return Ok(());
            }
            *power = Some(self.boot()?);
        }
        self.await_banner(BOOT_LIMIT)
    }

    /// Pulls the plug: no process gets a word in, no packet leaves any more. The disk stays. Does nothing when it is off.
    ///
    /// # Errors
    /// When the machine's cable cannot be taken away.
    pub fn power_off(&self) -> Result<()> {
        let mut power = self.power.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut running) = power.take() {
            // The cable goes first: the kernel would close the dying sockets with a FIN, which a machine without power cannot send.
            let unplugged = self
                .fleet
                .rack
                .in_network()
                .args(["ip", "link", "delete", &self.port()])
                .output()?;
            running.end();
            ensure!(
                unplugged.status.success(),
                "{}: {}",
                self.name,
                String::from_utf8_lossy(&unplugged.stderr).trim()
            );
        }
        drop(power);
        self.forget_neighbour()
    }

    /// Off and on: the disk persists, `/run` and `/tmp` are fresh.
    ///
    /// # Errors
    /// As [`Machine::power_off`] and [`Machine::power_on`].
    pub fn power_cycle(&self) -> Result<()> {
        self.power_off()?;
        self.power_on()
    }

    /// Waits until sshd says its banner to the operator's side.
    ///
    /// # Errors
    /// When it does not within the limit; the error holds the console and the sshd log.
    pub fn await_banner(&self, limit: Duration) -> Result<()> {
        let target = SocketAddr::from((self.addr(), 22));
        let deadline = Instant::now() + limit;
        self.fleet.enter(|| {
            loop {
                if banner(target) {
                    return Ok(());
                }
                if self.ended() || Instant::now() > deadline {
                    bail!(
                        "{}: sshd does not answer\n== console ==\n{}\n== sshd ==\n{}",
                        self.name,
                        self.console(),
                        self.sshd_log()
                    );
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    }

    /// The port of the fleet's bridge that the machine's cable is in.
    pub(crate) fn port(&self) -> String {
        format!("m{}", self.number)
    }

    pub(crate) fn mac(&self) -> String {
        let [a, b, c, d] = self.number.to_be_bytes();
        format!("02:77:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }

    fn boot(&self) -> Result<Power> {
        let rack = &self.fleet.rack;
        let console = File::options()
            .append(true)
            .create(true)
            .open(self.console_path())?;
        let mut outer = rack
            .inside()
            .args([
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child=KILL",
                "--",
            ])
            .args([
                "sh",
                "-c",
                include_str!("machine/start.sh"),
                "start",
                &self.name,
                &self.addr().to_string(),
                &self.mac(),
                &self.port(),
            ])
            .args([&rack.place(&self.name), &self.base, &self.root])
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0)
            .spawn()?;
        // nsenter forks into the fleet's processes, unshare into the machine's: the first process is the child of our child's child.
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            if let Some(init_pid) = only_child(outer.id()).and_then(only_child) {
                return Ok(Power { outer, init_pid });
            }
            if outer.try_wait()?.is_some() || Instant::now() > deadline {
                let _ = outer.kill();
                let _ = outer.wait();
                bail!("{}: it did not start: {}", self.name, self.console());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn ended(&self) -> bool {
        let mut power = self.power.lock().unwrap_or_else(PoisonError::into_inner);
        power
            .as_mut()
            .is_none_or(|running| !matches!(running.outer.try_wait(), Ok(None)))
    }

    fn console_path(&self) -> PathBuf {
        self.fleet.rack.folder.join("consoles").join(&self.name)
    }

    fn console(&self) -> String {
        fs::read(self.console_path())
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }
}

impl Power {
    fn end(&mut self) {
        // While our child has not been waited for, neither its pid nor its grandchild's can mean another process.
        if matches!(self.outer.try_wait(), Ok(None)) {
            let init = Pid::from_raw(i32::try_from(self.init_pid).expect("pids are below 2^22"));
            let _ = kill(init, Signal::SIGKILL);
        }
        let _ = self.outer.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut running) = self
            .power
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            running.end();
        }
    }
}

fn banner(target: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&target, Duration::from_secs(1)) else {
        return false;
    };
    let mut start = [0; 4];
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .is_ok()
        && stream.read_exact(&mut start).is_ok()
        && &start == b"SSH-"
}
