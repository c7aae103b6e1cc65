//! Security keys (FIDO): found in `~/.ssh` or in the agent, and asked for a signature, which a person allows by a touch and
//! a PIN. The private half never leaves the key; what lies on the disk is only its handle, and stays where it is.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};
use ssh_key::{Algorithm, PrivateKey, PublicKey, public::KeyData};

use crate::{
    agent::Agent,
    places::{Places, PlacesError, quotable},
};

mod sign;

pub use sign::{SignError, prove};

/// Makes a security key that asks for its PIN, so that `verify-required` certificates are of use to it.
pub const MAKE: &str = "ssh-keygen -t ed25519-sk -O verify-required";

/// What the application of an SSH security key begins with.
const APPLICATION: &str = "ssh:";

/// Where `ssh-keygen` puts a security key's handle where it is not told otherwise.
const USUAL_NAMES: [&str; 2] = ["id_ed25519_sk", "id_ecdsa_sk"];

/// A security key: its public half, and where its handle is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityKey {
    /// Its public half, OpenSSH text.
    #[serde(with = "crate::key::openssh_text")]
    pub public_key: PublicKey,
    /// The file with its handle; without one, only the agent can ask it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<PathBuf>,
}

/// Why there is no security key to log in with.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// None was found.
    #[error("there is no security key in ~/.ssh or in the ssh-agent")]
    None,
    /// More than one was found, and none has a usual name.
    #[error("there is more than one security key: {}", .0.join(", "))]
    Several(Vec<String>),
    /// A file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no key.
    #[error("{path} is not a public key: {source}")]
    NotAKey {
        /// Which.
        path: PathBuf,
        /// The parser's words.
        source: ssh_key::Error,
    },
    /// A key of another kind.
    #[error("{path} is a key of type {algorithm}, which is no security key")]
    Plain {
        /// Which.
        path: PathBuf,
        /// Its type.
        algorithm: String,
    },
    /// A security key that was made for something else than SSH.
    #[error("{path} was not made for SSH: its application does not begin with {APPLICATION}")]
    Application {
        /// Which.
        path: PathBuf,
    },
    /// The public half is here, and nobody can ask the key.
    #[error("the handle of this security key is neither at {path} nor in the ssh-agent")]
    NoHandle {
        /// Where it would be.
        path: PathBuf,
    },
    /// It was in the agent at the last login.
    #[error("the security key of your last login is no longer in the ssh-agent")]
    LeftAgent,
    /// `ssh-keygen` cannot be run on the terminal.
    #[error("ssh-keygen cannot be run: {0}")]
    Make(io::Error),
    /// `ssh-keygen` made none, and has said why.
    #[error("no security key was made")]
    NotMade,
    /// A path that ssh_config cannot hold.
    #[error(transparent)]
    Place(#[from] PlacesError),
}

impl SecurityKey {
    /// The one at `path` (its handle, or the `.pub` beside it).
    ///
    /// # Errors
    /// When it is not one, or nobody can ask it.
    pub fn at(path: &Path) -> Result<Self, FindError> {
        let path = std::path::absolute(path).map_err(|source| FindError::File {
            path: path.to_owned(),
            source,
        })?;
        let handle = match path.extension() {
            Some(extension) if extension == "pub" => path.with_extension(""),
            _ => path,
        };
        quotable(&handle)?;
        let public_key = public_half(&handle)?;
        check_kind(&public_key, &handle)?;
        if handle.exists() {
            return Ok(Self {
                public_key,
                handle: Some(handle),
            });
        }
        if in_agent(&public_key) {
            return Ok(Self {
                public_key,
                handle: None,
            });
        }
        Err(FindError::NoHandle { path: handle })
    }

    /// The one with a usual name in `~/.ssh`, or else the only other one there or in the agent.
    ///
    /// # Errors
    /// When there is none, or there are several.
    pub fn find(places: &Places) -> Result<Self, FindError> {
        for name in USUAL_NAMES {
            let handle = places.ssh_folder.join(name);
            if handle.exists() {
                return Self::at(&handle);
            }
        }
        let mut found = in_folder(&places.ssh_folder);
        let in_agent = Agent::of_user().and_then(|mut agent| agent.security_keys());
        for public_key in in_agent.unwrap_or_default() {
            let known = |key: &Self| key.public_key.key_data() == public_key.key_data();
            if check_kind(&public_key, Path::new("")).is_ok() && !found.iter().any(known) {
                found.push(Self {
                    public_key,
                    handle: None,
                });
            }
        }
        match found.len() {
            0 => Err(FindError::None),
            1 => Ok(found.remove(0)),
            _ => Err(FindError::Several(
                found.iter().map(Self::describe).collect(),
            )),
        }
    }

