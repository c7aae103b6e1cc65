//! Where the client keeps its files.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The two folders and what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `~/.config/ssh-ca`.
    pub config_folder: PathBuf,
    /// `~/.ssh`.
    pub ssh_folder: PathBuf,
}

/// There is no telling where the files belong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacesError {
    /// `HOME` is unset or relative.
    #[error("HOME does not name a folder by its absolute path")]
    NoHome,
    /// ssh_config cannot hold the path.
    #[error(
        "the path {0:?} has a quote, a backslash, a control character or ${{ in it, which ssh_config cannot hold"
    )]
    Unquotable(PathBuf),
}

impl Places {
    /// The places of the user who runs this: from `HOME` and `XDG_CONFIG_HOME`.
    ///
    /// # Errors
    /// When `HOME` is of no use.
    pub fn of_user() -> Result<Self, PlacesError> {
        let home = env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute());
        let home = home.ok_or(PlacesError::NoHome)?;
        let config = env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        Self::in_home(&home, config.as_deref())
    }

    /// The places in a home folder; `config` stands for `~/.config` where given.
    ///
    /// # Errors
    /// When ssh_config could not hold paths in it.
    pub fn in_home(home: &Path, config: Option<&Path>) -> Result<Self, PlacesError> {
        quotable(home)?;
        Ok(Self {
            config_folder: config
                .map_or_else(|| home.join(".config"), Path::to_owned)
                .join("ssh-ca"),
            ssh_folder: home.join(".ssh"),
        })
    }

    /// URL, identity, user CA keys, email.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.config_folder.join("config.toml")
    }

    /// The pinned TLS certificate.
    #[must_use]
    pub fn pinned_certificate(&self) -> PathBuf {
        self.config_folder.join("ca.pem")
    }

    /// The device's token.
    #[must_use]
    pub fn device(&self) -> PathBuf {
        self.config_folder.join("device")
    }

    /// The user's own ssh_config.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        self.ssh_folder.join("config")
    }

    /// `~/.ssh/ca`.
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.ssh_folder.join("ca")
    }

    /// A file in `~/.ssh/ca`.
    #[must_use]
    pub fn state(&self, name: &str) -> PathBuf {
        self.state_folder().join(name)
    }

    /// The certificate at this position.
    #[must_use]
    pub fn certificate(&self, position: usize) -> PathBuf {
        self.state(&format!("cert-{position}-cert.pub"))
    }
}

/// Refuses what no quoting in ssh_config can carry: OpenSSH before 8.7 knows no escapes inside quotes, and `${` is
/// expanded in file names whatever the quotes.
///
/// # Errors
/// When `path` has such a character.
pub fn quotable(path: &Path) -> Result<&str, PlacesError> {
    path.to_str()
        .filter(|text| {
            !text.contains("${")
                && !text
                    .chars()
                    .any(|c| c.is_control() || matches!(c, '"' | '\'' | '\\'))
        })
        .ok_or_else(|| PlacesError::Unquotable(path.to_owned()))
}
