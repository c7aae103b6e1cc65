//! The certificate authority: the only place that signs.

pub mod admin;
pub mod auth;
pub mod backup;
pub mod break_glass;
pub mod ca;
pub mod cli;
pub mod clock;
pub mod config;
pub mod enrol;
pub mod fleet;
pub mod folder;
mod house;
pub mod http;
pub mod init;
pub mod issue;
pub mod keys;
pub mod ledger;
pub mod records;
pub mod recovery;
pub mod revoke;
pub mod rotate;
pub mod serve;
pub mod session;
pub mod signer;
pub mod store;
pub mod tls;
