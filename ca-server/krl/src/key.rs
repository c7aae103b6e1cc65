//! Key blobs at the border: what sshd could not read, or would never match, does not come in.

use crate::wire::{Reader, Truncated};

// sshkey.h: SSH_RSA_MINIMUM_MODULUS_SIZE; sshbuf.h: SSHBUF_MAX_BIGNUM is 16384 bits.
const RSA_MIN_BITS: usize = 1024;
const RSA_MAX_BITS: usize = 16_384;
const CERTIFICATE_MARK: &[u8] = b"-cert-v0";

/// Why a key blob cannot stand in a KRL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyBlobError {
    /// The blob ends before the key does, or is empty.
    #[error(
        "the key blob ends in the middle of the key: pass the decoded base64 of a public key line"
    )]
    Truncated,
    /// Bytes are left after the key.
    #[error("the key blob has {count} bytes after the key: pass exactly one public key")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// The blob is a certificate; a KRL names plain keys.
    #[error("the key blob is a certificate: pass the plain public key inside of it")]
    Certificate,
    /// The algorithm's name is empty or not printable ASCII.
    #[error("the key blob does not start with the name of a key algorithm")]
    NoAlgorithm,
    /// sshd does not know the algorithm, or has dropped it, and would refuse the whole KRL.
    #[error(
        "sshd does not accept a CA key of this algorithm: use Ed25519, ECDSA, RSA or a security key"
    )]
    UnsupportedCaAlgorithm,
    /// A field of the CA key has a form that sshd refuses, and the whole KRL with it.
    #[error("the CA key's {field} is malformed: sshd would refuse the whole KRL")]
    MalformedCaKey {
        /// The field, in the words of RFC 4253, 5656 and 8709.
        field: &'static str,
    },
}

impl From<Truncated> for KeyBlobError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// A plain public key (not a certificate) as its SSH wire blob, checked to be one.
///
/// OpenSSH compares keys as whole blobs and by the hash of the blob, so only the frame is looked at: a
/// printable algorithm name that is not a certificate's. That makes it impossible to ask a KRL about
/// the hash of a certificate by mistake, which would never match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlainKey<'a>(&'a [u8]);

impl<'a> PlainKey<'a> {
    /// Takes the wire blob: the base64 of a `.pub` line, decoded.
    ///
    /// # Errors
    /// [`KeyBlobError`] if it has no algorithm name, or is a certificate.
    pub fn new(blob: &'a [u8]) -> Result<Self, KeyBlobError> {
        algorithm(&mut Reader::new(blob))?;
        Ok(Self(blob))
    }

    /// The wire blob.
    pub fn blob(&self) -> &'a [u8] {
        self.0
    }
}

/// Whose certificates an entry is about: those of one CA key, or of every CA.
///
/// PROTOCOL.krl §2: "Where "ca_key" is the standard SSH wire serialisation of the CA's public key.
/// Alternately, "ca_key" may be an empty string to indicate the certificate section applies to all CAs
/// (this is most useful when revoking key IDs)."
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaScope(Vec<u8>);

impl CaScope {
    /// Certificates of every CA.
    pub const ANY: Self = Self(Vec::new());

    /// Certificates signed by the CA key with this wire blob.
    ///
    /// sshd parses this key, and refuses the whole KRL if it cannot. So the blob is checked as sshd checks
    /// it: a known algorithm, lengths, canonical numbers, nothing after it. (Whether an ECDSA point
    /// lies on its curve is not checked: that takes curve arithmetic. Pass the blob of a parsed key.)
    ///
    /// # Errors
    /// [`KeyBlobError`] if sshd would not read it, or would never match it (a certificate).
    pub fn key(blob: impl Into<Vec<u8>>) -> Result<Self, KeyBlobError> {
        let blob = blob.into();
        check_ca_key(&blob)?;
        Ok(Self(blob))
    }

    /// The CA key's wire blob; none for [`CaScope::ANY`].
    pub fn key_blob(&self) -> Option<&[u8]> {
        (!self.0.is_empty()).then_some(self.0.as_slice())
    }

    /// The bytes of the `ca_key` field: empty for every CA.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.0
    }
}

