//! What is remembered of servers elsewhere: their pinned fingerprint, and the admin session while it lasts (0600).

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use ca_api::Secret;
use serde::{Deserialize, Serialize};

/// What is remembered cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// No home.
    #[error("neither XDG_CONFIG_HOME nor HOME says where to remember the server; set HOME")]
    NoHome,
    /// Not readable or writable.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read it (K2).
    #[error(
        "{} holds an admin session and has mode {mode:04o}, so that others can read it; delete it and log in again",
        path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not what this program wrote.
    #[error("{} is damaged: {why}; delete it and log in again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        why: String,
    },
}

/// One server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Known {
    /// `SHA256:…` of its TLS CA certificate.
    pub fingerprint: String,
    /// Who logged in last.
    #[serde(default)]
    pub email: Option<String>,
    /// The admin session.
    #[serde(default)]
    pub token: Option<Secret>,
    /// When that ends.
    #[serde(default)]
    pub ends_unix: i64,
}

impl Known {
    /// The session's token, if it still lasts.
    #[must_use]
    pub fn live_token(&self, now_unix: i64) -> Option<Secret> {
        self.token.clone().filter(|_| now_unix < self.ends_unix)
    }
}

/// All of them, by URL.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    #[serde(default)]
    servers: BTreeMap<String, Known>,
}

/// The file `~/.config/ssh-ca/admin.json`.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    content: Content,
}

impl Memory {
    /// Where it lies: below `$XDG_CONFIG_HOME`, or `$HOME/.config`.
    ///
    /// # Errors
    /// Neither variable is set.
    pub fn place() -> Result<PathBuf, MemoryError> {
        let set = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let config = set("XDG_CONFIG_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".config")))
            .ok_or(MemoryError::NoHome)?;
        Ok(config.join("ssh-ca").join("admin.json"))
    }

    /// Reads it; a missing file is an empty memory.
    ///
    /// # Errors
    /// Unreadable, readable for others, or damaged.
    pub fn load(path: PathBuf) -> Result<Self, MemoryError> {
        let failed = |source| MemoryError::File {
            path: path.clone(),
            source,
        };
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    path,
                    content: Content::default(),
                });
            }
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(MemoryError::TooOpen { path, mode });
        }
        let content = serde_json::from_reader(io::BufReader::new(file)).map_err(|error| {
            MemoryError::Damaged {
                path: path.clone(),
                why: error.to_string(),
            }
        })?;
        Ok(Self { path, content })
    }

    /// What is known of a server.
    #[must_use]
    pub fn server(&self, url: &str) -> Option<&Known> {
        self.content.servers.get(url)
    }

    /// Remembers a server: replaced by rename, 0600 from its first byte on.
    ///
    /// # Errors
    /// Not writable.
    pub fn remember(&mut self, url: &str, known: Known) -> Result<(), MemoryError> {
        self.content.servers.insert(url.to_owned(), known);
        self.save().map_err(|source| MemoryError::File {
            path: self.path.clone(),
            source,
        })
    }

    fn save(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, &self.content)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}
