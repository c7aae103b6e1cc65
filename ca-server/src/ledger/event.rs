//! What can happen: one variant for each kind of ledger entry.
//!
//! Stored for ever: a variant or field may be added (new fields with `#[serde(default)]`), none renamed or removed. No
//! field may hold a secret: no password, code, TOTP secret, session secret or private key, nor a hash of a short one (S5).

use std::collections::{BTreeMap, BTreeSet};

use policies::{AccountName, Email, MachineName, PoolName, TeamName};
use serde::{Deserialize, Serialize};

use super::{text::printable, words::grant_in_words};

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

/// The fields that an entry is about, the first one present wins.
const SUBJECTS: [&str; 9] = [
    "email", "machine", "serial", "pool", "team", "grant", "what", "version", "document",
];

impl Event {
    /// The event's kind as one word: `employee_added`.
    ///
    /// # Panics
    /// Never: every event serialises to an object with a type.
    #[must_use]
    pub fn word(&self) -> String {
        match self.fields().remove("type") {
            Some(serde_json::Value::String(word)) => word,
            _ => String::new(),
        }
    }

    /// What the event is about, for a column; empty where it is about the CA. Fit for a terminal (S5).
    #[must_use]
    pub fn about(&self) -> String {
        if let Self::Revoked { what, .. } = self {
            return printable(&what.describe());
        }
        let fields = self.fields();
        let subject = SUBJECTS.iter().find_map(|name| fields.get(*name));
        subject.map(show).unwrap_or_default()
    }

    /// The rest as `name=value`, parted by spaces. Fit for a terminal (S5).
    #[must_use]
    pub fn detail(&self) -> String {
        if let Self::GrantAdded { rule, .. } | Self::GrantRemoved { rule, .. } = self {
            return printable(&grant_in_words(rule));
        }
        if let Self::PolicyApplied {
            document_sha256,
            before,
            after,
            counts,
            ..
        } = self
        {
            return applied_in_words(document_sha256, before, after, counts);
        }
        let fields = self.fields();
        let subject = SUBJECTS.iter().find(|name| fields.contains_key(**name));
        let rest = fields
            .iter()
            .filter(|(name, _)| *name != "type" && Some(&name.as_str()) != subject)
            .map(|(name, value)| format!("{name}={}", show(value)));
        rest.collect::<Vec<_>>().join(" ")
    }

    /// The employee whom the event concerns, for `audit list --employee`.
    #[must_use]
    pub fn employee(&self) -> Option<String> {
        let fields = self.fields();
        let email = fields
            .get("email")
            .or_else(|| fields.get("what")?.get("email"));
        email.and_then(|email| email.as_str()).map(str::to_owned)
    }

    fn fields(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        }
    }
}

impl RevokedWhat {
    /// In words.
    fn describe(&self) -> String {
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

/// `employees invited: 1, grants added: 2; document 0f3c9a1b77e0, policy 9a1b77e00f3c became 77e00f3c9a1b`: beginnings of digests, as
/// `policy apply --base` takes them; the entry has them whole.
fn applied_in_words(
    sha256: &str,
    before: &str,
    after: &str,
    counts: &BTreeMap<String, u64>,
) -> String {
    let changed: Vec<String> = counts
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(what, number)| format!("{what}: {number}"))
        .collect();
    let changed = if changed.is_empty() {
        "nothing changed".to_owned()
    } else {
        changed.join(", ")
    };
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    printable(&format!(
        "{changed}; document {}, policy {} became {}",
        short(sha256),
        short(before),
        short(after)
    ))
}

/// A value on one line: text with spaces in quotes, lists with commas.
fn show(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::String(text) if text.is_empty() || text.contains([' ', '"', ',', '=']) => {
            format!("\"{}\"", printable(text).replace('"', "\\\""))
        }
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{}:{}", printable(name), show(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
