//! What an admin says to the CA (over the Unix socket, or with an admin session over HTTPS), and hears.
//!
//! One request, then a stream of events, one JSON object a line: progress as it happens, and at the end exactly one
//! [`AdminEvent::Done`] or [`AdminEvent::Failed`].

use serde::{Deserialize, Serialize};

use crate::{ApiError, Secret};

pub mod break_glass;
pub mod clock;
pub mod keys;
pub mod machines;
pub mod policy;
pub mod recovery;
pub mod view;

pub use break_glass::*;
pub use clock::*;
pub use keys::*;
pub use machines::*;
pub use policy::*;
pub use recovery::*;
pub use view::*;

/// One admin command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminRequest {
    /// Invites an employee. Answer: [`AdminReply::Invited`].
    EmployeeAdd {
        /// Their email.
        email: String,
        /// Their account; the local part of the email if absent and well formed.
        #[serde(default)]
        account: Option<String>,
        /// Their full name.
        #[serde(default)]
        name: String,
        /// Shorthand for a grant of the own account on each of these pools.
        #[serde(default)]
        pools: Vec<String>,
        /// Teams to join.
        #[serde(default)]
        teams: Vec<String>,
        /// Gives the admin role.
        #[serde(default)]
        admin: bool,
    },
    /// Answer: [`AdminReply::Employees`].
    EmployeeList {},
    /// Answer: [`AdminReply::Employee`].
    EmployeeShow {
        /// Whom.
        email: String,
    },
    /// Changes what is given. Answer: [`AdminReply::Employee`].
    EmployeeSet {
        /// Whom.
        email: String,
        /// New full name.
        #[serde(default)]
        name: Option<String>,
        /// Gives (true) or takes (false) the admin role.
        #[serde(default)]
        admin: Option<bool>,
        /// Pools to grant the own account on.
        #[serde(default)]
        add_pools: Vec<String>,
        /// Pools whose shorthand grant is taken away.
        #[serde(default)]
        remove_pools: Vec<String>,
    },
    /// Closes login and revokes. Answer: [`AdminReply::Revoked`].
    EmployeeSuspend {
        /// Whom.
        email: String,
        /// For the ledger.
        #[serde(default)]
        reason: String,
    },
    /// Opens login again. Answer: [`AdminReply::Employee`].
    EmployeeResume {
        /// Whom.
        email: String,
    },
    /// Ends sessions, raises the epoch, forgets password and TOTP, and invites anew (A11). Answer: [`AdminReply::Invited`].
    EmployeeReset {
        /// Whom.
        email: String,
    },
    /// Revokes and removes; names and uid are never handed on. Answer: [`AdminReply::Revoked`].
    EmployeeRemove {
        /// Whom.
        email: String,
        /// Also delete the account's home on the machines.
        #[serde(default)]
        purge: bool,
    },
    /// Answer: [`AdminReply::Pool`].
    PoolAdd {
        /// Its name.
        pool: String,
        /// For people.
        #[serde(default)]
        title: String,
        /// Pools whose machines belong to it too.
        #[serde(default)]
        include: Vec<String>,
        /// Shorthand for a grant of the own account to each of these.
        #[serde(default)]
        employees: Vec<String>,
    },
    /// Answer: [`AdminReply::Pools`].
    PoolList {},
    /// Answer: [`AdminReply::Pool`].
    PoolShow {
        /// Which.
        pool: String,
    },
    /// Answer: [`AdminReply::Pool`].
    PoolSet {
        /// Which.
        pool: String,
        /// New title.
        #[serde(default)]
        title: Option<String>,
    },
    /// Refused while machines would be orphaned or grants lost, unless forced. Answer: [`AdminReply::Text`].
    PoolRemove {
        /// Which.
        pool: String,
        /// Do it all the same.
        #[serde(default)]
        force: bool,
    },
    /// Makes the second pool's machines belong to the first too. Answer: [`AdminReply::Pool`].
    PoolInclude {
        /// The outer pool.
        pool: String,
        /// The inner one.
        inner: String,
    },
    /// Takes that back. Answer: [`AdminReply::Pool`].
    PoolExclude {
        /// The outer pool.
        pool: String,
        /// The inner one.
        inner: String,
    },
    /// Answer: [`AdminReply::Team`].
    TeamAdd {
        /// Its name.
        team: String,
        /// Its first members.
        #[serde(default)]
        employees: Vec<String>,
    },
    /// Answer: [`AdminReply::Team`].
    TeamJoin {
        /// Which.
        team: String,
        /// Who.
        employees: Vec<String>,
    },
    /// Answer: [`AdminReply::Team`].
    TeamLeave {
        /// Which.
        team: String,
        /// Who.
        employees: Vec<String>,
    },
    /// Answer: [`AdminReply::Teams`].
    TeamList {},
    /// Answer: [`AdminReply::Team`].
    TeamShow {
        /// Which.
        team: String,
    },
    /// Answer: [`AdminReply::Text`].
    TeamRemove {
        /// Which.
        team: String,
    },
    /// Answer: [`AdminReply::Grant`].
    GrantAdd(GrantSpec),
    /// Answer: [`AdminReply::Grants`].
    GrantList {},
    /// Answer: [`AdminReply::Text`].
    GrantRemove {
        /// Which.
        id: u64,
    },
    /// What a document would change; nothing is changed. Answer: [`AdminReply::PolicyPlanned`].
    PolicyPlan {
        /// The document's name, for messages.
        name: String,
        /// The document.
        text: String,
        /// Also where machines would be in no pool any longer.
        #[serde(default)]
        force: bool,
    },
    /// Makes the policy what a document says. Progress per machine. Answer: [`AdminReply::PolicyApplied`].
    PolicyApply {
        /// The document's name, for messages and the ledger.
        name: String,
        /// The document.
        text: String,
        /// The digest of the policy that it was planned against, or at least 8 characters of its beginning: refused if it is
        /// another one by now.
        base: String,
        /// Also where machines would be in no pool any longer.
        #[serde(default)]
        force: bool,
    },
    /// The policy as a document. Answer: [`AdminReply::PolicyDocument`].
    PolicyExport {},
    /// Who reaches what. Answer: [`AdminReply::PolicyMatrix`], or [`AdminReply::Csv`] where `csv` is given.
    PolicyMatrix {
        /// Only these, or all.
        #[serde(default)]
        employees: Vec<String>,
        /// Only the machines of these pools.
        #[serde(default)]
        pools: Vec<String>,
        /// Only these machines.
        #[serde(default)]
        machines: Vec<String>,
        /// What a login gives now, instead of every grant that has not ended.
        #[serde(default)]
        now: bool,
        /// `table` or `lines`.
        #[serde(default)]
        csv: Option<String>,
    },
    /// Why somebody gets in, or not. Answer: [`AdminReply::PolicyExplained`].
    PolicyExplain {
        /// Who.
        email: String,
        /// Where.
        machine: String,
        /// As whom; any account if absent.
        #[serde(default)]
        account: Option<String>,
        /// With a key in a security key.
        #[serde(default)]
        security_key: bool,
    },
    /// What another tool's file would add; nothing is changed. Answer: [`AdminReply::PolicyPlanned`], with the document to apply.
    PolicyImport {
        /// The file's name, for messages.
        name: String,
        /// The file.
        text: String,
        /// `keymgr`, `ssh-handler` or `authorized-keys`.
        format: String,
        /// What is put behind the @ where the file has only names of people.
        #[serde(default)]
        domain: Option<String>,
    },
    /// Answer: [`AdminReply::Machines`].
    MachineList {},
    /// Answer: [`AdminReply::Machine`].
    MachineShow {
        /// Which.
        machine: String,
    },
    /// Puts a machine into exactly these pools. Answer: [`AdminReply::Machine`].
    MachineMove {
        /// Which.
        machine: String,
        /// Its pools from now on.
        pools: Vec<String>,
    },
    /// Changes where a machine is reached. Answer: [`AdminReply::Machine`].
    MachineSet {
        /// Which.
        machine: String,
        /// `HOST` or `HOST:PORT`.
        #[serde(default)]
        address: Option<String>,
    },
    /// Ends (true) or allows again (false) logins of accounts that the CA did not make. Answer: [`AdminReply::Machine`].
    MachineEnforce {
        /// Which.
        machine: String,
        /// On or off.
        enforce: bool,
    },
    /// Takes the CA off a machine and forgets it. Answer: [`AdminReply::MachineRemoved`].
    MachineRemove {
        /// Which.
        machine: String,
        /// Forgets it at once, whatever is left on it.
        #[serde(default)]
        leave_files: bool,
    },
    /// `bootstrap`: reserves a generation and returns what to apply. Nothing is trusted yet. Answer: [`AdminReply::MachinePrepared`].
    MachinePrepare(MachinePrepare),
    /// `bootstrap`: certificates for the proof at the end, for a key made for that purpose. Answer: [`AdminReply::ProbeCertificates`].
    MachineProbe {
        /// Which machine.
        machine: String,
        /// The throw-away key, OpenSSH text.
        public_key: String,
    },
    /// `bootstrap`: the machine was proven; from now on the server keeps it. Answer: [`AdminReply::Machine`].
    MachineConfirm {
        /// Which.
        machine: String,
        /// The generation that was applied.
        generation: u64,
        /// The KRL version that was read back.
        krl_version: u64,
    },
    /// Revokes. Progress per machine. Answer: [`AdminReply::Revoked`].
    KrlRevoke {
        /// What.
        target: RevokeTarget,
        /// Do not close login (lost laptop whose password and TOTP are safe).
        #[serde(default)]
        keep_login: bool,
        /// For the ledger.
        #[serde(default)]
        reason: String,
    },
    /// Answer: [`AdminReply::Krl`].
    KrlShow {},
    /// The KRL file itself. Answer: [`AdminReply::KrlFile`].
    KrlExport {},
    /// Is this certificate revoked? Answer: [`AdminReply::KrlJudged`].
    KrlCheck {
        /// OpenSSH text.
        certificate: String,
    },
    /// Pushes the KRL to every machine and proves it. Answer: [`AdminReply::Revoked`].
    KrlPush {},
    /// Brings machines to what the CA wants. Answer: [`AdminReply::Synced`].
    Sync {
        /// These, or all.
        #[serde(default)]
        machines: Vec<String>,
        /// Only machines in this pool.
        #[serde(default)]
        pool: Option<String>,
    },
    /// What a published tree holds: every machine that fetches from one. Answer: [`AdminReply::PublishIndex`].
    PublishIndex {
        /// As it was signed, so that whoever reads the tree sees names of people; otherwise encrypted for each machine.
        #[serde(default)]
        plain: bool,
    },
    /// The files of one machine in such a tree. Answer: [`AdminReply::PublishedFiles`].
    PublishFiles {
        /// Which.
        machine: String,
        /// As for the index.
        #[serde(default)]
        plain: bool,
    },
    /// Looks for drift. Answer: [`AdminReply::Checked`].
    Check {
        /// These, or all.
        #[serde(default)]
        machines: Vec<String>,
        /// Only machines in this pool.
        #[serde(default)]
        pool: Option<String>,
        /// Mend what is found.
        #[serde(default)]
        repair: bool,
    },
    /// The static keys that still open machines. Answer: [`AdminReply::Keys`].
    Keys {
        /// These, or all.
        #[serde(default)]
        machines: Vec<String>,
        /// Only machines in this pool.
        #[serde(default)]
        pool: Option<String>,
    },
    /// [`AdminRequest::MachineEnforce`] for every machine of a pool. Answer: [`AdminReply::Machines`].
    PoolEnforce {
        /// Which pool.
        pool: String,
        /// On or off.
        enforce: bool,
    },
    /// Live sessions on machines. Answer: [`AdminReply::Sessions`].
    SessionList {
        /// On these, or on all.
        #[serde(default)]
        machines: Vec<String>,
        /// Only machines in this pool.
        #[serde(default)]
        pool: Option<String>,
        /// Only those that this person's certificates opened, and those that nobody can attribute.
        #[serde(default)]
        employee: Option<String>,
    },
    /// Ends sessions. Answer: [`AdminReply::SessionsEnded`].
    SessionEnd {
        /// Their IDs, as the list has them.
        ids: Vec<String>,
    },
    /// Moves a key of the CA into another back end; only over the socket on the CA's own host. Answer: [`AdminReply::Text`].
    CaMove {
        /// Which; not the TLS CA's.
        key: CaKey,
        /// `file`, `agent:…` or `pkcs11:…`.
        signer: String,
        /// The token's PIN, where no file holds it.
        #[serde(default)]
        pin: Option<Secret>,
    },
    /// The CA's own keys, and how replacements stand. Answer: [`AdminReply::CaKeys`].
    CaList {},
    /// Begins to replace a key, or goes on with it. Progress per machine. Answer: [`AdminReply::CaKeys`].
    CaRotate {
        /// Which.
        key: CaKey,
        /// These machines are not waited for.
        #[serde(default)]
        leave_behind: Vec<String>,
        /// By itself, or one step.
        #[serde(default)]
        pace: Pace,
        /// Where the next key is to be, if not in a file: `agent:…` or `pkcs11:…`; only over the socket on the CA's own host.
        #[serde(default)]
        signer: Option<String>,
        /// The token's PIN, where no file holds it.
        #[serde(default)]
        pin: Option<Secret>,
    },
    /// A key is in somebody else's hands: it is revoked, and another one signs at once. Progress per machine. Answer:
    /// [`AdminReply::CaKeys`].
    CaCompromise {
        /// `user`, `host`, `fleet`, `tls`: every such key that anybody trusts; or the name or fingerprint of one.
        key: String,
        /// For the ledger.
        #[serde(default)]
        reason: String,
    },
    /// Takes an old key out, as far as it may be. Answer: [`AdminReply::CaKeys`].
    CaRetire {
        /// Its name or fingerprint.
        key: String,
        /// These machines are not waited for.
        #[serde(default)]
        leave_behind: Vec<String>,
    },
    /// Answer: [`AdminReply::Certificates`].
    CertList {
        /// Only this person's.
        #[serde(default)]
        employee: Option<String>,
        /// Only those that are valid now.
        #[serde(default)]
        live: bool,
    },
    /// Answer: [`AdminReply::Certificate`].
    CertShow {
        /// Its serial.
        serial: u64,
    },
    /// Answer: [`AdminReply::Ledger`].
    AuditList {
        /// The newest N entries.
        #[serde(default)]
        last: Option<u64>,
        /// Only entries about this person or machine.
        #[serde(default)]
        about: Option<String>,
    },
    /// Checks the whole chain. Answer: [`AdminReply::Verified`].
    AuditVerify {
        /// A signed head that was exported earlier: the ledger must still contain it.
        #[serde(default)]
        head: Option<String>,
    },
    /// The signed head of the ledger. Answer: [`AdminReply::LedgerHead`].
    AuditExport {},
    /// From now on machines trust this key for the break-glass account, and no earlier one. On the CA host only. Answer:
    /// [`AdminReply::BreakGlass`].
    BreakGlassTrust {
        /// The public half, OpenSSH text.
        public_key: String,
        /// How many shares open it.
        needed: u8,
        /// Of how many.
        shares: u8,
    },
    /// Nothing opens the break-glass account any longer. On the CA host only. Answer: [`AdminReply::BreakGlass`].
    BreakGlassRevoke {},
    /// Answer: [`AdminReply::BreakGlass`].
    BreakGlassShow {},
    /// Whether the clock of the CA's host is believed. Answer: [`AdminReply::Clock`].
    ClockShow {},
    /// An admin says that the clock of the CA's host is right as it is. Answer: [`AdminReply::Clock`].
    ClockAccept {},
    /// After a restore: what machines told of the time since the backup. Answer: [`AdminReply::Recovery`].
    RecoveryShow {},
    /// After a restore: an admin has looked, and issuance opens. Answer: [`AdminReply::Recovery`].
    RecoveryFinish {
        /// Also while machines were not read.
        #[serde(default)]
        unread: bool,
    },
}

