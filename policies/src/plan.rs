//! What a change of policy means for people and machines, before it is made.
//!
//! A plan says who gains and loses which account on which machine, and whose terms change, not which lines differ. It looks at rights
//! at any hour of the week: hours are one of the terms. Invited people count as if they had enrolled already; suspended and removed
//! people have nothing; grants that ended before `now` give nothing.

mod access;
mod bits;
mod lines;
mod machines;
mod people;
mod terms;
mod text;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    AccountName, Email, GrantAccount, GrantId, Index, MachineName, Policy, PoolName, Severity,
    TeamName, check,
};

/// How much of a plan is written out; what is left out is counted all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    /// The most entries of [`Plan::access`] and of [`Plan::machines`].
    pub entries: usize,
    /// The most names in one [`Names`].
    pub names: usize,
}

impl Detail {
    /// Everything. A change that gives all to all is as big as people times machines.
    pub const ALL: Self = Self {
        entries: usize::MAX,
        names: usize::MAX,
    };
    /// Enough for a person and for `--json` through the API.
    pub const SUMMARY: Self = Self {
        entries: 500,
        names: 50,
    };
}

/// What a change of policy means.
///
/// Shown line by line by its `Display`, without a colour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How much changes, whatever is left out below.
    pub counts: Counts,
    /// Limits that change.
    pub limits: Vec<LimitChange>,
    /// People who come, go, or change; complete.
    pub employees: Vec<EmployeeChange>,
    /// Teams that come, go, or change; complete.
    pub teams: Vec<Changed<TeamName>>,
    /// Pools that come, go, or change; complete.
    pub pools: Vec<Changed<PoolName>>,
    /// Grants that come, go, or change; complete.
    pub grants: Vec<Changed<GrantId>>,
    /// Who gains or loses which account on which machines, or has it under other terms: losses first, then changes, then gains.
    pub access: Vec<Access>,
    /// Machines whose pools, accounts or sudo change.
    pub machines: Vec<MachineChange>,
    /// What works afterwards, and an admin should know.
    pub warnings: Vec<String>,
    /// Why the policy must not be stored as it would be; empty for what a document was read into.
    pub errors: Vec<String>,
}

/// How much changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// People who gain an account on a machine.
    pub people_gaining: usize,
    /// People who lose one.
    pub people_losing: usize,
    /// People who keep one under other terms.
    pub people_changed: usize,
    /// (person, account, machine) that are new.
    pub cells_gained: u64,
    /// (person, account, machine) that are gone.
    pub cells_lost: u64,
    /// (person, account, machine) that stay under other terms.
    pub cells_changed: u64,
    /// Machines that get another set of accounts, sudo rights or principals.
    pub machines: usize,
    /// Accounts that appear on machines, summed over the machines.
    pub accounts_appearing: u64,
    /// Accounts that disappear from machines, summed over the machines.
    pub accounts_disappearing: u64,
}

/// A limit that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitChange {
    /// Its name in `[limits]`.
    pub name: String,
    /// What it is.
    pub before_secs: u64,
    /// What it would be.
    pub after_secs: u64,
}

/// What happens to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmployeeStep {
    /// Goes: sessions end, certificates are revoked, the account is closed.
    Removed,
    /// Login is closed and certificates are revoked.
    Suspended,
    /// Login opens again.
    Resumed,
    /// Was removed once, and is invited again under the same account and uid.
    Returned,
    /// New: gets an enrolment code.
    Invited,
    /// Becomes an admin of the CA.
    AdminGained,
    /// Is no admin of the CA any longer.
    AdminLost,
    /// Has another full name.
    Renamed,
    /// Has another account or uid; a document cannot say this.
    AccountChanged,
}

/// One step for one person; somebody can have several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmployeeChange {
    /// Who.
    pub email: Email,
    /// What.
    pub step: EmployeeStep,
}

/// Whether something comes, goes, or becomes different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It goes.
    Removed,
    /// It becomes different.
    Changed,
    /// It comes.
    Added,
}

/// A named thing of the policy that comes, goes, or becomes different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed<N> {
    /// Which.
    pub name: N,
    /// How.
    pub how: How,
    /// What it is, was, or what differs, in words.
    pub words: Vec<String>,
}

/// A list of names, perhaps cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names<N> {
    /// How many there are.
    pub count: usize,
    /// The first of them, sorted; as many as [`Detail::names`] allows.
    pub names: Vec<N>,
}

/// Whether access is gained, lost, or kept under other terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Nobody of these can use the account there any longer.
    Lost,
    /// They keep it under other terms.
    Changed,
    /// All of these can use the account there, and could not before.
    Gained,
}

/// Each of these people, on each of these machines, as this account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Gained, lost, changed.
    pub step: Step,
    /// Who.
    pub people: Names<Email>,
    /// As whom: each their own account, or a shared one.
    pub account: GrantAccount,
    /// Where.
    pub machines: Names<MachineName>,
    /// The grants that give it afterwards, or gave it before where it is lost.
    pub grants: Vec<GrantId>,
    /// Under which terms it is gained, or how they change: `sudo: all commands, before none`.
    pub words: Vec<String>,
}

/// What changes on each of these machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineChange {
    /// Where.
    pub machines: Names<MachineName>,
    /// Pools that these machines are put into.
    pub joins: Vec<PoolName>,
    /// Pools that they are taken out of.
    pub leaves: Vec<PoolName>,
    /// Accounts that appear.
    pub appear: Names<AccountName>,
    /// Accounts that are closed.
    pub disappear: Names<AccountName>,
    /// Accounts whose sudo rights change, each in words.
    pub sudo: Names<String>,
    /// Whether the lines of principals files change for accounts that stay, since the machine is in other pools.
    pub principals: bool,
}

impl Plan {
    /// Whether nothing changes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
            && self.employees.is_empty()
            && self.teams.is_empty()
            && self.pools.is_empty()
            && self.grants.is_empty()
            && self.access.is_empty()
            && self.machines.is_empty()
    }
}

/// What becomes different for people and machines when `after` replaces `before` at `now`.
#[must_use]
pub fn plan(before: &Policy, after: &Policy, now: OffsetDateTime, detail: Detail) -> Plan {
    let mut plan = Plan {
        limits: lines::limits(&before.limits, &after.limits),
        employees: people::steps(before, after),
        teams: lines::teams(before, after),
        pools: lines::pools(before, after),
        grants: lines::grants(before, after),
        ..Plan::default()
    };
    for problem in check(after) {
        match problem.severity() {
            Severity::Warning => plan.warnings.push(problem.to_string()),
            Severity::Error => plan.errors.push(problem.to_string()),
        }
    }
    plan.warnings.extend(people::warnings(before, after, now));
    let (old, new) = (Index::new(before), Index::new(after));
    access::fill(&mut plan, &old, &new, now, detail);
    let both = machines::Both {
        before,
        after,
        old: &old,
        new: &new,
    };
    machines::fill(&mut plan, &both, now, detail);
    plan
}
