//! The CA's own keys: made once, each in a file of its own, encrypted with the passphrase (K2, K6).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::Secret;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, aead::Aead};
use rand_core::{OsRng, RngCore};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, private::KeypairData};
use zeroize::Zeroizing;

use crate::{
    folder::{Folder, FolderError},
    signer::{FileSigner, Signer, SignerError, prove},
};

/// The purposes for which there is a key, and for which no other key is ever used (K6).
const NAMES: [&str; 6] = ["user_ca", "host_ca", "fleet", "sync", "ledger", "seal"];

/// The keys cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The passphrase does not fit.
    #[error("the passphrase does not open {0}: nothing was changed")]
    WrongPassphrase(String),
    /// A key file that is not one.
    #[error("{name} is not a usable key file: {source}")]
    Broken {
        /// The key's name.
        name: String,
        /// What the parser says.
        source: ssh_key::Error,
    },
    /// A key file without encryption (K2).
    #[error("{0} is not encrypted: encrypt it with `ssh-keygen -p -f` and the CA's passphrase")]
    NotEncrypted(String),
    /// A key that cannot sign.
    #[error("the key {name} does not work: {source}")]
    Signer {
        /// The key's name.
        name: String,
        /// Why.
        source: SignerError,
    },
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// All keys, opened.
pub struct Keys {
    /// Signs employees' certificates.
    pub user_ca: Arc<dyn Signer>,
    /// Signs machines' certificates.
    pub host_ca: Arc<dyn Signer>,
    /// Signs bundles and KRL parcels, and nothing else.
    pub fleet: Arc<PrivateKey>,
    /// Logs in as `ssh-ca-sync`, and nothing else.
    pub sync: Arc<PrivateKey>,
    /// Signs ledger heads.
    pub ledger: Arc<PrivateKey>,
    /// Seals TOTP secrets and the TLS CA's key at rest.
    pub seal: Arc<Seal>,
}

impl Keys {
    /// Makes every key and writes it encrypted, with its public half beside it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(folder: &Folder, passphrase: &Secret) -> Result<Self, KeysError> {
        for name in NAMES {
            let mut key =
                PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(broken(name))?;
            key.set_comment(format!("ssh-ca {name}"));
            let public = key.public_key().to_openssh().map_err(broken(name))?;
            let sealed = key
                .encrypt(&mut OsRng, passphrase.expose())
                .and_then(|key| key.to_openssh(LineEnding::LF))
                .map_err(broken(name))?;
            folder.write(&format!("keys/{name}"), sealed.as_bytes())?;
            folder.write(
                &format!("keys/{name}.pub"),
                format!("{public}\n").as_bytes(),
            )?;
        }
        Self::open(folder, passphrase)
    }

    /// Decrypts every key and proves that each signs for its own public half.
    ///
    /// # Errors
    /// When the passphrase is wrong, or a file is missing, broken, or not encrypted.
    pub fn open(folder: &Folder, passphrase: &Secret) -> Result<Self, KeysError> {
        // Each file costs a slow key derivation: all at once, so that a start takes one of them on several cores.
        let opened: Vec<Result<PrivateKey, KeysError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = NAMES
                .iter()
                .map(|name| scope.spawn(move || open_one(folder, name, passphrase)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("opening a key does not panic"))
                .collect()
        });
        let mut keys = opened.into_iter();
        let mut next = || keys.next().expect("one result for each name");
        let (user_ca, host_ca, fleet) = (next()?, next()?, next()?);
        let (sync, ledger, seal) = (next()?, next()?, next()?);
        let signer = |name: &str, key: PrivateKey| -> Result<Arc<dyn Signer>, KeysError> {
            let signer = FileSigner::new(key);
            prove(&signer).map_err(|source| KeysError::Signer {
                name: name.to_owned(),
                source,
            })?;
            Ok(Arc::new(signer))
        };
        Ok(Self {
            user_ca: signer("user_ca", user_ca)?,
            host_ca: signer("host_ca", host_ca)?,
            fleet: Arc::new(fleet),
            sync: Arc::new(sync),
            ledger: Arc::new(ledger),
            seal: Arc::new(Seal::new(&seal)),
        })
    }

    /// Names this CA in proofs of possession: the fingerprint of its user CA key.
    #[must_use]
    pub fn ca_id(&self) -> String {
        self.user_ca
            .public_key()
            .fingerprint(HashAlg::Sha256)
            .to_string()
    }

    /// The user CA's public key, OpenSSH text.
    #[must_use]
    pub fn user_ca_text(&self) -> String {
        public_text(self.user_ca.as_ref(), "ssh-ca user CA")
    }

    /// The host CA's public key, OpenSSH text.
    #[must_use]
    pub fn host_ca_text(&self) -> String {
        public_text(self.host_ca.as_ref(), "ssh-ca host CA")
    }
}