    /// Has OpenSSH make one on the terminal, with the first usual name. It must be plugged in.
    ///
    /// # Errors
    /// When there is no terminal, or it was not made; OpenSSH has said why.
    pub fn make(places: &Places) -> Result<Self, FindError> {
        let handle = places.ssh_folder.join(USUAL_NAMES[0]);
        let tty = || File::options().read(true).write(true).open("/dev/tty");
        let made = tty().and_then(|tty| {
            Command::new("ssh-keygen")
                .args(["-t", "ed25519-sk", "-O", "verify-required", "-f"])
                .arg(&handle)
                // All of it is a talk with the person: standard output is somebody else's.
                .stdin(tty.try_clone()?)
                .stdout(tty.try_clone()?)
                .stderr(tty)
                .status()
        });
        match made.map_err(FindError::Make)? {
            status if status.success() => Self::at(&handle),
            _ => Err(FindError::NotMade),
        }
    }

    /// The one of the last login, if it can still be asked.
    ///
    /// # Errors
    /// When its handle is gone, or the agent does not have it any more.
    pub fn recall(&self) -> Result<Self, FindError> {
        match &self.handle {
            Some(handle) => Self::at(handle),
            None if in_agent(&self.public_key) => Ok(self.clone()),
            None => Err(FindError::LeftAgent),
        }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.handle {
            Some(handle) => handle.display().to_string(),
            None => format!(
                "{} in the ssh-agent",
                self.public_key.fingerprint(ssh_key::HashAlg::Sha256)
            ),
        }
    }
}

/// Is the algorithm one whose private half is in a security key?
#[must_use]
pub fn is_security_key(key: &PublicKey) -> bool {
    matches!(
        key.algorithm(),
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256
    )
}

fn public_half(handle: &Path) -> Result<PublicKey, FindError> {
    let mut public = handle.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    let not_a_key = |path: &Path| {
        let path = path.to_owned();
        move |source| FindError::NotAKey { path, source }
    };
    match fs::read_to_string(&public) {
        Ok(text) => PublicKey::from_openssh(&text).map_err(not_a_key(&public)),
        // A handle without its `.pub` still says whose it is; reading it needs no passphrase.
        Err(error) if error.kind() == io::ErrorKind::NotFound && handle.exists() => {
            let text = fs::read(handle).map_err(|source| FindError::File {
                path: handle.to_owned(),
                source,
            })?;
            let private = PrivateKey::from_openssh(&text).map_err(not_a_key(handle))?;
            Ok(private.public_key().clone())
        }
        Err(source) => Err(FindError::File {
            path: public,
            source,
        }),
    }
}

fn check_kind(key: &PublicKey, path: &Path) -> Result<(), FindError> {
    let path = path.to_owned();
    let application = match key.key_data() {
        KeyData::SkEd25519(key) => key.application(),
        KeyData::SkEcdsaSha2NistP256(key) => key.application(),
        _ => {
            let algorithm = key.algorithm().to_string();
            return Err(FindError::Plain { path, algorithm });
        }
    };
    if application.starts_with(APPLICATION) {
        Ok(())
    } else {
        Err(FindError::Application { path })
    }
}

/// Every security key of the folder whose handle is beside its `.pub`, by name.
fn in_folder(folder: &Path) -> Vec<SecurityKey> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut handles: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "pub"))
        .map(|path| path.with_extension(""))
        .filter(|handle| handle.is_file())
        .collect();
    handles.sort();
    handles
        .iter()
        .filter_map(|handle| SecurityKey::at(handle).ok())
        .collect()
}

fn in_agent(key: &PublicKey) -> bool {
    Agent::of_user()
        .and_then(|mut agent| agent.holds(key))
        .unwrap_or(false)
}
