//! What a check-up, the list of static keys and the list of sessions show.

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gravity {
    /// Worth knowing; nothing is wrong by the CA's own rules.
    Notice,
    /// Not as wanted.
    Warning,
    /// Somebody gets in or becomes more who should not, a revocation does not hold, or a way in that is needed is shut.
    Danger,
}

/// Something that is not as wanted, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFinding {
    /// How bad.
    pub gravity: Gravity,
    /// A stable word for programs.
    pub code: String,
    /// What is the case.
    pub what: String,
    /// What that means.
    pub meaning: String,
    /// What to do.
    pub remedy: String,
    /// Does `check --repair` mend it?
    pub repairable: bool,
}

/// What a check-up found on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineCheck {
    /// Which.
    pub machine: String,
    /// Could it be reached?
    pub reached: bool,
    /// When it was looked at.
    pub at_unix: i64,
    /// What is not as wanted, or worth knowing; the worst first.
    pub findings: Vec<CheckFinding>,
    /// What was found first, and is gone after the repair.
    #[serde(default)]
    pub repaired: Vec<CheckFinding>,
}

impl MachineCheck {
    /// Is something not as wanted? Notices do not count.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        !self.reached || self.worst() > Some(Gravity::Notice)
    }

    /// The gravity of its worst finding.
    #[must_use]
    pub fn worst(&self) -> Option<Gravity> {
        self.findings.iter().map(|finding| finding.gravity).max()
    }

    /// How many findings are of this gravity.
    #[must_use]
    pub fn count(&self, gravity: Gravity) -> usize {
        let of = |finding: &&CheckFinding| finding.gravity == gravity;
        self.findings.iter().filter(of).count()
    }
}

/// The static keys of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineKeys {
    /// Which.
    pub machine: String,
    /// Why it could not be asked; empty if it was.
    pub trouble: String,
    /// Do accounts that the CA did not make still log in as before?
    pub observed: bool,
    /// Logs of sshd's that were read there; none means that nobody can say when a key was last used.
    pub logs: Vec<LogView>,
    /// Its keys.
    pub keys: Vec<MachineKeyView>,
    /// Programs that hand sshd keys (`AuthorizedKeysCommand`): what they say is not in the list.
    pub commands: Vec<String>,
}

/// A log that was read on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogView {
    /// `journal`, or the file.
    pub source: String,
    /// How far it goes back.
    pub since_unix: Option<i64>,
}

/// A key in a file that sshd reads for an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineKeyView {
    /// The account that it opens.
    pub account: String,
    /// The file.
    pub file: String,
    /// The line in it.
    pub line: u32,
    /// `ssh-ed25519` and the like.
    pub algorithm: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// The comment beside it: anybody's free text.
    pub comment: String,
    /// Its options; `cert-authority` trusts everybody whom another CA signs for.
    pub options: String,
    /// The employee for whom the CA has certified this very key.
    pub employee: Option<String>,
    /// `opens`, `not heeded` (owner or mode of the file), `account expired`.
    pub state: String,
    /// Whose door it is: `admin` (stays when the machine is enforced), `ca`, or `other`.
    pub door: String,
    /// The last login with it, by sshd's log.
    pub last_used_unix: Option<i64>,
}

/// A live ssh connection on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// `MACHINE:PID-STARTED`, for `session end`.
    pub id: String,
    /// The machine.
    pub machine: String,
    /// The account; empty where it is not known.
    pub account: String,
    /// Where it comes from.
    pub from: String,
    /// Since when, by the machine's clock.
    pub since_unix: Option<i64>,
    /// Key ID of the certificate behind it; empty where a plain key or a password opened it.
    pub key_id: String,
    /// The employee whom that names.
    pub employee: Option<String>,
    /// Serial of that certificate.
    pub serial: Option<u64>,
    /// `live`; `revoked` (its certificate is, and it has not ended yet); `unknown` (no record: nobody can say whose it is); `ended`.
    pub state: String,
}

/// Live sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsView {
    /// The sessions.
    pub sessions: Vec<SessionView>,
    /// Machines that did not answer: what is open there is not known.
    pub not_reached: Vec<NotReached>,
}

/// What came of an order to end sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsEnded {
    /// Those that ended.
    pub ended: Vec<SessionView>,
    /// IDs of those that were not there any more.
    pub gone: Vec<String>,
    /// Those that are still open.
    pub open: Vec<SessionView>,
    /// Machines that did not answer, or refused.
    pub not_reached: Vec<NotReached>,
}

/// What came of removing a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRemoved {
    /// Which.
    pub machine: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: RemovalOutcome,
}

/// What came of removing a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RemovalOutcome {
    /// It reports that everything of the CA's is off; it is forgotten.
    TakenOff {
        /// How many files and folders were changed or taken off.
        files: u32,
        /// Accounts and what became of them: `alice expired`.
        accounts: Vec<String>,
        /// What the machine wants known.
        notes: Vec<String>,
        /// Did its sshd answer afterwards?
        sshd_answers: bool,
    },
    /// The answer to the order was lost, and the machine lets the CA in no more: it obeyed. It is forgotten.
    Shut,
    /// It is forgotten, and nothing was changed on it.
    Left,
    /// Not known to be off: it stays known as leaving, gets revocations, and is asked again.
    Waiting {
        /// Why.
        reason: String,
    },
    /// The CA does not log in there: the signed order lies where the machine fetches. It stays known as leaving until it has reported that it
    /// obeyed.
    Fetches {
        /// The published tree, which `publish` must bring the order to; absent, the CA's own door.
        tree: Option<String>,
        /// Until when the order is good; it is made anew before.
        until_unix: i64,
        /// When it last reported to the CA; where it never did, nobody may hear of the removal either.
        reported_unix: Option<i64>,
    },
}

/// A machine that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotReached {
    /// Which.
    pub machine: String,
    /// Why.
    pub reason: String,
}
