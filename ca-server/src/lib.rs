//! The certificate authority: the only place that signs.

pub mod cli;
pub mod ledger;
pub mod store;
