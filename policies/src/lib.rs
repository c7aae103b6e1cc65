//! Who may reach what, and the shape of the certificate that says so: pure functions over plain values.
//!
//! Nothing here knows a clock, a file, a socket or a source of randomness: all of these are arguments.
//!
//! The way of a certificate through this crate: a [`Policy`] is compiled once into an [`Index`]; [`decide()`] turns a [`Request`] into
//! [`Order`]s; [`Blueprint::of`] fixes every field of the certificate but nonce and signature; somebody else signs what
//! [`Blueprint::build`] returns; [`lint()`] parses the result again and compares it with the blueprint.

pub mod check;
pub mod decide;
pub mod document;
pub mod expect;
pub mod explain;
mod graph;
pub mod hours;
pub mod import;
pub mod index;
pub mod loss;
pub mod machines;
pub mod matrix;
pub mod model;
pub mod names;
pub mod plan;
pub mod principals;
pub mod profile;
mod rules;

pub use check::{Place, Problem, Severity, check};
pub use decide::{BACKDATE_SECS, Decision, DenyReason, Narrow, Order, Request, decide};
pub use explain::{Explanation, Question, Verdict, explain};
pub use hours::{Hours, HoursError};
pub use index::Index;
pub use loss::{Held, beyond_policy, lost_principals};
pub use machines::{MachineAccount, Reach, SeenAccount, accounts_on, accounts_seen_on, reach};
pub use matrix::{Filter, Row, View, Who, matrix, who};
pub use model::*;
pub use names::*;
pub use principals::{MAX_PRINCIPALS, Principals, PrincipalsError};
pub use profile::{
    Blueprint, BlueprintError, KeyId, KeyIdError, KeyRefusal, Label, LintError, NONCE_BYTES,
    Serial, SerialError, Subject, acceptable_subject, lint,
};
