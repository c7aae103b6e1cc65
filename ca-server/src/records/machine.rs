//! What is kept of machines: what is wanted there, and what was last heard of them.

use std::collections::BTreeSet;

use policies::{AccountName, MachineName};
use serde::{Deserialize, Serialize};

use super::name;
use crate::store::{KeyRange, Read, ReadError, Table};

/// Is a machine in the CA's keeping yet?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineStatus {
    /// Bootstrap has not confirmed it.
    Preparing,
    /// Proven once; the server keeps it.
    Managed,
    /// To be taken off: it gets revocations until its files are gone, and nothing else.
    Leaving,
}

impl MachineStatus {
    /// The word for people and programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Managed => "managed",
            Self::Leaving => "leaving",
        }
    }
}

/// A machine as the fleet knows it (table `fleet`, by name).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRecord {
    /// Where it is reached.
    pub address: String,
    /// Its sshd's port.
    pub port: u16,
    /// Its plain host key, OpenSSH text: pinned (H7).
    pub host_key: String,
    /// Its host certificate, OpenSSH text.
    pub host_certificate: String,
    /// When that ends.
    pub host_certificate_until_unix: i64,
    /// Where it stands.
    pub status: MachineStatus,
    /// The admins' account there.
    pub admin_account: String,
    /// The key for it where bootstrap made it.
    pub admin_key: Option<String>,
    /// Accounts that the CA may take over.
    pub adopt: BTreeSet<AccountName>,
    /// Do accounts that the CA did not make keep their old ways of logging in?
    pub observed: bool,
    /// What its sshd calls itself.
    pub sshd_version: String,
    /// What `ca-machine`'s probe found, JSON.
    pub facts: String,
    /// The generation that the CA wants there; only ever rises (R2).
    pub generation: u64,
    /// SHA-256 of what that generation says (without its number and times), hex.
    pub content_sha256: String,
    /// The bundle of that generation, base64.
    pub bundle: String,
    /// Its SSHSIG, PEM.
    pub bundle_signature: String,
    /// When that bundle was made.
    pub issued_unix: i64,
    /// Every account that the CA ever made there: those no longer wanted are expired, not forgotten.
    pub made: BTreeSet<AccountName>,
    /// The user CA keys (`SHA256:…`) that this generation tells it to trust.
    #[serde(default)]
    pub trusts: Vec<String>,
    /// The last order to take the CA off that was sent to it. Only ever set while it leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal_ordered: Option<u64>,
    /// How it fetches for itself, if it does.
    #[serde(default)]
    pub pull: Option<PullRecord>,
}

impl FleetRecord {
    /// Does the CA log in there itself? Where it cannot, only the machine's own reports say how it stands.
    #[must_use]
    pub fn is_pushed_to(&self) -> bool {
        self.pull
            .as_ref()
            .is_none_or(|pull| pull.reach == Reach::PushToo)
    }
}

/// How a machine fetches for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRecord {
    /// The address of the published tree that it fetches from; absent, the CA's own door.
    pub tree: Option<String>,
    /// The secret that it shares with the CA, sealed for `pull MACHINE`.
    pub secret: String,
    /// SHA-256 of the token that follows from it, hex.
    pub token_sha256: String,
    /// The folder that follows from it: the machine's in a published tree.
    pub place: String,
    /// Whether the CA logs in there as well.
    pub reach: Reach,
    /// The order that waits for it to be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<WaitingOrder>,
}

/// An order that lies where its machine fetches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingOrder {
    /// Its number.
    pub number: u64,
    /// What it asks for.
    pub task: WaitingTask,
    /// When it was made.
    pub made_unix: i64,
    /// The machine does not obey it after this.
    pub until_unix: i64,
    /// Its bytes, base64.
    pub order: String,
    /// Their SSHSIG, PEM.
    pub signature: String,
}

/// What such an order asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingTask {
    /// Take the CA off the machine.
    Remove,
    /// End these connections: PID, and when that process began.
    EndSessions(BTreeSet<(u32, u64)>),
}

/// Whether the CA reaches a machine that fetches for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It does: pushing stays the first way.
    PushToo,
    /// It does not: the machine fetches, and reports where it can.
    PullOnly,
}

/// What was last heard of a machine (table `seen`, by name).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRecord {
    /// The generation it reported.
    pub generation: u64,
    /// The KRL version that was read back.
    pub krl_version: u64,
    /// The number after the last revocation that this KRL contains.
    #[serde(default)]
    pub krl_covers: u64,
    /// The CA keys that this KRL covers, as [`KrlRecord::ca_keys`](super::KrlRecord::ca_keys) says it.
    #[serde(default)]
    pub krl_ca_keys: Vec<String>,
    /// The user CA keys that it trusts, by the generation that it applied; empty where that is not known.
    #[serde(default)]
    pub trusts: Vec<String>,
    /// The fleet keys (`SHA256:…`) that it goes by, by its own word; empty where that is not known.
    #[serde(default)]
    pub fleet_keys: Vec<String>,
    /// The host CA key by which its host certificate is signed, by the same; empty where that is not known.
    #[serde(default)]
    pub host_ca: String,
    /// When it last answered.
    pub last_seen_unix: Option<i64>,
    /// What went wrong the last time; empty if nothing did.
    pub trouble: String,
    /// When it last reported by itself, after it had fetched.
    #[serde(default)]
    pub reported_unix: Option<i64>,
    /// The number of the last order that it obeyed, by its last report; 0 where it did not say.
    #[serde(default)]
    pub order: u64,
}

/// Machines of the fleet, by name.
///
/// # Errors
/// If the store cannot be read.
pub fn fleet<R: Read>(source: &R) -> Result<Vec<(MachineName, FleetRecord)>, ReadError> {
    source
        .scan_json::<FleetRecord>(Table::Fleet, &KeyRange::all(), usize::MAX)?
        .into_iter()
        .map(|(key, record)| Ok((name(Table::Fleet, &key)?, record)))
        .collect()
}
