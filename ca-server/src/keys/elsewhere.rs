//! Keys that are not in a file of ours: `keys/<name>.signer` says where such a key is, which one it is, and has its PIN, sealed.

use std::{fs, path::Path, sync::Arc};

use ca_api::Secret;
use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, PrivateKey, PublicKey, public::KeyData};

use super::{KeysError, Seal};
use crate::{
    folder::Folder,
    signer::{
        Signer, SignerError, SignerSpec, SpecError, agent,
        pkcs11::{self, Which},
        prove,
    },
};

/// Where a key is, with what opens it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Which back end, and where.
    pub spec: SignerSpec,
    /// A token's PIN, where no file holds it.
    pub pin: Option<Secret>,
}

impl Place {
    /// A key file of the data folder.
    pub const FILE: Self = Self {
        spec: SignerSpec::File,
        pin: None,
    };
}

/// `keys/<name>.signer`. It names sockets, modules and files, so it is written by local commands only (K5).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// `agent:…` or `pkcs11:…`.
    signer: String,
    /// The key that must be there, and no other: OpenSSH text.
    public_key: String,
    /// The token's PIN, sealed with the CA's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<String>,
}

fn file(name: &str) -> String {
    format!("keys/{name}.signer")
}

fn purpose(name: &str) -> String {
    format!("pin {name}")
}

/// Where the key of this name is; `None` for a key file.
pub(super) fn read(
    folder: &Folder,
    name: &str,
    seal: &Seal,
) -> Result<Option<(Place, KeyData)>, KeysError> {
    if !folder.root().join(file(name)).exists() {
        return Ok(None);
    }
    let wrong = |why: String| KeysError::Signpost {
        file: file(name),
        why,
    };
    let text = String::from_utf8(folder.read(&file(name))?).map_err(|e| wrong(e.to_string()))?;
    let written: Written = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let spec: SignerSpec = written
        .signer
        .parse()
        .map_err(|error: SpecError| wrong(error.to_string()))?;
    let key =
        PublicKey::from_openssh(&written.public_key).map_err(|error| wrong(error.to_string()))?;
    let pin = written
        .pin
        .map(|sealed| {
            let plain = seal.open(&purpose(name), &sealed);
            let text = plain.and_then(|plain| String::from_utf8(plain.to_vec()).ok());
            text.map(Secret::new)
                .ok_or_else(|| wrong("its PIN was not sealed by this CA".to_owned()))
        })
        .transpose()?;
    Ok(Some((Place { spec, pin }, key.key_data().clone())))
}

/// Writes down where the key of this name is: from then on it is looked for there.
pub(super) fn write(
    folder: &Folder,
    name: &str,
    place: &Place,
    key: &KeyData,
    seal: &Seal,
) -> Result<(), KeysError> {
    let public = PublicKey::new(key.clone(), format!("ssh-ca {name}"));
    let broken = |source| KeysError::Broken {
        name: name.to_owned(),
        source,
    };
    let written = Written {
        signer: place.spec.to_string(),
        public_key: public.to_openssh().map_err(broken)?,
        pin: place
            .pin
            .as_ref()
            .map(|pin| seal.seal(&purpose(name), pin.expose().as_bytes())),
    };
    let text = toml::to_string(&written).map_err(|error| KeysError::Signpost {
        file: file(name),
        why: error.to_string(),
    })?;
    let public = format!("{}\n", written.public_key);
    folder.write(&format!("keys/{name}.pub"), public.as_bytes())?;
    folder.write(&file(name), text.as_bytes())?;
    Ok(())
}

/// Forgets where the key of this name was.
pub(super) fn forget(folder: &Folder, name: &str) -> Result<(), KeysError> {
    remove(folder, &file(name))
}

/// Takes a file of the folder away for good; one that is not there is away.
fn remove(folder: &Folder, name: &str) -> Result<(), KeysError> {
    let path = folder.root().join(name);
    let done = fs::remove_file(&path).and_then(|()| sync(path.parent()));
    match done {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(|source| KeysError::Move { path, source }),
    }
}

/// Puts a key file aside that is not used any more, encrypted as it is.
pub(super) fn put_aside(folder: &Folder, name: &str) -> Result<(), KeysError> {
    rename(folder, &format!("keys/{name}"), &aside(name))
}

