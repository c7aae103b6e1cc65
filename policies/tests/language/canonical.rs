//! The bytes that tell whether the store changed since a plan.

use policies::{Policy, Status, document::canonical};
use proptest::prelude::*;

use crate::{
    sound::{Dice, bytes},
    world::cases,
};

/// What a plan does not depend on, made the same.
fn blurred(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    for person in policy.employees.values_mut() {
        person.epoch = 0;
        if person.status == Status::Active {
            person.status = Status::Invited;
        }
        if person.status == Status::Removed {
            person.roles.clear();
        }
    }
    policy
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn canonical_bytes_differ_just_where_a_plan_could(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let before = dice.policy();
        let mut after = before.clone();
        dice.edit(&mut after);
        prop_assert_eq!(
            canonical(&before) == canonical(&after),
            blurred(&before) == blurred(&after),
            "{}\n---\n{}",
            String::from_utf8_lossy(&canonical(&before)),
            String::from_utf8_lossy(&canonical(&after))
        );
    }
}
