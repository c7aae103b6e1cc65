//! What changes on machines: accounts that appear and are closed, sudo rights, lines of principals files.
//!
//! A machine's accounts are those of its pools, as bits; whose sudo may differ is known by pool, so that only these are added up.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::{Detail, MachineChange, Names, Plan, bits::Bits, terms::sudo_text};
use crate::{
    AccountName, Email, Grant, Index, MachineName, Policy, PoolName, Sudo, decide::unix_secs_floor,
    machines::Claims,
};

/// The policies before and after, each with its index.
pub(super) struct Both<'p> {
    pub(super) before: &'p Policy,
    pub(super) after: &'p Policy,
    pub(super) old: &'p Index,
    pub(super) new: &'p Index,
}

pub(super) fn fill(plan: &mut Plan, both: &Both<'_>, now: OffsetDateTime, detail: Detail) {
    let (was, is) = (claims(both.old, now), claims(both.new, now));
    let accounts: Vec<&AccountName> = was
        .values()
        .chain(is.values())
        .flat_map(|claimed| claimed.iter().map(|(account, ..)| *account))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let fleet = Fleet {
        differing: differing(&was, &is, &accounts),
        old: Side::of(both.old, &was, &accounts, now),
        new: Side::of(both.new, &is, &accounts, now),
        accounts,
    };
    let names: BTreeSet<&MachineName> = [both.before, both.after]
        .into_iter()
        .flat_map(|policy| policy.machines.keys())
        .collect();
    let mut known: BTreeMap<(&[u32], &[u32]), Option<Accounts>> = BTreeMap::new();
    let mut groups: BTreeMap<Change, Vec<&MachineName>> = BTreeMap::new();
    for name in names {
        let pools = (
            both.old.pool_numbers_of(name),
            both.new.pool_numbers_of(name),
        );
        let accounts = known
            .entry(pools)
            .or_insert_with(|| fleet.compare(pools.0, pools.1, detail));
        let (joins, leaves) = moves(both, name);
        if joins.is_empty() && leaves.is_empty() && accounts.is_none() {
            continue;
        }
        if let Some(accounts) = accounts {
            plan.counts.machines += 1;
            plan.counts.accounts_appearing += accounts.appear.count() as u64;
            plan.counts.accounts_disappearing += accounts.disappear.count() as u64;
        }
        let cut = accounts
            .as_ref()
            .is_some_and(|accounts| accounts.sudo_count > accounts.sudo.len());
        let change = Change {
            joins,
            leaves,
            accounts: accounts.clone(),
            // What was cut could hide a difference: such a machine stands for itself.
            alone: cut.then_some(name),
        };
        groups.entry(change).or_default().push(name);
    }
    let mut groups: Vec<(Change, Vec<&MachineName>)> = groups.into_iter().collect();
    groups.sort_by(|(_, a), (_, b)| a.cmp(b));
    let shown = groups.into_iter().take(detail.entries);
    plan.machines = shown
        .map(|(change, machines)| fleet.entry(change, &machines, detail))
        .collect();
}

/// What happens alike to each of a group of machines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Change<'p> {
    joins: Vec<PoolName>,
    leaves: Vec<PoolName>,
    accounts: Option<Accounts>,
    alone: Option<&'p MachineName>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Accounts {
    appear: Bits,
    disappear: Bits,
    sudo_count: usize,
    sudo: Vec<String>,
    principals: bool,
}

/// One of the two policies, by the number of an account that both share.
struct Side<'i> {
    index: &'i Index,
    now_unix_secs: u64,
    /// For each pool the accounts that its own grants make.
    made_by: Vec<Bits>,
    /// For each account of the index its number.
    number_of: Vec<Option<usize>>,
}

struct Fleet<'i> {
    accounts: Vec<&'i AccountName>,
    /// For each pool the accounts that its own grants make differently, or on one side only.
    differing: BTreeMap<&'i PoolName, Bits>,
    old: Side<'i>,
    new: Side<'i>,
}

impl<'i> Side<'i> {
    fn of(
        index: &'i Index,
        claims: &BTreeMap<&PoolName, Claimed<'_>>,
        accounts: &[&AccountName],
        now: OffsetDateTime,
    ) -> Self {
        let number = |account: &AccountName| accounts.binary_search(&account).ok();
        let made_by = (0..crate::graph::number(index.pool_count())).map(|pool| {
            let mut bits = Bits::none(accounts.len());
            for (account, ..) in &claims[index.pool(pool)] {
                bits.insert(number(account).expect("every claimed account is in the list"));
            }
            bits
        });
        Self {
            index,
            now_unix_secs: unix_secs_floor(now).unwrap_or(0),
            made_by: made_by.collect(),
            number_of: (0..crate::graph::number(index.account_count()))
                .map(|account| number(index.account(account)))
                .collect(),
        }
    }

    fn made_by(&self, pools: &[u32], length: usize) -> Bits {
        let mut all = Bits::none(length);
        for pool in pools {
            all.add(&self.made_by[*pool as usize]);
        }
        all
    }

