//! The problems that a policy can have, each with its sentence.

use std::fmt;

use crate::{AccountName, Email, GrantId, MachineName, PoolName, TeamName};

/// Where in the policy a name stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a grant.
    Grant(GrantId),
    /// In a pool's inclusions.
    Pool(PoolName),
    /// In a team.
    Team(TeamName),
    /// In a machine's pools.
    Machine(MachineName),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(id) => write!(f, "grant {id}"),
            Self::Pool(name) => write!(f, "pool {name}"),
            Self::Team(name) => write!(f, "team {name}"),
            Self::Machine(name) => write!(f, "machine {name}"),
        }
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Works, and an admin should know.
    Warning,
    /// Must not be stored.
    Error,
}

/// One thing that is wrong, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "each variant's message says what its fields are"
)]
pub enum Problem {
    #[error("limit {what} {rule}")]
    BadLimit {
        what: &'static str,
        rule: &'static str,
    },
    #[error(
        "pools include each other in a circle: {}; remove one of these inclusions",
        circle(path)
    )]
    PoolCycle { path: Vec<PoolName> },
    #[error(
        "teams contain each other in a circle: {}; remove one of these memberships",
        circle(path)
    )]
    TeamCycle { path: Vec<TeamName> },
    #[error(
        "{place} names the pool {pool}, which does not exist; add the pool or correct the name"
    )]
    UnknownPool { place: Place, pool: PoolName },
    #[error(
        "{place} names the team {team}, which does not exist; add the team or correct the name"
    )]
    UnknownTeam { place: Place, team: TeamName },
    #[error(
        "{place} names the employee {email}, who does not exist; add the employee or correct the email"
    )]
    UnknownEmployee { place: Place, email: Email },
    #[error(
        "the pool name {pool} is reserved: names that begin with _ belong to the CA; choose another"
    )]
    ReservedPool { pool: PoolName },
    #[error("the employee stored as {key} has the email {email}; both must be the same")]
    EmployeeUnderOtherEmail { key: Email, email: Email },
    #[error(
        "the account {account} would belong to {}; give each their own",
        list(employees)
    )]
    AccountTwice {
        account: AccountName,
        employees: Vec<Email>,
    },
    #[error(
        "the uid {uid} would belong to {}; give each their own",
        list(employees)
    )]
    UidTwice { uid: u32, employees: Vec<Email> },
    #[error(
        "{email} has the uid {uid}, which is a system uid; use one from 1000 on (not 65534 or 65535)"
    )]
    SystemUid { email: Email, uid: u32 },
    #[error("{email} has the account {account}, which is a system account; choose another")]
    OwnAccountIsSystem { email: Email, account: AccountName },
    #[error(
        "grant {grant} gives {account}, which is a system account; mark the grant as meant for a system account, or name another"
    )]
    SystemAccount {
        grant: GrantId,
        account: AccountName,
    },
    #[error(
        "grant {grant} gives {account}, an account that no certificate may ever use; remove the grant"
    )]
    NeverGrantable {
        grant: GrantId,
        account: AccountName,
    },
    #[error("grant {grant} shares {account}, which is {email}'s own account; name another")]
    SharedIsOwn {
        grant: GrantId,
        account: AccountName,
        email: Email,
    },
    #[error(
        "grants {} disagree about sudo for {account} on pool {pool}; make them say the same",
        list(grants)
    )]
    SudoConflict {
        account: AccountName,
        pool: PoolName,
        grants: Vec<GrantId>,
    },
    #[error(
        "grants {} disagree about sudo for {account} on machine {machine}, where their pools meet: sudo belongs to the account, so that each would get the other's, under its own conditions and in its own hours; make them say the same, or use another account",
        list(grants)
    )]
    SudoOverlap {
        account: AccountName,
        machine: MachineName,
        grants: Vec<GrantId>,
    },
    #[error(
        "grants {} disagree about recording of {account} on pool {pool}; make them say the same",
        list(grants)
    )]
    RecordingConflict {
        account: AccountName,
        pool: PoolName,
        grants: Vec<GrantId>,
    },
    #[error(
        "grants {} disagree about recording of {account} on machine {machine}, where their pools meet: nobody could say whether a session there is recorded; make them say the same, or use another account",
        list(grants)
    )]
    RecordingOverlap {
        account: AccountName,
        machine: MachineName,
        grants: Vec<GrantId>,
    },
    #[error(
        "grant {grant} wants sessions recorded, and this CA has no recorder yet; drop the demand, or wait with the grant"
    )]
    NoRecorder { grant: GrantId },
    #[error("grant {grant} has the source {source_network:?}: {rule}")]
    BadSource {
        grant: GrantId,
        source_network: String,
        rule: &'static str,
    },
    #[error("grant {grant} has a forced command that {rule}")]
    BadForcedCommand { grant: GrantId, rule: &'static str },
    #[error("grant {grant} has the sudo command {command:?}: {rule}")]
    BadSudoCommand {
        grant: GrantId,
        command: String,
        rule: &'static str,
    },
    #[error("grant {grant} allows sudo for an empty list of commands; name commands, or say none")]
    EmptySudo { grant: GrantId },
    #[error(
        "grant {grant} has a forced command and permit-user-rc, which runs the account's own ~/.ssh/rc before it; drop one of the two"
    )]
    ForcedCommandWithUserRc { grant: GrantId },
    #[error("grant {grant} allows certificates of 0 seconds; give a lifetime of at least 1")]
    ZeroLifetime { grant: GrantId },
    #[error(
        "grant {grant} asks for {lifetime_secs} s, and gets the company's ceiling of {ceiling_secs} s"
    )]
    LifetimeAboveCeiling {
        grant: GrantId,
        lifetime_secs: u64,
        ceiling_secs: u64,
    },
    #[error(
        "{email} has {count} principals under one set of conditions, more than one certificate holds: they will be spread over {certificates} certificates; grants on a pool that includes others would need fewer"
    )]
    ManyPrincipals {
        email: Email,
        count: usize,
        certificates: usize,
    },
}

impl Problem {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::LifetimeAboveCeiling { .. } | Self::ManyPrincipals { .. } => Severity::Warning,
            Self::BadLimit { .. }
            | Self::PoolCycle { .. }
            | Self::TeamCycle { .. }
            | Self::UnknownPool { .. }
            | Self::UnknownTeam { .. }
            | Self::UnknownEmployee { .. }
            | Self::ReservedPool { .. }
            | Self::EmployeeUnderOtherEmail { .. }
            | Self::AccountTwice { .. }
            | Self::UidTwice { .. }
            | Self::SystemUid { .. }
            | Self::OwnAccountIsSystem { .. }
            | Self::SystemAccount { .. }
            | Self::NeverGrantable { .. }
            | Self::SharedIsOwn { .. }
            | Self::SudoConflict { .. }
            | Self::SudoOverlap { .. }
            | Self::RecordingConflict { .. }
            | Self::RecordingOverlap { .. }
            | Self::NoRecorder { .. }
            | Self::BadSource { .. }
            | Self::BadForcedCommand { .. }
            | Self::BadSudoCommand { .. }
            | Self::EmptySudo { .. }
            | Self::ForcedCommandWithUserRc { .. }
            | Self::ZeroLifetime { .. } => Severity::Error,
        }
    }
}

/// `a > b > a`
fn circle<N: fmt::Display>(path: &[N]) -> String {
    path.iter()
        .chain(path.first())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" > ")
}

/// `a, b and c`
fn list<N: fmt::Display>(items: &[N]) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    match words.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => words.concat(),
    }
}
