//! Who reaches what, as a table: employees × machines, and the same read from the machine's side.

mod csv;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use csv::{csv_field, csv_lines, csv_table_lines};

use crate::{
    AccountName, Email, GrantAccount, GrantId, Hours, Index, KeyDemand, KeyKind, MachineName,
    PoolName, Recording, Status, Sudo,
    decide::{in_force, lifetime_secs, open_until, unix_secs_floor},
    index::{IndexedGrant, OwnAccount, Person},
    machines::principal_of,
};

/// What counts as reaching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// What a login with a key of that kind gives now: active people, open hours. Equal to what [`crate::decide()`] grants.
    Now(KeyKind),
    /// Everything that stands: grants that have not ended, whatever the hour and the key; invited people too.
    Standing,
}

/// Which part of the table is wanted; `None` is everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// What counts as reaching.
    pub view: View,
    /// Only these employees.
    pub employees: Option<BTreeSet<Email>>,
    /// Only these machines.
    pub machines: Option<BTreeSet<MachineName>>,
    /// Only machines of these pools, through inclusion too.
    pub pools: Option<BTreeSet<PoolName>>,
}

impl Filter {
    /// Everybody and every machine.
    #[must_use]
    pub fn all(view: View) -> Self {
        Self {
            view,
            employees: None,
            machines: None,
            pools: None,
        }
    }
}

/// One employee's line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub email: Email,
    /// Where they stand.
    pub status: Status,
    /// What they reach, by machine and account; may be empty.
    pub cells: Vec<Cell>,
}

/// One account on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Where.
    pub machine: MachineName,
    /// As whom.
    pub account: AccountName,
    /// The grants that give it, by rising number; never empty.
    pub grants: Vec<Given>,
}

/// A grant as a cell shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Its number.
    pub grant: GrantId,
    /// The pool that it names.
    pub pool: PoolName,
    /// What it allows through sudo.
    pub sudo: Sudo,
    /// When it ends by itself.
    pub until_unix_secs: Option<i64>,
    /// Its hours.
    pub hours: Option<Hours>,
    /// What it demands of the key.
    pub key: KeyDemand,
    /// Whether sessions are recorded.
    pub recording: Recording,
}

/// One account that somebody reaches on the machine that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Who.
    pub email: Email,
    /// Where they stand.
    pub status: Status,
    /// As whom.
    pub account: AccountName,
    /// The grants that give it, by rising number; never empty.
    pub grants: Vec<Given>,
}

/// The table's lines, one employee after the other, by email: no more than one line is in memory.
pub fn matrix<'m>(
    index: &'m Index,
    filter: &'m Filter,
    now: OffsetDateTime,
) -> impl Iterator<Item = Row> + 'm {
    let now_unix_secs = unix_secs_floor(now);
    let columns: Option<BTreeSet<u32>> = columns(index, filter);
    index
        .people()
        .iter()
        .filter(|person| {
            filter
                .employees
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&person.employee.email))
        })
        .map(move |person| Row {
            email: person.employee.email.clone(),
            status: person.employee.status,
            cells: now_unix_secs.map_or_else(Vec::new, |now_unix_secs| {
                cells(index, person, filter.view, columns.as_ref(), now_unix_secs)
            }),
        })
}

/// The machines that are the table's columns, by name.
#[must_use]
pub fn machines_in_matrix<'m>(index: &'m Index, filter: &Filter) -> Vec<&'m MachineName> {
    let wanted = columns(index, filter);
    index
        .machine_pools()
        .enumerate()
        .filter(|(at, _)| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&crate::graph::number(*at)))
        })
        .map(|(_, (name, _))| name)
        .collect()
}