fn public_text(signer: &dyn Signer, comment: &str) -> String {
    PublicKey::new(signer.public_key().clone(), comment)
        .to_openssh()
        .expect("a key that signs has a text form")
}

fn open_one(folder: &Folder, name: &str, passphrase: &Secret) -> Result<PrivateKey, KeysError> {
    let text = Zeroizing::new(folder.read(&format!("keys/{name}"))?);
    let locked = PrivateKey::from_openssh(&text).map_err(broken(name))?;
    if !locked.is_encrypted() {
        return Err(KeysError::NotEncrypted(
            folder.key(name).display().to_string(),
        ));
    }
    locked
        .decrypt(passphrase.expose())
        .map_err(|_| KeysError::WrongPassphrase(folder.key(name).display().to_string()))
}

fn broken(name: &str) -> impl FnOnce(ssh_key::Error) -> KeysError {
    let name = name.to_owned();
    move |source| KeysError::Broken { name, source }
}

/// Seals small secrets at rest with ChaCha20-Poly1305 (RFC 8439) under a random 96-bit nonce; the purpose is
/// authenticated, so that one sealed value cannot stand in for another.
pub struct Seal {
    cipher: ChaCha20Poly1305,
}

impl Seal {
    fn new(key: &PrivateKey) -> Self {
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

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(&dir.path().join("ca")).unwrap();
        (dir, folder)
    }

    #[test]
    fn k2_keys_are_encrypted_at_rest_and_a_wrong_passphrase_opens_none() {
        let (_dir, folder) = folder();
        let right = Secret::new("correct horse battery".into());
        let keys = Keys::create(&folder, &right).unwrap();
        for name in NAMES {
            let text = String::from_utf8(folder.read(&format!("keys/{name}")).unwrap()).unwrap();
            assert!(
                PrivateKey::from_openssh(&text).unwrap().is_encrypted(),
                "{name}"
            );
        }
        assert!(matches!(
            Keys::open(&folder, &Secret::new("wrong".into())),
            Err(KeysError::WrongPassphrase(_))
        ));
        assert_eq!(Keys::open(&folder, &right).unwrap().ca_id(), keys.ca_id());
    }

    #[test]
    fn k2_a_key_without_encryption_is_refused() {
        let (_dir, folder) = folder();
        let passphrase = Secret::new("correct horse battery".into());
        Keys::create(&folder, &passphrase).unwrap();
        let plain = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        folder
            .write(
                "keys/fleet",
                plain.to_openssh(LineEnding::LF).unwrap().as_bytes(),
            )
            .unwrap();
        assert!(matches!(
            Keys::open(&folder, &passphrase),
            Err(KeysError::NotEncrypted(_))
        ));
    }

    #[test]
    fn k6_every_purpose_has_a_key_of_its_own() {
        let (_dir, folder) = folder();
        Keys::create(&folder, &Secret::new("correct horse battery".into())).unwrap();
        let publics: std::collections::BTreeSet<_> = NAMES
            .iter()
            .map(|name| {
                let text =
                    String::from_utf8(folder.read(&format!("keys/{name}.pub")).unwrap()).unwrap();
                text.split(' ').nth(1).unwrap().to_owned()
            })
            .collect();
        assert_eq!(publics.len(), NAMES.len());
    }

    #[test]
    fn a_sealed_secret_opens_for_its_purpose_only() {
        let (_dir, folder) = folder();
        let keys = Keys::create(&folder, &Secret::new("correct horse battery".into())).unwrap();
        let sealed = keys.seal.seal("totp alice@corp.example", b"secret");
        assert_eq!(
            keys.seal
                .open("totp alice@corp.example", &sealed)
                .unwrap()
                .as_slice(),
            b"secret"
        );
        assert!(keys.seal.open("totp bob@corp.example", &sealed).is_none());
        assert!(
            keys.seal
                .open("totp alice@corp.example", &sealed[4..])
                .is_none()
        );
        assert!(keys.seal.open("totp alice@corp.example", "").is_none());
    }
}
