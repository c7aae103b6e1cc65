//! Which numbers grants and people keep and get.

use std::collections::BTreeSet;

use policies::{
    Policy, Status,
    document::{Base, Numbers, Orphans, Spent, export, read},
};

use crate::world::{bad, email, good, machines, numbers, person, read_against};

const ANN: &str = "[employee.\"ann@corp.example\"]\n";

fn ids(policy: &Policy) -> Vec<(u64, String)> {
    let grants = policy.grants.iter();
    grants
        .map(|(id, grant)| (*id, grant.pool.to_string()))
        .collect()
}

#[test]
fn a_grant_keeps_its_number_by_what_it_says_or_by_its_id() {
    let written = |text: &str| format!("{ANN}[pool.a]\n[pool.b]\n[pool.c]\n{text}");
    let plain = |pool: &str| {
        format!(
            "[[grant]]\nemployee = \"ann@corp.example\"\npool = \"{pool}\"\nlifetime = \"1h\"\n"
        )
    };
    let first = good(&machines(&[]), &written(&(plain("a") + &plain("b")))).policy;
    let text = |numbers: &[(u64, &str)]| -> Vec<(u64, String)> {
        numbers
            .iter()
            .map(|(id, pool)| (*id, (*pool).to_owned()))
            .collect()
    };
    assert_eq!(ids(&first), text(&[(1, "a"), (2, "b")]));
    // The order does not matter, nor what is new beside it.
    let second = good(&first, &written(&(plain("c") + &plain("b") + &plain("a"))));
    assert_eq!(ids(&second.policy), text(&[(1, "a"), (2, "b"), (3, "c")]));
    assert_eq!(second.numbers.next_grant, 4);
    // What says something else is another grant, unless it says which one it is.
    let other = plain("b").replace("1h", "2h");
    assert_eq!(
        ids(&good(&first, &written(&other)).policy),
        text(&[(3, "b")])
    );
    let same = other.replace("[[grant]]\n", "[[grant]]\nid = 2\n");
    let changed = good(&first, &written(&same)).policy;
    assert_eq!(ids(&changed), text(&[(2, "b")]));
    assert_eq!(changed.grants[&2].conditions.max_lifetime_secs, Some(7200));
}

#[test]
fn p9_the_number_of_a_grant_that_is_gone_is_not_given_again() {
    let mut store = good(
        &machines(&[]),
        &format!("{ANN}[pool.a]\n[pool.b]\nemployees = [\"ann@corp.example\"]\n"),
    )
    .policy;
    store.grants.clear();
    let base = Base {
        file: "policy.toml",
        store: &store,
        numbers: Numbers {
            next_grant: 2,
            ..numbers()
        },
        enrolled: &BTreeSet::new(),
        spent: &Spent::default(),
        orphans: Orphans::Refuse,
    };
    let grant = |ids: &[&str]| {
        let pools = ["a", "b", "b"];
        let grants: String = ids
            .iter()
            .zip(pools)
            .map(|(id, pool)| {
                format!("[[grant]]\n{id}employee = \"ann@corp.example\"\npool = \"{pool}\"\n")
            })
            .collect();
        format!("{ANN}[pool.a]\n[pool.b]\n{grants}")
    };
    let faults = |text: &str| -> Vec<String> {
        let faults = read(text, &base).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        faults(&grant(&["id = 1\n"])),
        [
            "policy.toml:5:6: there is no grant 1 any longer, and its number is not given again; leave the id out: the grant gets its own"
        ]
    );
    assert_eq!(
        faults(&grant(&["id = 5\n", "id = 5\n"])),
        [
            "policy.toml:9:6: grant 5 is there twice, the first time in line 4; leave out the id of the new one: it gets its own"
        ]
    );
    assert_eq!(
        faults(&grant(&["id = 9223372036854775808\n", "id = -1\n"])),
        [
            "policy.toml:5:6: 9223372036854775808 is no grant's number; leave the id out: the grant gets its own",
            "policy.toml:9:6: -1 is no grant's number; leave the id out: the grant gets its own",
        ]
    );
    let reading = read(&grant(&["id = 5\n", ""]), &base).unwrap();
    assert_eq!(
        reading.policy.grants.keys().copied().collect::<Vec<_>>(),
        [5, 6]
    );
    assert_eq!(reading.numbers.next_grant, 7);
}

#[test]
fn shorthand_is_a_grant_of_the_own_account_and_is_written_back_as_shorthand() {
    let store = machines(&["web-1"]);
    let text =
        format!("{ANN}[pool.web]\nmachines = [\"web-1\"]\nemployees = [\"ann@corp.example\"]\n");
    let policy = good(&store, &text).policy;
    assert_eq!(policy.grants.len(), 1);
    let written = export(&policy, &[]);
    assert!(
        written.contains("employees = [\"ann@corp.example\"]"),
        "{written}"
    );
    assert!(!written.contains("[[grant]]"), "{written}");
    // Two that say the same can only be told apart by their numbers.
    let mut twice = policy.clone();
    twice.grants.insert(7, policy.grants[&1].clone());
    let written = export(&twice, &[]);
    assert!(!written.contains("employees ="), "{written}");
    assert_eq!(good(&twice, &written).policy, twice);
}

