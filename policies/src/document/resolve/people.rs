//! People of a document: who is new, who returns, who is suspended or resumed, and who is gone.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    Base, Holder, Numbers,
    draft::{Draft, DraftEmployee, Presence},
    fault::{Collector, Kind, Wrong},
    numbers::next_uid,
};
use super::places::Places;
use crate::{AccountName, Email, Employee, GrantAccount, Policy, Status};

/// Everybody: those of the document, and as removed those whom it does not name.
pub(super) fn employees(
    draft: &Draft,
    base: &Base<'_>,
    numbers: &mut Numbers,
    faults: &mut Collector<'_>,
) -> BTreeMap<Email, Employee> {
    let taken: BTreeSet<u32> = draft
        .employees
        .iter()
        .filter_map(|entry| entry.uid.as_ref())
        .map(|uid| uid.value)
        .chain(base.store.employees.values().map(|stored| stored.uid))
        .collect();
    let mut first: BTreeMap<&Email, usize> = BTreeMap::new();
    let mut employees = BTreeMap::new();
    for entry in &draft.employees {
        let email = &entry.email.value;
        if let Some(byte) = first.get(email) {
            // By byte, so that the second is the one that is told, whatever the order of the keys.
            let (one, other) = (entry.email.byte.min(*byte), entry.email.byte.max(*byte));
            let twice = Wrong::DefinedTwice {
                kind: Kind::Employee,
                name: email.to_string(),
                line: faults.lines.line(one),
            };
            faults.add(other, twice);
            continue;
        }
        first.insert(email, entry.email.byte);
        let stored = base.store.employees.get(email);
        let account = account(entry, stored, base, faults);
        let uid = uid(entry, stored, &taken, base, numbers, faults);
        let (Some(account), Some(uid)) = (account, uid) else {
            continue;
        };
        let employee = Employee {
            email: email.clone(),
            name: entry.name.clone(),
            account,
            uid,
            status: status(entry, stored, base),
            roles: entry.roles.clone(),
            epoch: stored.map_or(1, |stored| stored.epoch),
        };
        employees.insert(email.clone(), employee);
    }
    let range = numbers.first_uid..=numbers.last_uid;
    let highest = taken.range(range).next_back().copied();
    if let Some(next) = highest.and_then(|uid| uid.checked_add(1)) {
        numbers.next_uid = numbers.next_uid.max(next);
    }
    for (email, stored) in &base.store.employees {
        if !first.contains_key(email) {
            employees.insert(email.clone(), gone(stored));
        }
    }
    employees
}

/// Names and uid stay theirs for ever (P9).
fn gone(stored: &Employee) -> Employee {
    if stored.status == Status::Removed {
        return stored.clone();
    }
    Employee {
        status: Status::Removed,
        roles: BTreeSet::new(),
        ..stored.clone()
    }
}

fn account(
    entry: &DraftEmployee,
    stored: Option<&Employee>,
    base: &Base<'_>,
    faults: &mut Collector<'_>,
) -> Option<AccountName> {
    let email = &entry.email.value;
    let (byte, account) = match (&entry.account, stored) {
        (None, Some(stored)) => return Some(stored.account.clone()),
        (Some(written), Some(stored)) => {
            if written.value != stored.account {
                faults.add(
                    written.byte,
                    Wrong::Fixed {
                        what: "account",
                        email: email.clone(),
                        stored: stored.account.to_string(),
                        written: written.value.to_string(),
                    },
                );
            }
            return Some(stored.account.clone());
        }
        (Some(written), None) => (written.byte, written.value.clone()),
        (None, None) => {
            let local = email.as_str().split('@').next().unwrap_or_default();
            match local.parse() {
                Ok(account) => (entry.email.byte, account),
                Err(_) => {
                    let no_account = Wrong::NoAccount {
                        email: email.clone(),
                        local: local.to_owned(),
                    };
                    faults.add(entry.email.byte, no_account);
                    return None;
                }
            }
        }
    };
    match base.spent.accounts.get(&account) {
        None => {}
        Some(Holder::Employee(holder)) if holder == email => {}
        Some(holder) => {
            let spent = Wrong::SpentAccount {
                account: account.clone(),
                holder: holder.clone(),
            };
            faults.add(byte, spent);
        }
    }
    Some(account)
}

fn uid(
    entry: &DraftEmployee,
    stored: Option<&Employee>,
    taken: &BTreeSet<u32>,
    base: &Base<'_>,
    numbers: &mut Numbers,
    faults: &mut Collector<'_>,
) -> Option<u32> {
    match (&entry.uid, stored) {
        (None, Some(stored)) => Some(stored.uid),
        (Some(written), Some(stored)) => {
            if written.value != stored.uid {
                faults.add(
                    written.byte,
                    Wrong::Fixed {
                        what: "uid",
                        email: entry.email.value.clone(),
                        stored: stored.uid.to_string(),
                        written: written.value.to_string(),
                    },
                );
            }
            Some(stored.uid)
        }
        (Some(written), None) => {
            let uid = written.value;
            if (base.numbers.first_uid..base.numbers.next_uid).contains(&uid) {
                faults.add(written.byte, Wrong::SpentUid { uid });
            }
            Some(uid)
        }
        (None, None) => {
            let uid = next_uid(numbers, taken);
            if uid.is_none() {
                faults.add(entry.email.byte, Wrong::UidsUsedUp);
            }
            uid
        }
    }
}

fn status(entry: &DraftEmployee, stored: Option<&Employee>, base: &Base<'_>) -> Status {
    match (entry.presence, stored.map(|stored| stored.status)) {
        (Presence::Suspended, _) => Status::Suspended,
        (Presence::Here, Some(status @ (Status::Active | Status::Invited))) => status,
        (Presence::Here, Some(Status::Suspended)) => {
            if base.enrolled.contains(&entry.email.value) {
                Status::Active
            } else {
                Status::Invited
            }
        }
        (Presence::Here, Some(Status::Removed) | None) => Status::Invited,
    }
}

/// Shared accounts whose name was somebody's own once.
pub(super) fn shared_accounts(
    policy: &Policy,
    base: &Base<'_>,
    places: &Places<'_>,
    faults: &mut Collector<'_>,
) {
    for (id, grant) in &policy.grants {
        let GrantAccount::Shared(account) = &grant.account else {
            continue;
        };
        // Of those who are in the policy, also as removed, `check` tells.
        if let Some(Holder::Employee(email)) = base.spent.accounts.get(account)
            && !policy.employees.contains_key(email)
        {
            let spent = Wrong::SpentAccount {
                account: account.clone(),
                holder: Holder::Employee(email.clone()),
            };
            faults.add(places.grants.get(id).copied().unwrap_or(0), spent);
        }
    }
}
