//! Which public keys may be certified at all (I8).

use ssh_key::{Algorithm, EcdsaCurve, PublicKey, public::KeyData};

use crate::KeyKind;

/// The shortest RSA modulus that is certified, in bits.
pub const RSA_MIN_BITS: usize = 3072;

/// A public key that passed [`acceptable_subject`]: without this proof no blueprint can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(KeyData);

impl Subject {
    /// The key.
    #[must_use]
    pub fn key_data(&self) -> &KeyData {
        &self.0
    }

    /// What kind of key it is, by its type alone: whether it verifies its owner is seen in what it signs.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        key_kind(&self.0)
    }
}

/// What kind of key `data` is, by its type.
pub(super) fn key_kind(data: &KeyData) -> KeyKind {
    match data.algorithm() {
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => KeyKind::SecurityKey,
        // The enum is open: what nobody here knows is no security key.
        _ => KeyKind::Plain,
    }
}

/// Why a key is not certified, for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// DSA, a certificate, or an algorithm nobody here knows.
    #[error("keys of type {algorithm} are not accepted; make one with: ssh-keygen -t ed25519")]
    Algorithm {
        /// The key's type as it names itself.
        algorithm: String,
    },
    /// RSA that is too short.
    #[error(
        "an RSA key of {bits} bits is too short: at least {RSA_MIN_BITS} are needed; better make one with: ssh-keygen -t ed25519"
    )]
    RsaTooShort {
        /// Its length.
        bits: usize,
    },
    /// RSA numbers that are no key.
    #[error(
        "this RSA key is malformed: its modulus or exponent cannot be right; make one with: ssh-keygen -t ed25519"
    )]
    RsaMalformed,
    /// A CA's own key: a certificate for it would let its bearer look like the CA.
    #[error("this is a key of the certificate authority itself; send a key of your own")]
    CaKey,
}

/// Whether `key` may be certified: Ed25519, ECDSA P-256, P-384, P-521, both FIDO kinds, and RSA from 3072 bits; never one of `ca_keys`.
///
/// # Errors
/// Why not.
pub fn acceptable_subject<'k>(
    key: &PublicKey,
    ca_keys: impl IntoIterator<Item = &'k KeyData>,
) -> Result<Subject, KeyRefusal> {
    let data = key.key_data();
    if ca_keys.into_iter().any(|ca| ca == data) {
        return Err(KeyRefusal::CaKey);
    }
    acceptable_algorithm(data)?;
    Ok(Subject(data.clone()))
}

/// The part of [`acceptable_subject`] that depends on the key alone.
pub(super) fn acceptable_algorithm(data: &KeyData) -> Result<(), KeyRefusal> {
    match data.algorithm() {
        Algorithm::Ed25519
        | Algorithm::SkEd25519
        | Algorithm::SkEcdsaSha2NistP256
        | Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256 | EcdsaCurve::NistP384 | EcdsaCurve::NistP521,
        } => Ok(()),
        Algorithm::Rsa { .. } => rsa(data),
        // The enum is open: an algorithm that is added later is refused until somebody allows it here.
        other => Err(KeyRefusal::Algorithm {
            algorithm: printable(other.as_str()),
        }),
    }
}

fn rsa(data: &KeyData) -> Result<(), KeyRefusal> {
    let rsa = data.rsa().ok_or(KeyRefusal::RsaMalformed)?;
    let (Some(modulus), Some(exponent)) = (rsa.n.as_positive_bytes(), rsa.e.as_positive_bytes())
    else {
        return Err(KeyRefusal::RsaMalformed);
    };
    let bits = match modulus.first() {
        None | Some(0) => return Err(KeyRefusal::RsaMalformed),
        Some(first) => modulus.len() * 8 - first.leading_zeros() as usize,
    };
    if bits < RSA_MIN_BITS {
        return Err(KeyRefusal::RsaTooShort { bits });
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    // sshd reads at most 16384 bits; an even modulus or exponent, or an exponent of 1, is no RSA key.
    if bits > 16_384 || !odd(modulus) || !odd(exponent) || exponent == [1] {
        return Err(KeyRefusal::RsaMalformed);
    }
    Ok(())
}

fn printable(algorithm: &str) -> String {
    algorithm
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(64)
        .collect()
}
