//! Break-glass credentials: a CA key of their own, sealed, whose seal takes several people to open, and that works with the CA gone.
//!
//! The private key is made, sealed and forgotten in the process of the command that makes it; the server learns the public half only, and tells
//! machines to trust it for the account `breakglass` alone. Opening needs the sealed file and enough shares, no server and no network.

pub mod open;
pub mod seal;

use policies::MachineName;
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use ca_machine::spec::BreakGlass;

use crate::store::{Read, ReadError, Table};

/// The key of [`BreakGlassRecord`] in table `meta`.
const RECORD: &[u8] = b"break-glass";

/// The break-glass keys that this CA ever told machines to trust (table `meta`, key `break-glass`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassRecord {
    /// The newest last. All but the last one have ended.
    pub keys: Vec<BreakGlassKey>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassKey {
    /// OpenSSH text.
    pub public_key: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// How many shares open it.
    pub needed: u8,
    /// Of how many.
    pub shares: u8,
    /// When it was made.
    pub made_unix: i64,
    /// When it was revoked.
    #[serde(default)]
    pub ended_unix: Option<i64>,
}

/// What is known of them.
///
/// # Errors
/// If the store cannot be read.
pub fn record<R: Read>(source: &R) -> Result<BreakGlassRecord, ReadError> {
    Ok(source.get_json(Table::Meta, RECORD)?.unwrap_or_default())
}

/// Stores it. The caller records why, in the same transaction.
pub fn put(txn: &mut crate::store::Txn<'_>, record: &BreakGlassRecord) {
    txn.put_json(Table::Meta, RECORD, record);
}

/// Machines hold this key as revoked, and the backup that was put back does not know it: it has ended here too.
///
/// # Errors
/// If the store cannot be read.
pub fn end(
    txn: &mut crate::store::Txn<'_>,
    fingerprint: &str,
    at_unix: i64,
) -> Result<(), ReadError> {
    let mut record = record(txn)?;
    let mut ended = false;
    for key in &mut record.keys {
        if key.fingerprint == fingerprint && key.ended_unix.is_none() {
            key.ended_unix = Some(at_unix);
            ended = true;
        }
    }
    if ended {
        put(txn, &record);
    }
    Ok(())
}

impl BreakGlassRecord {
    /// The one that machines trust, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<&BreakGlassKey> {
        self.keys.iter().find(|key| key.ended_unix.is_none())
    }

    /// How the account stands on every machine.
    ///
    /// # Errors
    /// When a stored key cannot be read.
    pub fn on_machines(&self, machine: &MachineName) -> Result<BreakGlass, String> {
        match (self.keys.is_empty(), self.current()) {
            (true, _) => Ok(BreakGlass::Never),
            (false, None) => Ok(BreakGlass::Shut),
            (false, Some(key)) => PublicKey::from_openssh(&key.public_key)
                .map(|key| BreakGlass::Open(vec![key]))
                .map_err(|error| format!("the break-glass key for {machine}: {error}")),
        }
    }
}
