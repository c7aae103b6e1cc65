//! What the admin commands show.

use serde::{Deserialize, Serialize};

/// An employee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmployeeView {
    /// Their email.
    pub email: String,
    /// Their full name, or empty.
    pub name: String,
    /// Their account on machines.
    pub account: String,
    /// Its uid.
    pub uid: u32,
    /// invited, active, suspended, removed.
    pub status: String,
    /// Do they have the admin role?
    pub admin: bool,
    /// Their epoch.
    pub epoch: u64,
    /// Teams they are in, nested ones too.
    pub teams: Vec<String>,
    /// `account@pool` for each grant that holds now.
    pub principals: Vec<String>,
    /// Certificates that are valid now.
    pub live_certificates: usize,
    /// Day sessions that are open now.
    pub sessions: usize,
    /// Their last login.
    pub last_login_unix: Option<i64>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// For people.
    pub title: String,
    /// Pools inside it.
    pub include: Vec<String>,
    /// Machines in it, those of included pools too.
    pub machines: Vec<String>,
    /// Who may use which account there: `alice@corp.example as alice`.
    pub who: Vec<String>,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamView {
    /// Its name.
    pub name: String,
    /// Direct members.
    pub employees: Vec<String>,
    /// Teams inside it.
    pub teams: Vec<String>,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Its number.
    pub id: u64,
    /// `team ops` or `alice@corp.example`.
    pub who: String,
    /// `self`, or a shared account.
    pub account: String,
    /// Where.
    pub pool: String,
    /// none, all, or commands.
    pub sudo: String,
    /// Its conditions in words; empty if it has none.
    pub conditions: String,
    /// When it ends by itself.
    pub until_unix: Option<i64>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineView {
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub address: String,
    /// Its sshd's port.
    pub port: u16,
    /// Its pools.
    pub pools: Vec<String>,
    /// preparing (bootstrap has not confirmed it), managed.
    pub status: String,
    /// Do accounts that the CA did not make still log in as before?
    pub observed: bool,
    /// The generation that the CA wants there.
    pub generation_wanted: u64,
    /// The generation that the machine reported.
    pub generation: u64,
    /// The KRL version that the CA wants there.
    pub krl_wanted: u64,
    /// The KRL version that was read back.
    pub krl_version: u64,
    /// When it last answered.
    pub last_seen_unix: Option<i64>,
    /// What went wrong the last time; empty if nothing did.
    pub trouble: String,
    /// Until when something revoked would still work there; absent where nothing would.
    #[serde(default)]
    pub exposed_until_unix: Option<i64>,
    /// `SHA256:…` of its host key.
    pub host_key: String,
    /// When its host certificate ends.
    pub host_certificate_until_unix: i64,
    /// Who can log in as which account, for `machine show`.
    #[serde(default)]
    pub who: Vec<String>,
    /// The last check-up.
    #[serde(default)]
    pub check: Option<super::MachineCheck>,
    /// How it fetches for itself, if it does.
    #[serde(default)]
    pub pull: Option<PullView>,
}

/// How a machine fetches for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullView {
    /// The address of a published tree; absent, the CA itself.
    pub tree: Option<String>,
    /// Its folder in a published tree.
    pub place: String,
    /// `push too`: the CA logs in there as well; `pull only`: only its own reports say how it stands.
    pub reach: String,
    /// When it last reported by itself.
    pub reported_unix: Option<i64>,
    /// The order that waits for it to be fetched.
    #[serde(default)]
    pub order: Option<WaitingOrderView>,
}

/// An order that lies where its machine fetches, until that has obeyed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingOrderView {
    /// `remove` or `end-sessions`.
    pub verb: String,
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub made_unix: i64,
    /// The machine does not obey it after this.
    pub until_unix: i64,
}

/// A machine in a published tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedMachine {
    /// Which.
    pub machine: String,
    /// Its folder, below `v1`.
    pub place: String,
    /// Its files, in the order in which they must be written.
    pub files: Vec<PublishedFile>,
}

/// A file of such a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedFile {
    /// `krl`, `bundle`, `head`.
    pub name: String,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
}

/// The files of one machine, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedFiles {
    /// Which machine.
    pub machine: String,
    /// Its folder, below `v1`.
    pub place: String,
    /// Names and bytes (base64), in the order in which they must be written.
    pub files: Vec<(String, String)>,
}

/// What `bootstrap` applies. Objects and signatures as `ca-machine` defines them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MachinePrepared {
    /// The generation inside the bundle.
    pub generation: u64,
    /// The bundle, base64.
    pub bundle: String,
    /// Its SSHSIG, PEM.
    pub bundle_signature: String,
    /// The KRL parcel, base64.
    pub krl: String,
    /// Its SSHSIG, PEM.
    pub krl_signature: String,
    /// The version inside the parcel.
    pub krl_version: u64,
    /// The secret that the machine fetches with, where it does so itself.
    #[serde(default)]
    pub pull_secret: Option<crate::Secret>,
    /// Fleet public keys, OpenSSH text: what the machine verifies with from now on.
    pub fleet_keys: Vec<String>,
    /// What leads a machine that goes by an earlier fleet key to these, the oldest first.
    #[serde(default)]
    pub successions: Vec<SignedText>,
    /// The highest number of a succession that there ever was: none up to it is to be followed by a machine that is told anew.
    #[serde(default)]
    pub succession: u64,
    /// Host CA public keys, OpenSSH text.
    pub host_cas: Vec<String>,
    /// Who will reach the machine, as whom: `alice@corp.example as alice`.
    pub who: Vec<String>,
    /// An account of an employee there, for the proof that passwords do not work; absent if there is none yet.
    pub sample_account: Option<String>,
}

