//! Small secrets at rest, sealed with a key of their own (K6).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, aead::Aead};
use rand_core::{OsRng, RngCore};
use ssh_key::{PrivateKey, private::KeypairData};
use zeroize::Zeroizing;

/// Seals small secrets at rest with ChaCha20-Poly1305 (RFC 8439) under a random 96-bit nonce; the purpose is
/// authenticated, so that one sealed value cannot stand in for another.
pub struct Seal {
    cipher: ChaCha20Poly1305,
}

impl Seal {
    pub(super) fn new(key: &PrivateKey) -> Self {
        let KeypairData::Ed25519(pair) = key.key_data() else {
            unreachable!("`create` makes Ed25519 keys only, and decryption authenticates the file")
        };
        Self {
            cipher: ChaCha20Poly1305::new((&pair.private.to_bytes()).into()),
        }
    }

    /// Seals `plain` for `purpose`: base64 of nonce and ciphertext.
    #[must_use]
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> String {
        let mut nonce = [0u8; 12];
        OsRng.fill_bytes(&mut nonce);
        let payload = chacha20poly1305::aead::Payload {
            msg: plain,
            aad: purpose.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt((&nonce).into(), payload)
            .expect("a small secret is below the cipher's limit");
        STANDARD.encode([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Seal::seal`] made for the same purpose; `None` if it was not.
    #[must_use]
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(12)?;
        let payload = chacha20poly1305::aead::Payload {
            msg: sealed,
            aad: purpose.as_bytes(),
        };
        self.cipher
            .decrypt(nonce.into(), payload)
            .ok()
            .map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_key::Algorithm;

    #[test]
    fn a_sealed_secret_opens_for_its_purpose_only() {
        let seal = Seal::new(&PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap());
        let sealed = seal.seal("totp alice@corp.example", b"secret");
        assert_eq!(
            seal.open("totp alice@corp.example", &sealed)
                .unwrap()
                .as_slice(),
            b"secret"
        );
        assert!(seal.open("totp bob@corp.example", &sealed).is_none());
        assert!(seal.open("totp alice@corp.example", &sealed[4..]).is_none());
        assert!(seal.open("totp alice@corp.example", "").is_none());
    }
}
