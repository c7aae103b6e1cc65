//! What policy means for machines: the accounts and principals on each, and which machines a person reaches.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use crate::{
    AccountName, Email, GrantAccount, GrantId, Index, MachineName, Order, Principal, Status, Sudo,
    decide::{in_force, open_until, unix_secs_floor},
    index::{IndexedGrant, OwnAccount, Person},
};

/// An account that a machine must have, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineAccount {
    /// The lines of the account's principals file: `account@pool` for *every* pool that the machine belongs to, so that a changed grant
    /// changes no file unless the account is new here.
    pub principals: BTreeSet<Principal>,
    /// What it may do through sudo.
    pub sudo: Sudo,
    /// The employee whose own account it is; `None` for a shared one.
    pub owner: Option<Email>,
    /// The owner's uid; `None` for a shared one.
    pub uid: Option<u32>,
    /// A grant marked it as a system account (P6): the machine has it already, and it must be neither made nor removed.
    pub system_account: bool,
}

/// The accounts that `machine` must have at `now`; empty for an unknown machine.
///
/// Invited people are among them, so that the account is there when they have enrolled; suspended and removed people are not. A
/// grant whose `until` is over counts no more.
#[must_use]
pub fn accounts_on(
    index: &Index,
    machine: &MachineName,
    now: OffsetDateTime,
) -> BTreeMap<AccountName, MachineAccount> {
    accounts_in(index, index.pool_numbers_of(machine), now)
}

/// [`accounts_on`] for any machine that belongs to exactly these pools.
pub(crate) fn accounts_in(
    index: &Index,
    pools: &[u32],
    now: OffsetDateTime,
) -> BTreeMap<AccountName, MachineAccount> {
    let claims = claims_in(index, pools, unix_secs_floor(now).unwrap_or(0));
    claims
        .into_iter()
        .map(|(account, claim)| {
            let principals = pools
                .iter()
                .map(|&pool| Principal::new(account.clone(), index.pool(pool).clone()))
                .collect();
            let owner = claim.owner.map(|person| &person.employee);
            let entry = MachineAccount {
                principals,
                sudo: claim.sudo(),
                owner: owner.map(|employee| employee.email.clone()),
                uid: owner.map(|employee| employee.uid),
                system_account: claim.grants.iter().any(|grant| {
                    grant.grant.system_account && crate::rules::is_system_account(account)
                }),
            };
            (account.clone(), entry)
        })
        .collect()
}

/// The grants that put one account on a machine.
pub(crate) struct Claim<'i> {
    pub(crate) owner: Option<&'i Person>,
    pub(crate) grants: Vec<&'i IndexedGrant>,
}

impl Claim<'_> {
    /// Whether the grants' sudo rights can stand side by side on one account.
    ///
    /// sudo belongs to the account, whichever certificate opened it. So rights that differ are added up only where that gives nobody
    /// more than they were granted: on somebody's own account, through different pools, under the same conditions and in the same
    /// hours (P8).
    pub(crate) fn agrees(&self) -> bool {
        let Some((first, rest)) = self.grants.split_first() else {
            return true;
        };
        if rest
            .iter()
            .all(|grant| grant.grant.sudo == first.grant.sudo)
        {
            return true;
        }
        let mut by_pool: BTreeMap<u32, &Sudo> = BTreeMap::new();
        self.owner.is_some()
            && rest.iter().all(|grant| {
                grant.grant.conditions == first.grant.conditions
                    && grant.grant.hours == first.grant.hours
            })
            && self.grants.iter().all(|grant| {
                *by_pool.entry(grant.pool).or_insert(&grant.grant.sudo) == &grant.grant.sudo
            })
    }

    fn sudo(&self) -> Sudo {
        let mut all = self.grants.iter().map(|grant| &grant.grant.sudo);
        let Some(first) = all.next().cloned() else {
            return Sudo::None;
        };
        if self.agrees() {
            all.fold(first, most)
        } else {
            all.fold(first, least)
        }
    }
}

