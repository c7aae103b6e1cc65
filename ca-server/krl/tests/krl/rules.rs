//! The promises of the crate, one by one.
