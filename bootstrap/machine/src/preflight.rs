//! What stands in the way of a machine, found before anything is changed.

use policies::AccountName;
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use crate::{report::ReportError, spec::OpenSshVersion};

/// What the look is for.
#[derive(Debug, Clone)]
pub struct PreflightRequest {
    /// The admins' own account.
    pub admin: AccountName,
    /// Accounts that the CA will make, with their uids, and those to adopt (`None`).
    pub accounts: Vec<(AccountName, Option<u32>)>,
    /// The CA's clock, Unix seconds.
    pub now_unix: i64,
    /// The port that the login came by.
    pub port: u16,
    /// Where the machine is to fetch from by itself, if it is.
    pub pull: Option<Fetching>,
}

/// From where a machine is to fetch by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetching {
    /// From the CA's own door, over pinned TLS and with a token.
    FromCa,
    /// From a place that anybody may read.
    FromPlace,
}

/// Something that must be put right first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// A word for programs: `allow-users`, `foreign-ca`, `socket-activation`, …
    pub code: String,
    /// What is in the way.
    pub what: String,
    /// The file, where there is one.
    #[serde(default)]
    pub file: String,
    /// The line in it, from 1; 0 where there is none.
    #[serde(default)]
    pub line: u32,
    /// What to do about it.
    pub remedy: String,
}

/// What is known of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// `9.2p1` and the like.
    pub openssh: String,
    /// From `/etc/os-release`.
    pub os: String,
    /// The machine's own host name.
    pub hostname: String,
    /// `systemd`, `cron`, `openrc`, or empty: what can put a snapshot back.
    pub timer: String,
    /// `sudo`, `doas`, or empty.
    pub sudo: String,
    /// The machine's clock, Unix seconds.
    pub clock_unix: i64,
    /// Ports on which sshd listens by its configuration.
    pub ports: Vec<u16>,
    /// Public host keys, one line each.
    pub host_keys: Vec<String>,
    /// Whether the CA (which one, the fleet keys say) has been here before: the generation, or 0.
    pub generation: u64,
    /// Whether the KRL of an earlier visit stands there: its version, or 0.
    pub krl_version: u64,
}

impl Facts {
    /// The version of OpenSSH, if its text can be read.
    #[must_use]
    pub fn openssh_version(&self) -> Option<OpenSshVersion> {
        let (major, rest) = self.openssh.split_once('.')?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(OpenSshVersion(major.parse().ok()?, digits.parse().ok()?))
    }

    /// The public host keys that can be read.
    pub fn host_keys(&self) -> impl Iterator<Item = PublicKey> {
        self.host_keys
            .iter()
            .filter_map(|line| PublicKey::from_openssh(line).ok())
    }
}

/// What the look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preflight {
    /// With any of these, nothing may be changed.
    pub obstacles: Vec<Obstacle>,
    /// Worth knowing; the work can go on.
    pub warnings: Vec<Obstacle>,
    /// What is known of the machine.
    pub facts: Facts,
}

#[derive(Deserialize)]
#[serde(tag = "found", rename_all = "kebab-case")]
enum Line {
    Obstacle(Obstacle),
    Warning(Obstacle),
    Facts(Facts),
    HostKey { line: String },
    Done,
}

impl PreflightRequest {
    /// The bytes for the script's standard input.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut accounts = String::new();
        for (name, uid) in &self.accounts {
            let uid = uid.map_or_else(|| "-".to_owned(), |uid| uid.to_string());
            accounts.push_str(&format!("{name} {uid}\n"));
        }
        let length = accounts.len();
        let (admin, now, port) = (&self.admin, self.now_unix, self.port);
        let pull = match self.pull {
            None => "",
            Some(Fetching::FromCa) => " pull=ca",
            Some(Fetching::FromPlace) => " pull=place",
        };
        format!("ssh-ca-request v1 preflight admin={admin} now={now} port={port}{pull} accounts={length}\n{accounts}").into_bytes()
    }
}

impl Preflight {
    /// Reads the script's answer.
    ///
    /// # Errors
    /// [`ReportError`] if it has no end or is too long.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > crate::report::MAX_REPORT_BYTES {
            return Err(ReportError::TooLong);
        }
        let text = String::from_utf8_lossy(bytes);
        let mut preflight = Self::default();
        let (mut host_keys, mut lines, mut done) = (Vec::new(), 0, false);
        for line in text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
        {
            lines += 1;
            match line {
                Line::Obstacle(obstacle) => preflight.obstacles.push(obstacle),
                Line::Warning(warning) => preflight.warnings.push(warning),
                Line::Facts(facts) => preflight.facts = facts,
                Line::HostKey { line } => host_keys.push(line),
                Line::Done => done = true,
            }
        }
        preflight.facts.host_keys = host_keys;
        done.then_some(preflight)
            .ok_or(ReportError::Unfinished { lines })
    }
}