/// Asks for a backup, over the Unix socket only: the answer is a tar archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// With the encrypted files of the CA's private keys.
    #[serde(default)]
    pub with_keys: bool,
}

/// What to revoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RevokeTarget {
    /// Everything that this employee holds.
    Employee(String),
    /// One certificate.
    Serial(u64),
    /// A key, by `SHA256:…`: no certificate on it works, and none is issued again.
    Key(String),
}

/// A grant as an admin writes it. Exactly one of `team` and `employee`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantSpec {
    /// For everybody in this team.
    #[serde(default)]
    pub team: Option<String>,
    /// For this person.
    #[serde(default)]
    pub employee: Option<String>,
    /// On this pool's machines.
    pub pool: String,
    /// `self`, or the name of a shared account.
    pub account: String,
    /// `none`, `all`, or commands parted by commas.
    #[serde(default)]
    pub sudo: Option<String>,
    /// Ends by itself.
    #[serde(default)]
    pub until_unix: Option<i64>,
    /// Longest lifetime of a certificate, in seconds.
    #[serde(default)]
    pub lifetime_secs: Option<u64>,
    /// Networks it may be used from, CIDR.
    #[serde(default)]
    pub sources: Vec<String>,
    /// The only command it runs.
    #[serde(default)]
    pub command: Option<String>,
    /// Allows port forwarding.
    #[serde(default)]
    pub port_forwarding: bool,
    /// Allows agent forwarding.
    #[serde(default)]
    pub agent_forwarding: bool,
    /// Withholds the terminal.
    #[serde(default)]
    pub no_pty: bool,
    /// Allows exactly these: `pty`, `port-forwarding`, `agent-forwarding`, `x11-forwarding`, `user-rc`.
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    /// In force in these hours only: `Mon-Fri 08:00-18:00 Europe/Berlin`.
    #[serde(default)]
    pub hours: Option<String>,
    /// For keys in a security key only, touched and unlocked at each login.
    #[serde(default)]
    pub security_key: bool,
    /// Sessions must be recorded.
    #[serde(default)]
    pub record: bool,
    /// Marks the grant as meant for a system account (P6).
    #[serde(default)]
    pub system_account: bool,
}

