//! Why somebody reaches an account on a machine, or what exactly is missing: every rule that was looked at, in sentences.

mod mend;
mod paths;
mod person;
mod reason;
mod say;
mod weigh;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use reason::Reason;

use crate::{
    AccountName, Conditions, Email, GrantAccount, GrantId, Grantee, Hours, KeyKind, MachineName,
    Policy, PoolName, Principal, Recording, Sudo, TeamName,
};

/// What an admin asks: may this person log in to this machine?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Who.
    pub email: Email,
    /// Where.
    pub machine: MachineName,
    /// As whom; `None` asks for any account.
    #[serde(default)]
    pub account: Option<AccountName>,
    /// With what kind of key.
    pub key: KeyKind,
}

/// The answer, with everything that was looked at.
///
/// It is what a login at this moment gives: [`crate::decide()`] for a new day session with the same clock and key orders a
/// certificate that opens the account exactly if [`Explanation::verdict`] is [`Verdict::Granted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What was asked.
    pub question: Question,
    /// For which moment, in Unix seconds.
    pub now_unix_secs: i64,
    /// Yes or no.
    pub verdict: Verdict,
    /// The answer in one sentence.
    pub sentence: String,
    /// What stands in the way whatever the rules say: the person's status, an unknown name.
    pub obstacles: Vec<Missing>,
    /// Every rule considered: those that grant first (each by rising number), then the nearest miss (fewest things missing).
    ///
    /// Considered is each grant that names the person or a team of theirs, and each grant on a pool of the machine.
    pub rules: Vec<Rule>,
    /// The command to type next where access is wanted; `None` if it is granted.
    pub next: Option<String>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A login now opens the account.
    Granted,
    /// It does not.
    Denied,
}

/// One grant that was considered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its number.
    pub grant: GrantId,
    /// Whom it names.
    pub who: Grantee,
    /// Which account.
    pub account: GrantAccount,
    /// On which pool.
    pub pool: PoolName,
    /// The rule in one sentence: `grant 3 lets the team ops use deploy on the pool web`.
    pub sentence: String,
    /// From the team that the person is in up to the team of the grant; empty if it names the person, or if no path counts.
    pub team_path: Vec<TeamName>,
    /// From the pool that the machine is in up to the pool of the grant; empty if no path counts.
    pub pool_path: Vec<PoolName>,
    /// What it gives; `None` unless it grants: something is missing, or there is an obstacle.
    pub gives: Option<Gives>,
    /// What this rule itself lacks.
    pub missing: Vec<Missing>,
}

impl Rule {
    /// Whether this rule alone opens the account.
    #[must_use]
    pub fn grants(&self) -> bool {
        self.gives.is_some()
    }
}

/// What a rule gives to a login at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gives {
    /// The Unix account.
    pub account: AccountName,
    /// What the certificate carries and the machine's principals file lists.
    pub principal: Principal,
    /// The certificate's lifetime in seconds, cut by everything that cuts it.
    pub lifetime_secs: u64,
    /// The first second in which that certificate is valid no more.
    pub ends_unix_secs: u64,
    /// What this grant allows through sudo.
    pub sudo: Sudo,
    /// What the account has through sudo on this machine, all its grants taken together.
    pub sudo_on_machine: Sudo,
    /// What the certificate carries.
    pub conditions: Conditions,
    /// When the grant ends by itself.
    pub until_unix_secs: Option<i64>,
    /// The grant's hours.
    pub hours: Option<Hours>,
    /// Whether sessions are recorded.
    pub recording: Recording,
}

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What, for programs.
    pub reason: Reason,
    /// What, for people.
    pub sentence: String,
    /// The command that mends it, where there is one.
    pub mend: Option<String>,
}

/// Explains `question` for a login at `now`.
#[must_use]
pub fn explain(policy: &Policy, question: &Question, now: OffsetDateTime) -> Explanation {
    weigh::explain(policy, question, now)
}
