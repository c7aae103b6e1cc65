//! A plan against the naive difference of everybody's reach before and after.

use std::collections::{BTreeMap, BTreeSet};

use policies::{
    AccountName, Email, GrantAccount, Index, MachineName, Policy, Status, accounts_on,
    plan::{Detail, Plan, Step, plan},
    reach,
};
use proptest::prelude::*;

use crate::{
    sound::{Dice, bytes},
    world::{NOW, cases},
};

type Cell = (Email, AccountName, MachineName);

/// Everybody has enrolled, and every hour is open.
fn open(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    for person in policy.employees.values_mut() {
        if person.status == Status::Invited {
            person.status = Status::Active;
        }
    }
    for grant in policy.grants.values_mut() {
        grant.hours = None;
    }
    policy
}

/// Each cell, with the terms of the grants that give it.
fn cells(policy: &Policy) -> BTreeMap<Cell, BTreeSet<String>> {
    let index = Index::new(&open(policy));
    let mut cells = BTreeMap::new();
    for email in policy.employees.keys() {
        for cell in reach(&index, email, NOW) {
            let terms = cell.grants.iter().map(|id| {
                let grant = &policy.grants[id];
                format!(
                    "{:?} {:?} {:?} {:?} {:?}",
                    grant.conditions,
                    grant.hours,
                    grant.until_unix_secs,
                    grant.sudo,
                    grant.recording
                )
            });
            cells.insert(
                (email.clone(), cell.account.clone(), cell.machine.clone()),
                terms.collect(),
            );
        }
    }
    cells
}

/// What a plan says, cell by cell; none may be said twice.
fn said(plan: &Plan, step: Step, policy: &Policy) -> BTreeSet<Cell> {
    let mut cells = BTreeSet::new();
    for access in plan.access.iter().filter(|access| access.step == step) {
        assert_eq!(access.people.count, access.people.names.len());
        assert_eq!(access.machines.count, access.machines.names.len());
        assert!(!access.grants.is_empty(), "{access}");
        for email in &access.people.names {
            let account = match &access.account {
                GrantAccount::Own => policy.employees[email].account.clone(),
                GrantAccount::Shared(account) => account.clone(),
            };
            for machine in &access.machines.names {
                assert!(cells.insert((email.clone(), account.clone(), machine.clone())));
            }
        }
    }
    cells
}

