//! The one shape of an error on the wire.

use serde::{Deserialize, Serialize};

/// What kind of refusal or failure it is; decides the HTTP status and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request could not be read (400).
    Invalid,
    /// Not let in: wrong credentials, or none (401). One code for every reason (A4).
    Refused,
    /// The authenticator's code is wrong, and it alone: another one may be right (400). Enrolment only; a login says `Refused`.
    WrongCode,
    /// Let in, but this is not theirs to do (403).
    Forbidden,
    /// No such thing (404).
    NotFound,
    /// It clashes with what is there (409).
    Conflict,
    /// The day session is over, or was ended: log in again (401).
    SessionOver,
    /// The nonce is used, foreign, or too old: take a new one and try again (400).
    BadNonce,
    /// Too much at once; try again later (429).
    Busy,
    /// The CA cannot do it now (503); nothing was handed out.
    Unavailable,
}

/// An error as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The kind.
    pub code: ErrorCode,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do next; may be empty.
    #[serde(default)]
    pub hint: String,
}

impl ApiError {
    /// An error with a message and no hint.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: String::new(),
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}
