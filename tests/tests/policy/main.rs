//! Policy on real machines: what the CA says that somebody reaches is what real ssh does, in both directions.

/// A fleet of its own for the named test, or the end of the test where machines cannot run.
macro_rules! fleet {
    ($test:literal) => {
        match e2e::Fleet::for_test($test) {
            Some(fleet) => fleet,
            None => return Ok(()),
        }
    };
}

mod day;
mod differential;
mod scene;
