//! The bundle: everything the CA wants on one machine but the KRL, as a text manifest followed by the files' bytes.
//!
//! A machine cuts it apart with sh, coreutils and awk alone, so the manifest is lines of words:
//!
//! ```text
//! ssh-ca-bundle v1
//! machine NAME
//! generation N
//! issued UNIX
//! fresh-until UNIX
//! file SHA256 SIZE MODE PATH          one for each file, in the order of the bytes below
//! account NAME UID|- ORIGIN STATE SHELL GROUPS|- GECOS|-
//! end
//! …bytes…
//! ```

mod account;
pub(crate) mod manifest;
mod place;

use std::collections::BTreeMap;

pub use account::{Account, AccountState, Gecos, GroupName, Origin, PathName};
pub use manifest::DecodeBundleError;
pub use place::{LOOPBACK_KEYS, Place};
use policies::{AccountName, MachineName};
use ssh_key::SigningKey;

use crate::sign::{Namespace, SignError, Signed};

/// The complete wish for one machine at one generation. Files and accounts are kept in one order, so equal wishes
/// have equal bytes (same generation means same hash).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The machine it is for; every other one refuses it.
    pub machine: MachineName,
    /// Rises with every change, never falls; 1 to [`Bundle::MAX_NUMBER`].
    pub generation: u64,
    /// When it was made, Unix seconds.
    pub issued_unix: u64,
    /// After this Unix second a machine no longer applies it (it keeps what it has: stale is an alarm, never a lock-out).
    pub fresh_until_unix: u64,
    /// The bytes wanted at each place.
    pub files: BTreeMap<Place, Vec<u8>>,
    /// The accounts that the CA makes, adopts, has retired, or needs itself.
    pub accounts: BTreeMap<AccountName, Account>,
}

impl Bundle {
    /// The largest number in a manifest: 18 digits, which every shell compares correctly.
    pub const MAX_NUMBER: u64 = 999_999_999_999_999_999;

    /// The bytes to sign and send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        manifest::encode(self)
    }

    /// Reads a bundle back, strictly: exactly what [`Bundle::encode`] writes, nothing else.
    ///
    /// # Errors
    /// [`DecodeBundleError`] with the line at fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeBundleError> {
        manifest::decode(bytes)
    }

    /// Signs it with the fleet key.
    ///
    /// # Errors
    /// [`SignError`] if the key does not sign.
    pub fn sign<S: SigningKey>(&self, fleet_key: &S) -> Result<Signed, SignError> {
        Signed::sign(fleet_key, Namespace::Bundle, self.encode())
    }
}
