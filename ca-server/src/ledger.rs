//! The ledger: what happened, in order, each entry chained to the one before by SHA-256, so that an edit, a gap, a
//! reordering or a truncation shows (S3).
//!
//! Entry *n* is stored as JSON bytes; its hash is `SHA-256(hash of entry n-1 ‖ bytes)`, and the hash before the first
//! entry is bound to the CA's id. What is hashed is what is stored: nothing is ever serialised again to be checked.

pub mod entry;
pub mod event;
pub mod export;
pub mod text;
pub mod verify;
pub mod words;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use entry::{Actor, Entry, find, recent};
pub use event::{CertificateKind, Event, RevokedWhat};
pub use export::{ExportError, SignedHead};
pub use text::printable;
pub use verify::{Chain, ChainError, ChainFault, VerifyError, verify, verify_all};

/// The id of one CA, drawn once at `init`: two CAs' ledgers cannot be exchanged for each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaId(pub [u8; 16]);

/// The end of the ledger: how many entries, and the hash over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How many entries; also the sequence number of the last one.
    pub entries: u64,
    /// The hash of the last entry.
    #[serde(with = "text::hex32")]
    pub hash: [u8; 32],
}

impl Head {
    /// Of a store that belongs to no CA yet.
    pub(crate) const NONE: Self = Self {
        entries: 0,
        hash: [0; 32],
    };

    /// Before the first entry of `ca`.
    #[must_use]
    pub fn genesis(ca: &CaId) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"ssh-ca ledger 1\0");
        hash.update(ca.0);
        Self {
            entries: 0,
            hash: hash.finalize().into(),
        }
    }

    /// After one more entry, stored as `bytes`.
    #[must_use]
    pub fn after(&self, bytes: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(bytes);
        Self {
            entries: self.entries + 1,
            hash: hash.finalize().into(),
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries, {}", self.entries, text::hex(&self.hash))
    }
}

impl fmt::Display for CaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::hex(&self.0))
    }
}

impl fmt::Debug for CaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaId({self})")
    }
}
