//! The store: one contract for every back end, the ledger's chain, disks that fail, processes that are killed.

#![allow(
    clippy::unwrap_used,
    reason = "what the tests share stands outside of them"
)]

#[path = "store/chain.rs"]
mod chain;
#[path = "store/contract.rs"]
mod contract;
#[path = "store/disk.rs"]
mod disk;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/full.rs"]
mod full;
#[path = "store/groups.rs"]
mod groups;
#[path = "store/kill.rs"]
mod kill;
#[path = "store/medium.rs"]
mod medium;
#[path = "store/model.rs"]
mod model;
#[path = "store/powercut.rs"]
mod powercut;
