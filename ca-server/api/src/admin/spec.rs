//! What an admin writes, where it is more than a few fields.

use serde::{Deserialize, Serialize};

/// Asks for a backup, over the Unix socket only: the answer is a tar archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// With the encrypted files of the CA's private keys.
    #[serde(default)]
    pub with_keys: bool,
}

/// What to revoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RevokeTarget {
    /// Everything that this employee holds.
    Employee(String),
    /// One certificate.
    Serial(u64),
    /// A key, by `SHA256:…`: no certificate on it works, and none is issued again.
    Key(String),
}

/// A grant as an admin writes it. Exactly one of `team` and `employee`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantSpec {
    /// For everybody in this team.
    #[serde(default)]
    pub team: Option<String>,
    /// For this person.
    #[serde(default)]
    pub employee: Option<String>,
    /// On this pool's machines.
    pub pool: String,
    /// `self`, or the name of a shared account.
    pub account: String,
    /// `none`, `all`, or commands parted by commas.
    #[serde(default)]
    pub sudo: Option<String>,
    /// Ends by itself.
    #[serde(default)]
    pub until_unix: Option<i64>,
    /// Longest lifetime of a certificate, in seconds.
    #[serde(default)]
    pub lifetime_secs: Option<u64>,
    /// Networks it may be used from, CIDR.
    #[serde(default)]
    pub sources: Vec<String>,
    /// The only command it runs.
    #[serde(default)]
    pub command: Option<String>,
    /// Allows port forwarding.
    #[serde(default)]
    pub port_forwarding: bool,
    /// Allows agent forwarding.
    #[serde(default)]
    pub agent_forwarding: bool,
    /// Withholds the terminal.
    #[serde(default)]
    pub no_pty: bool,
    /// Allows exactly these: `pty`, `port-forwarding`, `agent-forwarding`, `x11-forwarding`, `user-rc`.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// In force in these hours only: `Mon-Fri 08:00-18:00 Europe/Berlin`.
    #[serde(default)]
    pub hours: Option<String>,
    /// For keys in a security key only, touched and unlocked at each login.
    #[serde(default)]
    pub security_key: bool,
    /// Sessions must be recorded.
    #[serde(default)]
    pub record: bool,
    /// Marks the grant as meant for a system account (P6).
    #[serde(default)]
    pub system_account: bool,
}

/// What `bootstrap` knows of a machine after its preflight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinePrepare {
    /// Its name in the CA.
    pub machine: String,
    /// Where the server reaches it: host name or IP address.
    pub address: String,
    /// Its sshd's port.
    pub port: u16,
    /// The pools it goes into; empty keeps those it has.
    pub pools: Vec<String>,
    /// Its plain host public key (Ed25519 preferred), OpenSSH text; pinned for sync and certified.
    pub host_key: String,
    /// The admins' account on it, whose keys and password are never changed.
    pub admin_account: String,
    /// Key for `admin_account` where bootstrap makes it (first login is `root`), OpenSSH text.
    #[serde(default)]
    pub admin_key: Option<String>,
    /// Accounts there that the CA may take over.
    #[serde(default)]
    pub adopt: Vec<String>,
    /// What the machine's sshd calls itself, such as `OpenSSH_9.2p1`.
    pub sshd_version: String,
    /// The machine's facts as `ca-machine`'s probe found them (JSON), for rendering.
    pub facts: String,
    /// A machine of that name with another host key is meant to be replaced.
    #[serde(default)]
    pub rebuilt: bool,
    /// What the machine has seen, where it is to be told anew (`--resync`): what it is to take must be newer.
    #[serde(default)]
    pub seen: Option<MachineSeen>,
    /// Change nothing in the store: show what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Makes the machine fetch for itself; absent keeps what it does.
    #[serde(default)]
    pub pull: Option<MachinePull>,
}

/// Where a machine fetches from by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinePull {
    /// The address of a published tree (`http://…` or `https://…`); absent, the CA itself.
    #[serde(default)]
    pub tree: Option<String>,
}

/// What a machine has seen, by its own word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSeen {
    /// The highest generation.
    pub generation: u64,
    /// SHA-256 of the bundle of that generation, hex; empty where it did not stay.
    pub bundle_sha256: String,
    /// The highest KRL version.
    pub krl_version: u64,
    /// SHA-256 of the KRL that stands there, hex.
    pub krl_sha256: String,
}
