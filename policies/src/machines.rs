//! What policy means for machines: the accounts and principals on each, and which machines a person reaches.

mod claim;
mod reach;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use time::OffsetDateTime;

pub(crate) use claim::{Claim, Claims};
pub(crate) use reach::principal_of;
pub use reach::{Reach, reach};

use crate::{
    AccountName, Email, Employee, Index, MachineName, PoolName, Principal, Sudo,
    decide::unix_secs_floor,
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
/// grant whose `until` is over counts no more. One whose hours are not now does: an account does not come and go with the hours.
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
    accounts_seen_in(index, pools, now)
        .into_iter()
        .map(|seen| (seen.account.clone(), seen.to_owned()))
        .collect()
}

/// The same as [`accounts_on`], by account name, as a view into `index`: for whoever goes over a whole fleet.
#[must_use]
pub fn accounts_seen_on<'i>(
    index: &'i Index,
    machine: &MachineName,
    now: OffsetDateTime,
) -> Vec<SeenAccount<'i>> {
    accounts_seen_in(index, index.pool_numbers_of(machine), now)
}

/// [`accounts_seen_on`] for any machine that belongs to exactly these pools.
pub(crate) fn accounts_seen_in<'i>(
    index: &'i Index,
    pools: &'i [u32],
    now: OffsetDateTime,
) -> Vec<SeenAccount<'i>> {
    let claims = Claims::of(index, pools, unix_secs_floor(now).unwrap_or(0));
    claims
        .iter()
        .map(|claim| SeenAccount {
            account: claim.account(),
            sudo: claim.sudo(),
            owner: claim.owner().map(|person| &person.employee),
            system_account: claim.grants().any(|grant| grant.grant.system_account)
                && crate::rules::is_system_account(claim.account()),
            index,
            pools,
        })
        .collect()
}

/// A [`MachineAccount`] with its name, that owns nothing of it.
#[derive(Debug, Clone)]
pub struct SeenAccount<'i> {
    /// Its name.
    pub account: &'i AccountName,
    /// What it may do through sudo.
    pub sudo: Cow<'i, Sudo>,
    /// Whose own it is; `None` for a shared one.
    pub owner: Option<&'i Employee>,
    /// As [`MachineAccount::system_account`].
    pub system_account: bool,
    index: &'i Index,
    pools: &'i [u32],
}

impl<'i> SeenAccount<'i> {
    /// The pools that its machine belongs to, sorted: it has a principal for each.
    pub fn pools(&self) -> impl Iterator<Item = &'i PoolName> {
        self.pools.iter().map(|&pool| self.index.pool(pool))
    }

    /// The lines of its principals file, sorted.
    pub fn principals(&self) -> impl Iterator<Item = Principal> {
        self.pools()
            .map(|pool| Principal::new(self.account.clone(), pool.clone()))
    }

    /// Appends its principals file to `text`: one line for each principal, each with its newline.
    pub fn write_principals(&self, text: &mut String) {
        for pool in self.pools() {
            text.push_str(self.account.as_str());
            text.push('@');
            text.push_str(pool.as_str());
            text.push('\n');
        }
    }

    /// With everything of its own.
    #[must_use]
    pub fn to_owned(&self) -> MachineAccount {
        MachineAccount {
            principals: self.principals().collect(),
            sudo: self.sudo.clone().into_owned(),
            owner: self.owner.map(|employee| employee.email.clone()),
            uid: self.owner.map(|employee| employee.uid),
            system_account: self.system_account,
        }
    }
}
