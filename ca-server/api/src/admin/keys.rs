//! The CA's own keys: what each is in its life, and how a replacement stands.

use serde::{Deserialize, Serialize};

use super::MachineDelivery;

/// A key that can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaKey {
    /// The user CA.
    User,
    /// The host CA.
    Host,
    /// The fleet key.
    Fleet,
    /// The server's TLS CA.
    Tls,
}

impl CaKey {
    /// As it is typed.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Host => "host",
            Self::Fleet => "fleet",
            Self::Tls => "tls",
        }
    }
}

/// How a replacement goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// By itself, each step as soon as it may be taken.
    #[default]
    Auto,
    /// One step a command.
    Step,
}

/// The CA's own keys, and what a command did with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaKeys {
    /// Every key that there ever was, by purpose and age.
    pub keys: Vec<CaKeyView>,
    /// Replacements that are under way.
    pub rotations: Vec<RotationView>,
    /// What the command did, a sentence each.
    #[serde(default)]
    pub did: Vec<String>,
    /// What it came to on machines that it spoke to.
    #[serde(default)]
    pub machines: Vec<MachineDelivery>,
    /// Is what was asked for not done yet, because somebody has not confirmed it?
    #[serde(default)]
    pub waits: bool,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaKeyView {
    /// Its name: `user_ca`, `user_ca.2`, …
    pub name: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// `next`, `current`, `retiring`, `retired`, `compromised`.
    pub life: String,
    /// When it was made.
    pub made_unix: i64,
    /// Since when it signs.
    pub signs_since_unix: Option<i64>,
    /// When it stopped signing.
    pub signed_until_unix: Option<i64>,
    /// When the last certificate that it signed ends; known once it has stopped signing.
    pub last_expiry_unix: Option<i64>,
    /// When its private half was deleted.
    pub ended_unix: Option<i64>,
    /// How many machines have confirmed that they trust it.
    pub trusted_by: usize,
    /// Of how many.
    pub machines: usize,
    /// Where its private half is: `file`, `agent:…` or `pkcs11:…`; empty where it cannot be reached, or is gone.
    #[serde(default)]
    pub signer: String,
}

/// How a replacement stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationView {
    /// Of which key.
    pub key: CaKey,
    /// By itself, or step by step.
    pub pace: Pace,
    /// What happens now, in a sentence.
    pub stage: String,
    /// Who has not confirmed it.
    pub waits_for: Vec<WaitsFor>,
    /// Machines that are not waited for.
    pub leave_behind: Vec<String>,
    /// Until when this stage lasts at the longest, or at least; absent where it depends on machines alone.
    pub until_unix: Option<i64>,
}

/// Somebody who has not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitsFor {
    /// A machine, or an employee.
    pub who: String,
    /// What is missing there.
    pub why: String,
}
