//! What `setup` stores: which CA, what to trust it by, and what is remembered between days.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    api::Client,
    atomic,
    places::Places,
    security_key::SecurityKey,
    trust::{Pinned, PinnedError},
    url::ServerUrl,
};

/// The stored configuration with the pinned certificate.
#[derive(Debug, Clone)]
pub struct Config {
    /// What `config.toml` says.
    pub settings: Settings,
    /// The one certificate that HTTPS trusts.
    pub pinned: Pinned,
}

/// `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the CA is.
    pub url: ServerUrl,
    /// Identity of the CA, inside every proof: [`ca_api::ServerInfo::ca_id`].
    pub ca_id: String,
    /// User CA keys that may sign certificates (C4), OpenSSH text.
    pub user_cas: Vec<String>,
    /// The email of the last login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The security key of the last login, if that was with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_key: Option<SecurityKey>,
}

/// Why there is no configuration to work with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `setup` was never run here.
    #[error("this computer is not set up for a CA yet")]
    NotSetUp,
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `config.toml` is not as written.
    #[error("{path} cannot be understood: {reason}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// The pinned certificate is damaged.
    #[error("{path}: {source}")]
    Pinned {
        /// Which.
        path: PathBuf,
        /// Why.
        source: PinnedError,
    },
}

impl Config {
    /// Reads what `setup` stored.
    ///
    /// # Errors
    /// When it is absent or damaged.
    pub fn load(places: &Places) -> Result<Self, ConfigError> {
        let path = places.config();
        let text = atomic::read(&path)
            .map_err(|source| ConfigError::File {
                path: path.clone(),
                source,
            })?
            .ok_or(ConfigError::NotSetUp)?;
        let settings = toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path,
            reason: error.message().to_owned(),
        })?;
        let path = places.pinned_certificate();
        let pem = atomic::read(&path)
            .map_err(|source| ConfigError::File {
                path: path.clone(),
                source,
            })?
            .ok_or(ConfigError::NotSetUp)?;
        let pinned =
            Pinned::from_pem(&pem).map_err(|source| ConfigError::Pinned { path, source })?;
        Ok(Self { settings, pinned })
    }

    /// Stores both files, the certificate first: settings without trust are "not set up".
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, places: &Places) -> Result<(), ConfigError> {
        let at = |path: PathBuf| move |source| ConfigError::File { path, source };
        let folder = &places.config_folder;
        atomic::private_folder(folder).map_err(at(folder.clone()))?;
        let path = places.pinned_certificate();
        atomic::replace(&path, self.pinned.to_pem().as_bytes(), atomic::OWNER_ONLY)
            .map_err(at(path))?;
        self.settings.save(places)
    }

    /// Pins another certificate from now on.
    ///
    /// # Errors
    /// When it cannot be stored; the old one stays.
    pub fn pin(&mut self, places: &Places, successor: Pinned) -> Result<(), ConfigError> {
        let path = places.pinned_certificate();
        atomic::replace(&path, successor.to_pem().as_bytes(), atomic::OWNER_ONLY)
            .map_err(|source| ConfigError::File { path, source })?;
        self.pinned = successor;
        Ok(())
    }

    /// A client for this CA.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::https(self.settings.url.clone(), self.pinned.clone())
    }
}

impl Settings {
    /// Stores `config.toml` alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, places: &Places) -> Result<(), ConfigError> {
        let path = places.config();
        let text = toml::to_string(self).expect("texts and lists of texts are TOML");
        atomic::replace(&path, text.as_bytes(), atomic::OWNER_ONLY)
            .map_err(|source| ConfigError::File { path, source })
    }
}
