//! An import added to a policy that is not empty: nothing is taken away, nobody is brought back, nothing is added twice.

use std::collections::BTreeSet;

use policies::{Status, import::Next};

use crate::{
    build::{Draft, email, grant},
    keymgr::{EXAMPLE, NEXT, read},
};

#[test]
fn an_import_into_a_policy_takes_nothing_away_and_a_second_one_changes_nothing() {
    let base = Draft::default()
        .employee("u1")
        .employee("zoe")
        .team("ug1", &["zoe"], &[])
        .pool("hg1", &[])
        .pool("old", &["hg1"])
        .machine("h1", &["old"])
        .grant(grant("%ug1", "deploy", "old"))
        .grant(grant("u1", "self", "hg3"))
        .with(|policy| {
            policy.pools.insert(
                "hg3".parse().unwrap(),
                policies::Pool {
                    title: "kept".to_owned(),
                    ..Default::default()
                },
            );
        });
    let added = read(EXAMPLE)
        .added_to(
            &base.0,
            Next {
                uid: 20_000,
                grant: 40,
            },
        )
        .unwrap();
    let after = &added.policy;
    for (name, team) in &base.0.teams {
        assert!(team.employees.is_subset(&after.teams[name].employees));
    }
    for (name, machine) in &base.0.machines {
        assert!(machine.pools.is_subset(&after.machines[name].pools));
    }
    for (id, grant) in &base.0.grants {
        assert_eq!(&after.grants[id], grant);
    }
    assert_eq!(
        after.employees[&email("u1")],
        base.0.employees[&email("u1")]
    );
    assert_eq!(after.pools[&"hg3".parse().unwrap()].title, "kept");
    // The grant of u1 on hg3 was there; the others have numbers that nobody had.
    assert_eq!(after.grants.len(), 2 + 5);
    assert!(after.grants.keys().all(|id| *id <= 2 || *id >= 40));
    // zoe's uid is 20001: it is not given again.
    let uids: BTreeSet<u32> = after
        .employees
        .values()
        .map(|employee| employee.uid)
        .collect();
    assert_eq!(uids.len(), after.employees.len());
    let told: Vec<&str> = added
        .notes
        .iter()
        .map(|note| note.sentence.as_str())
        .collect();
    assert!(
        told.iter()
            .any(|sentence| sentence.contains("the team ug1 is there already")),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|sentence| sentence.contains("the pool hg1 is there already")),
        "{told:?}"
    );

    let again = read(EXAMPLE).added_to(after, added.next).unwrap();
    assert_eq!(&again.policy, after);
    assert!(again.new_employees.is_empty());
    assert!(again.notes.is_empty(), "{:?}", again.notes);
}

#[test]
fn p9_who_was_removed_is_not_brought_back_by_an_import() {
    let mut base = Draft::default().employee("u1").employee("u4");
    base.person("u1").status = Status::Removed;
    base.person("u4").status = Status::Suspended;
    let added = read(EXAMPLE).added_to(&base.0, NEXT).unwrap();
    assert_eq!(added.policy.employees[&email("u1")].status, Status::Removed);
    assert!(
        !added.policy.teams[&"ug1".parse().unwrap()]
            .employees
            .contains(&email("u1"))
    );
    let names_u1 = |grant: &policies::Grant| grant.who == policies::Grantee::Employee(email("u1"));
    assert!(!added.policy.grants.values().any(names_u1));
    assert_eq!(
        added.policy.employees[&email("u4")].status,
        Status::Suspended
    );
    let told: Vec<&str> = added
        .notes
        .iter()
        .map(|note| note.sentence.as_str())
        .collect();
    assert!(
        told[0].contains("u1@corp.example was removed from this CA"),
        "{told:?}"
    );
}

#[test]
fn accounts_that_cannot_be_made_are_told_all_at_once() {
    let base = Draft::default().employee("zoe").with(|policy| {
        policy
            .employees
            .values_mut()
            .for_each(|zoe| zoe.account = "u2".parse().unwrap());
    });
    let errors = read("manage h1 : anna.b u2 3x")
        .added_to(&base.0, NEXT)
        .unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3);
    assert!(
        told[0].starts_with("3x@corp.example cannot have an account of that name; add them first"),
        "{told:?}"
    );
    assert!(
        told[2].starts_with(
            "u2@corp.example would have the account u2, which belongs to zoe@corp.example"
        ),
        "{told:?}"
    );
}
