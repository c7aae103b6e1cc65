//! The secret that a machine shares with its CA for fetching: what it opens, where its files lie, and that it may ask.

use std::{fmt, str::FromStr};

use aes::Aes256;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit, StreamCipher},
};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::bundle::manifest::hex;

/// What `openssl enc` writes before the salt.
const MAGIC: &[u8] = b"Salted__";

/// 32 random bytes, kept by the machine (root's alone) and, sealed, by the CA. Whoever has them can read what is wanted on that one
/// machine; they sign nothing, and nothing that a machine obeys follows from them.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PullSecret([u8; 32]);

/// A text that is no secret: expected 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the secret of a machine that fetches: expected 64 hexadecimal digits")]
pub struct PullSecretError;

impl fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PullSecret(…)")
    }
}

impl FromStr for PullSecret {
    type Err = PullSecretError;

    fn from_str(text: &str) -> Result<Self, PullSecretError> {
        let digits =
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digits {
            return Err(PullSecretError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| PullSecretError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| PullSecretError)?;
        }
        Ok(Self(bytes))
    }
}

impl PullSecret {
    /// A fresh one from the system's random numbers.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut bytes);
        Self(bytes)
    }

    /// 64 hexadecimal digits: how it stands on the machine.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(&self.0))
    }

    /// One value for each purpose: none tells another, nor the secret.
    fn derived(&self, purpose: &str) -> Zeroizing<String> {
        let text = Zeroizing::new(format!("ssh-ca pull {purpose} {}", *self.to_text()));
        Zeroizing::new(hex(&Sha256::digest(text.as_bytes())))
    }

    /// The bearer token at the CA's own door.
    #[must_use]
    pub fn token(&self) -> Zeroizing<String> {
        self.derived("token")
    }

    /// The folder of its files in a published tree: it cannot be guessed, and names no machine.
    #[must_use]
    pub fn place(&self) -> String {
        self.derived("place")[..32].to_owned()
    }

    /// Encrypts for the machine, as `openssl enc -d -aes-256-ctr -pbkdf2 -iter 1 -md sha256` reads it with the derived passphrase: one iteration,
    /// since nobody guesses 256 random bits. Equal texts make equal bytes (the salt is a keyed hash of the text), so that publishing
    /// again changes no file; two texts never share a key stream. It hides what is said, not its length nor when it changes, and it
    /// authenticates nothing: that is the signature's part, inside.
    #[must_use]
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let passphrase = self.derived("seal");
        let mut keyed = Sha256::new();
        keyed.update(b"ssh-ca pull salt ");
        keyed.update(passphrase.as_bytes());
        keyed.update(plain);
        let salt = &keyed.finalize()[..8];
        let mut key_and_iv = Zeroizing::new([0u8; 48]);
        pbkdf2::pbkdf2_hmac::<Sha256>(passphrase.as_bytes(), salt, 1, key_and_iv.as_mut_slice());
        let (key, iv) = key_and_iv.split_at(32);
        let mut sealed = [MAGIC, salt, plain].concat();
        let mut cipher = Ctr128BE::<Aes256>::new_from_slices(key, iv)
            .expect("32 bytes of key and 16 of counter");
        cipher.apply_keystream(&mut sealed[MAGIC.len() + 8..]);
        sealed
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn openssl_opens_what_was_sealed_with_this_secret_and_with_no_other() {
        if Command::new("openssl").arg("version").output().is_err() {
            println!("LEFT OUT: there is no openssl here");
            return;
        }
        let (secret, other) = (PullSecret::random(), PullSecret::random());
        let folder = tempfile::tempdir().unwrap();
        let open = |secret: &PullSecret, sealed: &[u8]| {
            let passphrase = folder.path().join("passphrase");
            std::fs::write(&passphrase, format!("{}\n", *secret.derived("seal"))).unwrap();
            let mut child = Command::new("openssl")
                .args([
                    "enc",
                    "-d",
                    "-aes-256-ctr",
                    "-pbkdf2",
                    "-iter",
                    "1",
                    "-md",
                    "sha256",
                    "-pass",
                ])
                .arg(format!("file:{}", passphrase.display()))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(sealed).unwrap();
            child.wait_with_output().unwrap().stdout
        };
        for plain in [
            // Long enough that it stands nowhere by chance; and not a whole number of blocks.
            b"one block and a bit".to_vec(),
            b"alice@corp.example/7\n".repeat(400),
            Vec::new(),
        ] {
            let sealed = secret.seal(&plain);
            assert_eq!(sealed, secret.seal(&plain));
            assert_eq!(open(&secret, &sealed), plain);
            if !plain.is_empty() {
                assert_ne!(open(&other, &sealed), plain);
                assert!(!sealed.windows(plain.len()).any(|part| part == plain));
            }
        }
        assert_ne!(secret.seal(b"a")[..16], secret.seal(b"b")[..16]);
    }

    #[test]
    fn c3_a_secret_is_never_shown_and_its_uses_tell_nothing_of_each_other() {
        let secret = PullSecret::random();
        assert_eq!(format!("{secret:?}"), "PullSecret(…)");
        assert_eq!(secret.to_text().parse(), Ok(secret.clone()));
        let (token, seal) = (secret.token(), secret.derived("seal"));
        let place = secret.place();
        assert!(place.len() == 32 && !token.contains(&place) && !seal.contains(&place));
        assert!(*token != *seal && *token != *secret.to_text());
        for wrong in ["", "g", &"A".repeat(64), &"é".repeat(32), &"0".repeat(63)] {
            assert_eq!(wrong.parse::<PullSecret>(), Err(PullSecretError), "{wrong}");
        }
    }
}
