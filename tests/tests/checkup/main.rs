//! Check-up, sessions, and migration from static keys, on real machines with a real CA.

mod findings;
mod keys;
mod removal;
mod scene;
mod sessions;
