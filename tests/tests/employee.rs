//! An employee's day with the real programs: enrolment, login, plain ssh, silent renewal, and what happens when the company changes its mind.

/// A fleet of its own for the named test, or the end of the test where machines cannot run.
macro_rules! fleet {
    ($test:literal) => {
        match e2e::Fleet::for_test($test) {
            Some(fleet) => fleet,
            None => return Ok(()),
        }
    };
}

#[path = "employee/changes.rs"]
mod changes;
#[path = "employee/conditions.rs"]
mod conditions;
#[path = "employee/day.rs"]
mod day;
#[path = "employee/enrolment.rs"]
mod enrolment;
#[path = "employee/hosts.rs"]
mod hosts;
#[path = "employee/keys.rs"]
mod keys;
#[path = "employee/renewal.rs"]
mod renewal;
#[path = "employee/scene.rs"]
mod scene;
#[path = "employee/security_key.rs"]
mod security_key;
#[path = "employee/withdrawn.rs"]
mod withdrawn;