    /// The sudo rights of those accounts, in order.
    fn sudo(&self, pools: &[u32], wanted: &Bits) -> Vec<Sudo> {
        let wanted = |account: u32| {
            let number = self.number_of[account as usize];
            number.is_some_and(|number| wanted.contains(number))
        };
        let claims = Claims::of_accounts(self.index, pools, self.now_unix_secs, wanted);
        let sudo = claims.iter().map(|claim| claim.sudo().into_owned());
        sudo.collect()
    }
}

impl Fleet<'_> {
    /// What differs on a machine that belonged to some pools and belongs to others now.
    fn compare(&self, old_pools: &[u32], new_pools: &[u32], detail: Detail) -> Option<Accounts> {
        let length = self.accounts.len();
        let (was, is) = (
            self.old.made_by(old_pools, length),
            self.new.made_by(new_pools, length),
        );
        let stay = was.and(&is);
        let named = |side: &Side<'_>, pools: &[u32]| -> BTreeSet<PoolName> {
            let names = pools.iter().map(|pool| side.index.pool(*pool).clone());
            names.collect()
        };
        let (was_in, is_in) = (named(&self.old, old_pools), named(&self.new, new_pools));
        let mut suspects = Bits::none(length);
        for (side, pools, others) in [
            (&self.old, old_pools, &is_in),
            (&self.new, new_pools, &was_in),
        ] {
            for pool in pools {
                let name = side.index.pool(*pool);
                if !others.contains(name) {
                    suspects.add(&side.made_by[*pool as usize]);
                } else if let Some(differing) = self.differing.get(name) {
                    suspects.add(differing);
                }
            }
        }
        let suspects = suspects.and(&stay);
        let (mut sudo_count, mut sudo) = (0, Vec::new());
        if !suspects.is_empty() {
            let before = self.old.sudo(old_pools, &suspects);
            let after = self.new.sudo(new_pools, &suspects);
            for (number, (before, after)) in suspects.iter().zip(before.iter().zip(&after)) {
                if before != after {
                    sudo_count += 1;
                    if sudo.len() < detail.names {
                        let (after, before) = (sudo_text(after), sudo_text(before));
                        let account = self.accounts[number];
                        sudo.push(format!("{account}: {after}, before {before}"));
                    }
                }
            }
        }
        let accounts = Accounts {
            appear: is.without(&was),
            disappear: was.without(&is),
            sudo_count,
            sudo,
            // Every account of a machine has a principal for each of its pools.
            principals: !stay.is_empty() && was_in != is_in,
        };
        let same = accounts.appear.is_empty()
            && accounts.disappear.is_empty()
            && accounts.sudo_count == 0
            && !accounts.principals;
        (!same).then_some(accounts)
    }

    fn entry(
        &self,
        change: Change<'_>,
        machines: &[&MachineName],
        detail: Detail,
    ) -> MachineChange {
        let names = |bits: &Bits| {
            let names = bits.iter().map(|number| self.accounts[number].clone());
            Names::cut(bits.count(), names, detail)
        };
        let nothing = Accounts {
            appear: Bits::none(0),
            disappear: Bits::none(0),
            sudo_count: 0,
            sudo: Vec::new(),
            principals: false,
        };
        let accounts = change.accounts.unwrap_or(nothing);
        MachineChange {
            machines: Names::cut(machines.len(), machines.iter().copied().cloned(), detail),
            joins: change.joins,
            leaves: change.leaves,
            appear: names(&accounts.appear),
            disappear: names(&accounts.disappear),
            sudo: Names::cut(accounts.sudo_count, accounts.sudo.into_iter(), detail),
            principals: accounts.principals,
        }
    }
}

/// Pools that a machine is put into, and is taken out of, by name.
fn moves(both: &Both<'_>, name: &MachineName) -> (Vec<PoolName>, Vec<PoolName>) {
    let none = BTreeSet::new();
    let (was, is) = (
        both.before
            .machines
            .get(name)
            .map_or(&none, |machine| &machine.pools),
        both.after
            .machines
            .get(name)
            .map_or(&none, |machine| &machine.pools),
    );
    (
        is.difference(was).cloned().collect(),
        was.difference(is).cloned().collect(),
    )
}

/// An account that a pool's own grants make, whose own it is, and these grants.
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

fn differing<'i>(
    was: &BTreeMap<&'i PoolName, Claimed<'i>>,
    is: &BTreeMap<&'i PoolName, Claimed<'i>>,
    accounts: &[&AccountName],
) -> BTreeMap<&'i PoolName, Bits> {
    let pools: BTreeSet<&PoolName> = was.keys().chain(is.keys()).copied().collect();
    let mut differing = BTreeMap::new();
    for pool in pools {
        let (was, is) = (was.get(pool), is.get(pool));
        if was == is {
            continue;
        }
        let by_account = |claimed: Option<&Claimed<'i>>| -> BTreeMap<_, _> {
            let claimed = claimed.into_iter().flatten();
            claimed
                .map(|(account, owner, grants)| (*account, (*owner, grants.clone())))
                .collect()
        };
        let (was, is) = (by_account(was), by_account(is));
        let mut bits = Bits::none(accounts.len());
        for account in was.keys().chain(is.keys()) {
            if was.get(account) != is.get(account) {
                let number = accounts.binary_search(account);
                bits.insert(number.expect("every claimed account is in the list"));
            }
        }
        differing.insert(pool, bits);
    }
    differing
}
