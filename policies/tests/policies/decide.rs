//! Who is granted what: default deny, status, nesting, one certificate for each condition set.

use std::collections::BTreeSet;

use policies::{
    Conditions, Decision, DenyReason, Extension, Index, KeyId, Narrow, Policy, Status, decide,
};

use crate::build::*;

fn denied(index: &Index, who: &str) -> DenyReason {
    match decide(index, &request(who), now()) {
        Decision::Deny(reason) => reason,
        Decision::Grant(orders) => panic!("granted: {orders:?}"),
    }
}

#[test]
fn p1_nothing_is_granted_where_nothing_says_so() {
    assert_eq!(
        denied(&Index::new(&Policy::default()), "alice"),
        DenyReason::UnknownEmployee
    );
    let draft = Draft::default()
        .employee("alice")
        .employee("bob")
        .pool("web", &[])
        .machine("web-1", &["web"])
        .team("ops", &["bob"], &[])
        .grant(grant("%ops", "self", "web"));
    assert_eq!(denied(&draft.index(), "alice"), DenyReason::NoGrant);
    assert_eq!(
        principals(&orders(&draft.index(), &request("bob"))),
        ["bob@web"]
    );
}

#[test]
fn p3_only_active_people_are_granted_anything() {
    let mut draft = Draft::default()
        .employee("alice")
        .pool("web", &[])
        .grant(grant("alice", "self", "web"));
    assert_eq!(orders(&draft.index(), &request("alice")).len(), 1);
    for status in [Status::Invited, Status::Suspended, Status::Removed] {
        draft.person("alice").status = status;
        assert_eq!(
            denied(&draft.index(), "alice"),
            DenyReason::NotActive(status)
        );
    }
}

#[test]
fn i2_one_principal_for_each_grant_and_none_for_nested_pools() {
    let draft = Draft::default()
        .employee("alice")
        .pool("web-eu", &[])
        .pool("web-us", &[])
        .pool("web", &["web-eu", "web-us"])
        .pool("all", &["web"])
        .grant(grant("alice", "self", "all"))
        .grant(grant("alice", "deploy", "web"));
    let orders = orders(&draft.index(), &request("alice"));
    assert_eq!(orders.len(), 1);
    assert_eq!(principals(&orders), ["alice@all", "deploy@web"]);
    let KeyId::Employee {
        email: whose,
        epoch,
    } = orders[0].key_id()
    else {
        panic!("not an employee's: {}", orders[0].key_id());
    };
    assert_eq!((whose, *epoch), (&email("alice"), 7));
}

#[test]
fn i3_each_principal_comes_from_membership_as_it_is_now() {
    let draft = Draft::default()
        .employee("alice")
        .pool("web", &[])
        .pool("db", &[])
        .team("inner", &["alice"], &[])
        .team("outer", &[], &["inner"])
        .grant(grant("%outer", "self", "web"))
        .grant(grant("%inner", "self", "db"));
    assert_eq!(
        principals(&orders(&draft.index(), &request("alice"))),
        ["alice@db", "alice@web"]
    );
    let parted = draft.clone().with(|policy| {
        policy
            .teams
            .get_mut(&"outer".parse().unwrap())
            .unwrap()
            .teams
            .clear();
    });
    assert_eq!(
        principals(&orders(&parted.index(), &request("alice"))),
        ["alice@db"]
    );
    let left = draft.with(|policy| {
        policy
            .teams
            .get_mut(&"inner".parse().unwrap())
            .unwrap()
            .employees
            .clear();
    });
    assert_eq!(denied(&left.index(), "alice"), DenyReason::NoGrant);
}

#[test]
fn i4_a_request_can_only_narrow() {
    let draft = Draft::default()
        .employee("alice")
        .pool("web", &[])
        .pool("db", &[])
        .grant(grant("alice", "self", "web"))
        .grant(grant("alice", "self", "db"));
    let index = draft.index();
    let mut asked = request("alice");
    asked.narrow.pools = Some(set(&["db", "payroll"]));
    assert_eq!(principals(&orders(&index, &asked)), ["alice@db"]);
    asked.narrow.pools = Some(set(&["payroll"]));
    assert_eq!(
        decide(&index, &asked, now()),
        Decision::Deny(DenyReason::NarrowedAway)
    );
    asked.narrow.pools = Some(BTreeSet::new());
    assert_eq!(
        decide(&index, &asked, now()),
        Decision::Deny(DenyReason::NarrowedAway)
    );
    asked.narrow = Narrow {
        lifetime_secs: Some(u64::MAX),
        pools: None,
    };
    let end = orders(&index, &asked)[0].valid_before_unix_secs();
    assert_eq!(
        end,
        NOW_SECS + 8 * 3600,
        "a longer wish gives no longer certificate"
    );
}

