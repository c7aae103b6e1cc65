//! Machines that fetch for themselves: from a web server that lies, hangs or lags behind.

macro_rules! bench {
    ($test:literal) => {
        match e2e::Fleet::for_test($test) {
            Some(fleet) => crate::bench::Bench::with(fleet, |spec| spec)?,
            None => return Ok(()),
        }
    };
}

#[allow(dead_code, reason = "shared with the tests of the applier")]
#[path = "applier/bench.rs"]
mod bench;
#[path = "pull/company.rs"]
mod company;
#[path = "pull/fetching.rs"]
mod fetching;
#[path = "pull/hostile.rs"]
mod hostile;
#[path = "pull/web.rs"]
mod web;
