//! Keys of the CA are replaced on real machines, while people work: nobody is refused who should get in, and a compromised key opens nothing.

/// A fleet of its own for the named test, or the end of the test where machines cannot run.
macro_rules! fleet {
    ($test:literal) => {
        match e2e::Fleet::for_test($test) {
            Some(fleet) => fleet,
            None => return Ok(()),
        }
    };
}

#[path = "rotation/compromised.rs"]
mod compromised;
#[path = "rotation/load.rs"]
mod load;
#[path = "rotation/replaced.rs"]
mod replaced;
#[allow(dead_code, reason = "shared with the tests of an employee's day")]
#[path = "employee/scene.rs"]
mod scene;
#[path = "rotation/tls.rs"]
mod tls;