#[test]
fn p8_a_condition_is_never_lost_because_another_grant_lacks_it() {
    let forced = Conditions {
        forced_command: Some("/usr/bin/backup".to_owned()),
        ..Conditions::default()
    };
    let office = Conditions {
        sources: BTreeSet::from(["192.0.2.0/24".to_owned()]),
        extensions: BTreeSet::from([Extension::Pty, Extension::PortForwarding]),
        ..Conditions::default()
    };
    let draft = Draft::default()
        .employee("alice")
        .pool("web", &[])
        .pool("db", &[])
        .grant(grant("alice", "self", "web"))
        .grant(changed(grant("alice", "self", "db"), |g| {
            g.conditions = forced.clone()
        }))
        .grant(changed(grant("alice", "deploy", "web"), |g| {
            g.conditions = forced.clone()
        }))
        .grant(changed(grant("alice", "self", "web"), |g| {
            g.conditions = office.clone()
        }));
    let orders = orders(&draft.index(), &request("alice"));
    let carried: Vec<(Vec<String>, Conditions)> = orders
        .iter()
        .map(|order| {
            (
                principals(std::slice::from_ref(order)),
                order.conditions().clone(),
            )
        })
        .collect();
    assert_eq!(carried.len(), 3);
    assert!(carried.contains(&(vec!["alice@web".to_owned()], Conditions::default())));
    assert!(carried.contains(&(vec!["alice@db".to_owned(), "deploy@web".to_owned()], forced)));
    assert!(carried.contains(&(vec!["alice@web".to_owned()], office)));
}

#[test]
fn p8_an_end_limits_its_own_grant_only() {
    let draft = Draft::default()
        .employee("alice")
        .pool("web", &[])
        .pool("db", &[])
        .grant(grant("alice", "self", "web"))
        .grant(changed(grant("alice", "self", "db"), |g| {
            g.until_unix_secs = Some(NOW_SECS as i64 + 100);
        }));
    let orders = orders(&draft.index(), &request("alice"));
    let ends: Vec<_> = orders
        .iter()
        .map(|order| {
            (
                principals(std::slice::from_ref(order)).concat(),
                order.valid_before_unix_secs() - NOW_SECS,
            )
        })
        .collect();
    assert_eq!(
        ends,
        [
            ("alice@db".to_owned(), 100),
            ("alice@web".to_owned(), 8 * 3600)
        ]
    );
}

#[test]
fn i1_more_than_256_principals_become_several_certificates_of_the_same_conditions() {
    for (count, certificates) in [(255, 1), (256, 1), (257, 2), (512, 2), (513, 3)] {
        let mut draft = Draft::default().employee("alice");
        for n in 0..count {
            let pool = format!("p{n}");
            draft = draft.pool(&pool, &[]).grant(grant("alice", "self", &pool));
        }
        let orders = orders(&draft.index(), &request("alice"));
        assert_eq!(orders.len(), certificates);
        assert!(
            orders
                .iter()
                .all(|order| order.conditions() == orders[0].conditions())
        );
        assert_eq!(principals(&orders).len(), count);
    }
}

#[test]
fn p6_system_accounts_are_granted_only_where_a_grant_is_marked() {
    let with = |account: &str, marked: bool| {
        Draft::default()
            .employee("alice")
            .pool("web", &[])
            .grant(changed(grant("alice", account, "web"), |g| {
                g.system_account = marked
            }))
            .index()
    };
    for account in ["root", "postgres", "www-data", "_apt", "systemd-network"] {
        assert_eq!(
            denied(&with(account, false), "alice"),
            DenyReason::NoGrant,
            "{account}"
        );
        assert_eq!(
            principals(&orders(&with(account, true), &request("alice"))).len(),
            1,
            "{account}"
        );
    }
    for account in ["ssh-admin", "ssh-ca-sync", "ssh-ca-probe", "ssh-ca-x"] {
        for marked in [false, true] {
            assert_eq!(
                denied(&with(account, marked), "alice"),
                DenyReason::NoGrant,
                "{account}"
            );
        }
    }
}

#[test]
fn p6_an_own_account_that_is_a_system_account_is_never_granted() {
    let mut draft = Draft::default()
        .employee("alice")
        .pool("web", &[])
        .grant(changed(grant("alice", "self", "web"), |g| {
            g.system_account = true
        }));
    draft.person("alice").account = "root".parse().unwrap();
    assert_eq!(denied(&draft.index(), "alice"), DenyReason::NoGrant);
    draft.person("alice").account = "alice".parse().unwrap();
    draft.person("alice").uid = 999;
    assert_eq!(denied(&draft.index(), "alice"), DenyReason::NoGrant);
}

#[test]
fn p9_an_account_or_uid_is_not_handed_on_not_even_from_somebody_removed() {
    let draft = || {
        let mut draft = Draft::default()
            .employee("alice")
            .employee("bob")
            .pool("web", &[])
            .grant(grant("bob", "self", "web"))
            .grant(grant("bob", "alice", "web"));
        draft.person("alice").status = Status::Removed;
        draft
    };
    // bob@web, and never alice's account as a shared one.
    assert_eq!(
        principals(&orders(&draft().index(), &request("bob"))),
        ["bob@web"]
    );
    let mut account = draft();
    account.person("bob").account = "alice".parse().unwrap();
    assert_eq!(denied(&account.index(), "bob"), DenyReason::NoGrant);
    let mut uid = draft();
    uid.person("bob").uid = uid.0.employees[&email("alice")].uid;
    assert_eq!(denied(&uid.index(), "bob"), DenyReason::NoGrant);
}

#[test]
fn p1_cycles_and_unknown_names_grant_nothing() {
    let draft = Draft::default()
        .employee("alice")
        .employee("bob")
        .pool("web", &[])
        .team("a", &["alice"], &["b"])
        .team("b", &["bob"], &["a"])
        .grant(grant("%a", "self", "web"))
        .grant(grant("%nobody", "self", "web"))
        .grant(grant("alice", "self", "nowhere"));
    // Their own members stay members; nobody comes in through the circle.
    assert_eq!(
        principals(&orders(&draft.index(), &request("alice"))),
        ["alice@web"]
    );
    assert_eq!(denied(&draft.index(), "bob"), DenyReason::NoGrant);
}