fn people(cells: &BTreeSet<Cell>) -> usize {
    let people: BTreeSet<&Email> = cells.iter().map(|(email, ..)| email).collect();
    people.len()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_plan_is_the_difference_of_what_everybody_reaches(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let before = dice.policy();
        let mut after = before.clone();
        for _ in 0..1 + dice.below(4) {
            dice.edit(&mut after);
        }
        let plan = plan(&before, &after, NOW, Detail::ALL);
        let (was, is) = (cells(&before), cells(&after));
        let lost: BTreeSet<Cell> = was.keys().filter(|cell| !is.contains_key(*cell)).cloned().collect();
        let gained: BTreeSet<Cell> = is.keys().filter(|cell| !was.contains_key(*cell)).cloned().collect();
        let other = |cell: &&Cell| is.get(*cell).is_some_and(|terms| *terms != was[*cell]);
        let changed: BTreeSet<Cell> = was.keys().filter(other).cloned().collect();
        prop_assert_eq!(&said(&plan, Step::Lost, &before), &lost);
        prop_assert_eq!(&said(&plan, Step::Gained, &after), &gained);
        prop_assert_eq!(&said(&plan, Step::Changed, &after), &changed);
        prop_assert_eq!(plan.counts.cells_lost, lost.len() as u64);
        prop_assert_eq!(plan.counts.cells_gained, gained.len() as u64);
        prop_assert_eq!(plan.counts.cells_changed, changed.len() as u64);
        prop_assert_eq!(plan.counts.people_losing, people(&lost));
        prop_assert_eq!(plan.counts.people_gaining, people(&gained));
        prop_assert_eq!(plan.counts.people_changed, people(&changed));
        for access in plan.access.iter().filter(|access| access.step == Step::Changed) {
            prop_assert!(!access.words.is_empty(), "{access}");
        }
        for access in &plan.access {
            let policy = if access.step == Step::Lost { &before } else { &after };
            prop_assert!(access.grants.iter().all(|id| policy.grants.contains_key(id)));
        }
        // The same policy twice is no plan, and a plan for a person can be read by a program.
        let same = policies::plan::plan(&after, &after, NOW, Detail::ALL);
        prop_assert!(same.is_empty(), "{same}");
        let json = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }

    #[test]
    fn a_plan_names_each_account_that_comes_or_goes_on_a_machine(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let before = dice.policy();
        let mut after = before.clone();
        for _ in 0..1 + dice.below(4) {
            dice.edit(&mut after);
        }
        let plan = plan(&before, &after, NOW, Detail::ALL);
        let (old, new) = (Index::new(&before), Index::new(&after));
        let mut expected = BTreeMap::new();
        let (mut machines, mut appearing, mut disappearing) = (0, 0, 0);
        for name in before.machines.keys().chain(after.machines.keys()) {
            let (was, is) = (accounts_on(&old, name, NOW), accounts_on(&new, name, NOW));
            let appear: Vec<_> = is.keys().filter(|account| !was.contains_key(*account)).cloned().collect();
            let disappear: Vec<_> = was.keys().filter(|account| !is.contains_key(*account)).cloned().collect();
            let stay: Vec<_> = was.keys().filter(|account| is.contains_key(*account)).collect();
            let sudo: Vec<_> = stay.iter().filter(|account| was[**account].sudo != is[**account].sudo).map(|account| (*account).clone()).collect();
            let principals = stay.iter().any(|account| was[*account].principals != is[*account].principals);
            let moved = before.machines.get(name) != after.machines.get(name);
            let accounts = !(appear.is_empty() && disappear.is_empty() && sudo.is_empty()) || principals;
            if (accounts || moved)
                && expected.insert(name.clone(), (appear.clone(), disappear.clone(), sudo, principals)).is_none()
            {
                machines += usize::from(accounts);
                appearing += appear.len() as u64;
                disappearing += disappear.len() as u64;
            }
        }
        let mut said = BTreeMap::new();
        for change in &plan.machines {
            let sudo: Vec<AccountName> = change.sudo.names.iter().map(|words| words.split(':').next().unwrap().parse().unwrap()).collect();
            for name in &change.machines.names {
                let entry = (change.appear.names.clone(), change.disappear.names.clone(), sudo.clone(), change.principals);
                prop_assert!(said.insert(name.clone(), entry).is_none());
            }
        }
        prop_assert_eq!(said, expected);
        prop_assert_eq!(plan.counts.machines, machines);
        prop_assert_eq!(plan.counts.accounts_appearing, appearing);
        prop_assert_eq!(plan.counts.accounts_disappearing, disappearing);
    }

    #[test]
    fn a_short_plan_counts_what_it_leaves_out(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let before = dice.policy();
        let mut after = before.clone();
        for _ in 0..4 {
            dice.edit(&mut after);
        }
        let whole = plan(&before, &after, NOW, Detail::ALL);
        let short = plan(&before, &after, NOW, Detail { entries: 2, names: 1 });
        prop_assert_eq!(short.counts, whole.counts);
        prop_assert_eq!(short.access.len(), whole.access.len().min(2));
        for (short, whole) in short.access.iter().zip(&whole.access) {
            prop_assert_eq!(short.people.count, whole.people.names.len());
            prop_assert_eq!(&short.machines.names[..], &whole.machines.names[..1]);
        }
        prop_assert_eq!(short.is_empty(), whole.is_empty());
    }
}
