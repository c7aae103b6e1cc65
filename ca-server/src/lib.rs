//! The certificate authority: the only place that signs.

pub mod auth;
pub mod ca;
pub mod cli;
pub mod config;
pub mod enrol;
pub mod folder;
pub mod issue;
pub mod keys;
pub mod ledger;
pub mod records;
pub mod session;
pub mod signer;
pub mod store;
pub mod tls;
