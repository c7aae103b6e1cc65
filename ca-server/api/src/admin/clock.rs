//! How the CA's clock stands.

use serde::{Deserialize, Serialize};

/// Whether the wall clock of the CA's host is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockView {
    /// Is it? Otherwise nothing is signed.
    pub steady: bool,
    /// The time that the CA goes by, in seconds since 1970.
    pub now_unix: i64,
    /// What the wall clock shows, in seconds since 1970.
    pub wall_unix: i64,
    /// What is wrong, as the middle of a sentence; empty where it is steady.
    #[serde(default)]
    pub doubt: String,
    /// How far it is off, in seconds; negative where it is behind.
    #[serde(default)]
    pub by_secs: i64,
}
