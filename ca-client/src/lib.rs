//! The employee's side of the certificate authority, and the typed API client that `bootstrap` shares.
//!
//! # Where things live
//!
//! | path | mode | what |
//! |---|---|---|
//! | `~/.config/ssh-ca/config.toml` | 0600 | URL of the CA, its identity, the user CA keys known, the email and the security key last used |
//! | `~/.config/ssh-ca/ca.pem` | 0600 | the pinned TLS certificate: the only trust for HTTPS (C2) |
//! | `~/.config/ssh-ca/device` | 0600 | token that keeps strangers from locking this device out |
//! | `~/.ssh/ca/config` | 0600 | the ssh_config fragment; `~/.ssh/config` gets one `Include` of it at its top |
//! | `~/.ssh/ca/known_hosts` | 0600 | `@cert-authority` and `@revoked` lines |
//! | `~/.ssh/ca/id.pub` | 0600 | the public key of the day; its private half is in the ssh-agent, or in a security key |
//! | `~/.ssh/ca/id` | 0600 | the private key, only where there is no agent or it refuses |
//! | `~/.ssh/ca/cert-N-cert.pub` | 0600 | one certificate per condition set |
//! | `~/.ssh/ca/session.json` | 0600 | the day session and its secret, outside the agent (C1) |
//! | `~/.ssh/ca/directory.json` | 0600 | who the employee is and which machines they reach, as the CA last said |
//! | `~/.ssh/ca/due` | 0600 | when to renew: all that `renew --if-due` reads while nothing is due |
//! | `~/.ssh/ca/back-off` | 0600 | until when a failed renewal is not tried again |
//! | `~/.ssh/ca/asked` | 0600 | until when the CA is not asked whether the certificates are still good |
//! | `~/.ssh/ca/lock` | 0600 | held by the one process that changes the above |
//!
//! `XDG_CONFIG_HOME` moves the first three. Everything is replaced by rename.
//!
//! # Rooms
//!
//! [`trust`] pins the server, [`api`] talks to it, [`directory`] and [`check`] turn what it says into values that are
//! proven harmless, [`render`] writes ssh's language from those only, [`install`] puts the files into place, [`agent`]
//! and [`key`] hold the private key, [`security_key`] finds one that its owner holds, [`day`] joins them into login and renewal, [`due`] answers ssh in no time.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent;
pub mod api;
pub mod atomic;
pub mod check;
pub mod command;
pub mod config;
pub mod day;
pub mod directory;
pub mod due;
pub mod install;
pub mod key;
pub mod places;
pub mod prompt;
pub mod qr;
pub mod render;
pub mod say;
pub mod security_key;
pub mod session;
pub mod text;
pub mod trust;
pub mod url;
