//! What can be missing, each with its sentence and how far it is from being mended.

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, macros::format_description};

use crate::{AccountName, Email, Hours, MachineName, PoolName, Status, TeamName};

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "each variant's sentence says what its fields are"
)]
pub enum Reason {
    /// The clock shows a time before 1970.
    ClockOutOfRange,
    /// Nobody has this email.
    UnknownEmployee,
    /// Invited, suspended or removed.
    NotActive { status: Status },
    /// No machine has this name.
    UnknownMachine,
    /// The machine is in no pool that counts.
    MachineInNoPool,
    /// The grant names another person.
    NotNamed { employee: Email },
    /// The grant names a team that they are not in, through no nesting either.
    NotInTeam {
        team: TeamName,
        theirs: Vec<TeamName>,
    },
    /// They would be in the team, but only through teams that contain each other.
    TeamCircle {
        team: TeamName,
        circle: Vec<TeamName>,
    },
    /// The machine is not in the grant's pool, through no inclusion either.
    MachineNotInPool { pool: PoolName, its: Vec<PoolName> },
    /// The machine would be in the pool, but only through pools that include each other.
    PoolCircle {
        pool: PoolName,
        circle: Vec<PoolName>,
    },
    /// The grant gives another account than the one asked about.
    OtherAccount {
        gives: AccountName,
        asked: AccountName,
    },
    /// It ended by itself.
    Ended { at_unix_secs: i64 },
    /// It is not in force at this hour.
    OutsideHours {
        hours: Hours,
        opens_unix_secs: Option<i64>,
    },
    /// It wants an `sk-` key, and the key is plain.
    SecurityKeyNeeded,
    /// Grants of their own account do not count.
    OwnAccountUnsound { account: AccountName, why: String },
    /// The grant has a fault, and is left out of every decision.
    Unsound { why: String },
    /// The limits leave less than a second.
    NoTimeLeft,
}

/// Whom and what a sentence is about.
#[derive(Clone, Copy)]
pub(super) struct About<'q> {
    pub(super) email: &'q Email,
    pub(super) machine: &'q MachineName,
}

impl Reason {
    /// The sentence, without a full stop.
    pub(super) fn sentence(&self, about: About<'_>) -> String {
        let About { email, machine } = about;
        match self {
            Self::ClockOutOfRange => "the clock is wrong: it shows a time before 1970".to_owned(),
            Self::UnknownEmployee => format!("nobody with the email {email} is known"),
            Self::NotActive { status } => match status {
                Status::Active => format!("{email} is active"),
                Status::Invited => format!("{email} is invited and has not enrolled yet"),
                Status::Suspended => format!("{email} is suspended"),
                Status::Removed => format!("{email} was removed"),
            },
            Self::UnknownMachine => format!("the CA knows no machine {machine}"),
            Self::MachineInNoPool => format!("{machine} is in no pool"),
            Self::NotNamed { employee } => format!("it names {employee}, not {email}"),
            Self::NotInTeam { team, theirs } if theirs.is_empty() => {
                format!("{email} is not in the team {team}, and in no other team either")
            }
            Self::NotInTeam { team, theirs } => format!(
                "{email} is not in the team {team}, and {} not nested in it",
                be("their", "team", theirs)
            ),
            Self::TeamCircle { team, circle } => format!(
                "{email} would be in the team {team}, but teams contain each other in a circle, which does not count: {}",
                arrows(circle)
            ),
            Self::MachineNotInPool { pool, its } if its.is_empty() => {
                format!("{machine} is not in the pool {pool}, and in no other pool either")
            }
            Self::MachineNotInPool { pool, its } => format!(
                "{machine} is not in the pool {pool}, and {} not included in it",
                be("its", "pool", its)
            ),
            Self::PoolCircle { pool, circle } => format!(
                "{machine} would be in the pool {pool}, but pools include each other in a circle, which does not count: {}",
                arrows(circle)
            ),
            Self::OtherAccount { gives, asked } => {
                format!("it gives the account {gives}, not {asked}")
            }
            Self::Ended { at_unix_secs } => format!("it ended at {}", utc(*at_unix_secs)),
            Self::OutsideHours {
                hours,
                opens_unix_secs,
            } => match opens_unix_secs {
                Some(opens) => {
                    format!(
                        "it holds in its hours only ({hours}); they open again at {}",
                        utc(*opens)
                    )
                }
                None => format!(
                    "it holds in its hours only ({hours}), and these do not open within a month"
                ),
            },
            Self::SecurityKeyNeeded => {
                "it needs a key that is in a security key (an sk- key), and this key is a plain one"
                    .to_owned()
            }
            Self::OwnAccountUnsound { account, why } => {
                format!("their own account {account} does not count: {why}")
            }
            Self::Unsound { why } => format!("it is left out because it has a fault: {why}"),
            Self::NoTimeLeft => "the limits leave its certificate less than a second".to_owned(),
        }
    }

    /// How far it is from being mended: the smaller, the nearer.
    pub(super) fn distance(&self) -> u32 {
        match self {
            // Nobody has to change a rule.
            Self::SecurityKeyNeeded | Self::OutsideHours { .. } => 1,
            // One membership.
            Self::NotInTeam { .. } | Self::MachineNotInPool { .. } => 2,
            Self::Ended { .. } | Self::OtherAccount { .. } => 3,
            Self::NotNamed { .. } => 4,
            // Something is wrong, and has to be understood first.
            Self::TeamCircle { .. }
            | Self::PoolCircle { .. }
            | Self::OwnAccountUnsound { .. }
            | Self::Unsound { .. }
            | Self::NoTimeLeft => 5,
            Self::ClockOutOfRange
            | Self::UnknownEmployee
            | Self::NotActive { .. }
            | Self::UnknownMachine
            | Self::MachineInNoPool => 6,
        }
    }
}

/// `their team ops is` or `their teams dev and ops are`.
fn be<N: ToString>(whose: &str, what: &str, names: &[N]) -> String {
    let words: Vec<String> = names.iter().map(ToString::to_string).collect();
    match words.as_slice() {
        [only] => format!("{whose} {what} {only} is"),
        _ => format!("{whose} {what}s {} are", and(&words)),
    }
}

/// `a, b and c`
pub(super) fn and(words: &[String]) -> String {
    match words.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => words.concat(),
    }
}

fn arrows<N: ToString>(names: &[N]) -> String {
    let words: Vec<String> = names.iter().map(ToString::to_string).collect();
    words.join(" > ")
}

/// A moment for people, in UTC; outside of the calendar the number itself.
pub(super) fn utc(unix_secs: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix_secs)
        .ok()
        .and_then(|at| {
            at.format(format_description!(
                "[year]-[month]-[day] [hour]:[minute]:[second] UTC"
            ))
            .ok()
        })
        .unwrap_or_else(|| format!("{unix_secs} s after 1970"))
}
