//! Which grants put an account on a machine, and what they make of its sudo rights.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    AccountName, Index, Sudo,
    decide::in_force,
    index::{IndexedGrant, Person},
};

/// Every account on a machine with the grants that put it there.
pub(crate) struct Claims<'i> {
    index: &'i Index,
    /// Account and grant by number, sorted.
    entries: Vec<(u32, u32)>,
}

impl<'i> Claims<'i> {
    /// Those of a machine that belongs to exactly `pools`.
    pub(crate) fn of(index: &'i Index, pools: &[u32], now_unix_secs: u64) -> Self {
        Self::of_accounts(index, pools, now_unix_secs, |_| true)
    }

    /// The same for those accounts only of which `wanted` says so, by number.
    pub(crate) fn of_accounts(
        index: &'i Index,
        pools: &[u32],
        now_unix_secs: u64,
        wanted: impl Fn(u32) -> bool,
    ) -> Self {
        let mut entries = Vec::new();
        for &at in pools.iter().flat_map(|&pool| index.grant_numbers_on(pool)) {
            let grant = index.grant(at);
            if in_force(grant, now_unix_secs) {
                let accounts = index.accounts_of(grant).filter(|account| wanted(*account));
                entries.extend(accounts.map(|account| (account, at)));
            }
        }
        entries.sort_unstable();
        Self { index, entries }
    }

    /// One after the other, by the account's name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Claim<'i, '_>> {
        self.entries
            .chunk_by(|(account, _), (next, _)| account == next)
            .map(|entries| Claim {
                index: self.index,
                entries,
            })
    }
}

/// The grants that put one account on a machine.
pub(crate) struct Claim<'i, 'c> {
    index: &'i Index,
    /// Never empty; one account.
    entries: &'c [(u32, u32)],
}

impl<'i> Claim<'i, '_> {
    pub(crate) fn account(&self) -> &'i AccountName {
        self.index.account(self.entries[0].0)
    }

    /// Whose own account it is; `None` for a shared one.
    pub(crate) fn owner(&self) -> Option<&'i Person> {
        self.index.owner(self.entries[0].0)
    }

    /// By rising number; never none.
    pub(crate) fn grants(&self) -> impl Iterator<Item = &'i IndexedGrant> {
        self.entries.iter().map(|&(_, at)| self.index.grant(at))
    }

    /// Whether the grants' sudo rights can stand side by side on one account.
    ///
    /// sudo belongs to the account, whichever certificate opened it. So rights that differ are added up only where that gives nobody
    /// more than they were granted: on somebody's own account, through different pools, under the same conditions and in the same
    /// hours (P8).
    pub(crate) fn agrees(&self) -> bool {
        let mut rest = self.grants();
        let Some(first) = rest.next().map(|first| &first.grant) else {
            return true;
        };
        if rest.all(|grant| grant.grant.sudo == first.sudo) {
            return true;
        }
        let mut by_pool: BTreeMap<u32, &Sudo> = BTreeMap::new();
        self.owner().is_some()
            && self.grants().all(|grant| {
                grant.grant.conditions == first.conditions
                    && grant.grant.hours == first.hours
                    && *by_pool.entry(grant.pool).or_insert(&grant.grant.sudo) == &grant.grant.sudo
            })
    }

    /// What the account may do through sudo.
    pub(crate) fn sudo(&self) -> Cow<'i, Sudo> {
        let mut all = self.grants().map(|grant| &grant.grant.sudo);
        let first = all.next().expect("a claim is made by a grant");
        let combine = if all.all(|sudo| sudo == first) {
            return Cow::Borrowed(first);
        } else if self.agrees() {
            most
        } else {
            least
        };
        let all = self.grants().map(|grant| &grant.grant.sudo);
        Cow::Owned(all.fold(first.clone(), combine))
    }
}

/// Everything that either allows.
fn most(a: Sudo, b: &Sudo) -> Sudo {
    match (a, b) {
        (Sudo::All, _) | (_, Sudo::All) => Sudo::All,
        (Sudo::None, other) => other.clone(),
        (other, Sudo::None) => other,
        (Sudo::Commands(a), Sudo::Commands(b)) => Sudo::Commands(a.union(b).cloned().collect()),
    }
}

/// Only what both allow.
fn least(a: Sudo, b: &Sudo) -> Sudo {
    match (a, b) {
        (Sudo::None, _) | (_, Sudo::None) => Sudo::None,
        (Sudo::All, other) => other.clone(),
        (other, Sudo::All) => other,
        (Sudo::Commands(a), Sudo::Commands(b)) => {
            let both: BTreeSet<String> = a.intersection(b).cloned().collect();
            if both.is_empty() {
                Sudo::None
            } else {
                Sudo::Commands(both)
            }
        }
    }
}
