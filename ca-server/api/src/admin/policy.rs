//! What the `policy` commands show.

use serde::{Deserialize, Serialize};

use super::{CertificateView, GrantView, Invitation, MachineDelivery};

/// What a document would change, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyPlanned {
    /// The document's name.
    pub document: String,
    /// Its SHA-256, hex.
    pub document_sha256: String,
    /// The digest of the policy as it stands: what [`super::AdminRequest::PolicyApply`] pins.
    pub base: String,
    /// The digest of what the policy would be; absent where the document is wrong.
    pub after: Option<String>,
    /// Why the document cannot be applied, by line; then there is no plan.
    pub faults: Vec<DocumentLine>,
    /// What works, and an admin should know, by line.
    pub cautions: Vec<DocumentLine>,
    /// What would change; absent where the document is wrong.
    pub plan: Option<PlanView>,
    /// How many sentences of the document must hold.
    pub expectations: usize,
    /// Those that would not hold.
    pub broken: Vec<DocumentLine>,
    /// Where the document came from another tool's file.
    #[serde(default)]
    pub import: Option<ImportView>,
}

impl PolicyPlanned {
    /// May it be applied?
    #[must_use]
    pub fn sound(&self) -> bool {
        self.faults.is_empty()
            && self.broken.is_empty()
            && self
                .plan
                .as_ref()
                .is_some_and(|plan| plan.errors.is_empty())
    }

    /// Would it change anything?
    #[must_use]
    pub fn changes(&self) -> bool {
        self.after.as_ref().is_some_and(|after| *after != self.base)
    }
}

/// Something that is said about a place of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentLine {
    /// The document's name; empty for what has no one place.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What.
    pub message: String,
}

/// What changes for people and machines. Lists of names may be cut; their numbers never are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// How much changes, whatever is cut below.
    pub counts: PlanCounts,
    /// Limits that change.
    pub limits: Vec<LimitChangeView>,
    /// People who come, go, or change.
    pub employees: Vec<EmployeeChangeView>,
    /// Teams that come, go, or change.
    pub teams: Vec<ChangedView<String>>,
    /// Pools that come, go, or change.
    pub pools: Vec<ChangedView<String>>,
    /// Grants that come, go, or change.
    pub grants: Vec<ChangedView<u64>>,
    /// Who gains or loses which account on which machines: losses first, then changed terms, then gains.
    pub access: Vec<AccessView>,
    /// Machines whose pools, accounts or sudo rights change.
    pub machines: Vec<MachineChangeView>,
    /// What works afterwards, and an admin should know.
    pub warnings: Vec<String>,
    /// Why the policy must not be stored like this.
    pub errors: Vec<String>,
}

/// How much changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanCounts {
    /// People who gain an account on a machine.
    pub people_gaining: usize,
    /// People who lose one.
    pub people_losing: usize,
    /// People who keep one under other terms.
    pub people_changed: usize,
    /// (person, account, machine) that are new.
    pub cells_gained: u64,
    /// (person, account, machine) that are gone.
    pub cells_lost: u64,
    /// (person, account, machine) that stay under other terms.
    pub cells_changed: u64,
    /// Machines that get another set of accounts, sudo rights or principals.
    pub machines: usize,
    /// Accounts that appear, summed over the machines.
    pub accounts_appearing: u64,
    /// Accounts that disappear, summed over the machines.
    pub accounts_disappearing: u64,
}

/// A limit that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitChangeView {
    /// Its name in `[limits]`.
    pub name: String,
    /// What it is.
    pub before_secs: u64,
    /// What it would be.
    pub after_secs: u64,
}

/// What happens to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmployeeChangeView {
    /// Who.
    pub email: String,
    /// removed, suspended, resumed, returned, invited, admin_gained, admin_lost, renamed, account_changed.
    pub step: String,
}

/// A named thing of the policy that comes, goes, or becomes different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedView<N> {
    /// Which.
    pub name: N,
    /// removed, changed, added.
    pub how: String,
    /// What it is, was, or what differs, in words.
    pub words: Vec<String>,
}

/// A list of names, perhaps cut.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesView {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub names: Vec<String>,
}

/// `own`, or a shared account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountOf {
    /// Each their own.
    Own,
    /// A shared one.
    Shared(String),
}

/// Each of these people, on each of these machines, as this account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessView {
    /// lost, changed, gained.
    pub step: String,
    /// Who.
    pub people: NamesView,
    /// As whom.
    pub account: AccountOf,
    /// Where.
    pub machines: NamesView,
    /// The grants that give it afterwards, or gave it before where it is lost.
    pub grants: Vec<u64>,
    /// Under which terms, or how they change.
    pub words: Vec<String>,
}

/// What changes on each of these machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineChangeView {
    /// Where.
    pub machines: NamesView,
    /// Pools that they are put into.
    pub joins: Vec<String>,
    /// Pools that they are taken out of.
    pub leaves: Vec<String>,
    /// Accounts that appear.
    pub appear: NamesView,
    /// Accounts that are closed.
    pub disappear: NamesView,
    /// Accounts whose sudo rights change, each in words.
    pub sudo: NamesView,
    /// Do the lines of principals files change for accounts that stay?
    pub principals: bool,
}

