//! How the CA stands after a restore.

use serde::{Deserialize, Serialize};

/// What is known of the last restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryView {
    /// Was this CA ever put back from a backup? The rest is empty if not.
    pub restored: bool,
    /// Does it log in, renew and enrol people?
    pub open: bool,
    /// When the backup was made.
    #[serde(default)]
    pub made_unix: Option<i64>,
    /// When it was put back.
    #[serde(default)]
    pub restored_unix: Option<i64>,
    /// The instance epoch since then.
    #[serde(default)]
    pub instance_epoch: u32,
    /// Machines in the CA's keeping.
    #[serde(default)]
    pub machines: usize,
    /// Those whose KRL was not read back yet.
    #[serde(default)]
    pub unread: Vec<UnreadMachine>,
    /// Revocations that machines knew and the backup did not.
    #[serde(default)]
    pub merged: u64,
    /// People who were revoked since the backup: suspended until an admin resumes them.
    #[serde(default)]
    pub suspended: Vec<String>,
    /// Keys of this CA that were revoked since the backup (`SHA256:…`).
    #[serde(default)]
    pub own_keys: Vec<String>,
    /// CA keys that were made since the backup (`SHA256:…`): what they signed is refused.
    #[serde(default)]
    pub later_keys: Vec<String>,
    /// Machines whose KRL could not be believed, and why.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A machine that was not read back yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadMachine {
    /// Which.
    pub machine: String,
    /// Why not; empty where it was not tried yet.
    pub trouble: String,
}
