//! What `check` says to the admin.

use std::collections::BTreeSet;

use policies::{
    Employee, Extension, KeyDemand, Policy, Problem, Recording, Severity, Status, Sudo, check,
};

use crate::build::*;

fn sound() -> Draft {
    Draft::default()
        .employee("alice")
        .employee("bob")
        .pool("web", &[])
        .pool("all", &["web"])
        .machine("m", &["web"])
        .team("ops", &["bob"], &[])
        .team("tech", &[], &["ops"])
        .grant(grant("alice", "self", "web"))
        .grant(grant("%tech", "deploy", "all"))
}

fn sentences(change: impl FnOnce(&mut Policy)) -> Vec<String> {
    check(&sound().with(change).0)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn on_first_grant(change: impl FnOnce(&mut policies::Grant)) -> Vec<String> {
    sentences(|policy| change(policy.grants.get_mut(&1).unwrap()))
}

fn person<'p>(policy: &'p mut Policy, name: &str) -> &'p mut Employee {
    policy.employees.get_mut(&email(name)).unwrap()
}

#[test]
fn a_sound_policy_has_no_problem() {
    assert_eq!(sentences(|_| {}), [""; 0]);
    assert_eq!(
        on_first_grant(|g| g.until_unix_secs = Some(1)),
        [""; 0],
        "an end in the past is fine"
    );
}

#[test]
fn cycles_are_shown_with_their_path() {
    let said = sentences(|policy| {
        *policy = Draft(std::mem::take(policy))
            .pool("web", &["eu"])
            .pool("eu", &["all"])
            .team("ops", &["bob"], &["tech"])
            .pool("self-ish", &["self-ish"])
            .0;
    });
    assert_eq!(
        said,
        [
            "teams contain each other in a circle: ops > tech > ops; remove one of these memberships",
            "pools include each other in a circle: all > web > eu > all; remove one of these inclusions",
            "pools include each other in a circle: self-ish > self-ish; remove one of these inclusions",
        ]
    );
}

#[test]
fn unknown_names_are_named_with_their_place() {
    let said = sentences(|policy| {
        *policy = Draft(std::mem::take(policy))
            .pool("all", &["web", "attic"])
            .team("ops", &["bob", "carol"], &["night"])
            .machine("m", &["web", "cellar"])
            .grant(grant("dave", "self", "nowhere"))
            .grant(grant("%ghosts", "self", "web"))
            .0;
    });
    for (place, name) in [
        ("team ops names the employee", "carol@corp.example"),
        ("team ops names the team", "night"),
        ("pool all names the pool", "attic"),
        ("machine m names the pool", "cellar"),
        ("grant 3 names the employee", "dave@corp.example"),
        ("grant 3 names the pool", "nowhere"),
        ("grant 4 names the team", "ghosts"),
    ] {
        let start = format!("{place} {name}, wh");
        assert!(
            said.iter().any(|line| line.starts_with(&start)),
            "{start}: {said:?}"
        );
    }
    assert_eq!(said.len(), 7);
}

#[test]
fn p9_one_account_or_uid_for_two_people_also_removed_ones() {
    let said = sentences(|policy| {
        person(policy, "bob").status = Status::Removed;
        person(policy, "bob").account = "alice".parse().unwrap();
        person(policy, "bob").uid = 20_000;
    });
    let both = "alice@corp.example and bob@corp.example; give each their own";
    assert_eq!(
        said,
        [
            format!("the account alice would belong to {both}"),
            format!("the uid 20000 would belong to {both}"),
        ]
    );
}

#[test]
fn a6_an_employee_is_stored_under_their_own_email() {
    let said = sentences(|policy| person(policy, "alice").email = email("al"));
    assert_eq!(
        said,
        [
            "the employee stored as alice@corp.example has the email al@corp.example; both must be the same"
        ]
    );
}

