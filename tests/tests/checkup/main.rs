//! Check-up, sessions, migration from static keys, and removal, on real machines with a real CA.

#![allow(clippy::unwrap_used, reason = "tests")]

mod findings;
mod keys;
mod scene;
mod sessions;
