//! Tests of the public API: random policies against a naive model, and one named test for each invariant.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what the tests share stands outside of them, and tests may read files and clocks that the pure crate may not"
)]

mod build;
mod bytes;
mod check;
mod combinations;
mod decide;
mod hours;
mod keys;
mod limits;
mod lint;
mod loss;
mod machines;
mod naive;
mod openssh;
mod profile;
mod property;
mod random;
mod wall;
