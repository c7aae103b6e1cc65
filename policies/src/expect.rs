//! Sentences that a policy must make true: "a member of ops reaches web-1 as deploy on Monday at 10:00".
//!
//! ```text
//! WHO ( reaches | never reaches ) WHERE [as ACCOUNT] [with sudo] [from ADDRESS]
//!                                       [with a security key | with a plain key] [on DAY at HH:MM [ZONE]]
//!
//! WHO   = EMAIL | a member of TEAM | every member of TEAM | a NAME | nobody | somebody
//! WHERE = MACHINE | pool POOL
//! ```
//!
//! What a sentence leaves out is left open: `reaches` holds if it is so for some account, from some address, with some key, at some
//! hour of the week; `never reaches` holds only if it is so for none. So `never` is as strict as can be, and a narrower promise is made
//! by naming more.
//!
//! - `EMAIL`: that person. Somebody invited counts as if they had enrolled; somebody suspended or removed reaches nothing.
//! - `a member of TEAM` (and `a NAME`, for the team NAME or NAMEs) `reaches`: being in the team is enough. It is judged for somebody who
//!   is in this team and has nothing else, so that it neither leans on a grant that one member has by name nor needs the team to have
//!   members. `never reaches`: neither that somebody, nor any real member in whatever way.
//! - `every member of TEAM reaches`: each real member, in whatever way; a team of nobody makes it false. `never reaches`: as above.
//! - `somebody reaches`: at least one employee. `nobody reaches`: no employee.
//! - `MACHINE`: that machine. `pool POOL`: `reaches` each machine in the pool, `never reaches` any of them; where a pool has no machine
//!   yet, it is judged for one that is put into it, and `never` always is.
//! - `as ACCOUNT`: as that account; `as self`: as their own.
//! - `with sudo`: the account has some sudo right there.
//! - `from ADDRESS`: logging in from that address.
//! - `with a security key`, `with a plain key`: the session's key is of that kind. Left out, it is a security key: that opens everything.
//! - `on DAY at HH:MM ZONE`: at the next such moment from now on (UTC where no zone is written), when grants that end before are over.
//!   Left out, hours are not looked at: a grant counts if it is in force now, at whatever hours.

mod error;
mod judge;
mod parse;
mod why;
mod world;

use std::{fmt, net::IpAddr};

use time::OffsetDateTime;

use crate::{AccountName, Email, Hours, KeyKind, MachineName, Policy, PoolName, TeamName};

pub use error::{ExpectError, ExpectRule};

/// A sentence, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    text: String,
    who: Who,
    verb: Verb,
    place: Place,
    account: Option<As>,
    sudo: SudoDemand,
    from: Option<IpAddr>,
    key: Option<KeyKind>,
    moment: Option<Moment>,
}

/// Whom a sentence is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// One person.
    Employee(Email),
    /// Somebody of whom nothing is known but the team.
    Member(TeamName),
    /// Each who is in the team.
    Every(TeamName),
    /// No employee.
    Nobody,
    /// At least one employee.
    Somebody,
}

/// What a sentence promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It can be done.
    Reaches,
    /// It cannot.
    Never,
}

/// What is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// One machine.
    Machine(MachineName),
    /// Each machine of a pool, or none.
    Pool(PoolName),
}

/// As whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum As {
    /// The own account.
    Own,
    /// That one.
    Named(AccountName),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SudoDemand {
    Open,
    Some,
}

/// A minute of the week on a wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    /// Open in that minute only.
    minute: Hours,
    /// As it was written: `Monday at 10:00 Europe/Berlin`.
    text: String,
}

impl Expectation {
    /// Parses a sentence.
    ///
    /// A sentence says `a contractor` where the team is called `contractors`, so that the teams must be known.
    ///
    /// # Errors
    /// It is no sentence of this language; the error knows the character.
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, ExpectError> {
        parse::sentence(text, policy)
    }
}

impl fmt::Display for Expectation {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// A sentence that is not true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which of the sentences that were judged, from 0.
    pub at: usize,
    /// The sentence.
    pub text: String,
    /// What is true instead: which grant gives what must not be, or what is missing.
    pub why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {:?}, but {}", self.text, self.why)
    }
}

/// Those of `expectations` that `policy` does not keep at `now`; empty when all hold.
#[must_use]
pub fn judge<'e>(
    policy: &Policy,
    expectations: impl IntoIterator<Item = &'e Expectation>,
    now: OffsetDateTime,
) -> Vec<Broken> {
    judge::judge(policy, expectations.into_iter().collect(), now)
}
