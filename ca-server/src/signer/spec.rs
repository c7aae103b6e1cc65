//! Where a CA key is: `file`, `agent:/socket`, or a `pkcs11:` URI (RFC 7512), as it is typed and as it is kept.
//!
//! A specification names sockets, modules and files, so it never comes over the network (K5): `init` takes it on the CA's own
//! host, the admin socket from whoever may open it, and it is kept in `keys/<name>.signer` (0600).

mod text;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use ssh_key::{Algorithm, EcdsaCurve, Fingerprint};

/// How long an agent is waited for: a YubiKey gives its owner 15 s for the touch.
const AGENT_WAIT: Duration = Duration::from_secs(20);

/// How long a token is waited for. An HSM in a network answers within a second.
const TOKEN_WAIT: Duration = Duration::from_secs(10);

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignerSpec {
    /// In an encrypted OpenSSH key file of the data folder.
    File,
    /// With an ssh-agent.
    Agent(AgentSpec),
    /// In a PKCS#11 token.
    Pkcs11(Pkcs11Spec),
}

/// A key that an ssh-agent holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSpec {
    /// The agent's socket, an absolute path.
    pub socket: PathBuf,
    /// Which key; needed where the agent has several.
    pub key: Option<Fingerprint>,
    /// How long an answer is waited for.
    pub wait: Duration,
}

/// A key in a PKCS#11 token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Spec {
    /// The vendor's module, an absolute path.
    pub module: PathBuf,
    /// The token's label.
    pub token: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// The key's label (`CKA_LABEL`).
    pub object: Option<String>,
    /// The key's ID (`CKA_ID`).
    pub id: Option<Vec<u8>>,
    /// A file that holds the PIN (0600). Without it the PIN is asked for once and kept sealed with the CA's keys.
    pub pin_file: Option<PathBuf>,
    /// The kind of a key that is to be made.
    pub kind: Option<KeyKind>,
    /// Variables that the module reads, such as `SOFTHSM2_CONF`.
    pub env: BTreeMap<String, String>,
    /// How long an answer is waited for.
    pub wait: Duration,
}

/// What kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// The default.
    Ed25519,
    /// For hardware that has nothing else.
    EcdsaP256,
}

impl KeyKind {
    /// The kind of this algorithm, if it is one that a CA key may have.
    #[must_use]
    pub fn of(algorithm: &Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Ed25519 => Some(Self::Ed25519),
            Algorithm::Ecdsa {
                curve: EcdsaCurve::NistP256,
            } => Some(Self::EcdsaP256),
            _ => None,
        }
    }

    /// Its name on the command line and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
        }
    }
}

/// A text that says of no key where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Neither of the three.
    #[error(
        "{0:?} is no signer: expected file, agent:/path/to/socket, or pkcs11:token=LABEL?module-path=/path/to/module.so"
    )]
    Kind(String),
    /// A path that depends on where somebody stands.
    #[error("{what} must be an absolute path, not {path:?}")]
    Relative {
        /// Of what.
        what: &'static str,
        /// What was given.
        path: PathBuf,
    },
    /// An attribute that is missing.
    #[error("a {kind} signer needs {attribute}")]
    Missing {
        /// Of which kind.
        kind: &'static str,
        /// What.
        attribute: &'static str,
    },
    /// An attribute that is unknown, given twice, or has no value.
    #[error("{0:?} is not understood in a signer (unknown, without a value, or given twice)")]
    Attribute(String),
    /// An attribute whose value cannot be meant.
    #[error("{attribute} {value:?} is not understood: expected {expected}")]
    Value {
        /// Which.
        attribute: &'static str,
        /// What was given.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A PIN among the arguments, where every user of the machine can read it (C3).
    #[error(
        "a PIN does not belong into an argument, where everybody on this machine can read it: put it into a file and name that with pin-source=file:/path, or leave it out and be asked"
    )]
    Pin,
}

impl AgentSpec {
    /// The agent at this socket, which has one key.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            key: None,
            wait: AGENT_WAIT,
        }
    }
}

impl Pkcs11Spec {
    /// The token with this label, through this module.
    #[must_use]
    pub fn token(module: &Path, token: &str) -> Self {
        Self {
            module: module.to_owned(),
            token: Some(token.to_owned()),
            serial: None,
            object: None,
            id: None,
            pin_file: None,
            kind: None,
            env: BTreeMap::new(),
            wait: TOKEN_WAIT,
        }
    }
}