#[test]
fn p6_system_accounts_uids_and_reserved_pools() {
    let own = sentences(|policy| person(policy, "alice").account = "root".parse().unwrap());
    assert_eq!(
        own,
        ["alice@corp.example has the account root, which is a system account; choose another"]
    );
    let uid = sentences(|policy| person(policy, "alice").uid = 33);
    assert!(uid[0].contains("uid 33"), "{uid:?}");
    let pool = sentences(|policy| {
        drop(
            policy
                .pools
                .insert("_probe".parse().unwrap(), Default::default()),
        )
    });
    assert!(pool[0].contains("_probe is reserved"), "{pool:?}");

    let shared = |account: &str, marked: bool| {
        on_first_grant(|g| {
            *g = changed(grant("alice", account, "web"), |g| {
                g.system_account = marked
            })
        })
    };
    assert!(shared("root", false)[0].contains("mark the grant"));
    assert_eq!(shared("root", true), [""; 0]);
    assert!(shared("ssh-admin", true)[0].contains("no certificate may ever use"));
    assert!(shared("ssh-ca-sync", true)[0].contains("no certificate may ever use"));
    assert!(shared("ssh-ca-probe", true)[0].contains("no certificate may ever use"));
    assert_eq!(
        shared("bob", true),
        ["grant 1 shares bob, which is bob@corp.example's own account; name another"]
    );
}

#[test]
fn p8_grants_that_disagree_about_sudo() {
    let twice = sentences(|policy| {
        *policy = Draft(std::mem::take(policy))
            .grant(changed(grant("bob", "deploy", "all"), |g| {
                g.sudo = Sudo::All
            }))
            .0;
    });
    assert_eq!(
        twice,
        ["grants 2 and 3 disagree about sudo for deploy on pool all; make them say the same"]
    );
    let where_pools_meet = sentences(|policy| {
        *policy = Draft(std::mem::take(policy))
            .grant(changed(grant("alice", "deploy", "web"), |g| {
                g.sudo = Sudo::All
            }))
            .0;
    });
    assert_eq!(where_pools_meet.len(), 1);
    assert!(
        where_pools_meet[0]
            .starts_with("grants 2 and 3 disagree about sudo for deploy on machine m,")
    );
    let own = |until| {
        sentences(|policy| {
            *policy = Draft(std::mem::take(policy))
                .grant(changed(grant("alice", "self", "all"), |g| {
                    g.sudo = Sudo::All;
                    g.conditions.max_lifetime_secs = until;
                }))
                .0;
        })
    };
    assert_eq!(
        own(None),
        [""; 0],
        "her own account, other pools, equal conditions"
    );
    assert!(own(Some(3600))[0].contains("disagree about sudo for alice on machine m"));
}

#[test]
fn p8_sudo_adds_up_only_in_the_same_hours_and_for_the_same_key() {
    let own = |change: fn(&mut policies::Grant)| {
        sentences(|policy| {
            *policy = Draft(std::mem::take(policy))
                .grant(changed(grant("alice", "self", "all"), |g| {
                    g.sudo = Sudo::All;
                    change(g);
                }))
                .0;
        })
    };
    assert_eq!(own(|_| {}), [""; 0]);
    let differ: [fn(&mut policies::Grant); 2] = [
        |g| g.hours = Some("Mon-Fri 08:00-18:00".parse().unwrap()),
        |g| g.conditions.key = KeyDemand::SecurityKey,
    ];
    for change in differ {
        let said = own(change);
        assert_eq!(said.len(), 1);
        assert!(
            said[0].starts_with("grants 1 and 3 disagree about sudo for alice on machine m,"),
            "{said:?}"
        );
    }
    // Where the rights are the same there is nothing to add up.
    assert_eq!(
        own(|g| {
            g.sudo = Sudo::None;
            g.hours = Some("Mon-Fri 08:00-18:00".parse().unwrap());
        }),
        [""; 0]
    );
}

