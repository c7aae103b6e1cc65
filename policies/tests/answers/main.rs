//! Tests of the answers (explain, matrix, who) and of the imports, against the decision itself and against real `ssh-keygen`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what the tests share stands outside of them, and tests may read files and clocks that the pure crate may not"
)]

#[allow(dead_code, reason = "shared with the tests of the decision")]
#[path = "../policies/build.rs"]
mod build;
#[allow(dead_code, reason = "shared with the tests of the decision")]
#[path = "../policies/random.rs"]
mod random;
#[allow(dead_code, reason = "shared with the tests of the decision")]
#[path = "../policies/wall.rs"]
mod wall;

mod adding;
mod agree;
mod authorized_keys;
mod csv;
mod explain;
mod keygen;
mod keymgr;
mod keymgr_faults;
mod matrix;
mod ssh_handler;
mod transpose;

/// `POLICIES_CASES=100000` runs that many cases instead.
fn cases(count: u32) -> proptest::prelude::ProptestConfig {
    proptest::prelude::ProptestConfig {
        cases: std::env::var("POLICIES_CASES")
            .ok()
            .map_or(count, |text| text.parse().unwrap()),
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::default()
    }
}
