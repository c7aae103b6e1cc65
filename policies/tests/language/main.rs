//! The policy language: documents read and written, plans, sentences; the README's and the shipped examples.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what the tests share stands outside of them, and tests may read files and clocks that the pure crate may not"
)]

mod canonical;
mod examples;
mod expect;
mod expect_property;
mod faults;
mod foreign;
mod numbers;
mod plan;
mod plan_property;
mod readme;
mod round_trip;
mod sound;
mod world;
