//! The crate against the real `ssh-keygen`, and against hostile bytes.
//!
//! `KRL_CASES` sets how many random KRLs each comparison with `ssh-keygen` draws (default 1,000; 10,000 is
//! the full count, which `tests/run --full` sets).

// These tests run processes and read files, which the crate itself must not.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "OpenSSH judges what the pure crate writes: files and programs, in what the tests share too"
)]

#[path = "krl/agreement.rs"]
mod agreement;
#[path = "krl/craft.rs"]
mod craft;
#[path = "krl/hostile.rs"]
mod hostile;
#[path = "krl/keygen.rs"]
mod keygen;
#[path = "krl/plan.rs"]
mod plan;
#[path = "krl/pool.rs"]
mod pool;
#[path = "krl/rules.rs"]
mod rules;