/// What another tool's file came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportView {
    /// The whole policy with what the file adds, as a document: what is applied. Empty where the file adds nothing.
    pub text: String,
    /// What an admin should know about the file.
    pub notes: Vec<ImportNote>,
    /// Keys that let somebody in without the CA.
    pub static_keys: Vec<StaticKeyView>,
    /// Machines that the CA does not know: `bootstrap add-machine` brings each, into these pools.
    pub machines_to_bootstrap: Vec<MatrixMachine>,
    /// What the file calls each grant, where it says something.
    pub titles: Vec<ImportTitle>,
}

/// What another tool's file calls a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportTitle {
    /// The number that the grant would have.
    pub grant: u64,
    /// What the file calls it.
    pub title: String,
}

/// Something about another tool's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportNote {
    /// info, warning, alarm.
    pub weight: String,
    /// Where it stands: `FILE:LINE:COLUMN`; empty for what has no one place.
    pub at: String,
    /// What, and what to do.
    pub sentence: String,
}

/// A key that lets somebody in without the CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticKeyView {
    /// Where it stands: `FILE:LINE:COLUMN`.
    pub at: String,
    /// Its algorithm.
    pub algorithm: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// The comment behind it.
    pub comment: String,
    /// Whose it is, where that can be told.
    pub owner: Option<String>,
    /// Options in front of it.
    pub options: Vec<String>,
    /// Why sshd refuses the line, if it does.
    pub fault: Option<String>,
}

/// What applying a document did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyApplied {
    /// What was planned, and is so now.
    pub planned: PolicyPlanned,
    /// For everybody who is new or has come back.
    pub invitations: Vec<Invitation>,
    /// Live certificates that were revoked, since they carried something that was taken away.
    pub revoked_certificates: usize,
    /// The KRL that says so.
    pub krl_version: u64,
    /// Machine by machine: those with a new generation, and where something was revoked every other too.
    pub machines: Vec<MachineDelivery>,
}

/// The policy as a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDocument {
    /// The document.
    pub text: String,
    /// The digest of the policy.
    pub digest: String,
}

/// Who reaches what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyMatrix {
    /// The columns.
    pub machines: Vec<MatrixMachine>,
    /// The lines, by email.
    pub rows: Vec<MatrixRow>,
    /// The grants that occur in cells.
    pub grants: Vec<GrantView>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixMachine {
    /// Its name.
    pub name: String,
    /// The pools that it was put into itself.
    pub pools: Vec<String>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixRow {
    /// Who.
    pub email: String,
    /// invited, active, suspended, removed.
    pub status: String,
    /// Their own account.
    pub account: String,
    /// What they reach, by machine and account.
    pub cells: Vec<MatrixCell>,
}

/// One account on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixCell {
    /// Where.
    pub machine: String,
    /// As whom.
    pub account: String,
    /// The grants that give it.
    pub grants: Vec<u64>,
}

/// Why somebody gets in, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyExplained {
    /// Who.
    pub email: String,
    /// Where.
    pub machine: String,
    /// As whom, where that was asked.
    pub account: Option<String>,
    /// Does a login now open it: by policy, and by what is known of the machine?
    pub allowed: bool,
    /// The answer in one sentence.
    pub verdict: String,
    /// Does policy allow it?
    pub granted: bool,
    /// What stands in the way whatever the rules say.
    pub obstacles: Vec<MissingView>,
    /// Every rule that was considered: those that grant first, then the nearest miss.
    pub rules: Vec<RuleView>,
    /// The command to type next where access is wanted.
    pub next: Option<String>,
    /// The machine's side; absent where the CA does not know the machine.
    pub machine_side: Option<MachineSide>,
    /// The person's certificates that are valid by their time.
    pub certificates: Vec<CertificateView>,
}

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingView {
    /// What, for people.
    pub sentence: String,
    /// The command that mends it, where there is one.
    pub mend: Option<String>,
}

/// One grant that was considered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its number.
    pub grant: u64,
    /// The rule in one sentence.
    pub sentence: String,
    /// From the person's team up to the grant's.
    pub team_path: Vec<String>,
    /// From the machine's pool up to the grant's.
    pub pool_path: Vec<String>,
    /// What it gives; absent unless it grants.
    pub gives: Option<GivesView>,
    /// What is missing; empty exactly if it grants.
    pub missing: Vec<MissingView>,
}

/// What a rule gives to a login now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivesView {
    /// The account.
    pub account: String,
    /// What the certificate carries.
    pub principal: String,
    /// Until when the certificate is valid.
    pub ends_unix: i64,
    /// none, all, or commands: all of the account's grants on this machine together.
    pub sudo: String,
    /// The grant's conditions in words; empty if it has none.
    pub conditions: String,
}

/// What is known of the machine itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSide {
    /// preparing, managed.
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
    /// The accounts in question, and whether the machine has them.
    pub accounts: Vec<AccountThere>,
    /// What keeps somebody out there whom policy lets in, or may let in somebody whom policy keeps out.
    pub findings: Vec<MissingView>,
}

/// An account in question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountThere {
    /// Its name.
    pub account: String,
    /// Is it in the generation that the CA wants there?
    pub wanted: bool,
    /// Is it in the generation that the machine reported?
    pub there: bool,
}
