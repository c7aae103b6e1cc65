//! The key of the day: made here (C1) and kept in the agent or in a 0600 file, or a security key that its owner has; and
//! proven to the CA without leaving.

use std::{io, path::PathBuf};

use ssh_key::{
    Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig, private::KeypairData,
    rand_core::OsRng,
};

use crate::{
    agent::{Agent, AgentError},
    atomic,
    places::Places,
    security_key::{self, SecurityKey, SignError},
};

/// Name of the private key's file, where one is needed.
pub const PRIVATE_FILE: &str = "id";

/// Name of the public key's file.
pub const PUBLIC_FILE: &str = "id.pub";

/// Where the private key is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPlace {
    /// In the ssh-agent only.
    Agent,
    /// In `~/.ssh/ca/id`, 0600.
    File,
    /// In a security key, which its owner keeps.
    SecurityKey {
        /// The file with its handle; without one, only the agent can ask it.
        handle: Option<PathBuf>,
    },
}

/// Why there is no signature by the session's key.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The agent did not sign.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The file cannot be read.
    #[error("~/.ssh/ca/{PRIVATE_FILE} cannot be read: {0}")]
    File(io::Error),
    /// The file holds no key.
    #[error("~/.ssh/ca/{PRIVATE_FILE} or the signature is damaged: {0}")]
    Key(#[from] ssh_key::Error),
    /// The security key did not sign.
    #[error(transparent)]
    SecurityKey(#[from] SignError),
}

/// The key that a day begins with.
#[derive(Debug)]
pub enum LoginKey {
    /// One that is made for the day.
    Fresh(Box<FreshKey>),
    /// One that its owner has.
    Security(SecurityKey),
}

impl LoginKey {
    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        match self {
            Self::Fresh(key) => key.public(),
            Self::Security(key) => &key.public_key,
        }
    }

    /// An SSHSIG (PEM) over `message`; a security key waits for its owner.
    ///
    /// # Errors
    /// When the security key does not sign.
    pub fn prove(&self, namespace: &str, message: &[u8]) -> Result<String, ProofError> {
        match self {
            Self::Fresh(key) => key.prove(namespace, message),
            Self::Security(key) => {
                let handle = key.handle.as_deref();
                Ok(security_key::prove(
                    &key.public_key,
                    handle,
                    namespace,
                    message,
                )?)
            }
        }
    }
}

/// A key that was just made and is nowhere but in memory.
#[derive(Debug)]
pub struct FreshKey(PrivateKey);

impl FreshKey {
    /// Makes an Ed25519 key from the operating system's randomness.
    #[must_use]
    pub fn make() -> Self {
        Self(
            PrivateKey::random(&mut OsRng, Algorithm::Ed25519)
                .expect("Ed25519 keys need nothing but random bytes"),
        )
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// An SSHSIG (PEM) over `message`.
    ///
    /// # Errors
    /// When the key cannot sign; it can.
    pub fn prove(&self, namespace: &str, message: &[u8]) -> Result<String, ProofError> {
        Ok(self
            .0
            .sign(namespace, HashAlg::Sha512, message)?
            .to_pem(LineEnding::LF)?)
    }

    /// Gives the key to the agent, to be forgotten after `lifetime_secs`.
    ///
    /// # Errors
    /// When there is no agent, or it refuses.
    pub fn into_agent(
        &self,
        agent: &mut Agent,
        comment: &str,
        lifetime_secs: u32,
    ) -> Result<(), AgentError> {
        match self.0.key_data() {
            KeypairData::Ed25519(pair) => agent.add(pair, comment, lifetime_secs),
            _ => unreachable!("`make` makes Ed25519 keys"),
        }
    }

    /// Writes the key to its 0600 file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn into_file(&self, places: &Places) -> io::Result<()> {
        let text = self
            .0
            .to_openssh(LineEnding::LF)
            .map_err(io::Error::other)?;
        atomic::replace(
            &places.state(PRIVATE_FILE),
            text.as_bytes(),
            atomic::OWNER_ONLY,
        )
    }
}

/// An SSHSIG (PEM) over `message` by the session's key, wherever it is.
///
/// # Errors
/// When the agent or the file no longer has it, or the security key does not sign.
pub fn prove(
    places: &Places,
    place: &KeyPlace,
    key: &PublicKey,
    namespace: &str,
    message: &[u8],
) -> Result<String, ProofError> {
    let signature = match place {
        KeyPlace::Agent => {
            let data = SshSig::signed_data(namespace, HashAlg::Sha512, message)?;
            let signature = Agent::of_user()?.sign(key, &data)?;
            SshSig::new(
                key.key_data().clone(),
                namespace,
                HashAlg::Sha512,
                signature,
            )?
        }
        KeyPlace::File => {
            let pem = std::fs::read(places.state(PRIVATE_FILE))
                .map(zeroize::Zeroizing::new)
                .map_err(ProofError::File)?;
            PrivateKey::from_openssh(&*pem)?.sign(namespace, HashAlg::Sha512, message)?
        }
        KeyPlace::SecurityKey { handle } => {
            return Ok(security_key::prove(
                key,
                handle.as_deref(),
                namespace,
                message,
            )?);
        }
    };
    Ok(signature.to_pem(LineEnding::LF)?)
}

/// Type and base64 of a public key, without its comment, which is somebody else's text.
#[must_use]
pub fn bare(key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment("");
    key.to_openssh()
        .expect("a parsed key can be encoded")
        .trim_end()
        .to_owned()
}

/// The base64 part alone, as proofs carry it.
#[must_use]
pub fn blob_text(key: &PublicKey) -> String {
    bare(key)
        .split_once(' ')
        .map(|(_, blob)| blob.to_owned())
        .expect("OpenSSH text has two parts")
}

/// Public keys in serde as OpenSSH text.
pub mod openssh_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use ssh_key::PublicKey;

    /// Writes the key without its comment.
    ///
    /// # Errors
    /// When the serializer fails.
    pub fn serialize<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::bare(key))
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When the text is no key.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        PublicKey::from_openssh(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
