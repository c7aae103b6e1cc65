//! The commands: one variant for each verb.

use serde::{Deserialize, Serialize};

use super::{CaKey, GrantSpec, MachinePrepare, Pace, RevokeTarget};
use crate::Secret;

/// One admin command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminRequest {
    /// Invites an employee. Answer: [`AdminReply::Invited`](super::AdminReply::Invited).
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
    /// Answer: [`AdminReply::Employees`](super::AdminReply::Employees).
    EmployeeList {},
    /// Answer: [`AdminReply::Employee`](super::AdminReply::Employee).
    EmployeeShow {
        /// Whom.
        email: String,
    },
    /// Changes what is given. Answer: [`AdminReply::Employee`](super::AdminReply::Employee).
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
    /// Closes login and revokes. Answer: [`AdminReply::Revoked`](super::AdminReply::Revoked).
    EmployeeSuspend {
        /// Whom.
        email: String,
        /// For the ledger.
        #[serde(default)]
        reason: String,
    },
    /// Opens login again. Answer: [`AdminReply::Employee`](super::AdminReply::Employee).
    EmployeeResume {
        /// Whom.
        email: String,
    },
    /// Ends sessions, raises the epoch, forgets password and TOTP, and invites anew (A11). Answer: [`AdminReply::Invited`](super::AdminReply::Invited).
    EmployeeReset {
        /// Whom.
        email: String,
    },
    /// Revokes and removes; names and uid are never handed on. Answer: [`AdminReply::Revoked`](super::AdminReply::Revoked).
    EmployeeRemove {
        /// Whom.
        email: String,
        /// Also delete the account's home on the machines.
        #[serde(default)]
        purge: bool,
    },
    /// Answer: [`AdminReply::Pool`](super::AdminReply::Pool).
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
    /// Answer: [`AdminReply::Pools`](super::AdminReply::Pools).
    PoolList {},
    /// Answer: [`AdminReply::Pool`](super::AdminReply::Pool).
    PoolShow {
        /// Which.
        pool: String,
    },
    /// Answer: [`AdminReply::Pool`](super::AdminReply::Pool).
    PoolSet {
        /// Which.
        pool: String,
        /// New title.
        #[serde(default)]
        title: Option<String>,
    },
    /// Refused while machines would be orphaned or grants lost, unless forced. Answer: [`AdminReply::Text`](super::AdminReply::Text).
    PoolRemove {
        /// Which.
        pool: String,
        /// Do it all the same.
        #[serde(default)]
        force: bool,
    },
    /// Makes the second pool's machines belong to the first too. Answer: [`AdminReply::Pool`](super::AdminReply::Pool).
    PoolInclude {
        /// The outer pool.
        pool: String,
        /// The inner one.
        inner: String,
    },
    /// Takes that back. Answer: [`AdminReply::Pool`](super::AdminReply::Pool).
    PoolExclude {
        /// The outer pool.
        pool: String,
        /// The inner one.
        inner: String,
    },
    /// Answer: [`AdminReply::Team`](super::AdminReply::Team).
    TeamAdd {
        /// Its name.
        team: String,
        /// Its first members.
        #[serde(default)]
        employees: Vec<String>,
    },
    /// Answer: [`AdminReply::Team`](super::AdminReply::Team).
    TeamJoin {
        /// Which.
        team: String,
        /// Who.
        employees: Vec<String>,
    },
    /// Answer: [`AdminReply::Team`](super::AdminReply::Team).
    TeamLeave {
        /// Which.
        team: String,
        /// Who.
        employees: Vec<String>,
    },
    /// Answer: [`AdminReply::Teams`](super::AdminReply::Teams).
    TeamList {},
    /// Answer: [`AdminReply::Team`](super::AdminReply::Team).
    TeamShow {
        /// Which.
        team: String,
    },
    /// Answer: [`AdminReply::Text`](super::AdminReply::Text).
    TeamRemove {
        /// Which.
        team: String,
    },
    /// Answer: [`AdminReply::Grant`](super::AdminReply::Grant).
    GrantAdd(GrantSpec),
    /// Answer: [`AdminReply::Grants`](super::AdminReply::Grants).
    GrantList {},
    /// Answer: [`AdminReply::Text`](super::AdminReply::Text).
    GrantRemove {
        /// Which.
        id: u64,
    },
    /// What a document would change; nothing is changed. Answer: [`AdminReply::PolicyPlanned`](super::AdminReply::PolicyPlanned).
    PolicyPlan {
        /// The document's name, for messages.
        name: String,
        /// The document.
        text: String,
        /// Also where machines would be in no pool any longer.
        #[serde(default)]
        force: bool,
    },
    /// Makes the policy what a document says. Progress per machine. Answer: [`AdminReply::PolicyApplied`](super::AdminReply::PolicyApplied).
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
    /// The policy as a document. Answer: [`AdminReply::PolicyDocument`](super::AdminReply::PolicyDocument).
    PolicyExport {},
    /// Who reaches what. Answer: [`AdminReply::PolicyMatrix`](super::AdminReply::PolicyMatrix), or [`AdminReply::Csv`](super::AdminReply::Csv) where `csv` is given.
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
    /// Why somebody gets in, or not. Answer: [`AdminReply::PolicyExplained`](super::AdminReply::PolicyExplained).
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
    /// What another tool's file would add; nothing is changed. Answer: [`AdminReply::PolicyPlanned`](super::AdminReply::PolicyPlanned), with the document to apply.
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
    /// Answer: [`AdminReply::Machines`](super::AdminReply::Machines).
    MachineList {},
    /// Answer: [`AdminReply::Machine`](super::AdminReply::Machine).
    MachineShow {
        /// Which.
        machine: String,
    },
    /// Puts a machine into exactly these pools. Answer: [`AdminReply::Machine`](super::AdminReply::Machine).
    MachineMove {
        /// Which.
        machine: String,
        /// Its pools from now on.
        pools: Vec<String>,
    },
    /// Changes where a machine is reached. Answer: [`AdminReply::Machine`](super::AdminReply::Machine).
    MachineSet {
        /// Which.
        machine: String,
        /// `HOST` or `HOST:PORT`.
        #[serde(default)]
        address: Option<String>,
    },
    /// Ends (true) or allows again (false) logins of accounts that the CA did not make. Answer: [`AdminReply::Machine`](super::AdminReply::Machine).
    MachineEnforce {
        /// Which.
        machine: String,
        /// On or off.
        enforce: bool,
    },
    /// Takes the CA off a machine and forgets it. Answer: [`AdminReply::MachineRemoved`](super::AdminReply::MachineRemoved).
    MachineRemove {
        /// Which.
        machine: String,
        /// Forgets it at once, whatever is left on it.
        #[serde(default)]
        leave_files: bool,
    },
    /// `bootstrap`: reserves a generation and returns what to apply. Nothing is trusted yet. Answer: [`AdminReply::MachinePrepared`](super::AdminReply::MachinePrepared).
    MachinePrepare(MachinePrepare),
    /// `bootstrap`: certificates for the proof at the end, for a key made for that purpose. Answer: [`AdminReply::ProbeCertificates`](super::AdminReply::ProbeCertificates).
    MachineProbe {
        /// Which machine.
        machine: String,
        /// The throw-away key, OpenSSH text.
        public_key: String,
    },
    /// `bootstrap`: the machine was proven; from now on the server keeps it. Answer: [`AdminReply::Machine`](super::AdminReply::Machine).
    MachineConfirm {
        /// Which.
        machine: String,
        /// The generation that was applied.
        generation: u64,
        /// The KRL version that was read back.
        krl_version: u64,
    },
    /// Revokes. Progress per machine. Answer: [`AdminReply::Revoked`](super::AdminReply::Revoked).
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
    /// Answer: [`AdminReply::Krl`](super::AdminReply::Krl).
    KrlShow {},
    /// The KRL file itself. Answer: [`AdminReply::KrlFile`](super::AdminReply::KrlFile).
    KrlExport {},
    /// Is this certificate revoked? Answer: [`AdminReply::KrlJudged`](super::AdminReply::KrlJudged).
    KrlCheck {
        /// OpenSSH text.
        certificate: String,
    },
    /// Pushes the KRL to every machine and proves it. Answer: [`AdminReply::Revoked`](super::AdminReply::Revoked).
    KrlPush {},
    /// Brings machines to what the CA wants. Answer: [`AdminReply::Synced`](super::AdminReply::Synced).
    Sync {
        /// These, or all.
        #[serde(default)]
        machines: Vec<String>,
        /// Only machines in this pool.
        #[serde(default)]
        pool: Option<String>,
    },
    /// What a published tree holds: every machine that fetches from one. Answer: [`AdminReply::PublishIndex`](super::AdminReply::PublishIndex).
    PublishIndex {
        /// As it was signed, so that whoever reads the tree sees names of people; otherwise encrypted for each machine.
        #[serde(default)]
        plain: bool,
    },
    /// The files of one machine in such a tree. Answer: [`AdminReply::PublishedFiles`](super::AdminReply::PublishedFiles).
    PublishFiles {
        /// Which.
        machine: String,
        /// As for the index.
        #[serde(default)]
        plain: bool,
    },
    /// Looks for drift. Answer: [`AdminReply::Checked`](super::AdminReply::Checked).
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
    /// The static keys that still open machines. Answer: [`AdminReply::Keys`](super::AdminReply::Keys).
    Keys {
        /// These, or all.
        #[serde(default)]
        machines: Vec<String>,
        /// Only machines in this pool.
        #[serde(default)]
        pool: Option<String>,
    },
    /// [`AdminRequest::MachineEnforce`] for every machine of a pool. Answer: [`AdminReply::Machines`](super::AdminReply::Machines).
    PoolEnforce {
        /// Which pool.
        pool: String,
        /// On or off.
        enforce: bool,
    },
    /// Live sessions on machines. Answer: [`AdminReply::Sessions`](super::AdminReply::Sessions).
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
    /// Ends sessions. Answer: [`AdminReply::SessionsEnded`](super::AdminReply::SessionsEnded).
    SessionEnd {
        /// Their IDs, as the list has them.
        ids: Vec<String>,
    },
    /// Moves a key of the CA into another back end; only over the socket on the CA's own host. Answer: [`AdminReply::Text`](super::AdminReply::Text).
    CaMove {
        /// Which; not the TLS CA's.
        key: CaKey,
        /// `file`, `agent:…` or `pkcs11:…`.
        signer: String,
        /// The token's PIN, where no file holds it.
        #[serde(default)]
        pin: Option<Secret>,
    },
    /// The CA's own keys, and how replacements stand. Answer: [`AdminReply::CaKeys`](super::AdminReply::CaKeys).
    CaList {},
    /// Begins to replace a key, or goes on with it. Progress per machine. Answer: [`AdminReply::CaKeys`](super::AdminReply::CaKeys).
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
    /// [`AdminReply::CaKeys`](super::AdminReply::CaKeys).
    CaCompromise {
        /// `user`, `host`, `fleet`, `tls`: every such key that anybody trusts; or the name or fingerprint of one.
        key: String,
        /// For the ledger.
        #[serde(default)]
        reason: String,
    },
    /// Takes an old key out, as far as it may be. Answer: [`AdminReply::CaKeys`](super::AdminReply::CaKeys).
    CaRetire {
        /// Its name or fingerprint.
        key: String,
        /// These machines are not waited for.
        #[serde(default)]
        leave_behind: Vec<String>,
    },
    /// Answer: [`AdminReply::Certificates`](super::AdminReply::Certificates).
    CertList {
        /// Only this person's.
        #[serde(default)]
        employee: Option<String>,
        /// Only those that are valid now.
        #[serde(default)]
        live: bool,
    },
    /// Answer: [`AdminReply::Certificate`](super::AdminReply::Certificate).
    CertShow {
        /// Its serial.
        serial: u64,
    },
    /// Answer: [`AdminReply::Ledger`](super::AdminReply::Ledger).
    AuditList {
        /// The newest N entries.
        #[serde(default)]
        last: Option<u64>,
        /// Only entries about this person or machine.
        #[serde(default)]
        about: Option<String>,
    },
    /// Checks the whole chain. Answer: [`AdminReply::Verified`](super::AdminReply::Verified).
    AuditVerify {
        /// A signed head that was exported earlier: the ledger must still contain it.
        #[serde(default)]
        head: Option<String>,
    },
    /// The signed head of the ledger. Answer: [`AdminReply::LedgerHead`](super::AdminReply::LedgerHead).
    AuditExport {},
    /// From now on machines trust this key for the break-glass account, and no earlier one. On the CA host only. Answer:
    /// [`AdminReply::BreakGlass`](super::AdminReply::BreakGlass).
    BreakGlassTrust {
        /// The public half, OpenSSH text.
        public_key: String,
        /// How many shares open it.
        needed: u8,
        /// Of how many.
        shares: u8,
    },
    /// Nothing opens the break-glass account any longer. On the CA host only. Answer: [`AdminReply::BreakGlass`](super::AdminReply::BreakGlass).
    BreakGlassRevoke {},
    /// Answer: [`AdminReply::BreakGlass`](super::AdminReply::BreakGlass).
    BreakGlassShow {},
    /// Whether the clock of the CA's host is believed. Answer: [`AdminReply::Clock`](super::AdminReply::Clock).
    ClockShow {},
    /// An admin says that the clock of the CA's host is right as it is. Answer: [`AdminReply::Clock`](super::AdminReply::Clock).
    ClockAccept {},
    /// After a restore: what machines told of the time since the backup. Answer: [`AdminReply::Recovery`](super::AdminReply::Recovery).
    RecoveryShow {},
    /// After a restore: an admin has looked, and issuance opens. Answer: [`AdminReply::Recovery`](super::AdminReply::Recovery).
    RecoveryFinish {
        /// Also while machines were not read.
        #[serde(default)]
        unread: bool,
    },
}