/// What `bootstrap` knows of a machine after its preflight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinePrepare {
    /// Its name in the CA.
    pub machine: String,
    /// Where the server reaches it: host name or IP address.
    pub address: String,
    /// Its sshd's port.
    pub port: u16,
    /// The pools it goes into; empty keeps those it has.
    pub pools: Vec<String>,
    /// Its plain host public key (Ed25519 preferred), OpenSSH text; pinned for sync and certified.
    pub host_key: String,
    /// The admins' account on it, whose keys and password are never changed.
    pub admin_account: String,
    /// Key for `admin_account` where bootstrap makes it (first login is `root`), OpenSSH text.
    #[serde(default)]
    pub admin_key: Option<String>,
    /// Accounts there that the CA may take over.
    #[serde(default)]
    pub adopt: Vec<String>,
    /// What the machine's sshd calls itself, such as `OpenSSH_9.2p1`.
    pub sshd_version: String,
    /// The machine's facts as `ca-machine`'s probe found them (JSON), for rendering.
    pub facts: String,
    /// A machine of that name with another host key is meant to be replaced.
    #[serde(default)]
    pub rebuilt: bool,
    /// What the machine has seen, where it is to be told anew (`--resync`): what it is to take must be newer.
    #[serde(default)]
    pub seen: Option<MachineSeen>,
    /// Change nothing in the store: show what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Makes the machine fetch for itself; absent keeps what it does.
    #[serde(default)]
    pub pull: Option<MachinePull>,
}

