//! The fleet when things go wrong: the server is killed, machines are down, hang, fill up, or lose the time. It converges by itself, and
//! says where it has not.

/// A fleet of its own for the named test, or the end of the test where machines cannot run.
macro_rules! fleet {
    ($test:literal) => {
        match e2e::Fleet::for_test($test) {
            Some(fleet) => fleet,
            None => return Ok(()),
        }
    };
}

#[path = "fleet/break_glass.rs"]
mod break_glass;
#[path = "fleet/faults.rs"]
mod faults;
#[path = "fleet/fleet_key.rs"]
mod fleet_key;
#[path = "fleet/kept.rs"]
mod kept;
#[path = "fleet/killed.rs"]
mod killed;
#[path = "fleet/metrics.rs"]
mod metrics;
#[path = "fleet/restored.rs"]
mod restored;
#[path = "fleet/scene.rs"]
mod scene;
