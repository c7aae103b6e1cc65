//! P5: the matrix is what `decide` gives, cell by cell; `who` is its exact transpose; a filter shows exactly its part.

use std::collections::{BTreeMap, BTreeSet};

use policies::{
    AccountName, Email, Filter, GrantId, Index, KeyKind, MachineName, Policy, View,
    explain::{Question, explain},
    matrix::{Cell, Given, machines_in_matrix, matrix, who},
};
use proptest::prelude::*;
use time::OffsetDateTime;

use crate::{
    agree::{opened, orders, policy, question},
    build, cases,
    random::{Dice, MACHINES, PEOPLE, bytes},
};

/// A table as triples that can be compared from both sides.
type Triples = BTreeMap<(Email, MachineName, AccountName), BTreeSet<GrantId>>;

fn ids(grants: &[Given]) -> BTreeSet<GrantId> {
    let ids: BTreeSet<GrantId> = grants.iter().map(|given| given.grant).collect();
    assert_eq!(ids.len(), grants.len(), "a grant twice in one cell");
    assert!(!ids.is_empty(), "a cell without a grant");
    ids
}

fn by_rows(index: &Index, filter: &Filter, now: OffsetDateTime) -> Triples {
    let mut all = Triples::new();
    for row in matrix(index, filter, now) {
        for Cell {
            machine,
            account,
            grants,
        } in row.cells
        {
            let cell = (row.email.clone(), machine, account);
            assert!(all.insert(cell, ids(&grants)).is_none(), "a cell twice");
        }
    }
    all
}

fn by_columns(index: &Index, policy: &Policy, view: View, now: OffsetDateTime) -> Triples {
    let mut all = Triples::new();
    for machine in policy.machines.keys() {
        for one in who(index, machine, view, now) {
            let cell = (one.email, machine.clone(), one.account);
            assert!(all.insert(cell, ids(&one.grants)).is_none(), "a cell twice");
        }
    }
    all
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn p5_the_matrix_is_what_decide_gives_and_who_is_its_transpose(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let now = dice.now();
        let policy = { let about = question(&mut dice); policy(&mut dice, &about) };
        let index = Index::new(&policy);
        for view in [View::Now(KeyKind::Plain), View::Now(KeyKind::SecurityKey), View::Standing] {
            let rows = by_rows(&index, &Filter::all(view), now);
            prop_assert_eq!(&rows, &by_columns(&index, &policy, view, now));
            let View::Now(key) = view else { continue };
            let mut decided = BTreeSet::new();
            for email in policy.employees.keys() {
                let orders = orders(&policy, &index, email, key, now);
                for machine in policy.machines.keys() {
                    for (account, ..) in opened(&index, &orders, machine, now) {
                        decided.insert((email.clone(), machine.clone(), account));
                    }
                }
            }
            prop_assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), decided);
            // The cell's grants are those that explain lets through.
            let cells = rows.iter().take(3);
            for ((email, machine, account), grants) in cells {
                let question = Question { email: email.clone(), machine: machine.clone(), account: Some(account.clone()), key };
                let answer = explain(&policy, &question, now);
                let granting: BTreeSet<GrantId> = answer.rules.iter().filter(|rule| rule.grants()).map(|rule| rule.grant).collect();
                prop_assert_eq!(grants, &granting);
            }
        }
        // Nothing that is there now is missing from what stands.
        let standing = by_rows(&index, &Filter::all(View::Standing), now);
        for (cell, grants) in by_rows(&index, &Filter::all(View::Now(KeyKind::SecurityKey)), now) {
            prop_assert!(grants.is_subset(&standing[&cell]));
        }
    }

    #[test]
    fn a_filter_shows_exactly_its_part_of_the_whole(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let now = dice.now();
        let policy = { let about = question(&mut dice); policy(&mut dice, &about) };
        let index = Index::new(&policy);
        let all = by_rows(&index, &Filter::all(View::Standing), now);
        let filter = Filter {
            view: View::Standing,
            employees: (dice.below(2) == 0).then(|| PEOPLE[..dice.below(4)].iter().map(|name| build::email(name)).collect()),
            machines: (dice.below(2) == 0).then(|| MACHINES[..dice.below(4)].iter().map(|name| name.parse().unwrap()).collect()),
            pools: (dice.below(2) == 0).then(|| policy.pools.keys().take(dice.below(4)).cloned().collect()),
        };
        let wanted: Triples = all
            .into_iter()
            .filter(|((email, machine, _), _)| {
                filter.employees.as_ref().is_none_or(|wanted| wanted.contains(email))
                    && filter.machines.as_ref().is_none_or(|wanted| wanted.contains(machine))
                    && filter.pools.as_ref().is_none_or(|wanted| index.pools_of(machine).any(|pool| wanted.contains(pool)))
            })
            .collect();
        let shown = by_rows(&index, &filter, now);
        let columns: BTreeSet<&MachineName> = machines_in_matrix(&index, &filter).into_iter().collect();
        prop_assert!(shown.keys().all(|(_, machine, _)| columns.contains(machine)));
        prop_assert_eq!(shown, wanted);
        // Everybody has a line, also who reaches nothing.
        let people = matrix(&index, &filter, now).count();
        let wanted = policy.employees.keys().filter(|email| filter.employees.as_ref().is_none_or(|all| all.contains(email)));
        prop_assert_eq!(people, wanted.count());
    }
}
