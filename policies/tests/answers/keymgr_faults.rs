//! What is wrong with a keymgr file, told by line and column; and that no text makes the reader fall over.

use policies::{Policy, check, import::keymgr};
use proptest::prelude::*;

use crate::{
    cases,
    keymgr::{NEXT, domain, faults},
};

#[test]
fn every_fault_has_its_line_and_column() {
    for (text, expected) in [
        (
            "hostgrp a : b",
            "1:1: \"hostgrp\" is no keyword; a line begins with hostgroup, usergroup or manage",
        ),
        (
            "\n  hostgroup a b",
            "2:3: there is no \":\" in this line; write hostgroup NAME : MEMBER…",
        ),
        (
            "hostgroup a : b : c",
            "1:17: a second \":\" in one line; start a line for each rule",
        ),
        (
            "hostgroup : b",
            "1:11: hostgroup needs one name before the \":\"",
        ),
        (
            "usergroup a b : c",
            "1:13: usergroup takes one name before the \":\", and \"b\" is a second one",
        ),
        (
            "usergroup a :",
            "1:13: nothing stands behind the \":\"; name at least one, or remove the line",
        ),
        (
            "usergroup a : # nobody",
            "1:13: nothing stands behind the \":\"; name at least one, or remove the line",
        ),
        (
            "manage : u1",
            "1:8: nothing stands before the \":\"; name at least one, or remove the line",
        ),
        (
            "hostgroup a : h1\n\nhostgroup a : h2",
            "3:11: a is defined in line 1 already; put all members into one line",
        ),
        (
            "hostgroup a : h1 h2 h1",
            "1:21: h1 stands twice on this side of the line; remove one",
        ),
        (
            "manage a : u1\nhostgroup a : h1",
            "1:8: a is used here and defined in line 2 only; move the definition above this line",
        ),
        (
            "usergroup a : b\nusergroup b : u1",
            "1:15: b is used here and defined in line 2 only; move the definition above this line",
        ),
        (
            "hostgroup a : a",
            "1:15: groups contain each other in a circle: a > a; remove one of these members",
        ),
        (
            "usergroup a : u1 c\nusergroup b : a\nusergroup c : b",
            "1:18: groups contain each other in a circle: a > c > b > a; remove one of these members",
        ),
        (
            "hostgroup a : h1\nmanage h1 : a",
            "2:13: a is a group of the other kind: before the \":\" of manage and in a hostgroup stand hosts, behind it and in a usergroup users",
        ),
        (
            "usergroup a : u1\nmanage a : u1",
            "2:8: a is a group of the other kind: before the \":\" of manage and in a hostgroup stand hosts, behind it and in a usergroup users",
        ),
        (
            "hostgroup a : h_1",
            "1:15: \"h_1\" is not a machine name: expected a host name: labels of a-z, 0-9 and -, parted by dots, at most 253 characters",
        ),
        (
            "manage h1 : ü1",
            "1:13: \"ü1@corp.example\" is not an email address: expected name@domain with the letters a-z, digits and . _ + - before the @, and a-z, digits, . and - after it",
        ),
        (
            "manage 10.0.0.1 : u1",
            "1:8: 10.0.0.1 cannot be the name of a pool (1 to 32 of a-z, 0-9, _, - and ., beginning with a letter); put the host into a hostgroup, and name that here",
        ),
        (
            "hostgroup 1a : h1",
            "1:11: \"1a\" is not a pool name: expected 1 to 32 of a-z, 0-9, _, - and ., beginning with a letter or _",
        ),
    ] {
        assert_eq!(faults(text), [format!("keys.cfg:{expected}")], "{text}");
    }
    let several = faults("hostgrp a : b\nmanage h1 :\nusergroup a : u1 u1");
    assert_eq!(several.len(), 3, "{several:?}");
}

proptest! {
    #![proptest_config(cases(5_000))]

    #[test]
    fn w3_no_text_panics_and_every_fault_is_in_the_file(text in "((hostgroup|usergroup|manage|x|#|:|[a-dA-B0]{1,2}|é)[ \n:#\t]{0,2}){0,24}|\\PC{0,40}") {
        match keymgr("f", &text, &domain()) {
            Ok(imported) => {
                // Every group that is named exists, and whatever comes out can be added.
                for pool in imported.pools.values().flat_map(|pool| &pool.include) {
                    prop_assert!(imported.pools.contains_key(pool));
                }
                for grant in &imported.grants {
                    prop_assert!(imported.pools.contains_key(&grant.pool));
                    match &grant.who {
                        policies::Grantee::Team(team) => prop_assert!(imported.teams.contains_key(team)),
                        policies::Grantee::Employee(email) => prop_assert!(imported.employees.contains(email)),
                    }
                }
                if let Ok(added) = imported.added_to(&Policy::default(), NEXT) {
                    let errors: Vec<_> = check(&added.policy).into_iter().filter(|problem| !matches!(problem, policies::Problem::OwnAccountIsSystem { .. } | policies::Problem::ReservedPool { .. })).collect();
                    prop_assert!(errors.is_empty(), "{errors:?}");
                }
            }
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                for fault in faults {
                    let line = text.trim_start_matches('\u{feff}').lines().nth(fault.at.line as usize - 1);
                    prop_assert!(line.is_some_and(|line| fault.at.column as usize <= line.chars().count()), "{fault}");
                }
            }
        }
    }
}
