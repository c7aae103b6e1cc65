//! The KRL parcel: a KRL with its version and canaries, as a text manifest followed by the KRL's bytes. It names no machine,
//! so it is signed once for all of them.
//!
//! ```text
//! ssh-ca-krl v1
//! version N
//! issued UNIX
//! sha256 HEX
//! size N
//! revoked CERTIFICATE-LINE            at least one; one for each CA key that has a section
//! good CERTIFICATE-LINE               at least one
//! end
//! …the KRL…
//! ```

use sha2::{Digest, Sha256};
use ssh_key::{Certificate, SigningKey};

use crate::{
    bundle::{
        Bundle,
        manifest::{Lines, hex, number},
    },
    sign::{Namespace, SignError, Signed},
};

/// A KRL on its way to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KrlParcel {
    /// Its version: a machine accepts a higher one, or the same with the same bytes.
    pub version: u64,
    /// When it was made, Unix seconds.
    pub issued_unix: u64,
    /// Certificates that `ssh-keygen -Q` must call `REVOKED`: one in each CA section.
    pub revoked_canaries: Vec<Certificate>,
    /// Certificates that it must call good.
    pub good_canaries: Vec<Certificate>,
    /// The KRL itself.
    pub krl: Vec<u8>,
}

/// Bytes that are no KRL parcel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeKrlError {
    /// A manifest line is not as it must be.
    #[error("line {line} of the KRL parcel is not {expected}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What had to stand there.
        expected: &'static str,
    },
    /// The KRL is cut off, longer than said, or has another hash.
    #[error("the KRL in the parcel does not have the size and hash that its manifest gives")]
    Content,
    /// A parcel without canaries proves nothing on the machine (R5).
    #[error(
        "the KRL parcel has no canaries of both kinds; nothing could be checked on the machine"
    )]
    NoCanary,
    /// The same parcel could be written in another way: only one form is accepted.
    #[error("the KRL parcel is not in its one canonical form")]
    NotCanonical,
}

impl KrlParcel {
    /// The bytes to sign and send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!(
            "ssh-ca-krl v1\nversion {}\nissued {}\nsha256 {}\nsize {}\n",
            self.version,
            self.issued_unix,
            self.sha256(),
            self.krl.len()
        );
        for (word, canaries) in [
            ("revoked", &self.revoked_canaries),
            ("good", &self.good_canaries),
        ] {
            for canary in canaries {
                text.push_str(&format!("{word} {}\n", certificate_line(canary)));
            }
        }
        text.push_str("end\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.krl);
        bytes
    }

    /// Reads a parcel back, strictly: exactly what [`KrlParcel::encode`] writes, nothing else.
    ///
    /// # Errors
    /// [`DecodeKrlError`] with what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeKrlError> {
        let mut lines = Lines {
            rest: bytes,
            line: 0,
        };
        let wrong = |line, expected| DecodeKrlError::Line { line, expected };
        let mut number_read = 0;
        let mut value = |key: &str, expected: &'static str| {
            number_read += 1;
            let text = lines.take().and_then(|text| text.strip_prefix(key));
            text.map(|text| (number_read, text))
                .ok_or(wrong(number_read, expected))
        };
        if !value("ssh-ca-krl v1", "`ssh-ca-krl v1`")?.1.is_empty() {
            return Err(wrong(1, "`ssh-ca-krl v1`"));
        }
        let (version, issued, size) =
            ("`version NUMBER`", "`issued UNIX-SECONDS`", "`size NUMBER`");
        let version = number(value("version ", version)?.1).ok_or(wrong(2, version))?;
        let issued_unix = number(value("issued ", issued)?.1).ok_or(wrong(3, issued))?;
        let sha256 = value("sha256 ", "`sha256 HEX`")?.1;
        let size = number(value("size ", size)?.1).ok_or(wrong(5, size))?;
        let mut parcel = Self {
            version,
            issued_unix,
            revoked_canaries: Vec::new(),
            good_canaries: Vec::new(),
            krl: Vec::new(),
        };
        loop {
            let expected = "`revoked CERTIFICATE`, `good CERTIFICATE` or `end`";
            let (at, line) = value("", expected)?;
            let (word, certificate) = line.split_once(' ').unwrap_or((line, ""));
            let canaries = match word {
                "end" if certificate.is_empty() => break,
                "revoked" => &mut parcel.revoked_canaries,
                "good" => &mut parcel.good_canaries,
                _ => return Err(wrong(at, expected)),
            };
            let certificate = Certificate::from_openssh(certificate);
            canaries.push(certificate.map_err(|_| wrong(at, expected))?);
        }
        if parcel.revoked_canaries.is_empty() || parcel.good_canaries.is_empty() {
            return Err(DecodeKrlError::NoCanary);
        }
        parcel.krl = lines.rest.to_vec();
        if parcel.krl.len() as u64 != size || parcel.sha256() != sha256 {
            return Err(DecodeKrlError::Content);
        }
        if parcel.encode() != bytes {
            return Err(DecodeKrlError::NotCanonical);
        }
        Ok(parcel)
    }

    /// The SHA-256 of the KRL's bytes in hexadecimal, as a machine reports it.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.krl))
    }

    /// Signs it with the fleet key.
    ///
    /// # Errors
    /// [`SignError`] if the key does not sign.
    pub fn sign<S: SigningKey>(&self, fleet_key: &S) -> Result<Signed, SignError> {
        debug_assert!(self.version <= Bundle::MAX_NUMBER);
        Signed::sign(fleet_key, Namespace::Krl, self.encode())
    }
}

