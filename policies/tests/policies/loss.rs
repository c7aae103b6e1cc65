//! P7: what a change of policy takes away from live certificates.

use std::collections::BTreeSet;

use policies::{
    Conditions, Extension, Held, KeyDemand, Order, Policy, Role, Status, beyond_policy,
    lost_principals,
};
use time::{Duration, OffsetDateTime};

use crate::build::*;

fn draft() -> Draft {
    Draft::default()
        .employee("alice")
        .pool("web", &[])
        .pool("db", &[])
        .team("ops", &["alice"], &[])
        .grant(grant("alice", "self", "web"))
        .grant(grant("%ops", "deploy", "db"))
}

/// What alice loses of `alice@web deploy@db` by `change`.
fn lost(change: impl FnOnce(&mut Policy)) -> Vec<String> {
    let carried = set(&["alice@web", "deploy@db"]);
    let (old, new) = (draft().index(), draft().with(change).index());
    let lost = lost_principals(&old, &new, &email("alice"), &carried, now());
    lost.iter().map(ToString::to_string).collect()
}

fn on_first_grant(change: impl FnOnce(&mut policies::Grant)) -> Vec<String> {
    lost(|policy| change(policy.grants.get_mut(&1).unwrap()))
}

#[test]
fn p7_a_grant_a_membership_a_status_taken_away() {
    assert!(lost(|_| {}).is_empty());
    assert_eq!(lost(|policy| drop(policy.grants.remove(&1))), ["alice@web"]);
    assert_eq!(
        lost(|policy| policy
            .teams
            .values_mut()
            .for_each(|team| team.employees.clear())),
        ["deploy@db"]
    );
    let everything = ["alice@web", "deploy@db"];
    for status in [Status::Invited, Status::Suspended, Status::Removed] {
        assert_eq!(
            lost(|policy| policy.employees.get_mut(&email("alice")).unwrap().status = status),
            everything
        );
    }
    assert_eq!(
        lost(|policy| drop(policy.employees.remove(&email("alice")))),
        everything
    );
    assert_eq!(
        lost(
            |policy| policy.employees.get_mut(&email("alice")).unwrap().account =
                "al".parse().unwrap()
        ),
        ["alice@web"]
    );
    assert_eq!(
        lost(|policy| drop(policy.pools.remove(&"db".parse().unwrap()))),
        ["deploy@db"]
    );
}

#[test]
fn p7_conditions_made_narrower() {
    let gone = ["alice@web"];
    assert_eq!(
        on_first_grant(|g| g.conditions.max_lifetime_secs = Some(60)),
        gone
    );
    assert_eq!(on_first_grant(|g| g.conditions.extensions.clear()), gone);
    assert_eq!(
        on_first_grant(|g| g.conditions.forced_command = Some("/bin/true".to_owned())),
        gone
    );
    assert_eq!(
        on_first_grant(|g| g.conditions.sources = BTreeSet::from(["10.0.0.0/8".to_owned()])),
        gone
    );
    assert_eq!(
        on_first_grant(|g| g.until_unix_secs = Some(NOW_SECS as i64 + 60)),
        gone
    );
    assert_eq!(
        lost(|policy| {
            policy
                .employees
                .get_mut(&email("alice"))
                .unwrap()
                .roles
                .insert(Role::Admin);
        })
        .len(),
        2
    );
}

#[test]
fn p7_what_is_widened_is_not_lost() {
    assert!(on_first_grant(|g| g.conditions.max_lifetime_secs = Some(9 * 3600)).is_empty());
    assert!(
        on_first_grant(|g| {
            g.conditions.extensions.insert(Extension::PortForwarding);
        })
        .is_empty()
    );
    let more = |policy: &mut Policy| drop(policy.grants.insert(9, grant("alice", "deploy", "web")));
    assert!(lost(more).is_empty());
    // The same right through another door.
    let swapped = |policy: &mut Policy| {
        policy.grants.remove(&1);
        policy.grants.insert(9, grant("%ops", "self", "web"));
    };
    assert!(lost(swapped).is_empty());
}

#[test]
fn p7_what_was_never_granted_is_lost_too() {
    let index = draft().index();
    let carried = set(&["alice@web", "alice@payroll", "root@web"]);
    let lost = lost_principals(&index, &index, &email("alice"), &carried, now());
    assert_eq!(lost, set(&["alice@payroll", "root@web"]));
}

