//! The model: employees, teams, pools, machines, grants, and the conditions under which a grant holds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{AccountName, Email, Hours, MachineName, PoolName, TeamName};

/// Where an employee stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Has an enrolment code, and no password yet.
    Invited,
    /// May log in.
    Active,
    /// May not log in; nothing of theirs is forgotten.
    Suspended,
    /// Gone; names and uid stay theirs for ever (P9).
    Removed,
}

/// What an employee may do at the CA itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May use every admin command.
    Admin,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Employee {
    /// Their one email.
    pub email: Email,
    /// Their full name, for people; empty if unknown.
    #[serde(default)]
    pub name: String,
    /// Their own account on machines.
    pub account: AccountName,
    /// The account's uid on every machine, from the fleet's range.
    pub uid: u32,
    /// Where they stand.
    pub status: Status,
    /// Their roles at the CA.
    #[serde(default)]
    pub roles: BTreeSet<Role>,
    /// Rises with each revocation; part of the key ID of every certificate. Never restarts.
    pub epoch: u64,
}

/// A named set of machines (through [`Machine::pools`]) and of other pools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// For people.
    #[serde(default)]
    pub title: String,
    /// Pools whose machines belong to this one too.
    #[serde(default)]
    pub include: BTreeSet<PoolName>,
}

/// A named set of employees and of other teams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// Its members.
    #[serde(default)]
    pub employees: BTreeSet<Email>,
    /// Teams whose members belong to this one too.
    #[serde(default)]
    pub teams: BTreeSet<TeamName>,
}

/// A machine as policy sees it: a name in pools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The pools that it was put into itself (not the pools which include those).
    pub pools: BTreeSet<PoolName>,
}

/// Who a grant is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grantee {
    /// One person.
    Employee(Email),
    /// Everybody in a team, nested teams included.
    Team(TeamName),
}

/// Which account a grant lets somebody use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantAccount {
    /// The employee's own.
    Own,
    /// A shared one.
    Shared(AccountName),
}

/// What the account may do through sudo on the pool's machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sudo {
    /// Nothing.
    #[default]
    None,
    /// Everything, without a password (accounts of the CA have none).
    All,
    /// These absolute command lines only.
    Commands(BTreeSet<String>),
}

/// A certificate extension that policy can grant (allow-list, I9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extension {
    /// `permit-pty`
    Pty,
    /// `permit-port-forwarding`
    PortForwarding,
    /// `permit-agent-forwarding`
    AgentForwarding,
    /// `permit-X11-forwarding`
    X11Forwarding,
    /// `permit-user-rc`
    UserRc,
}

/// What a grant demands of the key that is certified.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum KeyDemand {
    /// Nothing: any key of an allowed algorithm.
    #[default]
    Any,
    /// An `sk-` key, whose private half is in a security key; the certificate carries `verify-required`, so that sshd wants a touch
    /// *and* the PIN or finger at each login.
    SecurityKey,
}

/// What kind of key somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// Its private half is known to the computer.
    Plain,
    /// An `sk-` key: its private half never leaves the security key.
    SecurityKey,
}

impl KeyDemand {
    /// Whether a key of that kind is good enough.
    #[must_use]
    pub fn allows(self, key: KeyKind) -> bool {
        match self {
            Self::Any => true,
            Self::SecurityKey => key == KeyKind::SecurityKey,
        }
    }
}

/// Whether what happens in a session must be recorded.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Recording {
    /// No.
    #[default]
    None,
    /// Yes: where it cannot be, the session is refused (X1).
    Required,
}

/// What a certificate can carry once; grants with equal sets share a certificate (P8).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// Longest lifetime of a certificate, in seconds; `None` is the policy's default.
    #[serde(default)]
    pub max_lifetime_secs: Option<u64>,
    /// `source-address`: CIDR networks; empty means any.
    #[serde(default)]
    pub sources: BTreeSet<String>,
    /// `force-command`.
    #[serde(default)]
    pub forced_command: Option<String>,
    /// Extensions.
    pub extensions: BTreeSet<Extension>,
    /// What kind of key it may be for.
    #[serde(default)]
    pub key: KeyDemand,
}

impl Default for Conditions {
    /// A terminal and nothing else that the certificate could allow.
    fn default() -> Self {
        Self {
            max_lifetime_secs: None,
            sources: BTreeSet::new(),
            forced_command: None,
            extensions: BTreeSet::from([Extension::Pty]),
            key: KeyDemand::Any,
        }
    }
}

/// A grant's number; never used twice.
pub type GrantId = u64;

/// A team or employee may use an account on a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Who.
    pub who: Grantee,
    /// As which account.
    pub account: GrantAccount,
    /// Where.
    pub pool: PoolName,
    /// Under which conditions.
    #[serde(default)]
    pub conditions: Conditions,
    /// With what sudo rights.
    #[serde(default)]
    pub sudo: Sudo,
    /// Ends by itself at this Unix time, in seconds.
    #[serde(default)]
    pub until_unix_secs: Option<i64>,
    /// In force in these hours only. A certificate ends with them and does not carry them.
    #[serde(default)]
    pub hours: Option<Hours>,
    /// Whether sessions of this account on this pool are recorded.
    #[serde(default)]
    pub recording: Recording,
    /// An admin marked this grant as meant for a system account (P6).
    #[serde(default)]
    pub system_account: bool,
}

/// Company-wide limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// A day session's length, in seconds (default 12 h).
    pub session_secs: u64,
    /// A certificate's length where the grant says nothing (default 8 h).
    pub lifetime_secs: u64,
    /// The same for people with the admin role (default 1 h).
    pub admin_lifetime_secs: u64,
    /// No certificate is ever longer; KRL entries live this long plus seven days (default 24 h; R3).
    pub ceiling_secs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session_secs: 12 * 3600,
            lifetime_secs: 8 * 3600,
            admin_lifetime_secs: 3600,
            ceiling_secs: 24 * 3600,
        }
    }
}

/// Everything that a decision depends on, beside the request and the clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Everybody, removed people too.
    pub employees: BTreeMap<Email, Employee>,
    /// Teams.
    pub teams: BTreeMap<TeamName, Team>,
    /// Pools.
    pub pools: BTreeMap<PoolName, Pool>,
    /// Machines.
    pub machines: BTreeMap<MachineName, Machine>,
    /// Grants.
    pub grants: BTreeMap<GrantId, Grant>,
    /// Limits.
    pub limits: Limits,
}
