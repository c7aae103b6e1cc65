//! What is kept of employees: their secrets, invitations, sessions and devices.

use policies::Email;
use serde::{Deserialize, Serialize};

use crate::store::{KeyRange, Read, ReadError, Table};

/// Secrets and last use of an employee (table `credentials`, by email).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Argon2id PHC string; absent until they have enrolled.
    pub password: Option<String>,
    /// The TOTP secret, sealed for `totp EMAIL`.
    pub totp: Option<String>,
    /// The last TOTP step that was accepted; never goes back, also over a reset (A3).
    pub last_totp_step: u64,
    /// Their last login.
    pub last_login_unix: Option<i64>,
}

/// An invitation (table `invitations`, by the SHA-256 of its code).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationRecord {
    /// Whose.
    pub email: Email,
    /// When it ends.
    pub expires_unix: i64,
    /// The TOTP secret that was shown when it was opened, sealed; the same one when it is opened again.
    pub totp: Option<String>,
    /// How many wrong codes were given; it dies at [`crate::enrol::MAX_WRONG_CODES`].
    pub wrong_codes: u32,
}

/// A day session (table `sessions`, by id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Whose.
    pub email: Email,
    /// Their epoch when it was opened: a raised epoch ends it.
    pub epoch: u64,
    /// The key it certifies and that must sign each renewal, OpenSSH text.
    pub public_key: String,
    /// What its proof said of it when the session was opened.
    #[serde(default = "plain")]
    pub key: policies::KeyKind,
    /// SHA-256 of the secret, hex.
    pub secret_sha256: String,
    /// When it was opened.
    pub opened_unix: i64,
    /// When it ends.
    pub ends_unix: i64,
    /// The newest host CA key whose line its owner was told: before that one signs, everybody has to have heard of it (K3).
    #[serde(default)]
    pub told_host_ca: u32,
    /// What was left out at login: renewals leave it out too, whatever they ask for (I9).
    #[serde(default)]
    pub narrow: ca_api::Narrow,
}

/// Sessions of before had nothing else.
fn plain() -> policies::KeyKind {
    policies::KeyKind::Plain
}

/// An admin session over HTTPS (table `admin_sessions`, by the SHA-256 of its token).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminSessionRecord {
    /// Whose.
    pub email: Email,
    /// Their epoch when it was opened.
    pub epoch: u64,
    /// When it ends.
    pub ends_unix: i64,
}

/// A device that logged in before (table `devices`, by the SHA-256 of its token).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Whose.
    pub email: Email,
    /// When it was first seen.
    pub since_unix: i64,
}

/// The sessions of one employee that are open at `now_unix`, with their ids.
///
/// # Errors
/// If the store cannot be read.
pub fn open_sessions<R: Read>(
    source: &R,
    email: &Email,
    now_unix: i64,
) -> Result<Vec<(Vec<u8>, SessionRecord)>, ReadError> {
    let all = source.scan_json::<SessionRecord>(Table::Sessions, &KeyRange::all(), usize::MAX)?;
    Ok(all
        .into_iter()
        .filter(|(_, session)| session.email == *email && now_unix < session.ends_unix)
        .collect())
}
