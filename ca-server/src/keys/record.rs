//! The lives of the keys that can be replaced, as the store has them (table `keys`).

use std::{collections::BTreeSet, fmt};

use policies::MachineName;
use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, PublicKey};

use crate::store::{KeyRange, Read, ReadError, Table, Txn};

/// What a key that can be replaced signs, and nothing else (K6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Employees' certificates.
    UserCa,
    /// Machines' certificates.
    HostCa,
    /// Bundles, KRL parcels, orders.
    Fleet,
}

impl Purpose {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::UserCa, Self::HostCa, Self::Fleet];

    /// The name of its first file under `keys/`, and of its rows in the store: never change one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserCa => "user_ca",
            Self::HostCa => "host_ca",
            Self::Fleet => "fleet",
        }
    }

    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::UserCa => "user CA",
            Self::HostCa => "host CA",
            Self::Fleet => "fleet",
        }
    }
}

impl From<crate::cli::args::CaKey> for Purpose {
    fn from(key: crate::cli::args::CaKey) -> Self {
        use crate::cli::args::CaKey;
        match key {
            CaKey::User => Self::UserCa,
            CaKey::Host => Self::HostCa,
            CaKey::Fleet => Self::Fleet,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// Made and announced; it signs when everybody who must trust it has confirmed (K3).
    Next,
    /// It signs.
    Current,
    /// It signs no more, and stays trusted for as long as something that it signed may be valid (K4).
    Retiring,
    /// Nobody trusts it any longer, and its private half is gone.
    Retired,
    /// Somebody else may have it: nobody is to trust it, whatever it signed.
    Compromised,
}

impl Life {
    /// For people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Current => "current",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Compromised => "compromised",
        }
    }
}

/// A key's life (table `keys`, by purpose and number). Never deleted: no old key of the CA may ever be certified (I8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// What it signs.
    pub purpose: Purpose,
    /// Its generation, from 1.
    pub number: u32,
    /// Its public half, OpenSSH text without a comment.
    pub public_key: String,
    /// Where it is in its life.
    pub life: Life,
    /// When it was made.
    pub made_unix: i64,
    /// Since when it signs.
    #[serde(default)]
    pub signs_since_unix: Option<i64>,
    /// When it stopped signing.
    #[serde(default)]
    pub signed_until_unix: Option<i64>,
    /// When the last certificate that it signed ends; counted after it stopped signing (K4).
    #[serde(default)]
    pub last_expiry_unix: Option<i64>,
    /// When it was taken out of what others are told to trust.
    #[serde(default)]
    pub left_unix: Option<i64>,
    /// When everybody had confirmed that, and its private half was deleted.
    #[serde(default)]
    pub ended_unix: Option<i64>,
}

impl KeyRecord {
    /// A key of a CA that is new, or whose store knew nothing of its keys' lives: it signs.
    #[must_use]
    pub fn first(purpose: Purpose, key: &PublicKey, now_unix: i64) -> Self {
        Self {
            life: Life::Current,
            signs_since_unix: Some(now_unix),
            ..Self::next(purpose, 1, key, now_unix)
        }
    }

    /// A key that was just made.
    #[must_use]
    pub fn next(purpose: Purpose, number: u32, key: &PublicKey, now_unix: i64) -> Self {
        Self {
            purpose,
            number,
            public_key: bare(key),
            life: Life::Next,
            made_unix: now_unix,
            signs_since_unix: None,
            signed_until_unix: None,
            last_expiry_unix: None,
            left_unix: None,
            ended_unix: None,
        }
    }

    /// Its name: the file under `keys/`, and how people call it: `user_ca`, then `user_ca.2`, …
    #[must_use]
    pub fn name(&self) -> String {
        name(self.purpose, self.number)
    }

    /// `SHA256:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        PublicKey::from_openssh(&self.public_key)
            .map_or_else(|_| self.public_key.clone(), |key| fingerprint(&key))
    }

    /// Is it one that others are told to trust?
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        match self.life {
            Life::Next | Life::Current => true,
            Life::Retiring => self.left_unix.is_none(),
            Life::Retired | Life::Compromised => false,
        }
    }
}

/// The name of a purpose's key of this generation.
#[must_use]
pub fn name(purpose: Purpose, number: u32) -> String {
    match number {
        0 | 1 => purpose.name().to_owned(),
        number => format!("{}.{number}", purpose.name()),
    }
}

/// Type and base64: the comment is not part of the key.
fn bare(key: &PublicKey) -> String {
    PublicKey::from(key.key_data().clone())
        .to_openssh()
        .expect("a key in memory has a text form")
}

/// `SHA256:…`.
#[must_use]
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn row(purpose: Purpose, number: u32) -> Vec<u8> {
    [purpose.name().as_bytes(), b"\0", &number.to_be_bytes()].concat()
}

/// Stores what became of a key. The caller records why, in the same transaction.
pub fn put(txn: &mut Txn<'_>, record: &KeyRecord) {
    txn.put_json(Table::Keys, row(record.purpose, record.number), record);
}

/// How a key is to be replaced (table `keys`, by purpose), while that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationRecord {
    /// By itself, or one step a command.
    pub pace: ca_api::admin::Pace,
    /// Machines that are not waited for.
    pub leave_behind: BTreeSet<MachineName>,
    /// When it began.
    pub began_unix: i64,
}

fn rotation_row(purpose: Purpose) -> Vec<u8> {
    [b"rotation\0", purpose.name().as_bytes()].concat()
}

/// How the key of a purpose is being replaced; `None` while it is not.
///
/// # Errors
/// If the store cannot be read.
pub fn rotation<R: Read>(
    source: &R,
    purpose: Purpose,
) -> Result<Option<RotationRecord>, ReadError> {
    source.get_json(Table::Keys, &rotation_row(purpose))
}

/// Stores how a key is being replaced. The caller records why, in the same transaction.
pub fn put_rotation(txn: &mut Txn<'_>, purpose: Purpose, record: &RotationRecord) {
    txn.put_json(Table::Keys, rotation_row(purpose), record);
}

/// The replacement is over. The caller records it, in the same transaction.
pub fn end_rotation(txn: &mut Txn<'_>, purpose: Purpose) {
    txn.delete(Table::Keys, rotation_row(purpose));
}

/// Every key that this CA ever had, by purpose and number.
///
/// # Errors
/// If the store cannot be read.
pub fn all<R: Read>(source: &R) -> Result<Vec<KeyRecord>, ReadError> {
    let mut records = Vec::new();
    for purpose in Purpose::ALL {
        let range = KeyRange::prefix([purpose.name().as_bytes(), b"\0"].concat());
        for (_, record) in source.scan_json(Table::Keys, &range, usize::MAX)? {
            records.push(record);
        }
    }
    Ok(records)
}
