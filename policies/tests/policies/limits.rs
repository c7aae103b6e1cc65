//! I7: lifetimes to the second, and a clock that is an argument.

use std::collections::BTreeSet;

use policies::{BACKDATE_SECS, Decision, DenyReason, Limits, Order, Role, decide};
use time::{Duration, OffsetDateTime};

use crate::build::*;

fn alice() -> Draft {
    Draft::default()
        .employee("alice")
        .pool("web", &[])
        .grant(grant("alice", "self", "web"))
}

fn at(
    draft: &Draft,
    now: OffsetDateTime,
    session_ends: OffsetDateTime,
) -> Result<Order, DenyReason> {
    let mut asked = request("alice");
    asked.session_ends = session_ends;
    match decide(&draft.index(), &asked, now) {
        Decision::Grant(mut orders) => {
            assert_eq!(orders.len(), 1);
            Ok(orders.remove(0))
        }
        Decision::Deny(reason) => Err(reason),
    }
}

/// sshd's rule, from `sshkey_cert_check_authority`: valid while `valid_after <= now < valid_before`.
fn sshd_accepts(order: &Order, at_secs: u64) -> bool {
    at_secs >= order.valid_after_unix_secs() && at_secs < order.valid_before_unix_secs()
}

#[test]
fn i7_the_last_second_is_the_last_that_policy_allows() {
    let hour = 3600;
    let long = now() + Duration::hours(1000);
    let one = |change: &dyn Fn(&mut Limits, &mut policies::Grant), session_ends| {
        let draft = alice().with(|policy| {
            let grant = policy.grants.get_mut(&1).unwrap();
            change(&mut policy.limits, grant);
        });
        at(&draft, now(), session_ends).unwrap()
    };
    let order = one(&|_, _| {}, long);
    assert!(sshd_accepts(&order, NOW_SECS));
    assert!(sshd_accepts(&order, NOW_SECS + 8 * hour - 1));
    assert!(!sshd_accepts(&order, NOW_SECS + 8 * hour));

    let end = |order: Order| order.valid_before_unix_secs() - NOW_SECS;
    assert_eq!(
        end(one(
            &|_, grant| grant.conditions.max_lifetime_secs = Some(300),
            long
        )),
        300
    );
    assert_eq!(
        end(one(
            &|_, grant| grant.conditions.max_lifetime_secs = Some(u64::MAX),
            long
        )),
        24 * hour,
        "ceiling"
    );
    assert_eq!(end(one(&|limits, _| limits.ceiling_secs = 60, long)), 60);
    assert_eq!(
        end(one(&|_, _| {}, now() + Duration::seconds(61))),
        61,
        "session"
    );
    assert_eq!(
        end(one(
            &|_, grant| grant.until_unix_secs = Some(NOW_SECS as i64 + 1),
            long
        )),
        1
    );
}

#[test]
fn i7_admins_have_shorter_certificates_whatever_a_grant_says() {
    let mut draft = alice().with(|policy| {
        policy
            .grants
            .get_mut(&1)
            .unwrap()
            .conditions
            .max_lifetime_secs = Some(20 * 3600);
    });
    let far = now() + Duration::hours(100);
    assert_eq!(
        at(&draft, now(), far).unwrap().valid_before_unix_secs(),
        NOW_SECS + 20 * 3600
    );
    draft.person("alice").roles = BTreeSet::from([Role::Admin]);
    assert_eq!(
        at(&draft, now(), far).unwrap().valid_before_unix_secs(),
        NOW_SECS + 3600
    );
}

#[test]
fn i7_back_dating_is_at_most_60_seconds_also_between_two_seconds() {
    for millis in [0, 1, 500, 999] {
        let now = now() + Duration::milliseconds(millis);
        let order = at(&alice(), now, now + Duration::hours(1)).unwrap();
        let begin =
            OffsetDateTime::from_unix_timestamp(order.valid_after_unix_secs() as i64).unwrap();
        assert!(
            now - begin <= Duration::seconds(BACKDATE_SECS as i64),
            "{millis}"
        );
        assert!(
            now - begin > Duration::seconds(BACKDATE_SECS as i64 - 1),
            "{millis}"
        );
        let end =
            OffsetDateTime::from_unix_timestamp(order.valid_before_unix_secs() as i64).unwrap();
        assert!(end <= now + Duration::hours(1), "{millis}");
    }
}

#[test]
fn i7_less_than_a_second_is_a_refusal() {
    let grant_of = |secs| {
        alice().with(move |policy| {
            policy
                .grants
                .get_mut(&1)
                .unwrap()
                .conditions
                .max_lifetime_secs = Some(secs);
        })
    };
    let later = now() + Duration::hours(1);
    assert_eq!(at(&alice(), now(), now()), Err(DenyReason::SessionOver));
    assert_eq!(
        at(&alice(), now(), now() - Duration::days(9)),
        Err(DenyReason::SessionOver)
    );
    assert_eq!(
        at(&alice(), now(), now() + Duration::milliseconds(999)),
        Err(DenyReason::SessionOver)
    );
    assert_eq!(at(&grant_of(0), now(), later), Err(DenyReason::NoGrant));
    let no_ceiling = alice().with(|policy| policy.limits.ceiling_secs = 0);
    assert_eq!(at(&no_ceiling, now(), later), Err(DenyReason::NoTimeLeft));
    let mut asked = request("alice");
    asked.narrow.lifetime_secs = Some(0);
    assert_eq!(
        decide(&alice().index(), &asked, now()),
        Decision::Deny(DenyReason::NoTimeLeft)
    );
    for until in [NOW_SECS as i64, 0, -1, i64::MIN] {
        let ended =
            alice().with(|policy| policy.grants.get_mut(&1).unwrap().until_unix_secs = Some(until));
        assert_eq!(
            at(&ended, now(), later),
            Err(DenyReason::NoGrant),
            "{until}"
        );
    }
}

#[test]
fn i7_no_clock_and_no_limit_overflows_or_gives_forever() {
    let endless = alice().with(|policy| {
        policy.limits = Limits {
            session_secs: u64::MAX,
            lifetime_secs: u64::MAX,
            admin_lifetime_secs: u64::MAX,
            ceiling_secs: u64::MAX,
        };
        policy.grants.get_mut(&1).unwrap().until_unix_secs = Some(i64::MAX);
    });
    let last = OffsetDateTime::new_utc(time::Date::MAX, time::Time::MAX);
    let first = OffsetDateTime::new_utc(time::Date::MIN, time::Time::MIDNIGHT);
    let order = at(&endless, now(), last).unwrap();
    assert_eq!(order.valid_before_unix_secs(), last.unix_timestamp() as u64);
    assert_eq!(at(&endless, last, last), Err(DenyReason::SessionOver));
    assert_eq!(at(&endless, first, last), Err(DenyReason::ClockOutOfRange));
    assert_eq!(at(&endless, now(), first), Err(DenyReason::ClockOutOfRange));
    let just_before = OffsetDateTime::UNIX_EPOCH - Duration::milliseconds(1);
    assert_eq!(
        at(&endless, just_before, last),
        Err(DenyReason::ClockOutOfRange)
    );
    let dawn = at(&alice(), OffsetDateTime::UNIX_EPOCH, last).unwrap();
    assert_eq!(dawn.valid_after_unix_secs(), 0);
}
