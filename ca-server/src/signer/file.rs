//! The default back end: a key that was decrypted from its OpenSSH file into memory.

use ssh_key::{Algorithm, PrivateKey, Signature, private::KeypairData, public::KeyData};

use super::{Signer, SignerError};

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
