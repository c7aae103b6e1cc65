//! The applier on real machines: what it makes, what it refuses, and what is left when it is cut off.
//!
//! With `E2E_FULL=1` in the environment every point is tried where the default run takes a sample.

/// A bench with a machine on a fleet of its own, or the end of the test where machines cannot run. Arguments: the test's name, and a
/// change to the machine's description.
macro_rules! bench {
    ($test:literal) => {
        bench!($test, |spec| spec)
    };
    ($test:literal, $change:expr) => {
        match e2e::Fleet::for_test($test) {
            Some(fleet) => crate::bench::Bench::with(fleet, $change)?,
            None => return Ok(()),
        }
    };
}

#[path = "applier/accounts.rs"]
mod accounts;
#[path = "applier/bench.rs"]
mod bench;
#[path = "applier/cut_off.rs"]
mod cut_off;
#[path = "applier/genuine.rs"]
mod genuine;
#[path = "applier/krl.rs"]
mod krl;
#[path = "applier/orders.rs"]
mod orders;
#[path = "applier/preflight.rs"]
mod preflight;
#[path = "applier/removal.rs"]
mod removal;
#[path = "applier/review.rs"]
mod review;
#[path = "applier/roll_back.rs"]
mod roll_back;
#[path = "applier/sessions.rs"]
mod sessions;
#[path = "applier/succession.rs"]
mod succession;
#[path = "applier/ways_in.rs"]
mod ways_in;