/// Everybody who reaches `machine`, by email and account: the table's column. Empty for an unknown machine.
#[must_use]
pub fn who(index: &Index, machine: &MachineName, view: View, now: OffsetDateTime) -> Vec<Who> {
    let Some(now_unix_secs) = unix_secs_floor(now) else {
        return Vec::new();
    };
    let mut all: BTreeMap<(&Email, &AccountName), Who> = BTreeMap::new();
    for &pool in index.pool_numbers_of(machine) {
        for grant in index.grants_on(pool) {
            for person in index.people_of(grant) {
                if !gives(index, person, grant, view, now_unix_secs) {
                    continue;
                }
                let employee = &person.employee;
                let account = match &grant.grant.account {
                    GrantAccount::Own => &employee.account,
                    GrantAccount::Shared(account) => account,
                };
                all.entry((&employee.email, account))
                    .or_insert_with(|| Who {
                        email: employee.email.clone(),
                        status: employee.status,
                        account: account.clone(),
                        grants: Vec::new(),
                    })
                    .grants
                    // A grant is on one pool and names a person once: it comes once.
                    .push(given(grant));
            }
        }
    }
    let mut all: Vec<Who> = all.into_values().collect();
    for one in &mut all {
        one.grants.sort_unstable_by_key(|given| given.grant);
    }
    all
}

/// The numbers of the machines that `filter` wants; `None` is all of them.
fn columns(index: &Index, filter: &Filter) -> Option<BTreeSet<u32>> {
    if filter.machines.is_none() && filter.pools.is_none() {
        return None;
    }
    let wanted = |name: &MachineName| {
        let by_name = filter
            .machines
            .as_ref()
            .is_none_or(|names| names.contains(name));
        by_name
            && filter
                .pools
                .as_ref()
                .is_none_or(|pools| index.pools_of(name).any(|pool| pools.contains(pool)))
    };
    let all = index.machine_pools().enumerate();
    Some(
        all.filter(|(_, (name, _))| wanted(name))
            .map(|(at, _)| crate::graph::number(at))
            .collect(),
    )
}

fn cells(
    index: &Index,
    person: &Person,
    view: View,
    columns: Option<&BTreeSet<u32>>,
    now_unix_secs: u64,
) -> Vec<Cell> {
    let mut cells: BTreeMap<(u32, AccountName), BTreeMap<GrantId, Given>> = BTreeMap::new();
    for grant in index.grants_to(person) {
        if !gives(index, person, grant, view, now_unix_secs) {
            continue;
        }
        let account = principal_of(index, person, grant).account;
        for machine in index.machine_numbers_in(grant.pool) {
            if columns.is_none_or(|wanted| wanted.contains(&machine)) {
                cells
                    .entry((machine, account.clone()))
                    .or_default()
                    .entry(grant.id)
                    .or_insert_with(|| given(grant));
            }
        }
    }
    cells
        .into_iter()
        .map(|((machine, account), grants)| Cell {
            machine: index.machine(machine).clone(),
            account,
            grants: grants.into_values().collect(),
        })
        .collect()
}

/// Whether a grant that names `person` gives them anything in this view.
fn gives(
    index: &Index,
    person: &Person,
    grant: &IndexedGrant,
    view: View,
    now_unix_secs: u64,
) -> bool {
    if grant.grant.account == GrantAccount::Own && person.own_account == OwnAccount::Unsound {
        return false;
    }
    let employee = &person.employee;
    match view {
        View::Standing => {
            matches!(employee.status, Status::Active | Status::Invited)
                && in_force(grant, now_unix_secs)
        }
        View::Now(key) => {
            let limits = index.limits();
            employee.status == Status::Active
                && open_until(grant, now_unix_secs).is_some()
                && grant.grant.conditions.key.allows(key)
                && limits.session_secs > 0
                && lifetime_secs(&grant.grant.conditions, &employee.roles, limits) > 0
        }
    }
}

fn given(grant: &IndexedGrant) -> Given {
    let terms = &grant.grant;
    Given {
        grant: grant.id,
        pool: terms.pool.clone(),
        sudo: terms.sudo.clone(),
        until_unix_secs: terms.until_unix_secs,
        hours: terms.hours.clone(),
        key: terms.conditions.key,
        recording: terms.recording,
    }
}
