//! What was exported reads back as it was.

use policies::{
    Policy, Status,
    document::{canonical, export},
    plan::{Detail, plan},
};
use proptest::prelude::*;

use crate::{
    sound::{Dice, bytes},
    world::{NOW, cases, good, numbers_behind},
};

/// What a document cannot say to a CA that never saw these people: epochs, who enrolled, who is gone, and numbers of shorthand grants.
fn as_new(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    policy
        .employees
        .retain(|_, person| person.status != Status::Removed);
    for person in policy.employees.values_mut() {
        person.epoch = 1;
        if person.status == Status::Active {
            person.status = Status::Invited;
        }
    }
    policy
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn an_export_reads_back_as_the_policy_it_was(bytes in bytes()) {
        let policy = Dice::new(&bytes).policy();
        let text = export(&policy, &["nobody reaches web-1 as root".to_owned()]);
        let reading = good(&policy, &text);
        prop_assert_eq!(&reading.policy, &policy, "{}", text);
        prop_assert_eq!(reading.numbers, numbers_behind(&policy));
        prop_assert_eq!(canonical(&reading.policy), canonical(&policy));
        prop_assert_eq!(reading.expectations[0].what.to_string(), "nobody reaches web-1 as root");
        prop_assert_eq!(export(&reading.policy, &["nobody reaches web-1 as root".to_owned()]), text);
        let unchanged = plan(&policy, &reading.policy, NOW, Detail::ALL);
        prop_assert!(unchanged.is_empty(), "{unchanged}");
    }

    #[test]
    fn an_export_reads_into_an_empty_store_but_for_what_only_the_store_knows(bytes in bytes()) {
        let policy = Dice::new(&bytes).policy();
        let mut empty = Policy { machines: policy.machines.clone(), ..Policy::default() };
        for machine in empty.machines.values_mut() {
            machine.pools.clear();
        }
        let text = export(&policy, &[]);
        let reading = good(&empty, &text);
        let expected = as_new(&policy);
        let unnumbered = |policy: &Policy| {
            let mut grants: Vec<String> = policy.grants.values().map(|grant| format!("{grant:?}")).collect();
            grants.sort();
            grants
        };
        prop_assert_eq!(unnumbered(&reading.policy), unnumbered(&expected));
        let (mut one, mut other) = (reading.policy, expected);
        one.grants.clear();
        other.grants.clear();
        prop_assert_eq!(one, other, "{}", text);
    }
}
