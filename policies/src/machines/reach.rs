//! Which accounts on which machines somebody may use now, and with which certificate.

use std::{cmp::Reverse, collections::BTreeSet};

use time::OffsetDateTime;

use crate::{
    AccountName, Email, GrantAccount, GrantId, Index, MachineName, Order, Principal, Status,
    decide::{open_until, unix_secs_floor},
    index::{IndexedGrant, Person},
};

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
    /// anywhere before from some networks, for any key before for a security key only, more extensions before fewer, later end
    /// before earlier.
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
                conditions.key,
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
    let granted: Vec<(GrantId, Principal)> = index
        .grants_to(person)
        .into_iter()
        .filter(|grant| open_until(grant, now_unix_secs).is_some())
        .map(|grant| (grant.id, principal_of(index, person, grant)))
        .collect();
    let mut doors: Vec<(u32, &AccountName, usize)> = Vec::new();
    for (at, (_, principal)) in granted.iter().enumerate() {
        let machines = index.pool_number(&principal.pool).into_iter();
        let machines = machines.flat_map(|pool| index.machine_numbers_in(pool));
        doors.extend(machines.map(|machine| (machine, &principal.account, at)));
    }
    // A machine that is in two pools below the grant's came twice.
    doors.sort_unstable();
    doors.dedup();
    doors
        .chunk_by(|(machine, account, _), next| (machine, account) == (&next.0, &next.1))
        .map(|cell| Reach {
            machine: index.machine(cell[0].0).clone(),
            account: cell[0].1.clone(),
            grants: cell.iter().map(|&(.., at)| granted[at].0).collect(),
            principals: cell.iter().map(|&(.., at)| granted[at].1.clone()).collect(),
        })
        .collect()
}

/// The one principal that `grant` means for `person`.
pub(crate) fn principal_of(index: &Index, person: &Person, grant: &IndexedGrant) -> Principal {
    let account = match &grant.grant.account {
        GrantAccount::Own => &person.employee.account,
        GrantAccount::Shared(account) => account,
    };
    Principal::new(account.clone(), index.pool(grant.pool).clone())
}
