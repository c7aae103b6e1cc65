//! The same key into another back end: reached there and proven first, then written down, then used.

use ssh_key::{PrivateKey, public::KeyData};

use super::{
    KeyRoom, KeysError, Purpose,
    elsewhere::{self, Place},
    files, record,
};
use crate::{
    signer::{FileSigner, Signer, SignerError, SignerSpec, pkcs11::Which, prove},
    store::Db,
};
use std::sync::Arc;

/// A key cannot be moved. It stays where it was.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The new place has not the key, or does not sign with it.
    #[error("the key {name} cannot sign there: {source}")]
    Signer {
        /// The key's name.
        name: String,
        /// Why.
        source: SignerError,
    },
    /// There is no file to go back to.
    #[error(
        "the private key of {name} cannot be taken out of {from}, and there is no keys/{name}.moved in the data folder; make a new key in a file instead: `ca-server ca rotate`"
    )]
    NoFile {
        /// The key's name.
        name: String,
        /// Where it is.
        from: String,
    },
    /// It is there already.
    #[error("the key {name} is kept there already ({at})")]
    There {
        /// The key's name.
        name: String,
        /// Where.
        at: String,
    },
    /// The files.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// A key that was reached in another back end, and signed a probe there.
pub struct Reached {
    name: String,
    from: String,
    place: Place,
    key: KeyData,
    signer: Arc<dyn Signer>,
}

impl Reached {
    /// The key's name: `user_ca`, `host_ca.2`, …
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Where it is now too.
    #[must_use]
    pub fn to(&self) -> String {
        self.signer.back_end()
    }

    /// `SHA256:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(ssh_key::HashAlg::Sha256).to_string()
    }

    /// Is an encrypted key file left behind?
    #[must_use]
    pub fn leaves(&self) -> Option<String> {
        let elsewhere = self.place.spec != SignerSpec::File;
        (elsewhere && self.from == "file").then(|| elsewhere::aside(&self.name))
    }
}

impl KeyRoom {
    /// Reaches the key of this purpose that signs now in another back end: brought in, where that is a token and the key is
    /// in a file. Nothing that the CA uses is changed.
    ///
    /// # Errors
    /// When it is not there and cannot be brought there, or does not sign.
    pub fn reach(&self, purpose: Purpose, place: Place) -> Result<Reached, MoveError> {
        let keys = self.keys();
        let held = keys.ring(purpose).current_held();
        let (name, key) = (held.record().name(), held.key().key_data().clone());
        let from = keys.ring(purpose).current().back_end();
        let place = elsewhere::named(&name, place, Some(&key));
        let failed = |source| MoveError::Signer {
            name: name.clone(),
            source,
        };
        let signer = match (&place.spec, from.as_str()) {
            (SignerSpec::File, "file") => {
                return Err(MoveError::There { name, at: from });
            }
            (SignerSpec::File, _) => {
                let Some(file) = self.file(&elsewhere::aside(&name), &name)? else {
                    return Err(MoveError::NoFile { name, from });
                };
                let signer = FileSigner::new(file);
                prove(&signer).map_err(failed)?;
                Arc::new(signer) as Arc<dyn Signer>
            }
            (SignerSpec::Pkcs11(_), "file") => {
                let file = self.file(&format!("keys/{name}"), &name)?;
                match file {
                    Some(file) => elsewhere::bring(&name, &place, &file).map_err(failed)?,
                    None => return Err(MoveError::NoFile { name, from }),
                }
            }
            (SignerSpec::Agent(_) | SignerSpec::Pkcs11(_), _) => {
                elsewhere::reach(&name, &place, Which::Known(key.clone())).map_err(failed)?
            }
        };
        if *signer.public_key() != key {
            return Err(failed(SignerError::NoKey {
                signer: signer.back_end(),
                why: "it holds another key than the CA's".to_owned(),
            }));
        }
        Ok(Reached {
            name,
            from,
            place,
            key,
            signer,
        })
    }

    fn file(&self, path: &str, name: &str) -> Result<Option<PrivateKey>, KeysError> {
        if !self.folder.root().join(path).exists() {
            return Ok(None);
        }
        files::decrypt(&self.folder, path, name, &self.passphrase).map(Some)
    }

    /// Writes down that the key is there from now on, and signs there. A crash in between leaves it in the one place or the
    /// other, never in none.
    ///
    /// # Errors
    /// When a file cannot be written; the next start settles where the key is.
    pub fn settle(&self, reached: Reached, db: &Db) -> Result<(), KeysError> {
        let name = &reached.name;
        if reached.place.spec == SignerSpec::File {
            elsewhere::take_back(&self.folder, name)?;
            elsewhere::forget(&self.folder, name)?;
        } else {
            let seal = &self.keys().seal;
            elsewhere::write(&self.folder, name, &reached.place, &reached.key, seal)?;
            elsewhere::put_aside(&self.folder, name)?;
        }
        let fingerprint = reached.fingerprint();
        self.opened().signers.insert(fingerprint, reached.signer);
        self.refresh(db)?;
        Ok(())
    }

    /// Finds or makes the key of this generation in a back end that is not a file of ours. It is written down when this
    /// returns, and counts as nothing until the store names it.
    ///
    /// # Errors
    /// When it cannot be reached or made there, or is a key of another purpose or generation already (K6).
    pub fn make_in(
        &self,
        purpose: Purpose,
        number: u32,
        place: Place,
    ) -> Result<ssh_key::PublicKey, MoveError> {
        let name = record::name(purpose, number);
        if place.spec == SignerSpec::File {
            return Ok(self.make(purpose, number)?);
        }
        let keys = self.keys();
        let (signer, public) =
            files::make_elsewhere(&self.folder, &name, place, &keys.seal, |key| {
                keys.own().any(|own| own == key)
            })?;
        self.opened()
            .signers
            .insert(record::fingerprint(&public), signer);
        Ok(public)
    }
}
