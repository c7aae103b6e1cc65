//! What can be wrong with a document, each with the rule and the next step.

use std::fmt;

use serde::Serialize;

use super::{
    Holder,
    duration::DurationError,
    position::{At, Lines},
};
use crate::{
    AccountName, Email, GrantId, HoursError, MachineName, NameError, PoolName, Problem, TeamName,
    expect::ExpectError,
};

/// What a name is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A person.
    Employee,
    /// A team.
    Team,
    /// A pool.
    Pool,
    /// A machine.
    Machine,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Employee => "employee",
            Self::Team => "team",
            Self::Pool => "pool",
            Self::Machine => "machine",
        })
    }
}

impl Kind {
    fn remedy(self) -> &'static str {
        match self {
            Self::Employee => "correct the email, or write [employee.\"…\"] for them",
            Self::Team => "correct the name, or write [team.…] for it",
            Self::Pool => "correct the name, or write [pool.…] for it",
            Self::Machine => {
                "correct the name, or put the machine in with `bootstrap add-machine` first: a document makes none"
            }
        }
    }
}

/// One thing that is wrong with a document, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "each variant's message says what its fields are"
)]
pub enum Wrong {
    #[error("this is not TOML: {message}; correct it here or on the line above")]
    Syntax { message: String },
    #[error("{key} is there twice; remove one of the two")]
    DuplicateKey { key: String },
    #[error("{field:?} is no field of {section}{}; its fields are {}", guess(.suggestion.as_deref()), .allowed.join(", "))]
    UnknownField {
        section: &'static str,
        field: String,
        suggestion: Option<String>,
        allowed: &'static [&'static str],
    },
    #[error("{field} must be {expected}, and this is {found}")]
    WrongType {
        field: String,
        expected: &'static str,
        found: &'static str,
    },
    #[error("{field} cannot be {text:?}{}; it is one of {}", guess(.suggestion.as_deref()), .allowed.join(", "))]
    WrongWord {
        field: String,
        text: String,
        suggestion: Option<String>,
        allowed: &'static [&'static str],
    },
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{field}: {error}")]
    Duration { field: String, error: DurationError },
    #[error(transparent)]
    Hours(#[from] HoursError),
    #[error(
        "{text:?} is no time; write date, time and offset, such as 2026-12-31T18:00:00Z or 2026-12-31T18:00:00+01:00"
    )]
    Time { text: String },
    #[error("{field} has at most {most} characters and no control characters; shorten it")]
    Text { field: String, most: usize },
    #[error("a grant needs {what}; add {example}")]
    Missing {
        what: &'static str,
        example: &'static str,
    },
    #[error(
        "a grant is for a team or for an employee, and this one names both; make it two grants"
    )]
    TwoGrantees,
    #[error("there is no {kind} {name}{}; {}", guess(.suggestion.as_deref()), kind.remedy())]
    Unknown {
        kind: Kind,
        name: String,
        suggestion: Option<String>,
    },
    #[error("{what} is in this list twice; remove one")]
    ListedTwice { what: String },
    #[error("{kind} {name} is there twice, the first time in line {line}; join the two")]
    DefinedTwice {
        kind: Kind,
        name: String,
        line: usize,
    },
    #[error("this grant says the same as the one in line {line}; remove one of the two")]
    SameGrant { line: usize },
    #[error(
        "grant {id} is there twice, the first time in line {line}; leave out the id of the new one: it gets its own"
    )]
    SameId { id: GrantId, line: usize },
    #[error(
        "there is no grant {id} any longer, and its number is not given again; leave the id out: the grant gets its own"
    )]
    SpentId { id: GrantId },
    #[error("{text} is no grant's number; leave the id out: the grant gets its own")]
    BadId { text: String },
    #[error(
        "{email} has the {what} {stored} for ever, and this says {written}; write {stored}, or leave it out"
    )]
    Fixed {
        what: &'static str,
        email: Email,
        stored: String,
        written: String,
    },
    #[error(
        "{email} cannot have the account {local:?}, their email's first part; give one with account = \"…\""
    )]
    NoAccount { email: Email, local: String },
    #[error(
        "the account {account} {}, and a name is never given to somebody else; choose another",
        whose(holder)
    )]
    SpentAccount {
        account: AccountName,
        holder: Holder,
    },
    #[error("there was a pool {pool} before, and its name is never given again; choose another")]
    SpentPool { pool: PoolName },
    #[error(
        "the uid {uid} may have been somebody's before, and is never given again; leave it out: the next free one is taken"
    )]
    SpentUid { uid: u32 },
    #[error(
        "{text} is no uid; write a number from 1000 on, or leave it out: the next free one is taken"
    )]
    BadUid { text: String },
    #[error(
        "the range of uids is used up; widen `sync.uids` in config.toml and restart the server"
    )]
    UidsUsedUp,
    #[error(
        "machine {machine} would be in no pool, so that nobody reaches it; put it into a pool, take it out of the fleet with `ca-server machine remove {machine}`, or allow it with --force"
    )]
    Orphan { machine: MachineName },
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error(transparent)]
    Expect(#[from] ExpectError),
}

/// Something that works, and that an admin should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "each variant's message says what its fields are"
)]
pub enum Caution {
    #[error("nobody is in team {team}, so that this grant gives nothing yet")]
    EmptyTeam { team: TeamName },
    #[error("machine {machine} is in no pool: nobody reaches it")]
    Orphan { machine: MachineName },
    #[error(transparent)]
    Problem(#[from] Problem),
}

fn guess(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

fn whose(holder: &Holder) -> String {
    match holder {
        Holder::Shared => "is or was a shared one".to_owned(),
        Holder::Employee(email) => format!("is or was {email}'s"),
    }
}

/// Every fault of a document, by line and column; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Faults(Vec<At<Wrong>>);

impl Faults {
    /// One after the other, by line and column.
    pub fn iter(&self) -> impl Iterator<Item = &At<Wrong>> {
        self.0.iter()
    }

    /// How many; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Faults {
    /// A line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Faults as they are found.
#[derive(Debug)]
pub(super) struct Collector<'l> {
    pub(super) lines: &'l Lines<'l>,
    faults: Vec<(usize, Wrong)>,
}

impl<'l> Collector<'l> {
    pub(super) fn new(lines: &'l Lines<'l>) -> Self {
        Self {
            lines,
            faults: Vec::new(),
        }
    }

    /// Notes a fault at a byte of the document.
    pub(super) fn add(&mut self, byte: usize, wrong: impl Into<Wrong>) {
        self.faults.push((byte, wrong.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.faults.len()
    }

    pub(super) fn into_faults(mut self) -> Faults {
        self.faults.sort_by_key(|(byte, _)| *byte);
        let lines = self.lines;
        let placed = self.faults.into_iter();
        Faults(placed.map(|(byte, wrong)| lines.at(byte, wrong)).collect())
    }
}
