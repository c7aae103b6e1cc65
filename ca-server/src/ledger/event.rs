//! What can happen: one variant for each kind of ledger entry.
//!
//! Stored for ever: a variant or field may be added (new fields with `#[serde(default)]`), none renamed or removed. No
//! field may hold a secret: no password, code, TOTP secret, session secret or private key, nor a hash of a short one (S5).

mod revoked;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use policies::{AccountName, Email, MachineName, PoolName, TeamName};
use serde::{Deserialize, Serialize};

pub use self::revoked::RevokedWhat;

/// What kind of certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateKind {
    /// For an employee.
    User,
    /// For a machine.
    Host,
    /// For the CA's own proof that a machine lets the right ones in.
    Probe,
    /// For the CA's own proof that a KRL is read.
    Canary,
}

/// An event. Times are seconds since 1970 (UTC), fingerprints `SHA256:…`, hashes hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "the fields say what they are; units are in their names"
)]
pub enum Event {
    // --- the CA ---
    /// The first entry of every ledger.
    CaInitialised {
        names: Vec<String>,
        user_ca: String,
        host_ca: String,
        fleet: String,
        instance_epoch: u32,
    },
    ServerStarted {
        version: String,
    },
    ServerStopped {
        reason: String,
    },
    /// A CA key was added, began to sign, or was retired.
    CaKeyChanged {
        key: String,
        fingerprint: String,
        change: String,
    },
    InstanceEpochRaised {
        instance_epoch: u32,
        reason: String,
    },
    /// The wall clock cannot be believed, and nothing is signed (Z5).
    ClockDoubted {
        by_secs: i64,
        what: String,
    },
    /// It is believed, as it is from now on.
    ClockTrusted {
        by_ms: i64,
        reason: String,
    },

    /// Machines trust this key for the break-glass account, and for nothing else.
    BreakGlassMade {
        fingerprint: String,
        needed: u8,
        shares: u8,
    },
    /// An admin took a backup; its ledger ends with this entry or later.
    BackupTaken {
        with_keys: bool,
    },
    /// This store came out of a backup.
    Restored {
        made_unix_secs: i64,
        entries: u64,
        machines: u64,
    },
    /// After a restore: a machine's KRL was read, and what it revokes and the backup did not was taken over.
    KrlReadBack {
        machine: MachineName,
        version: u64,
        merged: u64,
        believed: bool,
    },
    /// After a restore: an admin looked, and opened issuance.
    RecoveryFinished {
        unread: Vec<MachineName>,
    },

    // --- employees ---
    EmployeeAdded {
        email: Email,
        account: AccountName,
        uid: u32,
        roles: BTreeSet<policies::Role>,
    },
    /// What changed, by field: the new values as text.
    EmployeeChanged {
        email: Email,
        changes: BTreeMap<String, String>,
    },
    EmployeeSuspended {
        email: Email,
        epoch: u64,
        reason: String,
    },
    EmployeeResumed {
        email: Email,
    },
    EmployeeReset {
        email: Email,
        epoch: u64,
    },
    EmployeeRemoved {
        email: Email,
        epoch: u64,
        purge: bool,
    },
    EpochRaised {
        email: Email,
        epoch: u64,
        reason: String,
    },

    // --- enrolment and login ---
    InvitationMade {
        email: Email,
        expires_unix_secs: i64,
    },
    EnrolmentOpened {
        email: Email,
    },
    EnrolmentFinished {
        email: Email,
    },
    /// `email` is absent where the code named nobody.
    EnrolmentRefused {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        email: Option<Email>,
        reason: String,
    },
    /// An attempt was reserved, before the password was looked at (A5). `email` is the canonical form of what was typed,
    /// whether it is known or not; of what is no email, the beginning of its hash.
    LoginAttempt {
        email: String,
    },
    LoginRefused {
        email: String,
        reason: String,
    },
    Login {
        email: Email,
        session: String,
        until_unix_secs: i64,
    },
    /// A door was shut for a while.
    LockedOut {
        email: Email,
        until_unix_secs: i64,
    },
    PasswordChanged {
        email: Email,
    },
    TotpChanged {
        email: Email,
    },
    SessionOpened {
        email: Email,
        session: String,
        until_unix_secs: i64,
    },
    SessionEnded {
        email: Email,
        session: String,
        reason: String,
    },
    AdminSessionOpened {
        email: Email,
        session: String,
        until_unix_secs: i64,
    },
    AdminSessionEnded {
        email: Email,
        session: String,
        reason: String,
    },

