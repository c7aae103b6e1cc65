//! Power: the first boot, on, off, and when sshd answers.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Machine;
use crate::fleet::rack::only_child;
use crate::machine::spec::{MachineSpec, Sudo};

const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// The processes that make a machine run: `outer` is our child, `init_pid` the machine's first process as this host numbers it.
#[derive(Debug)]
pub(super) struct Power {
    outer: Child,
    pub(super) init_pid: u32,
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
            .args(["sh", "-c", include_str!("place.sh"), "place"])
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
            include_str!("init.sh"),
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
                include_str!("start.sh"),
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
