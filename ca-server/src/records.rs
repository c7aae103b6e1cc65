//! What stands in the store's tables, as JSON, and how it is found again.

use std::collections::{BTreeSet, HashSet};

use policies::{AccountName, Email, MachineName, PoolName};
use serde::{Deserialize, Serialize};

use crate::ledger::CertificateKind;
use crate::store::{Cached, Direction, KeyRange, Read, ReadError, Revision, Table, TableGroup};

/// Secrets and last use of an employee (table `credentials`, by email).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Argon2id PHC string; absent until they have enrolled.
    pub password: Option<String>,
    /// The TOTP secret, sealed for `totp EMAIL`.
    pub totp: Option<String>,
    /// The last TOTP step that was accepted; never goes back, also over a reset (A3).
    pub last_totp_step: u64,
    /// Their last login.
    pub last_login_unix: Option<i64>,
}

/// An invitation (table `invitations`, by the SHA-256 of its code).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationRecord {
    /// Whose.
    pub email: Email,
    /// When it ends.
    pub expires_unix: i64,
    /// The TOTP secret that was shown when it was opened, sealed; the same one when it is opened again.
    pub totp: Option<String>,
    /// How many wrong codes were given; it dies at [`crate::enrol::MAX_WRONG_CODES`].
    pub wrong_codes: u32,
}

/// A day session (table `sessions`, by id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Whose.
    pub email: Email,
    /// Their epoch when it was opened: a raised epoch ends it.
    pub epoch: u64,
    /// The key it certifies and that must sign each renewal, OpenSSH text.
    pub public_key: String,
    /// What its proof said of it when the session was opened.
    #[serde(default = "plain")]
    pub key: policies::KeyKind,
    /// SHA-256 of the secret, hex.
    pub secret_sha256: String,
    /// When it was opened.
    pub opened_unix: i64,
    /// When it ends.
    pub ends_unix: i64,
    /// The newest host CA key whose line its owner was told: before that one signs, everybody has to have heard of it (K3).
    #[serde(default)]
    pub told_host_ca: u32,
    /// What was left out at login: renewals leave it out too, whatever they ask for (I9).
    #[serde(default)]
    pub narrow: ca_api::Narrow,
}

/// Sessions of before had nothing else.
fn plain() -> policies::KeyKind {
    policies::KeyKind::Plain
}

/// An admin session over HTTPS (table `admin_sessions`, by the SHA-256 of its token).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminSessionRecord {
    /// Whose.
    pub email: Email,
    /// Their epoch when it was opened.
    pub epoch: u64,
    /// When it ends.
    pub ends_unix: i64,
}

/// A device that logged in before (table `devices`, by the SHA-256 of its token).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Whose.
    pub email: Email,
    /// When it was first seen.
    pub since_unix: i64,
}

/// Where a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// Decided and durable; without an outcome it counts as issued (I6).
    Intent,
    /// Signed, checked, and handed out.
    Issued,
    /// Signing failed: no certificate left the CA, and the serial is revoked all the same.
    Failed,
}

/// A certificate (table `certificates`, by serial, big endian).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// What for.
    pub kind: CertificateKind,
    /// `email/epoch`, or what kind of probe.
    pub key_id: String,
    /// `SHA256:…` of the CA key that signed.
    pub ca: String,
    /// `SHA256:…` of the certified key.
    pub subject: String,
    /// Principals, or host names.
    pub principals: Vec<String>,
    /// What was decided; `None` for probes and hosts, and in records from before this was kept.
    #[serde(default)]
    pub conditions: Option<policies::Conditions>,
    /// From.
    pub valid_after_unix: u64,
    /// Until (exclusive).
    pub valid_before_unix: u64,
    /// Where it stands.
    pub state: CertificateState,
}

impl CertificateRecord {
    /// Could a machine accept it now?
    #[must_use]
    pub fn is_live(&self, now_unix: i64) -> bool {
        i64::try_from(self.valid_before_unix).is_ok_and(|end| now_unix < end)
    }
}

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
    /// The CA keys that this KRL covers, as [`KrlRecord::ca_keys`] says it.
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

/// The policy as it stands in the store, with its index.
pub struct Compiled {
    /// As it stands.
    pub policy: policies::Policy,
    /// For decisions.
    pub index: policies::Index,
    /// Which content it was made of.
    pub revision: Revision,
}

/// Keeps the compiled policy until a table of it changes.
pub struct PolicyCache(Cached<Compiled>);

impl Default for PolicyCache {
    fn default() -> Self {
        Self(Cached::new(TableGroup::Policy))
    }
}