/// For each account on a machine of `pools` the grants that put it there.
pub(crate) fn claims_in<'i>(
    index: &'i Index,
    pools: &[u32],
    now_unix_secs: u64,
) -> BTreeMap<&'i AccountName, Claim<'i>> {
    let mut claims: BTreeMap<&AccountName, Claim> = BTreeMap::new();
    let grants = pools
        .iter()
        .flat_map(|&pool| index.grants_on(pool))
        .filter(|grant| in_force(grant, now_unix_secs));
    for grant in grants {
        match &grant.grant.account {
            GrantAccount::Shared(account) => {
                // Nobody to use it is no reason to have it: an empty team makes no account.
                if index.people_of(grant).any(has_accounts) {
                    claims
                        .entry(account)
                        .or_insert_with(|| Claim {
                            owner: None,
                            grants: Vec::new(),
                        })
                        .grants
                        .push(grant);
                }
            }
            GrantAccount::Own => {
                for person in index.people_of(grant) {
                    if has_accounts(person) && person.own_account == OwnAccount::Sound {
                        claims
                            .entry(&person.employee.account)
                            .or_insert_with(|| Claim {
                                owner: Some(person),
                                grants: Vec::new(),
                            })
                            .grants
                            .push(grant);
                    }
                }
            }
        }
    }
    claims
}

fn has_accounts(person: &Person) -> bool {
    match person.employee.status {
        Status::Invited | Status::Active => true,
        Status::Suspended | Status::Removed => false,
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

/// One account on one machine that a person may use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Where.
    pub machine: MachineName,
    /// As whom.
    pub account: AccountName,
    /// The grants that give it, by rising number.
    pub grants: BTreeSet<GrantId>,
    /// Their principals: a certificate that carries any of these opens the account.
    pub principals: BTreeSet<Principal>,
}

impl Reach {
    /// The positions in `orders` of the certificates that open this account, best first: without a forced command before with, from
    /// anywhere before from some networks, more extensions before fewer, later end before earlier.
    #[must_use]
    pub fn orders_in(&self, orders: &[Order]) -> Vec<usize> {
        let mut serving: Vec<usize> = (0..orders.len())
            .filter(|&at| {
                self.principals
                    .iter()
                    .any(|principal| orders[at].principals().contains(principal))
            })
            .collect();
        serving.sort_by_key(|&at| {
            let order = &orders[at];
            let conditions = order.conditions();
            (
                conditions.forced_command.is_some(),
                !conditions.sources.is_empty(),
                Reverse(conditions.extensions.len()),
                Reverse(order.valid_before_unix_secs()),
            )
        });
        serving
    }

    /// The position in `orders` of the best certificate for this account, if any opens it.
    #[must_use]
    pub fn order_in(&self, orders: &[Order]) -> Option<usize> {
        self.orders_in(orders).first().copied()
    }
}

/// Every account on every machine that `email` may use at `now`, by machine and account; nothing unless they are active.
///
/// What needs a security key is among them: whether a session's own key is enough is seen in its orders ([`Reach::order_in`]).
#[must_use]
pub fn reach(index: &Index, email: &Email, now: OffsetDateTime) -> Vec<Reach> {
    let person = index
        .person(email)
        .filter(|person| person.employee.status == Status::Active);
    let (Some(person), Some(now_unix_secs)) = (person, unix_secs_floor(now)) else {
        return Vec::new();
    };
    let mut cells: BTreeMap<(u32, AccountName), Reach> = BTreeMap::new();
    for grant in index.grants_to(person) {
        if open_until(grant, now_unix_secs).is_none() {
            continue;
        }
        let principal = principal_of(index, person, grant);
        for machine in index.machine_numbers_in(grant.pool) {
            let cell = cells
                .entry((machine, principal.account.clone()))
                .or_insert_with(|| Reach {
                    machine: index.machine(machine).clone(),
                    account: principal.account.clone(),
                    grants: BTreeSet::new(),
                    principals: BTreeSet::new(),
                });
            cell.grants.insert(grant.id);
            cell.principals.insert(principal.clone());
        }
    }
    cells.into_values().collect()
}

/// The one principal that `grant` means for `person`.
pub(crate) fn principal_of(index: &Index, person: &Person, grant: &IndexedGrant) -> Principal {
    let account = match &grant.grant.account {
        GrantAccount::Own => &person.employee.account,
        GrantAccount::Shared(account) => account,
    };
    Principal::new(account.clone(), index.pool(grant.pool).clone())
}
