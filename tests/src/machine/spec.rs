//! The description of a machine before its first boot.

use std::path::PathBuf;

use anyhow::Result;

use crate::{Fleet, Machine};

/// How `ssh-admin` may use sudo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sudo {
    /// Everything, without being asked.
    NoPassword,
    /// Everything, after the account's password, which this sets.
    Password(String),
    /// Nothing.
    Never,
}

/// Describes a machine; nothing happens before [`MachineSpec::start`].
#[derive(Clone, Debug)]
#[must_use = "a machine is powered on by start()"]
pub struct MachineSpec {
    pub(crate) fleet: Fleet,
    pub(crate) name: String,
    pub(crate) keys: Vec<String>,
    pub(crate) sudo: Sudo,
    pub(crate) password: Option<String>,
    pub(crate) root_only: bool,
    pub(crate) disk_mib: u32,
    pub(crate) root: PathBuf,
    pub(crate) sshd_config: Option<String>,
    pub(crate) clock_offset_secs: i64,
}

impl MachineSpec {
    pub(crate) fn new(fleet: Fleet, name: &str) -> Self {
        Self {
            fleet,
            name: name.to_owned(),
            keys: Vec::new(),
            sudo: Sudo::NoPassword,
            password: None,
            root_only: false,
            disk_mib: 64,
            root: PathBuf::from("/"),
            sshd_config: None,
            clock_offset_secs: 0,
        }
    }

    /// Adds a public key line to the `authorized_keys` of the admin's login (`ssh-admin`, or `root` with [`MachineSpec::root_only`]).
    pub fn admin_key(mut self, public_key: &str) -> Self {
        self.keys.push(public_key.trim_end().to_owned());
        self
    }

    /// How `ssh-admin` may use sudo; without this, [`Sudo::NoPassword`].
    pub fn sudo(mut self, sudo: Sudo) -> Self {
        self.sudo = sudo;
        self
    }

    /// Gives the admin's login a password; Debian's sshd lets `ssh-admin` log in with it, and `root` not.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// No account `ssh-admin`: the keys are root's.
    pub fn root_only(mut self) -> Self {
        self.root_only = true;
        self
    }

    /// The size of the disk, 64 MiB without this. It holds all that differs from the distribution's root.
    pub fn disk_mib(mut self, mebibytes: u32) -> Self {
        self.disk_mib = mebibytes;
        self
    }

    /// Lines for `/etc/ssh/sshd_config.d/50-site.conf`, as a site's own configuration before the CA came.
    pub fn sshd_config(mut self, lines: &str) -> Self {
        self.sshd_config = Some(lines.to_owned());
        self
    }

    /// Shifts the clock that sshd reads (libfaketime); programs of sessions read the right one.
    pub fn clock_offset_secs(mut self, seconds: i64) -> Self {
        self.clock_offset_secs = seconds;
        self
    }

    /// Another distribution's root (made with `debootstrap`, holding openssh-server, sudo and cron) in place of this host's.
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// Powers the machine on for the first time, and returns when its sshd answers.
    ///
    /// # Errors
    /// When it does not come up within 30 s; the error holds its console and sshd log.
    pub fn start(self) -> Result<Machine> {
        Machine::first_boot(self)
    }
}
