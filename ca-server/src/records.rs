//! What stands in the store's tables, as JSON, and how it is found again.

mod certificate;
mod machine;
mod people;
mod policy;
mod revocation;

use policies::PoolName;
use serde::{Deserialize, Serialize};

pub use self::{certificate::*, machine::*, people::*, policy::*, revocation::*};

use crate::store::{ReadError, Table};

/// The key of [`CaRecord`].
pub const CA: &[u8] = b"ca";

/// Facts about the CA (table `meta`, key `ca`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaRecord {
    /// The high bits of every serial.
    pub instance_epoch: u32,
    /// The next uid to give.
    pub next_uid: u32,
    /// The next grant's number.
    pub next_grant: u64,
    /// The next revocation's number.
    pub next_revocation: u64,
}

/// A name that was given once (table `accounts`, keys `account NUL name`, `pool NUL name`, …); never given again (P9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// Who has it, or had it.
    pub holder: String,
    /// The uid of a shared account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Is the account's home to be deleted where it is no longer wanted?
    #[serde(default)]
    pub purge: bool,
}

/// A key of table `accounts`.
#[must_use]
pub fn name_key(space: &str, name: &str) -> Vec<u8> {
    [space.as_bytes(), b"\0", name.as_bytes()].concat()
}

/// Parses a key back into its name.
///
/// # Errors
/// If it is not one: the store was written by something else.
pub fn name<N>(table: Table, key: &[u8]) -> Result<N, ReadError>
where
    N: std::str::FromStr<Err = policies::NameError>,
{
    String::from_utf8_lossy(key)
        .parse()
        .map_err(|error: policies::NameError| ReadError::decode(table, error))
}

/// Parses a big-endian number key.
///
/// # Errors
/// If it is not one.
pub fn number(table: Table, key: &[u8]) -> Result<u64, ReadError> {
    key.try_into()
        .map(u64::from_be_bytes)
        .map_err(|error: std::array::TryFromSliceError| ReadError::decode(table, error))
}

/// The pools that begin with `_`: the CA's own, which no admin makes or grants.
#[must_use]
pub fn is_reserved(pool: &PoolName) -> bool {
    pool.as_str().starts_with('_')
}
