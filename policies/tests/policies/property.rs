//! Random policies: what the crate says equals what the naive model says.
//!
//! 20,000 policies, of which `decide` is asked 120,000 times; what is slower sees a tenth of them. `POLICIES_CASES` is another number.

use std::collections::{BTreeMap, BTreeSet};

use policies::{
    AccountName, Conditions, Decision, Email, Grant, Held, Index, KeyDemand, KeyKind, MachineName,
    Principal, Recording, Request, Status, Sudo, accounts_on, beyond_policy, check, decide,
    lost_principals, reach,
};
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use crate::{
    naive,
    random::{Dice, MACHINES, PEOPLE, bytes},
};

/// One in `share` of the cases.
fn cases(share: u32) -> ProptestConfig {
    let count = std::env::var("POLICIES_CASES")
        .ok()
        .map_or(20_000, |text| text.parse().unwrap());
    ProptestConfig {
        cases: (count / share).max(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// What `decide` granted, as the naive model says it; each (conditions, end) may come once only.
fn items(decision: &Decision, now: OffsetDateTime) -> BTreeSet<naive::Item> {
    let Decision::Grant(orders) = decision else {
        return BTreeSet::new();
    };
    assert!(!orders.is_empty(), "a grant of nothing");
    let mut sets = BTreeSet::new();
    let mut items = BTreeSet::new();
    for order in orders {
        let end = order.valid_before_unix_secs();
        assert!(
            sets.insert((order.conditions().clone(), end)),
            "one condition set, two orders"
        );
        assert!((1..=256).contains(&order.principals().len()));
        let begin =
            OffsetDateTime::from_unix_timestamp(order.valid_after_unix_secs() as i64).unwrap();
        assert!(
            begin <= now && now - begin <= Duration::seconds(60),
            "back-dated by {}",
            now - begin
        );
        for principal in order.principals().iter() {
            items.insert((principal.clone(), order.conditions().clone(), end.into()));
        }
    }
    items
}

proptest! {
    #![proptest_config(cases(1))]

    #[test]
    fn p1_decide_equals_the_naive_model(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let (now, request, policy) = (dice.now(), dice.request(), dice.policy());
        let index = Index::new(&policy);
        let everybody = PEOPLE.into_iter().map(|name| Request { email: crate::build::email(name), ..request.clone() });
        for request in everybody.chain([request.clone()]) {
            let decision = decide(&index, &request, now);
            prop_assert_eq!(items(&decision, now), naive::decide(&policy, &request, now));
            prop_assert_eq!(&decision, &decide(&index, &request, now));
        }
    }

}

proptest! {
    #![proptest_config(cases(10))]

    #[test]
    fn h9_accounts_equal_the_naive_model(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let (now, policy) = (dice.now(), dice.policy());
        let index = Index::new(&policy);
        for machine in MACHINES {
            let machine: MachineName = machine.parse().unwrap();
            let pools = naive::pools_of(&policy, &machine);
            prop_assert_eq!(index.pools_of(&machine).cloned().collect::<BTreeSet<_>>(), pools.clone());
            let mut expected: BTreeMap<AccountName, Vec<_>> = BTreeMap::new();
            for (account, grant, person) in naive::claims(&policy, &machine, now) {
                if matches!(person.status, Status::Active | Status::Invited) {
                    expected.entry(account).or_default().push((grant, person));
                }
            }
            let accounts = accounts_on(&index, &machine, now);
            prop_assert_eq!(
                accounts.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>()
            );
            for (account, entry) in &accounts {
                let lines = pools.iter().map(|pool| Principal::new(account.clone(), pool.clone()));
                prop_assert_eq!(&entry.principals, &lines.collect::<BTreeSet<_>>());
                let owner = policy.employees.values().find(|person| person.account == *account);
                prop_assert_eq!(entry.owner.as_ref(), owner.map(|person| &person.email));
                prop_assert_eq!(entry.uid, owner.map(|person| person.uid));
                sudo_is_no_more_than_granted(&policy, &expected[account], &entry.sudo, owner.is_some())?;
            }
        }
    }

    #[test]
    fn h3_reach_is_what_certificates_and_principals_files_do_together(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let (now, policy) = (dice.now(), dice.policy());
        let index = Index::new(&policy);
        for name in PEOPLE {
            let email = crate::build::email(name);
            let session_ends = now + Duration::hours(1);
            let request = Request { email: email.clone(), session_ends, key: KeyKind::SecurityKey, narrow: Default::default() };
            let orders = match decide(&index, &request, now) {
                Decision::Grant(orders) => orders,
                Decision::Deny(_) => Vec::new(),
            };
            let mut opened = BTreeSet::new();
            for machine in MACHINES {
                let machine: MachineName = machine.parse().unwrap();
                for (account, entry) in accounts_on(&index, &machine, now) {
                    if orders.iter().any(|order| order.principals().iter().any(|p| entry.principals.contains(p))) {
                        opened.insert((machine.clone(), account));
                    }
                }
            }
            let cells = reach(&index, &email, now);
            let said = cells.iter().map(|cell| (cell.machine.clone(), cell.account.clone()));
            prop_assert_eq!(said.collect::<BTreeSet<_>>(), opened);
            for cell in &cells {
                let at = cell.order_in(&orders).expect("some order serves it");
                prop_assert!(cell.principals.iter().any(|p| orders[at].principals().contains(p)));
                let expected = naive::claims(&policy, &cell.machine, now);
                let expected = expected.into_iter().filter(|(account, id, person)| {
                    *account == cell.account && person.email == email && naive::is_open(&policy.grants[id], now)
                });
                prop_assert_eq!(&cell.grants, &expected.map(|(_, grant, _)| grant).collect::<BTreeSet<_>>());
            }
        }
    }

    #[test]
    fn p7_what_goes_beyond_the_policy_is_what_could_not_be_issued_again(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let (now, old) = (dice.now(), dice.policy());
        let mut new = old.clone();
        dice.edit(&mut new);
        let (old_index, new_index) = (Index::new(&old), Index::new(&new));
        let later = now + Duration::seconds([0, 0, 1, 20][dice.below(4)]);
        for name in PEOPLE {
            let email: Email = crate::build::email(name);
            let session_ends = now + Duration::hours(30);
            let request = Request { email: email.clone(), session_ends, key: KeyKind::SecurityKey, narrow: Default::default() };
            let Decision::Grant(orders) = decide(&old_index, &request, now) else {
                continue;
            };
            let request = Request { session_ends: session_ends + Duration::hours(1), ..request };
            for order in &orders {
                let held = Held {
                    principals: order.principals().as_set(),
                    conditions: order.conditions(),
                    valid_after_unix_secs: order.valid_after_unix_secs(),
                    valid_before_unix_secs: order.valid_before_unix_secs(),
                };
                prop_assert!(beyond_policy(&old_index, &email, &held, later).is_empty(), "nothing changed");
                let gone = beyond_policy(&new_index, &email, &held, later);
                let issued = OffsetDateTime::from_unix_timestamp(order.valid_after_unix_secs() as i64 + 60).unwrap();
                let at = issued.max(later);
                let again = naive::decide(&new, &request, at);
                for principal in order.principals().iter() {
                    let over = order.valid_before_unix_secs() as i64 <= at.unix_timestamp();
                    let possible = again.iter().any(|(p, conditions, end)| {
                        p == principal && *end >= order.valid_before_unix_secs().into() && as_free(conditions, order.conditions())
                    });
                    prop_assert_eq!(gone.contains(principal), !possible && !over, "{} under {:?}", principal, order.conditions());
                }
            }
            // Without knowing the conditions at least as much is lost.
            let carried: BTreeSet<Principal> = orders.iter().flat_map(|order| order.principals().iter()).cloned().collect();
            prop_assert!(lost_principals(&old_index, &old_index, &email, &carried, now).is_empty());
            let lost = lost_principals(&old_index, &new_index, &email, &carried, now);
            let now_given = naive::decide(&new, &request, now);
            for order in &orders {
                for principal in order.principals().iter() {
                    let kept = now_given.iter().any(|(p, conditions, end)| {
                        p == principal && *end >= order.valid_before_unix_secs().into() && as_free(conditions, order.conditions())
                    });
                    prop_assert!(kept || lost.contains(principal), "{} was kept", principal);
                }
            }
        }
    }

    #[test]
    fn w3_check_and_index_end_on_anything(bytes in bytes()) {
        let policy = Dice::new(&bytes).policy();
        let problems = check(&policy);
        prop_assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        let again = check(&policy);
        prop_assert_eq!(problems, again);
    }
}

/// A property that holds because nothing ever happens says nothing: each condition must decide some of the cases.
#[test]
fn the_dice_reach_what_the_properties_are_about() {
    let mut state: u64 = 1;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..600).map(|_| byte()).collect();
        let mut dice = Dice::new(&bytes);
        let (now, request, policy) = (dice.now(), dice.request(), dice.policy());
        let said = naive::decide(&policy, &request, now);
        let mut count =
            |what, happened: bool| *seen.entry(what).or_default() += u32::from(happened);
        count("something is granted", !said.is_empty());
        let sets: BTreeSet<_> = said
            .iter()
            .map(|(_, conditions, end)| (conditions, end))
            .collect();
        count("several certificates", sets.len() > 1);
        let without = |change: fn(&mut Grant)| {
            let mut policy = policy.clone();
            policy.grants.values_mut().for_each(change);
            naive::decide(&policy, &request, now)
        };
        count("hours decide", said != without(|grant| grant.hours = None));
        count(
            "until decides",
            said != without(|grant| grant.until_unix_secs = None),
        );
        count(
            "recording decides",
            said != without(|grant| grant.recording = Recording::None),
        );
        let any_key = without(|grant| grant.conditions.key = KeyDemand::Any);
        count("the kind of key decides", said.len() < any_key.len());
        // An end on a quarter of an hour that no other limit has is the end of a window.
        let closes = |end: &i128| end % 900 == 0 && *end > now.unix_timestamp().into();
        count(
            "a window ends it",
            said.iter().any(|(_, _, end)| closes(end)),
        );
    }
    for (what, times) in &seen {
        assert!(*times >= 20, "{what}: {times} of 2000; {seen:?}");
    }
    assert_eq!(seen.len(), 7);
}

/// Whether whoever has `wide` may do what `narrow` allows; the networks of the dice do not overlap.
fn as_free(wide: &Conditions, narrow: &Conditions) -> bool {
    let any = KeyDemand::Any;
    (wide.sources.is_empty() || wide.sources == narrow.sources)
        && (wide.forced_command.is_none() || wide.forced_command == narrow.forced_command)
        && wide.extensions.is_superset(&narrow.extensions)
        && (wide.key == any || narrow.key != any)
}

/// Nobody's sudo exceeds what all (shared) or some (own) of the grants allow.
fn sudo_is_no_more_than_granted(
    policy: &policies::Policy,
    claims: &[(policies::GrantId, &policies::Employee)],
    sudo: &Sudo,
    own: bool,
) -> Result<(), TestCaseError> {
    let grants: Vec<&Sudo> = claims
        .iter()
        .map(|(id, _)| &policy.grants[id].sudo)
        .collect();
    let within = |limit: &Sudo| match (sudo, limit) {
        (Sudo::None, _) | (_, Sudo::All) => true,
        (Sudo::Commands(a), Sudo::Commands(b)) => a.is_subset(b),
        (Sudo::All | Sudo::Commands(_), Sudo::None) | (Sudo::All, Sudo::Commands(_)) => false,
    };
    // What differs in anything but sudo and pool is not added up, nor is what is granted to many.
    let like = |id: &policies::GrantId| {
        let grant = &policy.grants[id];
        (&grant.conditions, &grant.hours)
    };
    let alike = claims.iter().all(|(id, _)| like(id) == like(&claims[0].0));
    if own && alike {
        prop_assert!(grants.iter().any(|limit| within(limit)));
    } else {
        prop_assert!(grants.iter().all(|limit| within(limit)));
    }
    if grants.iter().all(|limit| *limit == grants[0]) {
        prop_assert_eq!(sudo, grants[0]);
    }
    Ok(())
}
