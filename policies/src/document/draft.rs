//! A document as it is written: well-formed names and values, each with its place, not yet compared with anything.

use std::collections::BTreeSet;

use crate::{
    Conditions, Email, GrantAccount, GrantId, Grantee, Hours, Limits, MachineName, PoolName,
    Recording, Role, Sudo, TeamName,
};

/// A value and the byte where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot<T> {
    pub(super) byte: usize,
    pub(super) value: T,
}

#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) limits: Limits,
    pub(super) limits_byte: usize,
    pub(super) employees: Vec<DraftEmployee>,
    pub(super) teams: Vec<DraftTeam>,
    pub(super) pools: Vec<DraftPool>,
    pub(super) grants: Vec<DraftGrant>,
    pub(super) expect: Vec<DraftSentence>,
}

#[derive(Debug)]
pub(super) struct DraftEmployee {
    pub(super) email: Spot<Email>,
    pub(super) name: String,
    pub(super) account: Option<Spot<crate::AccountName>>,
    pub(super) uid: Option<Spot<u32>>,
    pub(super) roles: BTreeSet<Role>,
    pub(super) presence: Presence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    Suspended,
}

#[derive(Debug)]
pub(super) struct DraftTeam {
    pub(super) name: Spot<TeamName>,
    pub(super) employees: Vec<Spot<Email>>,
    pub(super) teams: Vec<Spot<TeamName>>,
}

#[derive(Debug)]
pub(super) struct DraftPool {
    pub(super) name: Spot<PoolName>,
    pub(super) title: String,
    pub(super) include: Vec<Spot<PoolName>>,
    pub(super) machines: Vec<Spot<MachineName>>,
    pub(super) employees: Vec<Spot<Email>>,
}

#[derive(Debug)]
pub(super) struct DraftGrant {
    pub(super) byte: usize,
    pub(super) id: Option<Spot<GrantId>>,
    pub(super) who: Spot<Grantee>,
    pub(super) account: Spot<GrantAccount>,
    pub(super) pool: Spot<PoolName>,
    pub(super) conditions: Conditions,
    pub(super) sudo: Sudo,
    pub(super) until_unix_secs: Option<i64>,
    pub(super) hours: Option<Hours>,
    pub(super) recording: Recording,
    pub(super) system_account: bool,
}

#[derive(Debug)]
pub(super) struct DraftSentence {
    /// Where the string begins, with its quotation mark.
    pub(super) byte: usize,
    pub(super) text: String,
    /// How many bytes the quotation mark takes, if the text stands in the document as it is: then each of its words has a place.
    pub(super) verbatim: Option<usize>,
}
