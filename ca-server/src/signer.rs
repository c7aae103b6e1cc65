//! What signs with a CA key: one trait, and the encrypted key file behind it.

use ssh_key::{Algorithm, PrivateKey, Signature, private::KeypairData, public::KeyData};

/// A signer could not sign.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The back end failed.
    #[error("the signer failed: {0}")]
    Backend(#[source] signature::Error),
    /// The back end returned a signature that its own public key does not verify.
    #[error("the signer returned a wrong signature")]
    WrongSignature,
}

/// A private key that stays where it is. Signing is synchronous and may take as long as hardware takes.
pub trait Signer: Send + Sync {
    /// The key's public half.
    fn public_key(&self) -> &KeyData;

    /// Signs `data`.
    ///
    /// # Errors
    /// When the back end refuses or is gone. The caller treats what it meant to sign as issued all the same.
    fn sign(&self, data: &[u8]) -> Result<Signature, SignerError>;
}

/// A key that was decrypted from its file into memory.
pub struct FileSigner {
    key: PrivateKey,
    // `ssh-key` derives this anew for each signature, which doubles its cost (30 instead of 14 µs).
    ed25519: Option<ed25519_dalek::SigningKey>,
}

impl FileSigner {
    /// Takes a decrypted key.
    #[must_use]
    pub fn new(key: PrivateKey) -> Self {
        let ed25519 = match key.key_data() {
            KeypairData::Ed25519(pair) => ed25519_dalek::SigningKey::try_from(pair).ok(),
            _ => None,
        };
        Self { key, ed25519 }
    }
}

impl Signer for FileSigner {
    fn public_key(&self) -> &KeyData {
        self.key.public_key().key_data()
    }

    fn sign(&self, data: &[u8]) -> Result<Signature, SignerError> {
        match &self.ed25519 {
            Some(key) => {
                let signature: ed25519_dalek::Signature =
                    signature::Signer::try_sign(key, data).map_err(SignerError::Backend)?;
                Signature::new(Algorithm::Ed25519, signature.to_bytes())
                    .map_err(|error| SignerError::Backend(signature::Error::from_source(error)))
            }
            None => signature::Signer::try_sign(&self.key, data).map_err(SignerError::Backend),
        }
    }
}

/// Lets `ssh-key`'s certificate builder and SSHSIG use any [`Signer`].
pub struct SigningKey<'a>(pub &'a dyn Signer);

impl signature::Signer<Signature> for SigningKey<'_> {
    fn try_sign(&self, data: &[u8]) -> Result<Signature, signature::Error> {
        self.0.sign(data).map_err(|error| match error {
            SignerError::Backend(error) => error,
            wrong @ SignerError::WrongSignature => signature::Error::from_source(wrong),
        })
    }
}

impl From<&SigningKey<'_>> for KeyData {
    fn from(key: &SigningKey<'_>) -> KeyData {
        key.0.public_key().clone()
    }
}

/// Signs a probe and checks it with the public key, so that a wrong signer is found before it is trusted.
///
/// # Errors
/// When the signer fails, or its signature does not verify.
pub fn prove(signer: &dyn Signer) -> Result<(), SignerError> {
    const PROBE: &[u8] = b"ssh-ca: does this signer hold the key it names?";
    let signature = signer.sign(PROBE)?;
    signature::Verifier::verify(signer.public_key(), PROBE, &signature)
        .map_err(|_| SignerError::WrongSignature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::OsRng;

    struct Liar {
        says: KeyData,
        signs_with: PrivateKey,
    }

    impl Signer for Liar {
        fn public_key(&self) -> &KeyData {
            &self.says
        }
        fn sign(&self, data: &[u8]) -> Result<Signature, SignerError> {
            signature::Signer::try_sign(&self.signs_with, data).map_err(SignerError::Backend)
        }
    }

    #[test]
    fn k6_a_signer_that_names_another_key_is_found_out() {
        let one = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        let other = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        assert!(prove(&FileSigner::new(one.clone())).is_ok());
        let liar = Liar {
            says: other.public_key().key_data().clone(),
            signs_with: one,
        };
        assert!(matches!(prove(&liar), Err(SignerError::WrongSignature)));
    }
}
