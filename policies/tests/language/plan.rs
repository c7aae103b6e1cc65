//! What a plan says, in words.

use policies::{
    Policy,
    document::export,
    plan::{Detail, plan},
};

use crate::{
    examples::{EXAMPLES, store_of},
    world::{NOW, good},
};

fn company() -> Policy {
    let (_, text) = EXAMPLES[0];
    let mut policy = good(&store_of(text), text).policy;
    for person in policy.employees.values_mut() {
        person.status = policies::Status::Active;
    }
    policy
}

/// The plan of the small company's document with `from` replaced by `to`, line by line.
fn planned(replacements: &[(&str, &str)]) -> Vec<String> {
    let before = company();
    let mut text = export(&before, &[]);
    for (from, to) in replacements {
        assert!(text.contains(from), "{from} is not in {text}");
        text = text.replace(from, to);
    }
    let after = good(&before, &text).policy;
    let plan = plan(&before, &after, NOW, Detail::SUMMARY);
    plan.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_same_document_changes_nothing() {
    assert_eq!(planned(&[]), ["nothing changes"]);
}

#[test]
fn a_person_who_is_not_named_any_longer_is_removed_loudly() {
    let lines = planned(&[
        (
            "[employee.\"bob@corp.example\"]\nname = \"Bob Brandt\"\naccount = \"bob\"\nuid = 66001\n",
            "",
        ),
        ("\"bob@corp.example\", ", ""),
        ("employees = [\"bob@corp.example\"]\n", ""),
    ]);
    assert_eq!(
        lines,
        [
            "REMOVED, with all that they reach: bob@corp.example",
            "team developers changes: employees: -bob@corp.example",
            "grant 4 goes: bob@corp.example: the own account on pool database",
            "- bob@corp.example as themselves on db-1, web-1, web-2 by grants 1, 4",
            "machine db-1, web-1, web-2: closes the accounts bob",
            "accounts on machines in all: 3 lost by 1 person, 0 gained by 0 people, 0 kept under other terms by 0 people",
            "machines in all: 3 with 0 new accounts and 3 closed",
        ]
    );
}

#[test]
fn terms_that_change_are_said_with_what_they_were() {
    let lines = planned(&[(
        "[[grant]]\nid = 1\nteam = \"developers\"\npool = \"web\"\n",
        "[[grant]]\nid = 1\nteam = \"developers\"\npool = \"web\"\nlifetime = \"30m\"\nsudo = \"all\"\nhours = \"Mon-Fri 08:00-18:00 Europe/Berlin\"\n",
    )]);
    assert_eq!(
        lines,
        [
            "grant 1 changes: sudo: all commands, before none; lifetime: 30m, before the default; hours: Mon-Fri 08:00-18:00 Europe/Berlin, before any",
            "~ bob@corp.example, carol@corp.example as themselves on web-1, web-2 (sudo: all commands, before none; lifetime: 30m, before the default; hours: Mon-Fri 08:00-18:00 Europe/Berlin, before any) by grant 1",
            "machine web-1, web-2: other sudo rights for bob: all commands, before none, cconti: all commands, before none",
            "accounts on machines in all: 0 lost by 0 people, 0 gained by 0 people, 4 kept under other terms by 2 people",
            "machines in all: 2 with 0 new accounts and 0 closed",
        ]
    );
}

#[test]
fn people_limits_and_pools_are_named() {
    let lines = planned(&[
        ("admin_lifetime = \"1h\"", "admin_lifetime = \"15m\""),
        ("roles = [\"admin\"]\n", "suspended = true\n"),
        (
            "uid = 66002\n",
            "uid = 66002\n[employee.\"dora@corp.example\"]\n",
        ),
        (
            "employees = [\"bob@corp.example\"]",
            "employees = [\"dora@corp.example\"]\n[pool.new]\nmachines = [\"db-1\"]",
        ),
    ]);
    assert_eq!(
        lines,
        [
            "suspended: login closes, certificates are revoked: alice@corp.example",
            "no admin of this CA any longer: alice@corp.example",
            "invited: dora@corp.example",
            "limit admin_lifetime: 15m, before 1h",
            "pool new is new",
            "grant 4 goes: bob@corp.example: the own account on pool database",
            "grant 5 is new: dora@corp.example: the own account on pool database",
            "- alice@corp.example as themselves on db-1, web-1, web-2 by grants 2, 3",
            "- bob@corp.example as themselves on db-1 by grant 4",
            "+ dora@corp.example as themselves on db-1 by grant 5",
            "machine db-1: joins pool new; closes the accounts alice, bob; gets the accounts dora",
            "machine web-1, web-2: closes the accounts alice",
            "note: nobody who can log in would have the admin role: admin commands would work on the CA's own host only",
            "accounts on machines in all: 4 lost by 2 people, 1 gained by 1 person, 0 kept under other terms by 0 people",
            "machines in all: 3 with 1 new account and 4 closed",
        ]
    );
}

#[test]
fn i1_more_principals_than_a_certificate_holds_are_told_before_anybody_is_refused() {
    let before = company();
    let mut text = export(&before, &[]);
    for n in 0..257 {
        text.push_str(&format!(
            "[pool.p{n}]\n[[grant]]\nteam = \"ops\"\npool = \"p{n}\"\n"
        ));
    }
    let after = good(&before, &text).policy;
    let plan = plan(&before, &after, NOW, Detail::SUMMARY);
    assert_eq!(
        plan.warnings,
        [
            "alice@corp.example has 259 principals under one set of conditions, more than one certificate holds: they will be spread over 2 certificates; grants on a pool that includes others would need fewer"
        ]
    );
}

#[test]
fn an_end_in_the_past_is_told() {
    let lines = planned(&[("id = 1\n", "id = 1\nuntil = 2026-11-22T11:59:59Z\n")]);
    assert!(
        lines.contains(
            &"note: grant 1 ended 2026-11-22T11:59:59Z already, and gives nothing".to_owned()
        ),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("- bob@corp.example, carol@corp.example"))
    );
}

#[test]
fn what_must_not_be_stored_is_refused_by_the_plan_too() {
    let before = company();
    let mut after = before.clone();
    after.grants.get_mut(&1).unwrap().recording = policies::Recording::Required;
    let plan = plan(&before, &after, NOW, Detail::SUMMARY);
    assert_eq!(plan.errors.len(), 1);
    assert!(
        plan.to_string()
            .starts_with("refused: grant 1 wants sessions recorded"),
        "{plan}"
    );
}
