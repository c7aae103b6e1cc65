//! Day sessions: login opens one, renewal works within it, logout ends it.

pub mod decoy;
pub mod directory;
pub mod login;
pub mod password;
pub mod plan;
pub mod possession;
pub mod renew;
pub mod standing;

use ca_api::{ApiError, ErrorCode};
use ssh_key::PublicKey;

use crate::{auth::password::HashError, clock::Steady, issue::IssueError, store::ReadError};

/// A request at the employees' door was not granted.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Not let in; the caller is told nothing more (A4). The reason is for the ledger.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// An enrolment code that opens nothing.
    #[error("refused: the enrolment code opens nothing")]
    CodeRefused,
    /// The authenticator's code does not fit its secret.
    #[error("refused: wrong code at enrolment")]
    WrongCode,
    /// The request itself is wrong, whoever sent it.
    #[error("{0}")]
    Invalid(String),
    /// The nonce.
    #[error(transparent)]
    Nonce(#[from] crate::auth::nonce::NonceError),
    /// The day session is over, ended, or was never there.
    #[error("the session is over")]
    Over,
    /// Let in, and nothing is granted.
    #[error("{0}")]
    NothingGranted(policies::DenyReason),
    /// The new password is not taken.
    #[error("the new password is not taken: {0}")]
    Weak(#[from] crate::auth::password::Weak),
    /// Passwords cannot be compared now.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// Issuing failed.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The CA was restored from a backup, and nobody has looked yet.
    #[error("shut after a restore, until an admin has looked")]
    Shut,
    /// Policy kept changing while the decision was made.
    #[error("policy is being changed")]
    Unsteady,
}

impl From<ReadError> for SessionError {
    fn from(error: ReadError) -> Self {
        Self::Issue(IssueError::Store(error.into()))
    }
}

impl From<crate::store::StoreError> for SessionError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Issue(IssueError::Store(error))
    }
}

impl From<&SessionError> for ApiError {
    fn from(error: &SessionError) -> Self {
        match error {
            SessionError::Refused(_) => refused(),
            SessionError::CodeRefused => Self::new(ErrorCode::Refused, "this enrolment code is wrong, used, or over")
                .hint("ask an admin for a new one: `ca-server employee reset EMAIL`"),
            SessionError::WrongCode => Self::new(ErrorCode::WrongCode, "the code of the authenticator is wrong, or was used before")
                .hint("type the six digits that it shows now, each works once; if they keep being wrong, set the phone's clock"),
            SessionError::Invalid(what) => Self::new(ErrorCode::Invalid, what.clone()),
            SessionError::Nonce(_) => Self::new(ErrorCode::BadNonce, "the nonce was used, is too old, or is not this server's")
                .hint("take a new nonce and try again"),
            SessionError::Over => Self::new(ErrorCode::SessionOver, "your session is over").hint("log in: `ca-client login`"),
            SessionError::NothingGranted(policies::DenyReason::SecurityKeyNeeded) => Self::new(
                ErrorCode::Forbidden,
                "you are who you say, but everything that you may reach needs a security key that checks your PIN",
            )
            .hint("log in with one: `ca-client login --security-key`; one that asks for its PIN is made with `ssh-keygen -t ed25519-sk -O verify-required`"),
            SessionError::NothingGranted(reason) => Self::new(
                ErrorCode::Forbidden,
                format!("you are who you say, but there is nothing to certify: {reason}"),
            )
            .hint("ask an admin which pools you should reach"),
            SessionError::Shut => Self::new(
                ErrorCode::Unavailable,
                "the CA was restored from a backup and issues nothing until an admin has looked",
            )
            .hint("certificates from before are refused; ask an admin to run `ca-server recovery show`"),
            SessionError::Weak(why) => Self::new(ErrorCode::Invalid, format!("this password is not taken: {why}"))
                .hint("choose another; four or five unrelated words do well"),
            SessionError::Hash(HashError::TooLong) => {
                Self::new(ErrorCode::Invalid, HashError::TooLong.to_string()).hint("choose a shorter one")
            }
            SessionError::Hash(HashError::Busy) | SessionError::Unsteady => {
                Self::new(ErrorCode::Busy, "the CA is busy").hint("try again in a moment")
            }
            SessionError::Issue(IssueError::Store(crate::store::StoreError::Busy)) => {
                Self::new(ErrorCode::Busy, "the CA is busy").hint("try again in a moment")
            }
            SessionError::Issue(IssueError::Clock(doubt)) => Self::new(ErrorCode::Unavailable, doubt.to_string())
                .hint("certificates that you have keep working; ask an admin to run `ca-server clock show`"),
            SessionError::Hash(HashError::Argon2(_)) | SessionError::Issue(_) => {
                Self::new(ErrorCode::Unavailable, "the CA cannot issue certificates now; nothing was handed out")
                    .hint("certificates that you have keep working; tell an admin to look at the server's log")
            }
        }
    }
}

/// Nobody comes in after a restore before an admin has looked (S7).
///
/// # Errors
/// [`SessionError::Shut`].
pub fn check_open(ca: &crate::ca::Ca) -> Result<(), SessionError> {
    if ca.db.read(crate::recovery::is_shut)? {
        return Err(SessionError::Shut);
    }
    Ok(())
}

/// Now, where it may stand in a certificate (Z5).
///
/// # Errors
/// [`IssueError::Clock`], whoever asks: it is looked at before anything that a wrong clock would use up.
pub fn steady(ca: &crate::ca::Ca) -> Result<Steady, SessionError> {
    ca.clock
        .steady()
        .map_err(|doubt| SessionError::Issue(doubt.into()))
}

/// The one answer to whoever is not let in (A4).
#[must_use]
pub fn refused() -> ApiError {
    ApiError::new(
        ErrorCode::Refused,
        "email, password or code is wrong, or login is closed",
    )
    .hint("check all three and wait a moment before the next try; if it stays closed, ask an admin")
}

/// Parses the public key that a client sent: plain, one line, of bounded size.
///
/// # Errors
/// When it is not a public key; a certificate is refused with its own word (I8).
pub fn parse_key(text: &str) -> Result<PublicKey, SessionError> {
    let invalid = |what: &str| SessionError::Invalid(format!("the public key {what}"));
    if text.len() > 16 * 1024 {
        return Err(invalid("is too long"));
    }
    if text
        .split(' ')
        .next()
        .unwrap_or_default()
        .contains("-cert-")
    {
        return Err(invalid("is a certificate; send the plain key"));
    }
    PublicKey::from_openssh(text)
        .map_err(|_| invalid("cannot be read: expected one line of OpenSSH text"))
}

/// The base64 blob of a key, as proofs of possession name it.
///
/// # Errors
/// When the key cannot be encoded.
pub fn key_blob(key: &PublicKey) -> Result<String, SessionError> {
    let text = key
        .to_openssh()
        .map_err(|_| SessionError::Invalid("the public key cannot be encoded".to_owned()))?;
    Ok(text.split(' ').nth(1).unwrap_or_default().to_owned())
}