fn algorithm<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], KeyBlobError> {
    let name = reader.string()?.rest();
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return Err(KeyBlobError::NoAlgorithm);
    }
    if name
        .windows(CERTIFICATE_MARK.len())
        .any(|part| part == CERTIFICATE_MARK)
    {
        return Err(KeyBlobError::Certificate);
    }
    Ok(name)
}

/// What OpenSSH's `sshkey_from_blob` checks of a public key, without the curve arithmetic.
fn check_ca_key(blob: &[u8]) -> Result<(), KeyBlobError> {
    let mut reader = Reader::new(blob);
    match algorithm(&mut reader)? {
        b"ssh-ed25519" => ed25519(&mut reader)?,
        b"sk-ssh-ed25519@openssh.com" => {
            ed25519(&mut reader)?;
            application(&mut reader)?;
        }
        b"ecdsa-sha2-nistp256" => ecdsa(&mut reader, b"nistp256", 32)?,
        b"ecdsa-sha2-nistp384" => ecdsa(&mut reader, b"nistp384", 48)?,
        b"ecdsa-sha2-nistp521" => ecdsa(&mut reader, b"nistp521", 66)?,
        b"sk-ecdsa-sha2-nistp256@openssh.com" => {
            ecdsa(&mut reader, b"nistp256", 32)?;
            application(&mut reader)?;
        }
        b"ssh-rsa" => rsa(&mut reader)?,
        _ => return Err(KeyBlobError::UnsupportedCaAlgorithm),
    }
    match reader.rest().len() {
        0 => Ok(()),
        count => Err(KeyBlobError::TrailingBytes { count }),
    }
}

// RFC 8709 §4: "string "ssh-ed25519", string key"; "the 32-octet public key".
fn ed25519(reader: &mut Reader<'_>) -> Result<(), KeyBlobError> {
    ensure(
        reader.string()?.rest().len() == 32,
        "Ed25519 public key (32 bytes)",
    )
}

// PROTOCOL.u2f: "string application (user-specified, but typically "ssh:")", a C string.
fn application(reader: &mut Reader<'_>) -> Result<(), KeyBlobError> {
    let application = reader.string()?.rest();
    ensure(!application.contains(&0), "security key application")
}

// RFC 5656 §3.1: "string [identifier], string Q"; OpenSSH takes uncompressed points only.
fn ecdsa(reader: &mut Reader<'_>, curve: &[u8], field_bytes: usize) -> Result<(), KeyBlobError> {
    ensure(reader.string()?.rest() == curve, "curve name")?;
    let point = reader.string()?.rest();
    ensure(
        point.len() == 1 + 2 * field_bytes && point.first() == Some(&4),
        "curve point (uncompressed)",
    )
}

// RFC 4253 §6.6: "string "ssh-rsa", mpint e, mpint n".
fn rsa(reader: &mut Reader<'_>) -> Result<(), KeyBlobError> {
    let exponent_bits = positive_mpint_bits(reader, "RSA exponent")?;
    ensure(
        (1..=RSA_MAX_BITS).contains(&exponent_bits),
        "RSA exponent (1 to 16,384 bits)",
    )?;
    let modulus_bits = positive_mpint_bits(reader, "RSA modulus")?;
    ensure(
        (RSA_MIN_BITS..=RSA_MAX_BITS).contains(&modulus_bits),
        "RSA modulus (1,024 to 16,384 bits)",
    )
}

// RFC 4251 §5: "Unnecessary leading bytes with the value 0 or 255 MUST NOT be included." A canonical form
// is what makes comparing blobs the same as comparing keys, which is what OpenSSH does.
fn positive_mpint_bits(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<usize, KeyBlobError> {
    let digits = match reader.string()?.rest() {
        [0, high, ..] if *high < 0x80 => return Err(KeyBlobError::MalformedCaKey { field }),
        [0, digits @ ..] => digits,
        [high, ..] if *high >= 0x80 => return Err(KeyBlobError::MalformedCaKey { field }),
        digits => digits,
    };
    let leading = digits.first().map_or(0, |high| high.leading_zeros());
    Ok(digits.len() * 8 - leading as usize)
}

fn ensure(holds: bool, field: &'static str) -> Result<(), KeyBlobError> {
    if holds {
        Ok(())
    } else {
        Err(KeyBlobError::MalformedCaKey { field })
    }
}
