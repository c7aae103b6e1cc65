//! Every combination of conditions once: what is decided, what the certificate carries, and until when.

use std::collections::{BTreeMap, BTreeSet};

use policies::{
    Blueprint, Conditions, Decision, DenyReason, Extension, Grant, KeyDemand, KeyKind, Recording,
    Request, decide,
};
use time::Duration;

use crate::{build::*, profile::*};

const EXTENSIONS: [(Extension, &str); 5] = [
    (Extension::Pty, "permit-pty"),
    (Extension::PortForwarding, "permit-port-forwarding"),
    (Extension::AgentForwarding, "permit-agent-forwarding"),
    (Extension::X11Forwarding, "permit-X11-forwarding"),
    (Extension::UserRc, "permit-user-rc"),
];

/// What a certificate's end may come from, in seconds from now; the clock stands at Sunday 01:00:00 UTC.
const LIFETIME_SECS: u64 = 1800;
const HOURS_SECS: u64 = 1200;
const UNTIL_SECS: u64 = 600;

/// A grant with one combination, and what must follow from it.
#[derive(Debug, Clone)]
struct Case {
    grant: Grant,
    critical: BTreeMap<String, String>,
    extensions: BTreeSet<String>,
    lasts_secs: u64,
    denied: Option<DenyReason>,
}

/// Lifetime × hours × until × sources × command × extensions × kind of key × recording.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for bits in 0..1u32 << 12 {
        let bit = |at: u32| bits & (1 << at) != 0;
        let mut case = Case {
            grant: changed(grant("alice", "self", "web"), |g| {
                g.conditions.extensions.clear();
            }),
            critical: BTreeMap::new(),
            extensions: BTreeSet::new(),
            lasts_secs: 8 * 3600,
            denied: None,
        };
        let Grant { conditions, .. } = &mut case.grant;
        for (at, (extension, name)) in EXTENSIONS.into_iter().enumerate() {
            if bit(at as u32) {
                conditions.extensions.insert(extension);
                case.extensions.insert(name.to_owned());
            }
        }
        if bit(5) {
            conditions.max_lifetime_secs = Some(LIFETIME_SECS);
            case.lasts_secs = case.lasts_secs.min(LIFETIME_SECS);
        }
        if bit(6) {
            conditions.sources = BTreeSet::from(["10.0.0.0/8".to_owned(), "::1/128".to_owned()]);
            let networks = "10.0.0.0/8,::1/128".to_owned();
            case.critical.insert("source-address".to_owned(), networks);
        }
        if bit(7) {
            conditions.forced_command = Some("/bin/date -u".to_owned());
            let command = "/bin/date -u".to_owned();
            case.critical.insert("force-command".to_owned(), command);
        }
        if bit(8) {
            conditions.key = KeyDemand::SecurityKey;
            let flag = String::new();
            case.critical.insert("verify-required".to_owned(), flag);
        }
        if bit(9) {
            case.grant.hours = Some("Sun 02:00-02:20 Europe/Berlin".parse().unwrap());
            case.lasts_secs = case.lasts_secs.min(HOURS_SECS);
        }
        if bit(10) {
            case.grant.until_unix_secs = Some((NOW_SECS + UNTIL_SECS) as i64);
            case.lasts_secs = case.lasts_secs.min(UNTIL_SECS);
        }
        if bit(11) {
            case.grant.recording = Recording::Required;
            case.denied = Some(DenyReason::NoGrant);
        }
        // ~/.ssh/rc would run before the command.
        if bit(7) && bit(4) {
            case.denied = Some(DenyReason::NoGrant);
        }
        cases.push(case);
    }
    cases
}

fn asked(key: KeyKind) -> Request {
    Request {
        key,
        ..request("alice")
    }
}

fn alone(case: &Case) -> Draft {
    let draft = Draft::default().employee("alice").pool("web", &[]);
    draft.grant(case.grant.clone())
}

