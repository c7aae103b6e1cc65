//! What changes on machines: accounts that appear and are closed, sudo rights, lines of principals files.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::{Detail, MachineChange, Names, Plan, terms::sudo_text};
use crate::{
    AccountName, Email, Grant, Index, MachineName, Policy, PoolName, SeenAccount, accounts_seen_on,
    decide::unix_secs_floor, machines::Claims,
};

/// The policies before and after, each with its index.
pub(super) struct Both<'p> {
    pub(super) before: &'p Policy,
    pub(super) after: &'p Policy,
    pub(super) old: &'p Index,
    pub(super) new: &'p Index,
}

pub(super) fn fill(plan: &mut Plan, both: &Both<'_>, now: OffsetDateTime, detail: Detail) {
    let differing = differing_pools(both, now);
    let names: BTreeSet<&MachineName> = [both.before, both.after]
        .into_iter()
        .flat_map(|policy| policy.machines.keys())
        .collect();
    let mut known: BTreeMap<(&[u32], &[u32]), Accounts> = BTreeMap::new();
    let mut groups: BTreeMap<Change, Vec<&MachineName>> = BTreeMap::new();
    for name in names {
        let pools = (
            both.old.pool_numbers_of(name),
            both.new.pool_numbers_of(name),
        );
        let named = |index: &Index| index.pools_of(name).cloned().collect::<Vec<_>>();
        let (was_in, is_in) = (named(both.old), named(both.new));
        let accounts = if was_in == is_in && is_in.iter().all(|pool| !differing.contains(pool)) {
            Accounts::default()
        } else {
            let compare = || {
                Accounts::between(
                    &by_name(accounts_seen_on(both.old, name, now)),
                    &by_name(accounts_seen_on(both.new, name, now)),
                )
            };
            known.entry(pools).or_insert_with(compare).clone()
        };
        let (joins, leaves) = moves(both, name);
        if joins.is_empty() && leaves.is_empty() && accounts == Accounts::default() {
            continue;
        }
        if accounts != Accounts::default() {
            plan.counts.machines += 1;
        }
        plan.counts.accounts_appearing += accounts.appear.len() as u64;
        plan.counts.accounts_disappearing += accounts.disappear.len() as u64;
        let change = Change {
            joins,
            leaves,
            accounts,
        };
        groups.entry(change).or_default().push(name);
    }
    let mut groups: Vec<(Change, Vec<&MachineName>)> = groups.into_iter().collect();
    groups.sort_by(|(_, a), (_, b)| a.cmp(b));
    let shown = groups.into_iter().take(detail.entries);
    plan.machines = shown
        .map(|(change, machines)| change.into_entry(&machines, detail))
        .collect();
}

/// What happens alike to each of a group of machines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    joins: Vec<PoolName>,
    leaves: Vec<PoolName>,
    accounts: Accounts,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Accounts {
    appear: Vec<AccountName>,
    disappear: Vec<AccountName>,
    sudo: Vec<String>,
    principals: bool,
}

impl Change {
    fn into_entry(self, machines: &[&MachineName], detail: Detail) -> MachineChange {
        let Accounts {
            appear,
            disappear,
            sudo,
            principals,
        } = self.accounts;
        let names = machines.iter().copied().cloned();
        MachineChange {
            machines: Names::cut(machines.len(), names, detail),
            joins: self.joins,
            leaves: self.leaves,
            appear: Names::cut(appear.len(), appear.into_iter(), detail),
            disappear: Names::cut(disappear.len(), disappear.into_iter(), detail),
            sudo: Names::cut(sudo.len(), sudo.into_iter(), detail),
            principals,
        }
    }
}

type Seen<'i> = BTreeMap<&'i AccountName, SeenAccount<'i>>;

fn by_name(accounts: Vec<SeenAccount<'_>>) -> Seen<'_> {
    let named = accounts.into_iter().map(|seen| (seen.account, seen));
    named.collect()
}

impl Accounts {
    fn between(was: &Seen<'_>, is: &Seen<'_>) -> Self {
        let missing_in = |one: &Seen<'_>, other: &Seen<'_>| -> Vec<AccountName> {
            let missing = one.keys().filter(|account| !other.contains_key(*account));
            missing.copied().cloned().collect()
        };
        let stay = || {
            was.iter()
                .filter_map(|(name, was)| Some((name, was, is.get(name)?)))
        };
        Self {
            appear: missing_in(is, was),
            disappear: missing_in(was, is),
            sudo: stay()
                .filter(|(_, was, is)| was.sudo != is.sudo)
                .map(|(name, was, is)| {
                    let (is, was) = (sudo_text(&is.sudo), sudo_text(&was.sudo));
                    format!("{name}: {is}, before {was}")
                })
                .collect(),
            // Every account of a machine has a principal for each of its pools.
            principals: stay()
                .next()
                .is_some_and(|(_, was, is)| !was.pools().eq(is.pools())),
        }
    }
}

/// Pools that a machine is put into, and is taken out of, by name.
fn moves(both: &Both<'_>, name: &MachineName) -> (Vec<PoolName>, Vec<PoolName>) {
    let pools = |policy: &Policy| -> BTreeSet<PoolName> {
        let machine = policy.machines.get(name);
        machine
            .map(|machine| machine.pools.clone())
            .unwrap_or_default()
    };
    let (was, is) = (pools(both.before), pools(both.after));
    (
        is.difference(&was).cloned().collect(),
        was.difference(&is).cloned().collect(),
    )
}

/// Pools whose own grants put other accounts, or the same under other terms, on their machines.
fn differing_pools<'p>(both: &Both<'p>, now: OffsetDateTime) -> BTreeSet<&'p PoolName> {
    let (mut was, is) = (claims(both.old, now), claims(both.new, now));
    let mut differing: BTreeSet<&PoolName> = BTreeSet::new();
    for (pool, claims) in is {
        if was.remove(pool).as_ref() != Some(&claims) {
            differing.insert(pool);
        }
    }
    differing.extend(was.into_keys());
    differing
}

type Claimed<'i> = Vec<(&'i AccountName, Option<(&'i Email, u32)>, Vec<&'i Grant>)>;

fn claims(index: &Index, now: OffsetDateTime) -> BTreeMap<&PoolName, Claimed<'_>> {
    let now_unix_secs = unix_secs_floor(now).unwrap_or(0);
    (0..crate::graph::number(index.pool_count()))
        .map(|pool| {
            let claims = Claims::of(index, &[pool], now_unix_secs);
            let claims = claims.iter().map(|claim| {
                let owner = claim.owner().map(|person| &person.employee);
                (
                    claim.account(),
                    owner.map(|owner| (&owner.email, owner.uid)),
                    claim.grants().map(|grant| &grant.grant).collect(),
                )
            });
            (index.pool(pool), claims.collect())
        })
        .collect()
}
