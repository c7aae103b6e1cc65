//! `bootstrap`: turns a machine with an `ssh-admin` login into a pool machine, once, over ssh, and cannot lock anybody out.
//!
//! # Rooms
//!
//! [`cli`], [`hosts`] and [`wanted`] turn words into what is wanted of each machine; [`door`] is the CA's admin API;
//! [`contact`] reaches a machine (host key, login, way to root, preflight) and changes nothing; [`add`] changes it, step by
//! step, each with its way back; [`check`] and [`remove`] are the other verbs; [`narrate`], [`terminal`] and [`outcome`] face
//! the person. What runs on a machine is `ca-machine`'s; this crate knows nothing of sshd's configuration.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod add;
pub mod address;
pub mod check;
pub mod cli;
pub mod contact;
pub mod door;
pub mod hosts;
pub mod known_hosts;
pub mod narrate;
pub mod outcome;
pub mod pace;
pub mod remove;
pub mod run;
pub mod terminal;
pub mod wanted;

pub use run::main;
