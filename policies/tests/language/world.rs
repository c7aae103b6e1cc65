//! A small store, and documents read against it.

use std::collections::BTreeSet;

use policies::{
    Email, Employee, Machine, Policy, Status,
    document::{Base, Faults, Numbers, Orphans, Reading, Spent, read},
};
use proptest::prelude::ProptestConfig;
use time::{OffsetDateTime, macros::datetime};

/// A Sunday.
pub const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

/// `POLICIES_CASES=100000` runs that many.
pub fn cases() -> ProptestConfig {
    let count = std::env::var("POLICIES_CASES")
        .ok()
        .map_or(1000, |text| text.parse().unwrap());
    ProptestConfig {
        cases: count,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub fn numbers() -> Numbers {
    Numbers {
        next_grant: 1,
        first_uid: 66_000,
        next_uid: 66_000,
        last_uid: 99_999,
    }
}

/// Numbers that go on behind all that are in `store`.
pub fn numbers_behind(store: &Policy) -> Numbers {
    let uids = store.employees.values().map(|person| person.uid);
    let ids = store.grants.keys().map(|id| id + 1);
    Numbers {
        next_grant: ids.max().unwrap_or(1),
        next_uid: uids.map(|uid| uid + 1).max().unwrap_or(0).max(66_000),
        ..numbers()
    }
}

/// A store that only has machines, each in a pool of its own making.
pub fn machines(names: &[&str]) -> Policy {
    let mut store = Policy::default();
    for name in names {
        store
            .machines
            .insert(name.parse().unwrap(), Machine::default());
    }
    store
}

pub fn email(text: &str) -> Email {
    text.parse().unwrap()
}

pub fn person(store: &mut Policy, address: &str, uid: u32, status: Status) {
    let account = address.split('@').next().unwrap().parse().unwrap();
    let person = Employee {
        email: email(address),
        name: String::new(),
        account,
        uid,
        status,
        roles: BTreeSet::new(),
        epoch: 3,
    };
    store.employees.insert(email(address), person);
}

pub fn read_against(store: &Policy, text: &str) -> Result<Reading, Faults> {
    let everybody = store.employees.keys().cloned().collect();
    let base = Base {
        file: "policy.toml",
        store,
        numbers: numbers_behind(store),
        enrolled: &everybody,
        spent: &Spent::default(),
        orphans: Orphans::Refuse,
    };
    read(text, &base)
}

/// A document that must be without a fault.
pub fn good(store: &Policy, text: &str) -> Reading {
    read_against(store, text).unwrap_or_else(|faults| panic!("{faults}\n---\n{text}"))
}

/// The faults of a document that must have some, a line each.
pub fn bad(store: &Policy, text: &str) -> Vec<String> {
    match read_against(store, text) {
        Ok(reading) => panic!("no fault in {text}\n{reading:?}"),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}
