//! The server's configuration file.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

mod check;

pub use check::{CheckConfig, Every, EveryError};

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not readable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not understood; the message has line and column.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A value that cannot be.
    #[error("{path}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value, and what is wrong with it.
        what: String,
    },
}

/// `config.toml` in the data folder, or the file that `--config` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Host names and IP addresses by which employees reach the server; the first one stands in invitations.
    pub names: Vec<String>,
    /// Where to listen.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// An operator's own TLS certificate instead of the CA that `init` made.
    #[serde(default)]
    pub tls: Option<OwnTls>,
    /// How machines are kept in step.
    #[serde(default)]
    pub sync: SyncConfig,
    /// How machines fetch that do so themselves.
    #[serde(default)]
    pub pull: PullConfig,
    /// Who may read `/metrics`.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// How often machines are looked at.
    #[serde(default)]
    pub check: CheckConfig,
    /// Cost of the password hash.
    #[serde(default)]
    pub argon2: Argon2Config,
    /// Addresses of reverse proxies whose `X-Forwarded-For` is believed (A8).
    #[serde(default)]
    pub trusted_proxies: Vec<std::net::IpAddr>,
    /// A file of breached passwords, SHA-1 ordered by hash, as "Have I Been Pwned" publishes it.
    #[serde(default)]
    pub breached_passwords: Option<PathBuf>,
    /// How long an invitation is valid, in seconds (default 24 h).
    #[serde(default = "default_invitation_secs")]
    pub invitation_secs: u64,
}

/// PEM files of an operator's own certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnTls {
    /// The chain, leaf first.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// How machines are kept in step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyncConfig {
    /// Addresses from which machines see this server; becomes `from=` of `ssh-ca-sync`'s key. Empty: any.
    pub from: Vec<String>,
    /// How many machines are worked with at once.
    pub parallel: usize,
    /// How many connections are kept open, so that a revocation need not log in first: about 1.5 MB each. 0 keeps none.
    pub keep: usize,
    /// How long a kept connection may be of no use, in seconds, before it is closed.
    pub keep_idle_secs: u64,
    /// How long one machine may take, in seconds.
    pub timeout_secs: u64,
    /// First and last uid of accounts that the CA makes.
    pub uids: [u32; 2],
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            from: Vec::new(),
            parallel: 16,
            keep: 128,
            // Longer than the time after which each machine is read back anyway.
            keep_idle_secs: 20 * 60,
            timeout_secs: 30,
            // Free on stock systems: above systemd's (up to 65535) and below the first range that `useradd` gives to
            // containers (100000).
            uids: [66_000, 99_999],
        }
    }
}

/// How machines fetch that do so themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PullConfig {
    /// How often, in minutes, 1 to 59. Each machine waits for a part of the pause by chance, so that a fleet does not come at once.
    pub every_minutes: u8,
    /// How long one transfer may take, in seconds.
    pub timeout_secs: u16,
}

impl Default for PullConfig {
    fn default() -> Self {
        Self {
            every_minutes: 2,
            timeout_secs: 60,
        }
    }
}

/// Who may read `/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// SHA-256 of the bearer tokens that may read it over HTTPS, in hexadecimal, lower case: `printf %s TOKEN | sha256sum`. Empty: nobody may.
    pub token_sha256: Vec<String>,
}

/// Argon2id (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Argon2Config {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
    /// How many run at once; memory in use is at most this times `memory_kib` (A10).
    pub parallel: usize,
}

impl Default for Argon2Config {
    /// RFC 9106 section 4, second recommended option (one lane).
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
            parallel: 4,
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8443))
}

fn default_invitation_secs() -> u64 {
    24 * 3600
}

impl Config {
    /// The configuration of a new CA that is reached by `names`.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self {
            names,
            listen: default_listen(),
            tls: None,
            sync: SyncConfig::default(),
            pull: PullConfig::default(),
            metrics: MetricsConfig::default(),
            check: CheckConfig::default(),
            argon2: Argon2Config::default(),
            trusted_proxies: Vec::new(),
            breached_passwords: None,
            invitation_secs: default_invitation_secs(),
        }
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(path: &std::path::Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &std::path::Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let value = |what: &str| {
            Err(ConfigError::Value {
                path: path.to_owned(),
                what: what.to_owned(),
            })
        };
        if config.names.is_empty() {
            return value(
                "`names` is empty: write the host names and addresses by which employees reach this server",
            );
        }
        if config.sync.parallel == 0 || config.argon2.parallel == 0 {
            return value("`parallel` must be at least 1");
        }
        if !(1..=59).contains(&config.pull.every_minutes) || config.pull.timeout_secs == 0 {
            return value(
                "`pull.every_minutes` must be between 1 and 59, and `pull.timeout_secs` at least 1",
            );
        }
        if config.argon2.memory_kib < 8 || config.argon2.passes == 0 {
            return value("`argon2` needs memory_kib of at least 8 and passes of at least 1");
        }
        if config.metrics.token_sha256.iter().any(|hash| {
            hash.len() != 64 || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        }) {
            return value(
                "`metrics.token_sha256` holds SHA-256 sums: 64 digits 0-9 and a-f each, not the tokens themselves",
            );
        }
        if config.sync.uids[0] < 1000 || config.sync.uids[0] > config.sync.uids[1] {
            return value("`sync.uids` must be a range that begins at 1000 or above");
        }
        Ok(config)
    }

    /// The URL that stands in invitations.
    #[must_use]
    pub fn url(&self) -> String {
        let name = &self.names[0];
        let host = if name.contains(':') {
            format!("[{name}]")
        } else {
            name.clone()
        };
        format!("https://{host}:{}", self.listen.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w2_an_unknown_field_is_refused_with_its_place() {
        let error = Config::parse(
            "names = [\"ca\"]\nlissten = \"0.0.0.0:1\"\n",
            "c.toml".as_ref(),
        )
        .unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn what_init_writes_can_be_read_again() {
        let config = Config::new(vec!["ca.corp.example".into()]);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(Config::parse(&text, "c.toml".as_ref()).unwrap(), config);
        assert_eq!(config.url(), "https://ca.corp.example:8443");
    }
}
