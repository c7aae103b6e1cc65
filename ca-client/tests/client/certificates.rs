//! C4: a certificate that is not what was asked for is not installed, and nothing changes.

use std::sync::Arc;

use ssh_key::certificate::CertType;

use crate::{
    ca::{Ca, Plan, key},
    home::Home,
};

/// What a broken or hostile CA may send, and a word of the answer.
fn bad_plans(good: &Plan) -> Vec<(&'static str, Plan, &'static str)> {
    let plan = || good.clone();
    vec![
        (
            "another key",
            Plan {
                foreign_key: Some(key().public_key().clone()),
                ..plan()
            },
            "another key",
        ),
        (
            "host certificate",
            Plan {
                kind: CertType::Host,
                ..plan()
            },
            "host certificate",
        ),
        (
            "unknown CA",
            Plan {
                signer: key(),
                ..plan()
            },
            "does not know",
        ),
        (
            "no principal",
            Plan {
                principals: Vec::new(),
                ..plan()
            },
            "no principal",
        ),
        (
            "wild principal",
            Plan {
                principals: vec!["*".into()],
                ..plan()
            },
            "principal",
        ),
        (
            "root, bare",
            Plan {
                principals: vec!["root".into()],
                ..plan()
            },
            "principal",
        ),
        (
            "expired",
            Plan {
                age_secs: 7200,
                life_secs: 3600,
                ..plan()
            },
            "not within the session",
        ),
        (
            "future",
            Plan {
                age_secs: -600,
                ..plan()
            },
            "not within the session",
        ),
        (
            "outlives the session",
            Plan {
                life_secs: 13 * 3600,
                ..plan()
            },
            "not within the session",
        ),
        (
            "ten years",
            Plan {
                life_secs: 10 * 365 * 86_400,
                ..plan()
            },
            "not within the session",
        ),
        (
            "unknown critical option",
            Plan {
                critical: vec![("x@y".into(), "z".into())],
                ..plan()
            },
            "critical option",
        ),
    ]
}

#[test]
fn c4_a_wrong_certificate_is_refused_at_login_and_renewal_and_nothing_changes() {
    let (ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    let good = ca.behaviour.lock().unwrap().plans[0].clone();
    let before = home.everything();
    let session_key = ca.behaviour.lock().unwrap().key.clone();
    for (name, plan, word) in bad_plans(&good) {
        // Also behind a good one: all or nothing.
        for plans in [vec![plan.clone()], vec![good.clone(), plan]] {
            ca.change(|it| {
                it.plans = plans;
                it.key = session_key.clone();
            });
            for outcome in [home.run(&["renew"]), home.log_in()] {
                assert_eq!(outcome.code, 1, "{name}: {outcome:?}");
                assert!(outcome.err.contains(word), "{name}: {outcome:?}");
                assert!(home.everything() == before, "{name}: something was changed");
            }
        }
    }
    ca.change(|it| it.plans = vec![good]);
    assert_eq!(home.log_in().code, 0);
}

#[test]
fn c4_the_comment_and_nothing_else_of_the_servers_text_is_left_out() {
    let (ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    let file = home.read(".ssh/ca/cert-0-cert.pub");
    assert_eq!(file.split_whitespace().count(), 2, "{file}");
    let shown = home
        .command("ssh-keygen")
        .args(["-L", "-f"])
        .arg(home.path(".ssh/ca/cert-0-cert.pub"))
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("alice@web") && shown.contains("deploy@web"),
        "{shown}"
    );
}

#[test]
fn c4_a_certificate_by_a_key_that_the_pinned_server_does_not_name_is_refused() {
    let (ca, home) = (Ca::start(), Home::new());
    home.ready(&ca);
    let (next, good) = (key(), ca.behaviour.lock().unwrap().plans[0].clone());
    let next_plan = Plan {
        signer: Arc::clone(&next),
        ..good.clone()
    };
    // Used without being named: refused.
    ca.change(|it| it.plans = vec![next_plan.clone()]);
    assert_eq!(home.run(&["renew"]).code, 1);
    // Named and used at once, as after the old one was compromised: the answer comes from the server whose TLS is pinned.
    let old = crate::ca::text(&ca.user_ca);
    ca.change(|it| it.directory.user_cas = vec![crate::ca::text(&next)]);
    assert_eq!(home.run(&["renew"]).code, 0);
    // The old one is named no more: it is forgotten.
    ca.change(|it| it.plans = vec![good.clone()]);
    assert_eq!(home.run(&["renew"]).code, 1);
    // Both are named, before one signs and after: either is good.
    ca.change(|it| it.directory.user_cas = vec![old, crate::ca::text(&next)]);
    assert_eq!(home.run(&["renew"]).code, 0);
    ca.change(|it| it.plans = vec![next_plan]);
    assert_eq!(home.run(&["renew"]).code, 0);
}