/// Where a machine fetches from by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinePull {
    /// The address of a published tree (`http://…` or `https://…`); absent, the CA itself.
    #[serde(default)]
    pub tree: Option<String>,
}

/// What a machine has seen, by its own word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSeen {
    /// The highest generation.
    pub generation: u64,
    /// SHA-256 of the bundle of that generation, hex; empty where it did not stay.
    pub bundle_sha256: String,
    /// The highest KRL version.
    pub krl_version: u64,
    /// SHA-256 of the KRL that stands there, hex.
    pub krl_sha256: String,
}

/// One line of the answer's stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AdminEvent {
    /// A decision is durable, or something else worth a line.
    Note {
        /// The line.
        text: String,
    },
    /// A machine is done, one way or the other.
    Machine {
        /// How many are done.
        done: usize,
        /// Of how many.
        total: usize,
        /// Which.
        state: MachineDelivery,
    },
    /// The end, well.
    Done {
        /// The answer.
        reply: Box<AdminReply>,
    },
    /// The end, badly.
    Failed {
        /// Why.
        error: ApiError,
    },
}

/// The answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum AdminReply {
    /// A sentence.
    Text(String),
    /// An invitation.
    Invited(Invitation),
    /// One employee.
    Employee(EmployeeView),
    /// All of them.
    Employees(Vec<EmployeeView>),
    /// One pool.
    Pool(PoolView),
    /// All of them.
    Pools(Vec<PoolView>),
    /// One team.
    Team(TeamView),
    /// All of them.
    Teams(Vec<TeamView>),
    /// One grant.
    Grant(GrantView),
    /// All of them.
    Grants(Vec<GrantView>),
    /// What a document would change.
    PolicyPlanned(Box<PolicyPlanned>),
    /// What a document did change.
    PolicyApplied(Box<PolicyApplied>),
    /// The policy as a document.
    PolicyDocument(PolicyDocument),
    /// Who reaches what.
    PolicyMatrix(PolicyMatrix),
    /// Lines of comma-separated values.
    Csv(String),
    /// Why somebody gets in, or not.
    PolicyExplained(Box<PolicyExplained>),
    /// One machine.
    Machine(MachineView),
    /// All of them.
    Machines(Vec<MachineView>),
    /// What came of removing a machine.
    MachineRemoved(MachineRemoved),
    /// What to apply.
    MachinePrepared(MachinePrepared),
    /// Certificates for the proof.
    ProbeCertificates(ProbeCertificates),
    /// A revocation, and what is proven of it.
    Revoked(Revocation),
    /// The KRL's content.
    Krl(KrlView),
    /// The KRL file, base64.
    KrlFile(String),
    /// What OpenSSH says of a certificate with the KRL in force.
    KrlJudged(KrlJudgement),
    /// What a sync did.
    Synced(Vec<MachineDelivery>),
    /// What a published tree holds.
    PublishIndex(Vec<PublishedMachine>),
    /// The files of one machine in it.
    PublishedFiles(PublishedFiles),
    /// What a check-up found.
    Checked(Vec<MachineCheck>),
    /// The static keys of machines.
    Keys(Vec<MachineKeys>),
    /// Live sessions.
    Sessions(SessionsView),
    /// What came of ending sessions.
    SessionsEnded(SessionsEnded),
    /// The CA's own keys.
    CaKeys(CaKeys),
    /// Certificates.
    Certificates(Vec<CertificateView>),
    /// One of them.
    Certificate(CertificateView),
    /// Ledger entries, oldest first.
    Ledger(Vec<LedgerLine>),
    /// The chain is whole.
    Verified(LedgerHead),
    /// The head.
    LedgerHead(LedgerHead),
    /// How the break-glass credentials stand.
    BreakGlass(BreakGlassView),
    /// How it stands after a restore.
    Recovery(RecoveryView),
    /// How the CA's clock stands.
    Clock(ClockView),
}

/// An invitation, told once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invitation {
    /// Whom it is for.
    pub employee: EmployeeView,
    /// The one-time code.
    pub code: Secret,
    /// When it ends.
    pub expires_unix: i64,
    /// The server's URL, as the employee reaches it.
    pub url: String,
    /// `SHA256:…` of the server's TLS CA certificate (DER).
    pub fingerprint: String,
}