    // --- certificates ---
    /// `email` is absent where the session names nobody.
    RenewalRefused {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        email: Option<Email>,
        session: String,
        reason: String,
    },
    /// Durable before the signature is made: without an outcome it counts as issued (I6).
    CertificateIntent {
        serial: u64,
        key_id: String,
        kind: CertificateKind,
        ca: String,
        subject: String,
        principals: Vec<String>,
        valid_after: u64,
        valid_before: u64,
        /// The employee; absent for a host's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        email: Option<Email>,
        /// The day session, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        machine: Option<MachineName>,
        /// Critical options and extensions as they are in the certificate.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        options: BTreeMap<String, String>,
    },
    CertificateIssued {
        serial: u64,
        sha256: String,
    },
    CertificateFailed {
        serial: u64,
        reason: String,
    },
    ProbeIssued {
        machine: MachineName,
        serial: u64,
    },

    // --- pools, teams, grants, limits ---
    PoolAdded {
        pool: PoolName,
        include: BTreeSet<PoolName>,
    },
    PoolChanged {
        pool: PoolName,
        changes: BTreeMap<String, String>,
    },
    PoolRemoved {
        pool: PoolName,
    },
    PoolIncluded {
        pool: PoolName,
        included: PoolName,
    },
    PoolExcluded {
        pool: PoolName,
        excluded: PoolName,
    },
    TeamAdded {
        team: TeamName,
        employees: BTreeSet<Email>,
    },
    TeamJoined {
        team: TeamName,
        employees: BTreeSet<Email>,
    },
    TeamLeft {
        team: TeamName,
        employees: BTreeSet<Email>,
    },
    TeamRemoved {
        team: TeamName,
    },
    GrantAdded {
        grant: u64,
        rule: policies::Grant,
    },
    GrantRemoved {
        grant: u64,
        rule: policies::Grant,
    },
    LimitsChanged {
        limits: policies::Limits,
    },
    /// A document was applied as a whole. What it did to people's lives at the CA (invited, suspended, removed) stands beside
    /// it in the same transaction; which grants there are then is what the document says.
    PolicyApplied {
        /// Its name, as the admin's command line had it.
        document: String,
        document_sha256: String,
        /// The digest of the policy that it was planned against.
        before: String,
        /// The digest of the policy that came of it.
        after: String,
        /// How many of what were changed: `grants added` and the like.
        counts: BTreeMap<String, u64>,
    },

    // --- machines ---
    MachinePrepared {
        machine: MachineName,
        address: String,
        pools: BTreeSet<PoolName>,
        host_key: String,
    },
    MachineConfirmed {
        machine: MachineName,
        generation: u64,
    },
    MachineChanged {
        machine: MachineName,
        changes: BTreeMap<String, String>,
    },
    MachineMoved {
        machine: MachineName,
        pools: BTreeSet<PoolName>,
    },
    /// It is to be taken off: in no pool any more, and its host key is no machine's.
    MachineLeaving {
        machine: MachineName,
    },
    /// The fleet key signs the order that takes the CA off a machine.
    MachineRemovalOrdered {
        machine: MachineName,
        number: u64,
    },
    MachineRemoved {
        machine: MachineName,
    },
    /// A machine that fetches reports that it obeyed the order with this number.
    OrderObeyed {
        machine: MachineName,
        number: u64,
    },
    BundleBuilt {
        machine: MachineName,
        generation: u64,
        sha256: String,
    },
    MachineSynced {
        machine: MachineName,
        generation: u64,
    },
    MachineUnreachable {
        machine: MachineName,
        reason: String,
    },
    /// A machine refused or rolled back what it was given.
    MachineRefused {
        machine: MachineName,
        generation: u64,
        reason: String,
    },
    MachineDrifted {
        machine: MachineName,
        findings: Vec<String>,
    },

    // --- revocation ---
    Revoked {
        what: RevokedWhat,
        /// Entries that the KRL gains, as text: `id: …`, `serial: …`, `hash: …`.
        entries: Vec<String>,
        reason: String,
        keep_login: bool,
    },
    /// Live certificates that carried a principal which is granted no more (P7).
    Narrowed {
        email: Email,
        serials: Vec<u64>,
        principals: Vec<String>,
    },
    KrlBuilt {
        version: u64,
        sha256: String,
        entries: u64,
    },
    /// A machine was seen to hold this KRL.
    KrlProven {
        machine: MachineName,
        version: u64,
    },
    /// An admin ordered a session on a machine to end; `session` is its process there.
    SessionEndOrdered {
        machine: MachineName,
        session: String,
        number: u64,
    },
    SessionsEnded {
        machine: MachineName,
        email: Email,
        ended: u32,
        left_open: u32,
    },

    // --- house ---
    /// Refusals beyond what a network may have one by one, since the last such entry.
    RefusalsSummed {
        network: String,
        count: u64,
    },
    /// Expired rows were deleted.
    Pruned {
        table: String,
        rows: u64,
    },
    HeadExported {
        entries: u64,
        sha256: String,
    },
}