/// Algorithm and base64 only: the comment is somebody's free text.
fn certificate_line(certificate: &Certificate) -> String {
    let line = certificate
        .to_openssh()
        .expect("a certificate in memory encodes");
    let words: Vec<&str> = line.split_whitespace().take(2).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_core::OsRng;
    use ssh_key::{Algorithm, PrivateKey, certificate::Builder};

    fn canary(serial: u64) -> Certificate {
        let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        let mut builder =
            Builder::new_with_random_nonce(&mut OsRng, key.public_key().key_data().clone(), 1, 2)
                .unwrap();
        builder.serial(serial).unwrap().key_id("canary/0").unwrap();
        builder.valid_principal("nobody@_canary").unwrap();
        builder.comment("two words").unwrap();
        builder.sign(&key).unwrap()
    }

    fn parcel(krl: Vec<u8>) -> KrlParcel {
        KrlParcel {
            version: 7,
            issued_unix: 1_700_000_000,
            revoked_canaries: vec![canary(1)],
            good_canaries: vec![canary(2)],
            krl,
        }
    }

    #[test]
    fn r5_a_parcel_without_canaries_of_both_kinds_is_refused() {
        for (revoked, good) in [(0, 1), (1, 0)] {
            let mut parcel = parcel(b"KRL".to_vec());
            parcel.revoked_canaries.truncate(revoked);
            parcel.good_canaries.truncate(good);
            assert_eq!(
                KrlParcel::decode(&parcel.encode()),
                Err(DecodeKrlError::NoCanary)
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn w3_what_is_encoded_is_decoded_and_no_change_goes_unseen(
            krl in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            let whole = parcel(krl).encode();
            prop_assert_eq!(KrlParcel::decode(&whole).unwrap().encode(), whole.clone());
            let mut flipped = whole.clone();
            let at = at.index(whole.len());
            flipped[at] ^= 1 << bit;
            if let Ok(other) = KrlParcel::decode(&flipped) {
                // A digit of the version, or a bit inside a certificate, is another parcel: the signature tells.
                prop_assert_ne!(other.encode(), whole.clone());
            }
            prop_assert!(KrlParcel::decode(&whole[..at]).is_err());
        }

        #[test]
        fn w3_no_text_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(KrlParcel::decode(&bytes).is_err());
        }
    }
}
