//! The certificate profile: the shape of every certificate that the CA signs, and the check that a signed one has it.

mod blueprint;
mod key_id;
mod lint;
mod options;
mod serial;
mod subject;
mod wire;

pub use blueprint::{
    Blueprint, BlueprintError, HOST_LIFETIME_MAX_SECS, NONCE_BYTES, PROBE_LIFETIME_MAX_SECS,
};
pub use key_id::{KeyId, KeyIdError, Label};
pub use lint::{LintError, lint};
pub use serial::{Serial, SerialError};
pub use subject::{KeyRefusal, RSA_MIN_BITS, Subject, acceptable_subject};
