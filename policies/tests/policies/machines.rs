//! Accounts and principals files of machines, sudo, and the way from a machine to the certificate that opens it.

use std::collections::BTreeSet;

use policies::{MachineAccount, MachineName, Policy, Status, Sudo, accounts_on, reach};

use crate::build::*;

fn nested() -> Draft {
    Draft::default()
        .employee("alice")
        .employee("bob")
        .pool("p", &[])
        .pool("a", &["p"])
        .pool("b", &["p"])
        .pool("other", &[])
        .machine("m", &["p"])
        .machine("n", &["a"])
        .machine("o", &["other"])
        .team("ops", &["bob"], &[])
        .grant(grant("alice", "self", "a"))
        .grant(grant("%ops", "deploy", "b"))
}

fn on(draft: &Draft, machine: &str, account: &str) -> Option<MachineAccount> {
    let machine: MachineName = machine.parse().unwrap();
    accounts_on(&draft.index(), &machine, now()).remove(&account.parse().unwrap())
}

#[test]
fn h9_a_principals_file_lists_every_pool_that_the_machine_belongs_to() {
    let draft = nested();
    let alice = on(&draft, "m", "alice").unwrap();
    assert_eq!(alice.principals, set(&["alice@p", "alice@a", "alice@b"]));
    assert_eq!(
        (alice.owner, alice.uid),
        (Some(email("alice")), Some(20_000))
    );
    let deploy = on(&draft, "m", "deploy").unwrap();
    assert_eq!(
        deploy.principals,
        set(&["deploy@p", "deploy@a", "deploy@b"])
    );
    assert_eq!((deploy.owner, deploy.uid), (None, None));
    assert_eq!(
        on(&draft, "n", "alice").unwrap().principals,
        set(&["alice@a"])
    );
    assert_eq!(on(&draft, "n", "deploy"), None, "b does not include a");
    for account in ["alice", "deploy", "bob"] {
        assert_eq!(on(&draft, "o", account), None);
    }
    assert_eq!(
        on(&draft, "m", "bob"),
        None,
        "bob has the shared account, not his own"
    );
    assert!(accounts_on(&draft.index(), &"unknown".parse().unwrap(), now()).is_empty());
}

#[test]
fn h9_a_changed_grant_changes_no_principals_file_unless_an_account_is_new_there() {
    let before = nested();
    let after = nested()
        .grant(grant("alice", "self", "b"))
        .grant(grant("alice", "deploy", "a"));
    let machine = "m".parse().unwrap();
    assert_eq!(
        accounts_on(&before.index(), &machine, now()),
        accounts_on(&after.index(), &machine, now())
    );
}

#[test]
fn p3_suspended_and_removed_people_have_no_account_and_invited_ones_have() {
    for (status, there) in [
        (Status::Invited, true),
        (Status::Active, true),
        (Status::Suspended, false),
        (Status::Removed, false),
    ] {
        let mut draft = nested();
        draft.person("alice").status = status;
        draft.person("bob").status = status;
        assert_eq!(on(&draft, "m", "alice").is_some(), there, "{status:?}");
        assert_eq!(
            on(&draft, "m", "deploy").is_some(),
            there,
            "nobody is left to use it: {status:?}"
        );
    }
}

#[test]
fn p6_a_system_account_is_marked_so_that_nobody_makes_or_removes_it() {
    let draft = nested().grant(changed(grant("alice", "postgres", "p"), |g| {
        g.system_account = true
    }));
    assert!(on(&draft, "m", "postgres").unwrap().system_account);
    assert!(!on(&draft, "m", "alice").unwrap().system_account);
}

fn commands(list: &[&str]) -> Sudo {
    Sudo::Commands(list.iter().map(|command| (*command).to_owned()).collect())
}

fn with_sudo(grants: &[(&str, &str, &str, Sudo)], change: impl FnOnce(&mut Policy)) -> Draft {
    let mut draft = nested().with(|policy| policy.grants.clear());
    for (who, account, pool, sudo) in grants {
        draft = draft.grant(changed(grant(who, account, pool), |g| {
            g.sudo = sudo.clone()
        }));
    }
    draft.with(change)
}

#[test]
fn p8_sudo_of_an_own_account_adds_up_over_pools_under_equal_conditions_only() {
    let grants = [
        ("alice", "self", "a", commands(&["/bin/x"])),
        ("alice", "self", "b", commands(&["/bin/y"])),
        ("alice", "self", "p", Sudo::None),
    ];
    let draft = with_sudo(&grants, |_| {});
    assert_eq!(
        on(&draft, "m", "alice").unwrap().sudo,
        commands(&["/bin/x", "/bin/y"])
    );
    // The one-hour condition of one grant would be lost: the eight-hour certificate would have its sudo.
    let draft = with_sudo(&grants, |policy| {
        policy
            .grants
            .get_mut(&1)
            .unwrap()
            .conditions
            .max_lifetime_secs = Some(3600);
    });
    assert_eq!(on(&draft, "m", "alice").unwrap().sudo, Sudo::None);
}

#[test]
fn p2_nobody_gains_sudo_through_somebody_elses_grant_of_a_shared_account() {
    let draft = with_sudo(
        &[
            ("alice", "deploy", "p", Sudo::None),
            ("bob", "deploy", "a", Sudo::All),
        ],
        |_| {},
    );
    assert_eq!(on(&draft, "m", "deploy").unwrap().sudo, Sudo::None);
    assert_eq!(
        on(&draft, "n", "deploy").unwrap().sudo,
        Sudo::All,
        "only bob reaches n"
    );
    let agreed = with_sudo(
        &[
            ("alice", "deploy", "p", Sudo::All),
            ("bob", "deploy", "a", Sudo::All),
        ],
        |_| {},
    );
    assert_eq!(on(&agreed, "m", "deploy").unwrap().sudo, Sudo::All);
}

#[test]
fn p8_reach_names_the_certificate_that_serves_each_machine_and_account() {
    let draft = nested()
        .grant(changed(grant("alice", "deploy", "p"), |g| {
            g.conditions.forced_command = Some("/bin/true".to_owned());
        }))
        .grant(changed(grant("alice", "self", "p"), |g| {
            g.conditions.sources = BTreeSet::from(["10.0.0.0/8".to_owned()]);
        }));
    let index = draft.index();
    let orders = orders(&index, &request("alice"));
    assert_eq!(orders.len(), 3);
    let cells = reach(&index, &email("alice"), now());
    let said: Vec<_> = cells
        .iter()
        .map(|cell| {
            (
                cell.machine.as_str(),
                cell.account.as_str(),
                cell.grants.iter().copied().collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("m", "alice", vec![1, 4]),
            ("m", "deploy", vec![3]),
            ("n", "alice", vec![1])
        ]
    );
    for cell in &cells {
        let best = &orders[cell.order_in(&orders).unwrap()];
        let forced = best.conditions().forced_command.is_some();
        assert_eq!(forced, cell.account.as_str() == "deploy");
        assert!(
            best.conditions().sources.is_empty(),
            "the certificate from anywhere comes first"
        );
        let all = cell.orders_in(&orders);
        assert_eq!(all.len(), cell.grants.len());
    }
    assert_eq!(reach(&index, &email("nobody"), now()), []);
    let mut suspended = draft;
    suspended.person("alice").status = Status::Suspended;
    assert_eq!(reach(&suspended.index(), &email("alice"), now()), []);
}
