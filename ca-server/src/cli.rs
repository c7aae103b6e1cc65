//! The command line of `ca-server`: arguments in, one request to the running server, its answer for people or as JSON.

pub mod args;
pub mod order;
pub mod passphrase;
pub mod time;
