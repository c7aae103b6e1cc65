//! Policy as one TOML document: read against what is stored, with every fault at its line and column, and written back.
//!
//! A document is the whole truth: whoever and whatever it does not name is to go. Machines are the exception: they come from
//! `bootstrap` and go by `machine remove`, so that a document only says which pools they are in.
//!
//! The language is described in `policies/README.md`.

mod draft;
mod duration;
mod export;
mod fault;
mod numbers;
mod parse;
mod position;
mod resolve;
mod suggest;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use crate::{AccountName, Email, GrantId, Policy, PoolName, expect::Expectation};

pub use duration::{DurationError, duration_secs, duration_text};
pub use export::{canonical, export};
pub(crate) use export::{extension, time_text};
pub use fault::{Caution, Faults, Kind, Wrong};
pub use position::{At, Position};
pub(crate) use suggest::nearest;

/// What a document is read against.
#[derive(Debug, Clone, Copy)]
pub struct Base<'s> {
    /// The document's name in messages.
    pub file: &'s str,
    /// What is stored.
    pub store: &'s Policy,
    /// The numbers that new grants and new people get.
    pub numbers: Numbers,
    /// Who has a password: a suspended person whose document says so no more becomes active if in here, and invited otherwise.
    pub enrolled: &'s BTreeSet<Email>,
    /// Names that were given once and are never given to anything else (P9), beside those in `store`; may be empty where the caller
    /// refuses them itself.
    pub spent: &'s Spent,
    /// What to do about machines that would be in no pool any longer.
    pub orphans: Orphans,
}

/// Numbers that are never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The next new grant's.
    pub next_grant: GrantId,
    /// The first uid of the fleet's range.
    pub first_uid: u32,
    /// The next uid that nobody ever had.
    pub next_uid: u32,
    /// The last uid of the fleet's range.
    pub last_uid: u32,
}

/// Names that were given once (P9).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// Pools that there are or were.
    pub pools: BTreeSet<PoolName>,
    /// Accounts that there are or were, with whose they are.
    pub accounts: BTreeMap<AccountName, Holder>,
}

/// Whose an account name is, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A shared account's.
    Shared,
    /// A person's own.
    Employee(Email),
}

/// What to do about machines that would be in no pool any longer, so that nobody reaches them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Orphans {
    /// Each is a fault.
    #[default]
    Refuse,
    /// Each is a caution.
    Allow,
}

/// What a document says, once it was read without a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The policy as it would be stored: people who are gone are in it as removed, and machines with their new pools.
    pub policy: Policy,
    /// The sentences of `expect`, to be judged by [`crate::expect::judge`].
    pub expectations: Vec<At<Expectation>>,
    /// What works, and an admin should know.
    pub cautions: Vec<At<Caution>>,
    /// The numbers as they stand after it: to be stored in the same transaction as the policy.
    pub numbers: Numbers,
}

/// Reads `text` as the whole policy.
///
/// Never panics, whatever the text. A policy that comes back has no problem of [`crate::Severity::Error`] that the document
/// brought; expectations are parsed and their names known, and not yet judged.
///
/// # Errors
/// All faults of the document, by line and column.
pub fn read(text: &str, base: &Base<'_>) -> Result<Reading, Faults> {
    let lines = position::Lines::of(base.file, text);
    let mut faults = fault::Collector::new(&lines);
    let reading = parse::draft(text, &mut faults)
        .and_then(|draft| resolve::resolve(&draft, base, &mut faults));
    match reading {
        Some(reading) if faults.is_empty() => Ok(reading),
        Some(_) | None => Err(faults.into_faults()),
    }
}
