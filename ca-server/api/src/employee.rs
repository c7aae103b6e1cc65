//! What an employee's client says to the CA, and hears.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// What anybody may know of the CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// Identity of this CA for proofs: `SHA256:…` of its first user CA key; stable for the CA's life.
    pub ca_id: String,
    /// The server's version.
    pub version: String,
    /// The server's clock.
    pub now_unix: i64,
    /// User CA public keys, OpenSSH text, the signing one first.
    pub user_cas: Vec<String>,
    /// Host CA public keys, OpenSSH text.
    pub host_cas: Vec<String>,
}

/// A fresh, single-use nonce.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Nonce {
    /// Opaque; usable once, for a minute.
    pub nonce: String,
}

/// Opens an invitation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolStart {
    /// The code that the admin handed over.
    pub code: Secret,
    /// The new password, where the person has chosen it already: one that is not taken is refused here, before they
    /// set up an authenticator. Nothing is stored yet.
    #[serde(default)]
    pub password: Option<Secret>,
}

/// What the invitation is for; the TOTP secret stays the same when it is opened again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrolStarted {
    /// Whose it is.
    pub email: String,
    /// Their full name, or empty.
    pub name: String,
    /// Their account on machines.
    pub account: String,
    /// `otpauth://totp/…` for the QR code.
    pub totp_url: Secret,
    /// The same secret as base32 text, for typing.
    pub totp_secret: Secret,
    /// When the invitation ends.
    pub expires_unix: i64,
}

/// Closes an invitation: sets the password and proves the authenticator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolFinish {
    /// The code again.
    pub code: Secret,
    /// The new password.
    pub password: Secret,
    /// One current TOTP code, six ASCII digits.
    pub totp: Secret,
}

/// The invitation is used; login is open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Enrolled {
    /// Who.
    pub email: String,
}

/// What a client may ask for *less* of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Narrow {
    /// A shorter lifetime, in seconds.
    #[serde(default)]
    pub lifetime_secs: Option<u64>,
    /// Only these pools.
    #[serde(default)]
    pub pools: Option<Vec<String>>,
}

/// Opens a day session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Who.
    pub email: String,
    /// Their password.
    pub password: Secret,
    /// One TOTP code, six ASCII digits.
    pub totp: Secret,
    /// The public key to certify, OpenSSH text.
    pub public_key: String,
    /// From `GET /v1/nonce`.
    pub nonce: String,
    /// SSHSIG (PEM) over [`crate::proof::login_message`] in [`crate::proof::LOGIN_NAMESPACE`]. By a security key: with a touch
    /// (else refused), and with its owner verified by PIN or finger (else the session is that of a plain key).
    pub proof: String,
    /// What to leave out.
    #[serde(default)]
    pub narrow: Narrow,
    /// The token of a device that logged in before ([`SessionGrant::device`]); keeps strangers from locking it out.
    #[serde(default)]
    pub device: Option<Secret>,
}

/// Renews within a day session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The session.
    pub session_id: String,
    /// Its secret.
    pub session_secret: Secret,
    /// From `GET /v1/nonce` or the last [`Issued::next_nonce`].
    pub nonce: String,
    /// SSHSIG (PEM) over [`crate::proof::renew_message`] in [`crate::proof::RENEW_NAMESPACE`], by the session's key.
    pub proof: String,
    /// What to leave out.
    #[serde(default)]
    pub narrow: Narrow,
    /// [`Issued::directory_tag`] of the directory that the client has; an equal one is not sent again.
    #[serde(default)]
    pub directory_tag: Option<String>,
}

/// `POST /v1/standing`: are these certificates of mine still good?
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandingRequest {
    /// The session.
    pub session_id: String,
    /// Its secret.
    pub session_secret: Secret,
    /// Serials of certificates that were handed out within it.
    pub serials: Vec<u64>,
}

/// Answer to [`StandingRequest`]. It tells nothing that a renewal would not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Is at least one of them no longer good, or the session over? Then a renewal brings what is left, or says why nothing is.
    pub renew: bool,
}

/// A day session that was just opened. The secret is told once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionGrant {
    /// Its name.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// When it ends.
    pub ends_unix: i64,
    /// A token to send with the next login from this device.
    pub device: Secret,
}

/// Certificates, and what to know to use them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Issued {
    /// The session, at login only.
    #[serde(default)]
    pub session: Option<SessionGrant>,
    /// One certificate per condition set, OpenSSH text; [`MachineEntry::logins`] refer to them by position.
    pub certificates: Vec<String>,
    /// Who and where; absent when the client's is current.
    #[serde(default)]
    pub directory: Option<Directory>,
    /// Names the directory's content.
    pub directory_tag: String,
    /// How many grants are left out because the session's key is not a security key that verified its owner.
    #[serde(default)]
    pub needs_security_key: usize,
    /// The nonce for the next renewal.
    pub next_nonce: String,
    /// The server's clock.
    pub now_unix: i64,
    /// The server's own TLS CA, PEM, while it is taking another one's place: to be trusted from now on. A client believes it only if this
    /// very connection leads to it as well as to the one that it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<String>,
}

/// Who the employee is and which machines they reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Their email.
    pub email: String,
    /// Their full name, or empty.
    pub name: String,
    /// Their own account.
    pub account: String,
    /// The machines, sorted by name.
    pub machines: Vec<MachineEntry>,
    /// User CA public keys, OpenSSH text.
    pub user_cas: Vec<String>,
    /// Host CA public keys, OpenSSH text.
    pub host_cas: Vec<String>,
    /// Host keys that are revoked, OpenSSH text.
    #[serde(default)]
    pub revoked_hosts: Vec<String>,
}

/// One machine that an employee reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineEntry {
    /// Its name, which its host certificate carries.
    pub name: String,
    /// Where it is: a host name or an IP address.
    pub address: String,
    /// Its sshd's port.
    pub port: u16,
    /// The pools it is in, for people.
    pub pools: Vec<String>,
    /// As whom, the own account first.
    pub logins: Vec<LoginEntry>,
}

/// One account on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginEntry {
    /// The account.
    pub account: String,
    /// Position in [`Issued::certificates`] of the certificate that opens it.
    pub certificate: usize,
}

/// Ends a day session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogoutRequest {
    /// The session.
    pub session_id: String,
    /// Its secret.
    pub session_secret: Secret,
}

/// The session is ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoggedOut {}

/// Changes a password.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// Who.
    pub email: String,
    /// The current password.
    pub password: Secret,
    /// One TOTP code.
    pub totp: Secret,
    /// The new password.
    pub new_password: Secret,
}

/// The password is changed; every day session of the person is ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PasswordChanged {}

/// Opens an admin session over HTTPS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminLogin {
    /// Who; must have the admin role.
    pub email: String,
    /// Their password.
    pub password: Secret,
    /// One TOTP code.
    pub totp: Secret,
}

/// An admin session: sent as `Authorization: Bearer TOKEN`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdminSession {
    /// The token; told once.
    pub token: Secret,
    /// When it ends (15 minutes).
    pub ends_unix: i64,
}
