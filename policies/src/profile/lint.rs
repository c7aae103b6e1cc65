//! The second parse: a signed certificate is read again and compared with what was decided, before it leaves (I4).

use std::collections::BTreeMap;

use ssh_key::{
    Algorithm, Certificate, Fingerprint, HashAlg,
    certificate::{CertType, OptionsMap},
    public::KeyData,
};

use super::{
    Blueprint, KeyRefusal, NONCE_BYTES, Serial, SerialError,
    blueprint::is_host,
    options::{CRITICAL_OPTIONS, EXTENSIONS, VERIFY_REQUIRED},
    subject::{acceptable_algorithm, key_kind},
    wire,
};
use crate::{KeyKind, MAX_PRINCIPALS, NameError, Principal};

/// What is wrong with a signed certificate: it must not leave, and its serial counts as issued (I6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LintError {
    /// The text is no certificate.
    #[error("the signed certificate cannot be read back: {0}")]
    Unreadable(ssh_key::Error),
    /// The text is not what the certificate in it would be written as.
    #[error("the signed certificate is not in its one canonical form")]
    NotCanonical,
    /// No principal, or more than sshd reads (I1).
    #[error("the signed certificate has {0} principals; 1 to {MAX_PRINCIPALS} are allowed")]
    PrincipalCount(usize),
    /// A principal that is no `account@pool` (I2).
    #[error("the signed certificate has a malformed principal: {0}")]
    Principal(NameError),
    /// A host certificate's name is neither a host name nor an address.
    #[error(
        "the signed host certificate names {0:?}, which is neither a host name nor an IP address"
    )]
    HostName(String),
    /// Serial 0 or beyond 2^63−1 (I5).
    #[error("the signed certificate's serial is wrong: {0}")]
    Serial(SerialError),
    /// Ends before it begins, or lives longer than any of its kind may (I7).
    #[error(
        "the signed certificate is valid from {after_unix_secs} to {before_unix_secs} (Unix time), which is not allowed"
    )]
    Lifetime {
        /// The first second.
        after_unix_secs: u64,
        /// The second after the last.
        before_unix_secs: u64,
    },
    /// A key that is never certified (I8).
    #[error("the signed certificate is for a key that is never certified: {0}")]
    Key(KeyRefusal),
    /// An option or extension outside the allow-list (I9).
    #[error("the signed certificate carries {0:?}, which is not on the list of allowed options")]
    Option(String),
    /// It demands a security key and is for another kind of key, for which sshd would not look at the demand.
    #[error("the signed certificate demands a security key and is for a key that is none")]
    PlainKey,
    /// Signed by another key than the one meant.
    #[error("the certificate was signed by another CA key than the one asked")]
    OtherCa,
    /// The signature does not verify.
    #[error("the CA's signature on the certificate does not verify")]
    Signature,
    /// The nonce is not of the length that was asked for.
    #[error("the signed certificate's nonce has {0} bytes, not {NONCE_BYTES}")]
    Nonce(usize),
    /// A field is not what was decided (I4).
    #[error("the signed certificate's {0} is not what was decided")]
    Differs(&'static str),
}

/// Reads the text of a signed certificate and compares every field with `blueprint` and `ca`; the parsed certificate comes back.
///
/// # Errors
/// The first thing that is wrong.
pub fn lint(signed: &str, blueprint: &Blueprint, ca: &KeyData) -> Result<Certificate, LintError> {
    let certificate = Certificate::from_openssh(signed).map_err(LintError::Unreadable)?;
    if certificate.to_openssh().as_deref() != Ok(signed) {
        return Err(LintError::NotCanonical);
    }
    invariants(&certificate, blueprint.lifetime_max_secs())?;
    signature(&certificate, ca)?;
    same(&certificate, blueprint)?;
    // Last, byte by byte: this also sees what ssh-key does not show (the reserved field), and its own slips.
    let decided = wire::signed_bytes(blueprint, certificate.nonce(), ca);
    let bytes = certificate.to_bytes().map_err(LintError::Unreadable)?;
    match decided {
        Some(decided) if bytes.starts_with(&decided) => Ok(certificate),
        Some(_) | None => Err(LintError::Differs("encoding")),
    }
}