#[test]
fn i9_i7_every_combination_of_conditions_is_carried_whole_and_ends_to_the_second() {
    let (plain, fido) = (subject(&public(5)), subject(&security_key()));
    let (mut carried, mut demanding) = (0, 0);
    for case in cases() {
        let index = alone(&case).index();
        let orders = match decide(&index, &asked(KeyKind::SecurityKey), now()) {
            Decision::Deny(reason) => {
                assert_eq!(Some(reason), case.denied, "{case:?}");
                continue;
            }
            Decision::Grant(orders) => orders,
        };
        assert_eq!(case.denied, None, "{case:?}");
        let [order] = orders.as_slice() else {
            panic!("one grant, one certificate: {case:?}");
        };
        assert_eq!(
            order.valid_before_unix_secs(),
            NOW_SECS + case.lasts_secs,
            "{case:?}"
        );
        let demands = case.grant.conditions.key == KeyDemand::SecurityKey;
        for (subject, kind) in [(&plain, KeyKind::Plain), (&fido, KeyKind::SecurityKey)] {
            let decided = decide(&index, &asked(kind), now());
            if demands && kind == KeyKind::Plain {
                let wanted = Decision::Deny(DenyReason::SecurityKeyNeeded);
                assert_eq!(decided, wanted, "{case:?}");
                assert!(Blueprint::of(order, serial(), subject).is_err(), "{case:?}");
                demanding += 1;
                continue;
            }
            // The same again, for re-issue never drops anything.
            assert_eq!(decided, Decision::Grant(orders.clone()), "{case:?}");
            let blueprint = Blueprint::of(order, serial(), subject).unwrap();
            let certificate = check(&signed(&blueprint), &blueprint).unwrap();
            assert_eq!(certificate.critical_options().0, case.critical, "{case:?}");
            let extensions: BTreeSet<String> = certificate.extensions().keys().cloned().collect();
            assert_eq!(extensions, case.extensions, "{case:?}");
            assert_eq!(certificate.valid_before(), NOW_SECS + case.lasts_secs);
            assert_eq!(certificate.valid_principals(), ["alice@web"]);
            carried += 1;
        }
    }
    // 2^12, half of them recorded, a quarter of the rest with ~/.ssh/rc before a command; half of these for two kinds of key.
    assert_eq!((carried, demanding), (1536 + 768, 768));
}

#[test]
fn i7_outside_of_its_hours_every_combination_gives_nothing() {
    let closed = now() + Duration::seconds(HOURS_SECS as i64);
    for case in cases() {
        let index = alone(&case).index();
        let ends = case.grant.hours.is_some() || case.grant.until_unix_secs.is_some();
        let granted = match decide(&index, &asked(KeyKind::SecurityKey), closed) {
            Decision::Grant(_) => true,
            Decision::Deny(_) => false,
        };
        assert_eq!(granted, case.denied.is_none() && !ends, "{case:?}");
    }
}

#[test]
fn p8_no_combination_is_lost_beside_a_free_grant_and_none_is_put_on_it() {
    for case in cases() {
        let draft = alone(&case)
            .pool("free", &[])
            .grant(grant("alice", "self", "free"));
        let Decision::Grant(orders) = decide(&draft.index(), &asked(KeyKind::SecurityKey), now())
        else {
            panic!("the free grant stands: {case:?}");
        };
        let said = |order: &policies::Order| -> (Conditions, u64) {
            let end = order.valid_before_unix_secs() - NOW_SECS;
            (order.conditions().clone(), end)
        };
        for order in &orders {
            for principal in order.principals().iter() {
                let expected = match principal.pool.as_str() {
                    "free" => (Conditions::default(), 8 * 3600),
                    _ => (case.grant.conditions.clone(), case.lasts_secs),
                };
                assert_eq!(said(order), expected, "{case:?}");
            }
        }
        let all = principals(&orders);
        match case.denied {
            None => assert_eq!(all, ["alice@free", "alice@web"], "{case:?}"),
            Some(_) => assert_eq!(all, ["alice@free"], "{case:?}"),
        }
        // One certificate for each set and end, no more.
        let sets: BTreeSet<_> = orders.iter().map(said).collect();
        assert_eq!(sets.len(), orders.len(), "{case:?}");
    }
}
