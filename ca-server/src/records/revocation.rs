//! What is revoked, and the KRL that says so.

use std::{collections::HashSet, hash::Hash, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::store::{Cached, KeyRange, Read, ReadError, Table, TableGroup};

/// The key of [`KrlRecord`].
pub const KRL_CURRENT: &[u8] = b"current";

/// How the keys of all [`CanaryRecord`]s begin.
pub const CANARY: &[u8] = b"canary-";

/// The key of the canary by the first user CA key that must not be revoked.
pub const CANARY_GOOD: &[u8] = b"canary-good";

/// The key of the canary by the first user CA key that must be.
pub const CANARY_REVOKED: &[u8] = b"canary-revoked";

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revoked {
    /// Every certificate with this key ID, under each user CA key.
    KeyId(String),
    /// One certificate, under the CA key that signed it (`SHA256:…`).
    Serial {
        /// The CA key.
        ca: String,
        /// The serial.
        serial: u64,
    },
    /// A key, by its SHA-256 (`SHA256:…`).
    Key(String),
    /// Every certificate of a CA key up to a serial: what a restored CA may have issued before.
    Earlier {
        /// The CA key (`SHA256:…`).
        ca: String,
        /// The last serial that is refused.
        last: u64,
    },
}

impl Revoked {
    /// In words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::KeyId(key_id) => format!("key id {key_id}"),
            Self::Serial { serial, .. } => format!("serial {serial}"),
            Self::Key(fingerprint) => format!("key {fingerprint}"),
            Self::Earlier { ca, last } => format!("serials 1-{last} of CA key {ca}"),
        }
    }
}

/// A revocation (table `revocations`, by a rising number, big endian).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationRecord {
    /// What.
    pub what: Revoked,
    /// When.
    pub at_unix: i64,
    /// When the entry may leave the KRL (R3); never, for keys.
    pub until_unix: Option<i64>,
    /// Why.
    pub reason: String,
}

/// The newest KRL (table `krl`, key `current`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KrlRecord {
    /// Its version; only ever rises (R2).
    pub version: u64,
    /// When it was built.
    pub built_unix: i64,
    /// The number after the last revocation that it contains.
    pub covers: u64,
    /// The CA keys that it covers (R4): `SHA256:…` where one has a section, with ` revoked` behind where it is revoked itself.
    #[serde(default)]
    pub ca_keys: Vec<String>,
    /// The file, base64.
    pub krl: String,
    /// SHA-256 of the file, hex.
    pub krl_sha256: String,
    /// The parcel for machines, base64.
    pub parcel: String,
    /// Its SSHSIG, PEM.
    pub signature: String,
}

/// A certificate that lets a KRL be checked (table `krl`, keys `canary-good`, `canary-revoked` for the first user CA key,
/// `canary-good/2` and so on for those after it).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryRecord {
    /// OpenSSH text; it ended before it was made, and its private key is gone.
    pub certificate: String,
}

/// Keeps the set of revoked keys until a revocation changes it.
pub struct RevokedKeys(Cached<HashSet<String>>);

impl Default for RevokedKeys {
    fn default() -> Self {
        Self(Cached::new(TableGroup::Revocation))
    }
}

impl RevokedKeys {
    /// `SHA256:…` of every revoked key that `source` sees.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn load<R: Read>(&self, source: &R) -> Result<Arc<HashSet<String>>, ReadError> {
        self.0.load(source, |source| {
            revoked(source, |what| match what {
                Revoked::Key(fingerprint) => Some(fingerprint),
                Revoked::KeyId(_) | Revoked::Serial { .. } | Revoked::Earlier { .. } => None,
            })
        })
    }
}

/// Keeps the set of revoked serials until a revocation changes it.
pub struct RevokedSerials(Cached<HashSet<u64>>);

impl Default for RevokedSerials {
    fn default() -> Self {
        Self(Cached::new(TableGroup::Revocation))
    }
}

impl RevokedSerials {
    /// Every revoked serial that `source` sees; serials are unique over all CA keys (I5).
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn load<R: Read>(&self, source: &R) -> Result<Arc<HashSet<u64>>, ReadError> {
        self.0.load(source, |source| {
            revoked(source, |what| match what {
                Revoked::Serial { serial, .. } => Some(serial),
                // A restore ends every session too: nobody is left to ask about what was before it.
                Revoked::KeyId(_) | Revoked::Key(_) | Revoked::Earlier { .. } => None,
            })
        })
    }
}

/// What `pick` takes of every revocation that `source` sees.
fn revoked<R: Read, T: Eq + Hash>(
    source: &R,
    pick: impl Fn(Revoked) -> Option<T>,
) -> Result<HashSet<T>, ReadError> {
    let all =
        source.scan_json::<RevocationRecord>(Table::Revocations, &KeyRange::all(), usize::MAX)?;
    Ok(all
        .into_iter()
        .filter_map(|(_, record)| pick(record.what))
        .collect())
}