/// A text with its signature by a fleet key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedText {
    /// The text.
    pub object: String,
    /// Its SSHSIG, PEM.
    pub signature: String,
}

/// Certificates on bootstrap's throw-away key: two minutes long, forced command, account `ssh-ca-probe` only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProbeCertificates {
    /// The account to log in as.
    pub account: String,
    /// Must be let in.
    pub good: String,
    /// Must be refused: its principal is of no pool that the machine is in.
    pub other_pool: String,
    /// Must be refused: it is in the KRL.
    pub revoked: String,
}

/// How one machine stands after a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineDelivery {
    /// Which.
    pub machine: String,
    /// Proven, or why not.
    pub outcome: DeliveryOutcome,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// What was changed, one line each (configuration lane).
    #[serde(default)]
    pub changes: Vec<String>,
}

/// Proven, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DeliveryOutcome {
    /// The machine's own OpenSSH refused the canaries with this KRL, read back.
    Proven {
        /// KRL version.
        krl_version: u64,
        /// Configuration generation.
        generation: u64,
        /// Live sessions that were ended.
        sessions_ended: Vec<String>,
        /// Live sessions that may be the revoked person's and could not be ended or attributed.
        sessions_open: Vec<String>,
    },
    /// Not reached, or it answered nonsense.
    NotReached {
        /// Why, for a person.
        reason: String,
        /// The KRL version that it was last known to have.
        krl_version: u64,
        /// Until when the revoked certificates would still work there.
        exposed_until_unix: Option<i64>,
    },
}

/// A revocation, and what is proven of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What was revoked, in words; empty for a plain push.
    pub what: String,
    /// The KRL version that carries it.
    pub krl_version: u64,
    /// Certificates that were live.
    pub live_certificates: usize,
    /// When the last of them would have ended.
    pub last_expiry_unix: Option<i64>,
    /// Day sessions at the CA that were ended.
    pub sessions_ended: usize,
    /// Is login closed now?
    pub login_closed: bool,
    /// Machine by machine.
    pub machines: Vec<MachineDelivery>,
}

impl Revocation {
    /// Is it proven on every machine?
    #[must_use]
    pub fn proven(&self) -> bool {
        self.machines
            .iter()
            .all(|machine| matches!(machine.outcome, DeliveryOutcome::Proven { .. }))
    }
}

/// What the KRL says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KrlView {
    /// Its version.
    pub version: u64,
    /// When it was built.
    pub built_unix: i64,
    /// Its size, in bytes.
    pub bytes: usize,
    /// Entries, the newest first.
    pub entries: Vec<KrlEntryView>,
    /// How many machines have proven this version.
    pub machines_current: usize,
    /// Of how many.
    pub machines: usize,
    /// Those that have not proven it, by name.
    #[serde(default)]
    pub behind: Vec<MachineBehind>,
}

/// A machine that has not proven the KRL in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineBehind {
    /// Which.
    pub machine: String,
    /// The KRL version that was read back last.
    pub krl_version: u64,
    /// When it last answered.
    pub last_seen_unix: Option<i64>,
    /// What went wrong the last time; empty while the KRL is on its way.
    pub trouble: String,
    /// Until when something revoked would still work there; absent where nothing would.
    pub exposed_until_unix: Option<i64>,
}

/// One revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KrlEntryView {
    /// `key id alice@corp.example/3`, `serial 17`, `key SHA256:…`.
    pub what: String,
    /// When it was revoked.
    pub at_unix: i64,
    /// When the entry may leave the KRL; never, for keys.
    pub until_unix: Option<i64>,
    /// Why; may be empty.
    pub reason: String,
}

/// A certificate as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// Its serial.
    pub serial: u64,
    /// `email/epoch`.
    pub key_id: String,
    /// `SHA256:…` of the certified key.
    pub key: String,
    /// Principals, or host names.
    pub principals: Vec<String>,
    /// From.
    pub valid_after_unix: i64,
    /// Until.
    pub valid_before_unix: i64,
    /// intent (counts as issued), issued, failed.
    pub state: String,
    /// Is it revoked?
    pub revoked: bool,
}

/// One ledger entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// Its number, from 1.
    pub seq: u64,
    /// When.
    pub at_unix: i64,
    /// Who did it: an email, `admin (socket, uid 0)`, `server`.
    pub actor: String,
    /// What happened, as a word such as `login_refused`.
    pub event: String,
    /// About whom or what.
    pub about: String,
    /// The rest, in words.
    pub detail: String,
}

/// The newest entry of the ledger, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    /// How many entries there are.
    pub entries: u64,
    /// SHA-256 of the newest, hex.
    pub hash: String,
    /// A line of JSON with both, and an SSHSIG (PEM) over it by the CA's ledger key: what [`super::AdminRequest::AuditVerify`] takes.
    pub signature: String,
}

/// What OpenSSH itself says of a certificate with the KRL in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KrlJudgement {
    /// The certificate's serial.
    pub serial: u64,
    /// Its key ID.
    pub key_id: String,
    /// Is it revoked?
    pub revoked: bool,
    /// The KRL's version.
    pub krl_version: u64,
}