impl PolicyCache {
    /// The policy that `source` sees.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn load<R: Read>(&self, source: &R) -> Result<std::sync::Arc<Compiled>, ReadError> {
        self.0.load(source, |source| {
            let policy = policy(source)?;
            let index = policies::Index::new(&policy);
            Ok(Compiled {
                policy,
                index,
                revision: source.revision(TableGroup::Policy)?,
            })
        })
    }
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
    pub fn load<R: Read>(&self, source: &R) -> Result<std::sync::Arc<HashSet<String>>, ReadError> {
        self.0.load(source, |source| {
            let all = source.scan_json::<RevocationRecord>(
                Table::Revocations,
                &KeyRange::all(),
                usize::MAX,
            )?;
            Ok(all
                .into_iter()
                .filter_map(|(_, record)| match record.what {
                    Revoked::Key(fingerprint) => Some(fingerprint),
                    Revoked::KeyId(_) | Revoked::Serial { .. } | Revoked::Earlier { .. } => None,
                })
                .collect())
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
    pub fn load<R: Read>(&self, source: &R) -> Result<std::sync::Arc<HashSet<u64>>, ReadError> {
        self.0.load(source, |source| {
            let all = source.scan_json::<RevocationRecord>(
                Table::Revocations,
                &KeyRange::all(),
                usize::MAX,
            )?;
            Ok(all
                .into_iter()
                .filter_map(|(_, record)| match record.what {
                    Revoked::Serial { serial, .. } => Some(serial),
                    // A restore ends every session too: nobody is left to ask about what was before it.
                    Revoked::KeyId(_) | Revoked::Key(_) | Revoked::Earlier { .. } => None,
                })
                .collect())
        })
    }
}

/// Reads the whole policy.
///
/// # Errors
/// If the store cannot be read.
pub fn policy<R: Read>(source: &R) -> Result<policies::Policy, ReadError> {
    let mut policy = policies::Policy::default();
    for (_, employee) in
        source.scan_json::<policies::Employee>(Table::Employees, &KeyRange::all(), usize::MAX)?
    {
        policy.employees.insert(employee.email.clone(), employee);
    }
    for (key, pool) in source.scan_json(Table::Pools, &KeyRange::all(), usize::MAX)? {
        policy.pools.insert(name(Table::Pools, &key)?, pool);
    }
    for (key, team) in source.scan_json(Table::Teams, &KeyRange::all(), usize::MAX)? {
        policy.teams.insert(name(Table::Teams, &key)?, team);
    }
    for (key, machine) in source.scan_json(Table::Machines, &KeyRange::all(), usize::MAX)? {
        policy
            .machines
            .insert(name(Table::Machines, &key)?, machine);
    }
    for (key, grant) in source.scan_json(Table::Grants, &KeyRange::all(), usize::MAX)? {
        policy.grants.insert(number(Table::Grants, &key)?, grant);
    }
    if let Some(limits) = source.get_json(Table::Limits, LIMITS)? {
        policy.limits = limits;
    }
    Ok(policy)
}

/// The key of the only row of table `limits`.
pub const LIMITS: &[u8] = b"limits";
/// The key of [`CaRecord`].
pub const CA: &[u8] = b"ca";
/// The key of [`KrlRecord`].
pub const KRL_CURRENT: &[u8] = b"current";
/// How the keys of all [`CanaryRecord`]s begin.
pub const CANARY: &[u8] = b"canary-";
/// The key of the canary by the first user CA key that must not be revoked.
pub const CANARY_GOOD: &[u8] = b"canary-good";
/// The key of the canary by the first user CA key that must be.
pub const CANARY_REVOKED: &[u8] = b"canary-revoked";

/// A key of table `accounts`.
#[must_use]
pub fn name_key(space: &str, name: &str) -> Vec<u8> {
    [space.as_bytes(), b"\0", name.as_bytes()].concat()
}

/// A key of table `certificates_by_employee`: email, end, serial.
#[must_use]
pub fn by_employee_key(email: &Email, valid_before_unix: u64, serial: u64) -> Vec<u8> {
    let (end, serial) = (valid_before_unix.to_be_bytes(), serial.to_be_bytes());
    [email.as_str().as_bytes(), b"\0", &end, &serial].concat()
}

/// Certificates of one employee that are live at `now_unix`, with their serials.
///
/// # Errors
/// If the store cannot be read.
pub fn live_certificates<R: Read>(
    source: &R,
    email: &Email,
    now_unix: i64,
) -> Result<Vec<(u64, CertificateRecord)>, ReadError> {
    let mut live = Vec::new();
    // The index is ordered by end: certificates that ended are not even looked at.
    let from = by_employee_key(email, u64::try_from(now_unix).unwrap_or(0), 0);
    let until = by_employee_key(email, u64::MAX, u64::MAX);
    let range = KeyRange::between(from, until);
    for (key, _) in source.scan(
        Table::CertificatesByEmployee,
        &range,
        Direction::Forward,
        usize::MAX,
    )? {
        let serial = &key[key.len() - 8..];
        if let Some(record) = source.get_json::<CertificateRecord>(Table::Certificates, serial)?
            && record.is_live(now_unix)
        {
            let serial = u64::from_be_bytes(serial.try_into().expect("eight bytes were cut off"));
            live.push((serial, record));
        }
    }
    Ok(live)
}

/// The sessions of one employee that are open at `now_unix`, with their ids.
///
/// # Errors
/// If the store cannot be read.
pub fn open_sessions<R: Read>(
    source: &R,
    email: &Email,
    now_unix: i64,
) -> Result<Vec<(Vec<u8>, SessionRecord)>, ReadError> {
    let all = source.scan_json::<SessionRecord>(Table::Sessions, &KeyRange::all(), usize::MAX)?;
    Ok(all
        .into_iter()
        .filter(|(_, session)| session.email == *email && now_unix < session.ends_unix)
        .collect())
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

/// The pools that begin with `_`: the CA's own, which no admin makes or grants.
#[must_use]
pub fn is_reserved(pool: &PoolName) -> bool {
    pool.as_str().starts_with('_')
}
