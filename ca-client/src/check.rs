//! Looks at each certificate before it is installed (C4): the server may be wrong, or not the server.

use policies::{NameError, Principal};
use ssh_key::{Certificate, PublicKey, certificate::CertType, public::KeyData};

use crate::session::InstalledCertificate;

/// How far a certificate may begin in the future or outlive its session: clocks of the CA's own replicas.
const SLACK_SECS: i64 = 60;

/// Restrictions that ssh and sshd understand; sshd refuses a certificate with any other.
const KNOWN_CRITICAL: [&str; 3] = ["force-command", "source-address", "verify-required"];

/// What a certificate must agree with.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The key that we asked to certify.
    pub key: &'a KeyData,
    /// User CA keys that were pinned.
    pub user_cas: &'a [PublicKey],
    /// The CA's clock.
    pub now_unix: i64,
    /// When the session ends, by the CA's clock.
    pub session_ends_unix: i64,
}

/// A certificate that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Type and base64, as it goes into its file.
    pub text: String,
    /// What is worth knowing of it.
    pub facts: InstalledCertificate,
}

/// What is wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It is not an OpenSSH certificate.
    #[error("it is not an OpenSSH certificate: {0}")]
    Unreadable(#[from] ssh_key::Error),
    /// It certifies another key.
    #[error("it is for another key than the one that was made here")]
    ForeignKey,
    /// It is a host certificate.
    #[error("it is a host certificate")]
    NotUser,
    /// It is signed by a key that is not pinned.
    #[error("it is signed by a CA key that this computer does not know")]
    UnknownCa,
    /// Its signature does not verify.
    #[error("its signature is wrong")]
    BadSignature,
    /// It names nobody, which some systems read as everybody.
    #[error("it names no principal")]
    NoPrincipal,
    /// It names something else than `account@pool`.
    #[error("it names a principal that cannot be: {0}")]
    BadPrincipal(#[from] NameError),
    /// It has a restriction that nobody would enforce.
    #[error("it has a critical option that OpenSSH does not know")]
    UnknownCritical,
    /// Its dates make no sense.
    #[error("it is valid from {from} to {until} (Unix time), which is not within the session")]
    Validity {
        /// From.
        from: u64,
        /// Until.
        until: u64,
    },
}

/// Checks one certificate.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(text: &str, expected: &Expected<'_>) -> Result<Checked, CheckError> {
    let certificate = Certificate::from_openssh(text)?;
    if certificate.public_key() != expected.key {
        return Err(CheckError::ForeignKey);
    }
    if certificate.cert_type() != CertType::User {
        return Err(CheckError::NotUser);
    }
    if !expected
        .user_cas
        .iter()
        .any(|ca| ca.key_data() == certificate.signature_key())
    {
        return Err(CheckError::UnknownCa);
    }
    certificate
        .verify_signature()
        .map_err(|_| CheckError::BadSignature)?;
    if certificate.valid_principals().is_empty() {
        return Err(CheckError::NoPrincipal);
    }
    let principals = certificate
        .valid_principals()
        .iter()
        .map(|text| text.parse::<Principal>().map(String::from))
        .collect::<Result<_, _>>()?;
    if certificate
        .critical_options()
        .keys()
        .any(|name| !KNOWN_CRITICAL.contains(&name.as_str()))
    {
        return Err(CheckError::UnknownCritical);
    }
    let (from, until) = (certificate.valid_after(), certificate.valid_before());
    let out_of_order = CheckError::Validity { from, until };
    let (Ok(valid_after_unix), Ok(valid_before_unix)) = (i64::try_from(from), i64::try_from(until))
    else {
        return Err(out_of_order);
    };
    let sane = valid_after_unix <= expected.now_unix.saturating_add(SLACK_SECS)
        && valid_before_unix > expected.now_unix
        && valid_before_unix > valid_after_unix
        && valid_before_unix <= expected.session_ends_unix.saturating_add(SLACK_SECS);
    if !sane {
        return Err(out_of_order);
    }
    Ok(Checked {
        text: bare(&certificate)?,
        facts: InstalledCertificate {
            serial: certificate.serial(),
            principals,
            valid_after_unix,
            valid_before_unix,
        },
    })
}

/// Type and base64 without the comment, which is the server's text.
fn bare(certificate: &Certificate) -> Result<String, ssh_key::Error> {
    let text = certificate.to_openssh()?;
    Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" "))
}
