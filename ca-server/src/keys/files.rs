//! The files under `keys/`: each private key encrypted with the CA's passphrase (K2), its public half beside it.

use std::sync::Arc;

use ca_api::Secret;
use rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::KeysError;
use crate::{
    folder::Folder,
    signer::{FileSigner, Signer, prove},
};

/// Makes a key and writes it: when this returns, it is on the disk.
pub(super) fn make(
    folder: &Folder,
    name: &str,
    passphrase: &Secret,
) -> Result<PrivateKey, KeysError> {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(broken(name))?;
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
    Ok(key)
}

/// The public half, from the file beside the key.
pub(super) fn public(folder: &Folder, name: &str) -> Result<PublicKey, KeysError> {
    let text = folder.read(&format!("keys/{name}.pub"))?;
    PublicKey::from_openssh(String::from_utf8_lossy(&text).trim_end()).map_err(broken(name))
}

/// Decrypts a key.
pub(super) fn open(
    folder: &Folder,
    name: &str,
    passphrase: &Secret,
) -> Result<PrivateKey, KeysError> {
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

/// What signs with the key of this name, after a probe.
pub(super) fn signer(
    folder: &Folder,
    name: &str,
    passphrase: &Secret,
) -> Result<Arc<dyn Signer>, KeysError> {
    signer_of(name, open(folder, name, passphrase)?)
}

/// A decrypted key as a signer, after a probe.
pub(super) fn signer_of(name: &str, key: PrivateKey) -> Result<Arc<dyn Signer>, KeysError> {
    let signer = FileSigner::new(key);
    prove(&signer).map_err(|source| KeysError::Signer {
        name: name.to_owned(),
        source,
    })?;
    Ok(Arc::new(signer))
}

fn broken(name: &str) -> impl FnOnce(ssh_key::Error) -> KeysError {
    let name = name.to_owned();
    move |source| KeysError::Broken { name, source }
}
