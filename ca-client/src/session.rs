//! The day session as it is kept on disk: its secret stays outside the agent, so that a forwarded agent alone renews
//! nothing (C1).

use std::{io, path::PathBuf};

use ca_api::{Narrow, Secret};
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;
use zeroize::Zeroizing;

use crate::{atomic, key::KeyPlace, places::Places, security_key};

/// Name of the session's file.
pub const FILE: &str = "session.json";

/// A day session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// Whose.
    pub email: String,
    /// Its name at the CA.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// When it ends, by the CA's clock.
    pub ends_unix: i64,
    /// The key that it is bound to, OpenSSH text.
    #[serde(with = "crate::key::openssh_text")]
    pub public_key: PublicKey,
    /// Where that key's private half is.
    pub key_place: KeyPlace,
    /// Names the directory that is stored beside.
    pub directory_tag: String,
    /// What was asked for less of at login, and is left out of renewals too.
    pub narrow: Narrow,
    /// How far the CA's clock is ahead of this computer's.
    pub server_ahead_secs: i64,
    /// The certificates that are installed, in their order.
    pub certificates: Vec<InstalledCertificate>,
    /// How many grants are left out for want of a security key that checks its owner's PIN.
    #[serde(default)]
    pub needs_security_key: usize,
}

/// What is worth knowing of an installed certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledCertificate {
    /// Its serial.
    pub serial: u64,
    /// `account@pool` for each grant in it.
    pub principals: Vec<String>,
    /// From, by the CA's clock.
    pub valid_after_unix: i64,
    /// Until, by the CA's clock.
    pub valid_before_unix: i64,
}

/// Why the session is unknown.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody is logged in here.
    #[error("you are not logged in on this computer")]
    None,
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("{path} is damaged: {source}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// The parser's words.
        source: serde_json::Error,
    },
}

impl Session {
    /// Reads the stored session.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn load(places: &Places) -> Result<Self, SessionError> {
        let path = places.state(FILE);
        let text = atomic::read(&path).map_err(|source| SessionError::File {
            path: path.clone(),
            source,
        })?;
        let text = Zeroizing::new(text.ok_or(SessionError::None)?);
        serde_json::from_str(&text).map_err(|source| SessionError::Damaged { path, source })
    }

    /// Stores the session.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, places: &Places) -> Result<(), SessionError> {
        let path = places.state(FILE);
        let text = Zeroizing::new(serde_json::to_vec(self).expect("a session is plain data"));
        atomic::replace(&path, &text, atomic::OWNER_ONLY)
            .map_err(|source| SessionError::File { path, source })
    }

    /// What the missing security key leaves out, and how to get it; nothing where nothing is left out.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let (grants, need) = match self.needs_security_key {
            0 => return None,
            1 => ("1 grant".to_owned(), "needs"),
            many => (format!("{many} grants"), "need"),
        };
        Some(if matches!(self.key_place, KeyPlace::SecurityKey { .. }) {
            format!(
                "{grants} {need} a security key that checks your PIN, and yours did not; make one that does: {}",
                security_key::MAKE
            )
        } else {
            format!("{grants} {need} a security key: ca-client login --security-key")
        })
    }

    /// When the last of its certificates ends, by the CA's clock; the session's end where it has none.
    #[must_use]
    pub fn last_expiry_unix(&self) -> i64 {
        self.certificates
            .iter()
            .map(|certificate| certificate.valid_before_unix)
            .max()
            .unwrap_or(self.ends_unix)
    }
}