/// Takes a key file back that was put aside.
pub(super) fn take_back(folder: &Folder, name: &str) -> Result<(), KeysError> {
    rename(folder, &aside(name), &format!("keys/{name}"))
}

/// Where a key file is put that is not used any more.
#[must_use]
pub fn aside(name: &str) -> String {
    format!("keys/{name}.moved")
}

fn rename(folder: &Folder, from: &str, to: &str) -> Result<(), KeysError> {
    let (from, to) = (folder.root().join(from), folder.root().join(to));
    let done = fs::rename(&from, &to).and_then(|()| sync(to.parent()));
    match done {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(|source| KeysError::Move { path: to, source }),
    }
}

fn sync(parent: Option<&Path>) -> std::io::Result<()> {
    fs::File::open(parent.unwrap_or(Path::new("/"))).and_then(|parent| parent.sync_all())
}

/// Opens the key at `place`, which is known, and proves that it signs. A signer that does not answer now keeps the
/// server from nothing but signing with it: it is asked again until it does.
pub(super) fn open(name: &str, place: &Place, key: &KeyData) -> Result<Arc<dyn Signer>, KeysError> {
    let failed = |source| KeysError::Signer {
        name: name.to_owned(),
        source,
    };
    match reach(name, place, Which::Known(key.clone())) {
        Ok(signer) => Ok(signer),
        Err(error @ (SignerError::Absent { .. } | SignerError::TimedOut { .. })) => {
            tracing::error!(%error, key = name, "this key cannot sign now; it is tried again until it can");
            let pin = pin_of(place).map_err(failed)?;
            match &place.spec {
                SignerSpec::File => Err(failed(error)),
                SignerSpec::Agent(spec) => {
                    Ok(Arc::new(agent::wait_for(spec, key).map_err(failed)?))
                }
                SignerSpec::Pkcs11(spec) => {
                    Ok(Arc::new(pkcs11::wait_for(spec, pin, key).map_err(failed)?))
                }
            }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Opens the key of this name at `place` and proves that it signs: one that is known, or one that is found or made there.
///
/// # Errors
/// When it is not there, refuses, or lies.
pub fn reach(name: &str, place: &Place, which: Which) -> Result<Arc<dyn Signer>, SignerError> {
    let signer = match &place.spec {
        SignerSpec::File => {
            return Err(SignerError::NoKey {
                signer: "file".to_owned(),
                why: "a key file is no place elsewhere".to_owned(),
            });
        }
        SignerSpec::Agent(spec) => {
            let expected = match &which {
                Which::Known(key) => Some(key.clone()),
                Which::Import(key) => Some(key.public_key().key_data().clone()),
                Which::FoundOrMade => None,
            };
            // The comment of our own key files, which `ssh-add` takes over.
            agent::open(spec, expected.as_ref(), &format!("ssh-ca {name}"))?
        }
        SignerSpec::Pkcs11(spec) => pkcs11::open(spec, pin_of(place)?, which)?,
    };
    prove(&signer)?;
    Ok(Arc::new(signer))
}

/// The place as it is kept: with everything that names this one key.
#[must_use]
pub fn named(name: &str, mut place: Place, key: Option<&KeyData>) -> Place {
    match &mut place.spec {
        SignerSpec::File => {}
        SignerSpec::Agent(spec) => {
            spec.key = key.map(|key| key.fingerprint(HashAlg::Sha256)).or(spec.key);
        }
        SignerSpec::Pkcs11(spec) => {
            if spec.object.is_none() && spec.id.is_none() {
                spec.object = Some(format!("ssh-ca {name}"));
            }
        }
    }
    place
}

/// Brings a private key to `place`, or finds that it is there already.
///
/// # Errors
/// As [`reach`].
pub fn bring(name: &str, place: &Place, key: &PrivateKey) -> Result<Arc<dyn Signer>, SignerError> {
    reach(name, place, Which::Import(Box::new(key.clone())))
}

fn pin_of(place: &Place) -> Result<Option<Secret>, SignerError> {
    match &place.spec {
        SignerSpec::Pkcs11(spec) => match &spec.pin_file {
            Some(path) => pkcs11::pin::read(path)
                .map(Some)
                .map_err(|error| SignerError::Refused {
                    signer: place.spec.to_string(),
                    why: error.to_string(),
                }),
            None => Ok(place.pin.clone()),
        },
        SignerSpec::File | SignerSpec::Agent(_) => Ok(None),
    }
}
