//! The files under `keys/`: each private key encrypted with the CA's passphrase (K2), its public half beside it.

use std::sync::Arc;

use ca_api::Secret;
use rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey, public::KeyData};
use zeroize::Zeroizing;

use super::{
    FIXED, KeysError, Purpose, Seal,
    elsewhere::{self, Place},
    moving::MoveError,
    record,
};
use crate::{
    folder::Folder,
    signer::{FileSigner, Signer, SignerError, pkcs11::Which, prove},
};

/// What a file under `keys/` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The half that everybody may know.
    Public,
    /// A private half, encrypted, or the way to one.
    Private,
}

/// What the file of this name under `keys/` is for; `None` for a name that this program gives to nothing.
#[must_use]
pub fn half(file: &str) -> Option<Half> {
    let endings = [
        (".pub", Half::Public),
        (".signer", Half::Private),
        (".moved", Half::Private),
    ];
    let (name, half) = endings
        .into_iter()
        .find_map(|(ending, half)| Some((file.strip_suffix(ending)?, half)))
        .unwrap_or((file, Half::Private));
    let number = name.rsplit_once('.').and_then(|(_, n)| n.parse().ok());
    let generation = |purpose: Purpose| record::name(purpose, number.unwrap_or(1)) == name;
    let known = FIXED.contains(&name) || Purpose::ALL.into_iter().any(generation);
    known.then_some(half)
}

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
    decrypt(folder, &format!("keys/{name}"), name, passphrase)
}

/// Decrypts the key of this name from the file at `path` in the folder.
pub(super) fn decrypt(
    folder: &Folder,
    path: &str,
    name: &str,
    passphrase: &Secret,
) -> Result<PrivateKey, KeysError> {
    let text = Zeroizing::new(folder.read(path)?);
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

/// What signs with the key of this name, after a probe: wherever it is. `expected` is the key that the store knows by that name.
pub(super) fn signer(
    folder: &Folder,
    name: &str,
    expected: &KeyData,
    passphrase: &Secret,
    seal: &Seal,
) -> Result<Arc<dyn Signer>, KeysError> {
    match elsewhere::read(folder, name, seal)? {
        None => signer_of(name, open(folder, name, passphrase)?),
        // Of a key that was begun there and never named by the store: it says nothing of the one in the file.
        Some((_, key)) if key != *expected => {
            if !folder.key(name).exists() {
                return Err(KeysError::OtherKey {
                    name: name.to_owned(),
                });
            }
            tracing::warn!(
                key = name,
                "keys/{name}.signer is another key's, and is not followed"
            );
            signer_of(name, open(folder, name, passphrase)?)
        }
        Some((place, key)) => {
            // A move that was cut off between its two steps is finished here.
            elsewhere::put_aside(folder, name)?;
            elsewhere::open(name, &place, &key)
        }
    }
}

/// Finds or makes the key of this name at a place that is no file of ours, and writes down where it is. One that `taken`
/// knows has another purpose already (K6).
pub(super) fn make_elsewhere(
    folder: &Folder,
    name: &str,
    place: Place,
    seal: &Seal,
    taken: impl Fn(&KeyData) -> bool,
) -> Result<(Arc<dyn Signer>, PublicKey), MoveError> {
    let failed = |source| MoveError::Signer {
        name: name.to_owned(),
        source,
    };
    let place = elsewhere::named(name, place, None);
    let signer = elsewhere::reach(name, &place, Which::FoundOrMade).map_err(failed)?;
    let key = signer.public_key().clone();
    if taken(&key) {
        return Err(failed(SignerError::NoKey {
            signer: signer.back_end(),
            why:
                "the key there is one of the CA's already, and each purpose needs a key of its own"
                    .to_owned(),
        }));
    }
    let place = elsewhere::named(name, place, Some(&key));
    elsewhere::write(folder, name, &place, &key, seal)?;
    Ok((signer, PublicKey::from(key)))
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

/// Deletes the private half of a key; its public half stays.
pub(super) fn destroy(folder: &Folder, name: &str) -> Result<(), KeysError> {
    folder.destroy(&format!("keys/{name}"))?;
    folder.destroy(&elsewhere::aside(name))?;
    // Of a key that lives elsewhere only the way to it is here.
    Ok(folder.destroy(&format!("keys/{name}.signer"))?)
}

fn broken(name: &str) -> impl FnOnce(ssh_key::Error) -> KeysError {
    let name = name.to_owned();
    move |source| KeysError::Broken { name, source }
}