#[test]
fn new_people_get_the_next_uids_and_old_ones_keep_theirs() {
    let mut store = machines(&[]);
    person(&mut store, "ann@corp.example", 66_000, Status::Active);
    person(&mut store, "gone@corp.example", 66_001, Status::Removed);
    let text = format!(
        "{ANN}[employee.\"bob@corp.example\"]\n[employee.\"cyd@corp.example\"]\nuid = 66004\n[employee.\"dan@corp.example\"]\naccount = \"danny\"\n"
    );
    let reading = good(&store, &text);
    let uid = |name: &str| reading.policy.employees[&email(name)].uid;
    assert_eq!(
        ["ann", "bob", "cyd", "dan", "gone"].map(|name| uid(&format!("{name}@corp.example"))),
        [66_000, 66_002, 66_004, 66_003, 66_001]
    );
    assert_eq!(reading.numbers.next_uid, 66_005);
    let dan = &reading.policy.employees[&email("dan@corp.example")];
    assert_eq!(
        (dan.account.as_str(), dan.status, dan.epoch),
        ("danny", Status::Invited, 1)
    );
    assert_eq!(
        reading.policy.employees[&email("gone@corp.example")].status,
        Status::Removed
    );

    let base = Base {
        file: "policy.toml",
        store: &store,
        numbers: Numbers {
            next_uid: 66_002,
            last_uid: 66_002,
            ..numbers()
        },
        enrolled: &BTreeSet::new(),
        spent: &Spent::default(),
        orphans: Orphans::Refuse,
    };
    let text = format!("{ANN}[employee.\"bob@corp.example\"]\n[employee.\"cyd@corp.example\"]\n");
    let faults = read(&text, &base).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "policy.toml:3:11: the range of uids is used up; widen `sync.uids` in config.toml and restart the server"
    );
}

#[test]
fn p9_who_is_not_named_is_removed_and_who_returns_is_who_they_were() {
    let mut store = machines(&[]);
    person(&mut store, "ann@corp.example", 66_000, Status::Active);
    person(&mut store, "bob@corp.example", 66_001, Status::Suspended);
    person(&mut store, "gone@corp.example", 66_002, Status::Removed);
    let reading = good(&store, "[employee.\"gone@corp.example\"]\n");
    let status = |policy: &Policy, name: &str| policy.employees[&email(name)].status;
    assert_eq!(status(&reading.policy, "ann@corp.example"), Status::Removed);
    assert_eq!(status(&reading.policy, "bob@corp.example"), Status::Removed);
    let back = &reading.policy.employees[&email("gone@corp.example")];
    assert_eq!(
        (back.uid, back.epoch, back.status),
        (66_002, 3, Status::Invited)
    );
    assert_eq!(
        bad(
            &store,
            "[employee.\"gone@corp.example\"]\naccount = \"new\"\n"
        ),
        [
            "policy.toml:2:11: gone@corp.example has the account gone for ever, and this says new; write gone, or leave it out"
        ]
    );
}

#[test]
fn suspended_and_resumed() {
    let mut store = machines(&[]);
    for (name, uid, status) in [
        ("ann", 66_000, Status::Active),
        ("bob", 66_001, Status::Suspended),
        ("cyd", 66_002, Status::Invited),
        ("dan", 66_003, Status::Suspended),
    ] {
        person(&mut store, &format!("{name}@corp.example"), uid, status);
    }
    let text = |flags: [bool; 4]| -> String {
        let people = ["ann", "bob", "cyd", "dan"].iter().zip(flags);
        people
            .map(|(name, flag)| format!("[employee.\"{name}@corp.example\"]\nsuspended = {flag}\n"))
            .collect()
    };
    let enrolled = BTreeSet::from([email("ann@corp.example"), email("bob@corp.example")]);
    let base = Base {
        file: "policy.toml",
        store: &store,
        numbers: numbers(),
        enrolled: &enrolled,
        spent: &Spent::default(),
        orphans: Orphans::Refuse,
    };
    let statuses = |text: &str| -> Vec<Status> {
        let policy = read(text, &base).unwrap().policy;
        policy
            .employees
            .values()
            .map(|person| person.status)
            .collect()
    };
    use Status::{Active, Invited, Suspended};
    assert_eq!(
        statuses(&text([false; 4])),
        [Active, Active, Invited, Invited]
    );
    assert_eq!(statuses(&text([true; 4])), [Suspended; 4]);
    assert_eq!(
        statuses(&text([false, true, false, true])),
        [Active, Suspended, Invited, Suspended]
    );
    assert!(
        read_against(&store, "").is_ok(),
        "an empty document removes everybody"
    );
}

#[test]
fn an_end_is_a_time_with_its_offset_in_either_form() {
    let until = |text: &str| {
        let text = format!(
            "{ANN}[pool.a]\n[[grant]]\nemployee = \"ann@corp.example\"\npool = \"a\"\nuntil = {text}\n"
        );
        good(&machines(&[]), &text).policy.grants[&1].until_unix_secs
    };
    let expected = Some(1_798_736_400);
    for text in [
        "2026-12-31T18:00:00+01:00",
        "\"2026-12-31T18:00:00+01:00\"",
        "2026-12-31 17:00:00Z",
        "2026-12-31T17:00:00.999Z",
        "\"2026-12-31T17:00:00.999Z\"",
        "1798736400",
    ] {
        assert_eq!(until(text), expected, "{text}");
    }
}