/// What holds for every certificate, whatever was decided.
fn invariants(certificate: &Certificate, lifetime_max_secs: u64) -> Result<(), LintError> {
    let principals = certificate.valid_principals();
    if !(1..=MAX_PRINCIPALS).contains(&principals.len()) {
        return Err(LintError::PrincipalCount(principals.len()));
    }
    Serial::new(certificate.serial()).map_err(LintError::Serial)?;
    let (after_unix_secs, before_unix_secs) =
        (certificate.valid_after(), certificate.valid_before());
    let secs = before_unix_secs.checked_sub(after_unix_secs);
    if !secs.is_some_and(|secs| (1..=lifetime_max_secs).contains(&secs)) {
        return Err(LintError::Lifetime {
            after_unix_secs,
            before_unix_secs,
        });
    }
    acceptable_algorithm(certificate.public_key()).map_err(LintError::Key)?;
    if certificate.public_key() == certificate.signature_key() {
        return Err(LintError::Key(KeyRefusal::CaKey));
    }
    match certificate.cert_type() {
        CertType::User => {
            for principal in principals {
                principal
                    .parse::<Principal>()
                    .map_err(LintError::Principal)?;
            }
            let extensions = EXTENSIONS.map(|extension| extension.openssh_name());
            allowed(certificate.critical_options(), &CRITICAL_OPTIONS)?;
            if certificate.critical_options().contains_key(VERIFY_REQUIRED)
                && key_kind(certificate.public_key()) == KeyKind::Plain
            {
                return Err(LintError::PlainKey);
            }
            allowed(certificate.extensions(), &extensions)
        }
        CertType::Host => {
            if let Some(bad) = principals.iter().find(|name| !is_host(name)) {
                return Err(LintError::HostName(bad.clone()));
            }
            allowed(certificate.critical_options(), &[])?;
            allowed(certificate.extensions(), &[])
        }
    }
}

fn allowed(options: &OptionsMap, names: &[&str]) -> Result<(), LintError> {
    match options.keys().find(|name| !names.contains(&name.as_str())) {
        Some(foreign) => Err(LintError::Option(foreign.clone())),
        None => Ok(()),
    }
}

fn signature(certificate: &Certificate, ca: &KeyData) -> Result<(), LintError> {
    if certificate.signature_key() != ca {
        return Err(LintError::OtherCa);
    }
    let algorithm = certificate.signature().algorithm();
    let fitting = match ca.algorithm() {
        // Never SHA-1.
        Algorithm::Rsa { .. } => matches!(algorithm, Algorithm::Rsa { hash: Some(_) }),
        other => algorithm == other,
    };
    // Release builds of ssh-key do not look at what a signer returned.
    let verified = certificate.validate_at(
        certificate.valid_after(),
        &[Fingerprint::new(HashAlg::Sha256, ca)],
    );
    if fitting && verified.is_ok() {
        Ok(())
    } else {
        Err(LintError::Signature)
    }
}

fn same(certificate: &Certificate, blueprint: &Blueprint) -> Result<(), LintError> {
    if certificate.nonce().len() != NONCE_BYTES {
        return Err(LintError::Nonce(certificate.nonce().len()));
    }
    let same_options =
        |options: &OptionsMap, decided: &BTreeMap<String, String>| options.0 == *decided;
    let fields = [
        ("key", certificate.public_key() == blueprint.subject()),
        (
            "serial",
            certificate.serial() == blueprint.serial().number(),
        ),
        ("type", certificate.cert_type() == blueprint.cert_type()),
        (
            "key ID",
            certificate.key_id() == blueprint.key_id().to_string(),
        ),
        (
            "list of principals",
            certificate.valid_principals() == blueprint.principals(),
        ),
        (
            "beginning",
            certificate.valid_after() == blueprint.valid_after_unix_secs(),
        ),
        (
            "end",
            certificate.valid_before() == blueprint.valid_before_unix_secs(),
        ),
        (
            "critical options",
            same_options(certificate.critical_options(), blueprint.critical_options()),
        ),
        (
            "extensions",
            same_options(certificate.extensions(), blueprint.extensions()),
        ),
        ("comment", certificate.comment() == blueprint.comment()),
    ];
    match fields.into_iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(LintError::Differs(field)),
        None => Ok(()),
    }
}
