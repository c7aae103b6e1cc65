//! What the CA knows of a machine, in its own words, and how that becomes the files of a bundle.

mod render;
mod sudo;

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use policies::{AccountName, MachineName, Principal};
pub use render::{RenderError, render};
use ssh_key::{Certificate, PublicKey};
pub use sudo::{SudoCommand, SudoCommandError, SudoRule};

use crate::{
    bundle::{AccountState, Gecos, GroupName, Origin, PathName},
    pull::PullSpec,
};

/// The account over which the CA brings bundles and KRLs.
pub const SYNC_ACCOUNT: &str = "ssh-ca-sync";
/// The account that proves certificate logins; its forced command prints [`PROBE_ACCOUNT`] and nothing else can be run.
pub const PROBE_ACCOUNT: &str = "ssh-ca-probe";
/// The principal that opens [`PROBE_ACCOUNT`] on every machine; `_probe` is a reserved pool.
pub const PROBE_PRINCIPAL: &str = "ssh-ca-probe@_probe";

/// The account that break-glass credentials open, with sudo for all: for the day when everything else is down.
pub const BREAK_GLASS_ACCOUNT: &str = "breakglass";
/// The principal that opens it. Not `account@pool`: no grant and no user CA can ever say it.
pub const BREAK_GLASS_PRINCIPAL: &str = "breakglass";
/// The principal of a drill: it opens the account too, for one fixed command that prints [`BREAK_GLASS_DRILL_WORDS`].
pub const BREAK_GLASS_DRILL_PRINCIPAL: &str = "breakglass-drill";
/// What a drill prints.
pub const BREAK_GLASS_DRILL_WORDS: &str = "break-glass drill: this machine would open";

/// How the break-glass account stands on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BreakGlass {
    /// The CA never had such credentials: there is no account.
    Never,
    /// They were revoked: the account stays, and nothing opens it.
    Shut,
    /// These CA keys open it, and it alone; the user CA does not.
    Open(Vec<PublicKey>),
}

/// What one machine shall be like.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Its name.
    pub machine: MachineName,
    /// User CA keys that its sshd trusts, at least one.
    pub user_ca_keys: Vec<PublicKey>,
    /// Fleet keys that may sign its next bundle, at least one.
    pub fleet_keys: Vec<PublicKey>,
    /// The keys of `ssh-ca-sync`.
    pub sync_keys: Vec<PublicKey>,
    /// Where `ssh-ca-sync` may come from, and what is exempt from sshd's penalties; empty: anywhere.
    pub sync_from: Vec<SourceAddress>,
    /// The admins' own account, which the user CA never opens.
    pub admin: AccountName,
    /// The employees' accounts: active, expired, purged.
    pub accounts: Vec<AccountSpec>,
    /// The account for the day when everything else is down.
    pub break_glass: BreakGlass,
    /// The certificate of its plain host key.
    pub host_certificate: Option<Certificate>,
    /// Whether accounts that the CA did not make keep their own keys and passwords.
    pub mode: Mode,
    /// What its sshd is, so that it gets only directives that it knows (H4).
    pub openssh: OpenSshVersion,
    /// How it fetches for itself, if it does.
    pub pull: Option<PullSpec>,
}

/// Whether accounts that the CA did not make keep their own ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They do.
    Observe,
    /// Certificates only, but for the admin account and `ssh-ca-sync`.
    Enforce,
}

/// One employee's or shared account.
#[derive(Debug, Clone)]
pub struct AccountSpec {
    /// Its name.
    pub name: AccountName,
    /// Its uid from the fleet-wide range; `None` where it is adopted with the uid it has.
    pub uid: Option<u32>,
    /// Made or adopted.
    pub origin: Origin,
    /// Active, expired or purged.
    pub state: AccountState,
    /// Its login shell.
    pub shell: PathName,
    /// Further groups.
    pub groups: Vec<GroupName>,
    /// The person's name.
    pub gecos: Gecos,
    /// The principals that open it: `account@P` for each pool P of the machine and each pool that holds one of them.
    pub principals: BTreeSet<Principal>,
    /// What it may run as others.
    pub sudo: SudoRule,
}

/// An OpenSSH version: 9.2 is `(9, 2)`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct OpenSshVersion(pub u16, pub u16);

impl OpenSshVersion {
    /// The oldest that a machine may have: signatures by `ssh-keygen -Y`, `Include` in sshd_config.
    pub const OLDEST: Self = Self(8, 2);

    /// Whether its sshd knows `PerSourcePenaltyExemptList`.
    #[must_use]
    pub fn knows_penalties(self) -> bool {
        self >= Self(9, 8)
    }
}

impl fmt::Display for OpenSshVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// An address or network in sshd's notation: `10.1.2.3`, `10.1.0.0/16`, `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceAddress {
    address: IpAddr,
    prefix: Option<u8>,
}

/// A text that is no address or network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address or a network: expected 10.1.2.3, 10.1.0.0/16 or 2001:db8::/32")]
pub struct SourceAddressError(String);

impl From<IpAddr> for SourceAddress {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            prefix: None,
        }
    }
}

impl FromStr for SourceAddress {
    type Err = SourceAddressError;

    fn from_str(text: &str) -> Result<Self, SourceAddressError> {
        let wrong = || SourceAddressError(text.chars().take(80).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let ok = prefix.is_none_or(|prefix| prefix <= most);
        ok.then_some(Self { address, prefix }).ok_or_else(wrong)
    }
}

impl fmt::Display for SourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            Some(prefix) => write!(f, "{}/{prefix}", self.address),
            None => self.address.fmt(f),
        }
    }
}
