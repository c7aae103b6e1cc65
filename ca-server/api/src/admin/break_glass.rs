//! How the break-glass credentials stand.

use serde::{Deserialize, Serialize};

/// The break-glass keys that this CA ever had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassView {
    /// The newest last.
    pub keys: Vec<BreakGlassKeyView>,
    /// Machines in the CA's keeping.
    pub machines: usize,
    /// Those that have not got the newest configuration yet: what this says may not hold there.
    #[serde(default)]
    pub behind: Vec<String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassKeyView {
    /// `SHA256:…`.
    pub fingerprint: String,
    /// How many shares open it.
    pub needed: u8,
    /// Of how many.
    pub shares: u8,
    /// When it was made.
    pub made_unix: i64,
    /// When it was revoked; absent for the one that machines trust.
    #[serde(default)]
    pub ended_unix: Option<i64>,
}