/// What of the certificate in `order` could not be given again at `at`, once `change` was made.
fn beyond(
    draft: Draft,
    order: &Order,
    at: OffsetDateTime,
    change: impl FnOnce(&mut Policy),
) -> Vec<String> {
    let held = Held {
        principals: order.principals().as_set(),
        conditions: order.conditions(),
        valid_after_unix_secs: order.valid_after_unix_secs(),
        valid_before_unix_secs: order.valid_before_unix_secs(),
    };
    let gone = beyond_policy(&draft.with(change).index(), &email("alice"), &held, at);
    gone.iter().map(ToString::to_string).collect()
}

/// The same for alice's certificate of an hour ago.
fn beyond_after_an_hour(change: impl FnOnce(&mut Policy)) -> Vec<String> {
    let order = orders(&draft().index(), &request("alice")).remove(0);
    beyond(draft(), &order, now() + Duration::hours(1), change)
}

fn first(policy: &mut Policy) -> &mut policies::Grant {
    policy.grants.get_mut(&1).unwrap()
}

#[test]
fn p7_a_live_certificate_within_the_policy_stays() {
    assert!(beyond_after_an_hour(|_| {}).is_empty());
    // Issued for 8 hours, 7 of which are left: all of these allow that.
    assert!(
        beyond_after_an_hour(|policy| first(policy).conditions.max_lifetime_secs = Some(7 * 3600))
            .is_empty()
    );
    assert!(
        beyond_after_an_hour(
            |policy| first(policy).until_unix_secs = Some(NOW_SECS as i64 + 8 * 3600)
        )
        .is_empty()
    );
    // Sunday 01:00 to 09:00 UTC.
    let until_nine = |policy: &mut Policy| {
        first(policy).hours = Some("Sun 00:30-10:00 Europe/Berlin".parse().unwrap());
    };
    assert!(beyond_after_an_hour(until_nine).is_empty());
    // A clock that goes back a little is no reason to revoke.
    let order = orders(&draft().index(), &request("alice")).remove(0);
    assert!(beyond(draft(), &order, now() - Duration::seconds(30), |_| {}).is_empty());
}

#[test]
fn p7_a_live_certificate_that_carries_more_than_is_allowed_now_is_found() {
    let changes: [fn(&mut Policy); 9] = [
        |policy| drop(policy.grants.remove(&1)),
        |policy| first(policy).conditions.max_lifetime_secs = Some(7 * 3600 - 1),
        |policy| first(policy).until_unix_secs = Some(NOW_SECS as i64 + 8 * 3600 - 1),
        |policy| first(policy).hours = Some("Sun 00:30-08:59 UTC".parse().unwrap()),
        |policy| first(policy).hours = Some("Mon-Sat 00:00-24:00".parse().unwrap()),
        |policy| first(policy).conditions.key = KeyDemand::SecurityKey,
        |policy| first(policy).conditions.extensions.clear(),
        |policy| first(policy).conditions.forced_command = Some("/bin/true".to_owned()),
        |policy| first(policy).conditions.sources = BTreeSet::from(["0.0.0.0/0".to_owned()]),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        assert_eq!(beyond_after_an_hour(change), ["alice@web"], "change {at}");
    }
    let admin = |policy: &mut Policy| {
        let alice = policy.employees.get_mut(&email("alice")).unwrap();
        alice.roles.insert(Role::Admin);
    };
    assert_eq!(beyond_after_an_hour(admin), ["alice@web", "deploy@db"]);
    let ceiling = |policy: &mut Policy| policy.limits.ceiling_secs = 3600;
    assert_eq!(beyond_after_an_hour(ceiling), ["alice@web", "deploy@db"]);
}

#[test]
fn p7_another_network_counts_by_what_is_in_it() {
    let from = |network: &str| {
        draft().with(|policy| {
            first(policy).conditions = Conditions {
                sources: BTreeSet::from([network.to_owned()]),
                ..Conditions::default()
            };
        })
    };
    let order = orders(&from("10.1.0.0/16").index(), &request("alice"))
        .into_iter()
        .find(|order| !order.conditions().sources.is_empty())
        .unwrap();
    let kept = |network: &str| beyond(from(network), &order, now(), |_| {}).is_empty();
    assert!(kept("10.0.0.0/8"));
    assert!(kept("10.1.0.0/16"));
    assert!(kept("0.0.0.0/0"));
    assert!(!kept("10.1.0.0/17"));
    assert!(!kept("10.2.0.0/16"));
    assert!(
        beyond(draft(), &order, now(), |_| {}).is_empty(),
        "anywhere"
    );
}
