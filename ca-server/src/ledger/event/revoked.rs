//! What a revocation in the ledger is aimed at.

use policies::Email;
use serde::{Deserialize, Serialize};

/// What a revocation is aimed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RevokedWhat {
    /// Every certificate of an employee up to an epoch.
    Employee {
        /// Who.
        email: Email,
        /// The last epoch that is refused.
        epoch: u64,
    },
    /// Certificates by serial.
    Serials {
        /// Which.
        serials: Vec<u64>,
    },
    /// A key, by its SHA-256 fingerprint.
    Key {
        /// `SHA256:…`.
        fingerprint: String,
    },
    /// A CA key, by its SHA-256 fingerprint.
    Ca {
        /// `SHA256:…`.
        fingerprint: String,
    },
}

impl RevokedWhat {
    /// In words.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Employee { email, .. } => email.to_string(),
            Self::Serials { serials } => {
                let serials: Vec<String> = serials.iter().map(ToString::to_string).collect();
                format!("serial {}", serials.join(", "))
            }
            Self::Key { fingerprint } | Self::Ca { fingerprint } => fingerprint.clone(),
        }
    }
}
