//! Trust in the server: one pinned certificate, found by its fingerprint at setup; no other root, no first-use trust,
//! no way to turn it off (C2).

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_STANDARD_NO_PAD};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};

mod verifier;

pub use verifier::{PinMismatch, TrustError};
pub(crate) use verifier::{PinVerifier, client_config};

/// SHA-256 of a certificate's DER, written `SHA256:` and base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// A text that is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a fingerprint is SHA256: and 43 characters of base64, as `ca-server init` and `employee add` print it"
)]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of a certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let text = text.strip_prefix("SHA256:").ok_or(FingerprintError)?;
        let bytes = BASE64_STANDARD_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|_| FingerprintError)?;
        bytes.try_into().map(Self).map_err(|_| FingerprintError)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", BASE64_STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The certificate that the server's chain must lead to, or the server's own.
#[derive(Clone, PartialEq, Eq)]
pub struct Pinned(CertificateDer<'static>);

/// A PEM file without a certificate.
#[derive(Debug, thiserror::Error)]
#[error("the pinned certificate is damaged: {0}")]
pub struct PinnedError(#[from] rustls_pki_types::pem::Error);

impl Pinned {
    /// Pins this certificate.
    #[must_use]
    pub fn new(certificate: CertificateDer<'static>) -> Self {
        Self(certificate)
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_pem(pem: &str) -> Result<Self, PinnedError> {
        Ok(Self(CertificateDer::from_pem_slice(pem.as_bytes())?))
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let text = BASE64_STANDARD.encode(self.0.as_ref());
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.0
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c2_fingerprint_is_whole_or_refused() {
        let text = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
        assert_eq!(
            Fingerprint::of(&CertificateDer::from(Vec::new())).to_string(),
            text
        );
        for bad in [
            "",
            "SHA256:",
            &text[7..],
            &text[..30],
            "MD5:47DEQpj8HBSa",
            "SHA256:47DE Qpj8",
        ] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(FingerprintError), "{bad}");
        }
    }

    #[test]
    fn pem_round_trip() {
        let pinned = Pinned::new(CertificateDer::from((0..200).collect::<Vec<u8>>()));
        assert_eq!(Pinned::from_pem(&pinned.to_pem()).unwrap(), pinned);
        assert!(Pinned::from_pem("nothing").is_err());
    }
}
