//! The server without machines: its real doors over real TLS, its real store on disk, OpenSSH's own `ssh-keygen`.
//! Tests are named after the lines of the invariants.

#![allow(
    clippy::unwrap_used,
    reason = "what the tests share stands outside of them"
)]

#[path = "server/attack.rs"]
mod attack;
#[path = "server/attempts.rs"]
mod attempts;
#[path = "server/authentication.rs"]
mod authentication;
#[path = "server/back_ends.rs"]
mod back_ends;
#[path = "server/backup.rs"]
mod backup;
#[path = "server/clock.rs"]
mod clock;
#[path = "server/cut.rs"]
mod cut;
#[path = "server/day.rs"]
mod day;
#[path = "server/document.rs"]
mod document;
#[path = "server/doors.rs"]
mod doors;
#[path = "server/dumps.rs"]
mod dumps;
#[path = "server/enrolment.rs"]
mod enrolment;
#[path = "server/fleet_key.rs"]
mod fleet_key;
#[path = "server/issuance.rs"]
mod issuance;
#[path = "server/issuance_faults.rs"]
mod issuance_faults;
#[path = "server/killed.rs"]
mod killed;
#[path = "server/lost.rs"]
mod lost;
#[path = "server/narrowing.rs"]
mod narrowing;
#[path = "server/policy.rs"]
mod policy;
#[path = "server/process.rs"]
mod process;
#[path = "server/pull.rs"]
mod pull;
#[path = "server/refusals.rs"]
mod refusals;
#[path = "server/review.rs"]
mod review;
#[path = "server/revocation.rs"]
mod revocation;
#[path = "server/rotation.rs"]
mod rotation;
#[path = "server/rotation_ends.rs"]
mod rotation_ends;
#[path = "server/security_key.rs"]
mod security_key;
#[path = "server/served.rs"]
mod served;
#[path = "server/signers.rs"]
mod signers;
#[path = "server/standing.rs"]
mod standing;
#[path = "server/subject_keys.rs"]
mod subject_keys;
#[path = "server/taken.rs"]
mod taken;
#[path = "server/tls.rs"]
mod tls;
#[path = "server/token_key.rs"]
mod token_key;
#[path = "server/web.rs"]
mod web;
#[path = "server/world.rs"]
mod world;
