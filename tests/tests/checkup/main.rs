//! Check-up, sessions, and migration from static keys, on real machines with a real CA.

#![allow(clippy::unwrap_used, reason = "tests")]

mod findings;
mod keys;
mod removal;
mod scene;
mod sessions;