#[test]
fn x1_recording_that_nobody_can_do_is_refused_and_gives_nothing() {
    let said = on_first_grant(|g| g.recording = Recording::Required);
    assert_eq!(
        said,
        [
            "grant 1 wants sessions recorded, and this CA has no recorder yet; drop the demand, or wait with the grant"
        ]
    );
    let draft = sound().with(|policy| {
        policy.grants.get_mut(&1).unwrap().recording = Recording::Required;
    });
    let index = draft.index();
    assert_eq!(
        policies::decide(&index, &request("alice"), now()),
        policies::Decision::Deny(policies::DenyReason::NoGrant)
    );
    let machine = "m".parse().unwrap();
    let accounts = policies::accounts_on(&index, &machine, now());
    assert_eq!(
        accounts
            .keys()
            .map(|name| name.as_str())
            .collect::<Vec<_>>(),
        ["deploy"]
    );
}

#[test]
fn x1_recording_belongs_to_the_account() {
    let recorded = |pool: &str, account: &str| {
        sentences(|policy| {
            *policy = Draft(std::mem::take(policy))
                .grant(changed(grant("alice", account, pool), |g| {
                    g.recording = Recording::Required;
                }))
                .0;
        })
    };
    let on_pool = recorded("all", "deploy");
    assert_eq!(on_pool.len(), 2, "{on_pool:?}");
    assert!(on_pool[0].starts_with("grant 3 wants sessions recorded"));
    assert_eq!(
        on_pool[1],
        "grants 2 and 3 disagree about recording of deploy on pool all; make them say the same"
    );
    let where_pools_meet = recorded("web", "deploy");
    assert_eq!(where_pools_meet.len(), 2, "{where_pools_meet:?}");
    assert!(
        where_pools_meet[1]
            .starts_with("grants 2 and 3 disagree about recording of deploy on machine m,")
    );
    assert_eq!(recorded("all", "backup-run").len(), 1);
}

#[test]
fn i9_what_goes_into_a_certificate_or_into_sudoers_is_checked() {
    let one = |said: Vec<String>, part: &str| {
        assert!(
            said.len() == 1 && said[0].contains(part),
            "{part}: {said:?}"
        );
    };
    one(
        on_first_grant(|g| g.conditions.sources = BTreeSet::from(["10.0.0.1/8".to_owned()])),
        "bits set behind the prefix",
    );
    one(
        on_first_grant(|g| g.conditions.forced_command = Some("a\nb".to_owned())),
        "control character",
    );
    one(
        on_first_grant(|g| g.sudo = Sudo::Commands(BTreeSet::from(["ls *".to_owned()]))),
        "only letters",
    );
    one(
        on_first_grant(|g| g.sudo = Sudo::Commands(BTreeSet::from(["ls".to_owned()]))),
        "absolute",
    );
    one(
        on_first_grant(|g| g.sudo = Sudo::Commands(BTreeSet::new())),
        "empty list",
    );
    one(
        on_first_grant(|g| g.conditions.max_lifetime_secs = Some(0)),
        "0 seconds",
    );
    one(
        on_first_grant(|g| {
            g.conditions.forced_command = Some("/bin/true".to_owned());
            g.conditions.extensions.insert(Extension::UserRc);
        }),
        "permit-user-rc",
    );
    one(
        sentences(|policy| policy.limits.lifetime_secs = 25 * 3600),
        "lifetime_secs",
    );
    one(
        sentences(|policy| policy.limits.ceiling_secs = 32 * 24 * 3600),
        "ceiling_secs",
    );
    one(
        sentences(|policy| policy.limits.session_secs = 0),
        "session_secs",
    );
    one(
        sentences(|policy| policy.limits.admin_lifetime_secs = 0),
        "admin_lifetime_secs",
    );
}

#[test]
fn i1_more_principals_than_a_certificate_holds_are_announced() {
    let crowd = |count: usize| {
        let mut draft = Draft::default().employee("alice");
        for n in 0..count {
            let pool = format!("p{n}");
            draft = draft.pool(&pool, &[]).grant(grant("alice", "self", &pool));
        }
        // Two grants of one right are one principal.
        check(&draft.grant(grant("alice", "self", "p0")).0)
    };
    assert_eq!(crowd(256), []);
    let said = crowd(257);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].severity(), Severity::Warning);
    assert!(matches!(
        said[0],
        Problem::ManyPrincipals {
            count: 257,
            certificates: 2,
            ..
        }
    ));
}
