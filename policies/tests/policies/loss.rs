//! P7: what a change of policy takes away from live certificates.

use std::collections::BTreeSet;

use policies::{Extension, Policy, Role, Status, lost_principals};

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
