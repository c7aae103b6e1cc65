//! Reading the chain back: whether every entry is there, in order, as it was written (S3).

use std::ops::ControlFlow;

use super::{CaId, Head, entry::Link};
use crate::store::{Direction, KeyRange, Read, ReadError, Table};

/// Where the chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is broken at entry {seq}: {what}")]
pub struct ChainError {
    /// The first entry that is not as it was.
    pub seq: u64,
    /// What is wrong with it.
    pub what: ChainFault,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// The entry is not there, but a later one is.
    #[error("it is missing")]
    Missing,
    /// The entry is not there, and the ledger was once longer.
    #[error("the ledger ends before it, and was longer once")]
    Truncated,
    /// The entry's bytes are not those that were written.
    #[error("it was changed")]
    Changed,
    /// The entry stands at another place than it was written for.
    #[error("it belongs to another place")]
    Misplaced,
    /// The entry is there, but the store's own mark does not know of it.
    #[error("it was added behind the ledger's end")]
    Added,
}

/// Why the ledger is not verified.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VerifyError {
    /// The store could not be read: nothing is known about the ledger.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger is not as it was written.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Verifies the whole ledger of `ca` and returns its head.
///
/// # Errors
/// [`VerifyError::Chain`] with the first entry that is not as it was.
pub fn verify_all(source: &impl Read, ca: &CaId) -> Result<Head, VerifyError> {
    verify(source, &Head::genesis(ca))
}

/// Verifies that the ledger still contains `from` (a head known from before, or [`Head::genesis`]), and everything after
/// it, up to the store's mark; returns the head. Reads one entry after another and holds one in memory.
///
/// # Errors
/// [`VerifyError::Chain`] with the first entry that is not as it was.
pub fn verify(source: &impl Read, from: &Head) -> Result<Head, VerifyError> {
    let end = source.head();
    let broken = |seq, what| Err(VerifyError::Chain(ChainError { seq, what }));
    if end.entries < from.entries {
        return broken(end.entries + 1, ChainFault::Truncated);
    }
    // The entry that `from` ends with is read again: its bytes must still give that hash.
    let mut head = *from;
    let mut first = from.entries + 1;
    if from.entries > 0 {
        match source.get(Table::Ledger, &from.entries.to_be_bytes())? {
            None => return broken(from.entries, ChainFault::Missing),
            Some(bytes) => {
                let before = match serde_json::from_slice::<Link>(&bytes) {
                    Ok(link) if link.seq == from.entries => Head {
                        entries: from.entries - 1,
                        hash: link.prev,
                    },
                    Ok(_) => return broken(from.entries, ChainFault::Misplaced),
                    Err(_) => return broken(from.entries, ChainFault::Changed),
                };
                if before.after(&bytes) != *from {
                    return broken(from.entries, ChainFault::Changed);
                }
            }
        }
    } else {
        // Nothing may stand before the first entry.
        first = 0;
    }
    let mut fault = None;
    let range = KeyRange::since(first.to_be_bytes());
    source.visit(
        Table::Ledger,
        &range,
        Direction::Forward,
        &mut |key, bytes| match step(&head, &end, key, bytes) {
            Ok(next) => {
                head = next;
                ControlFlow::Continue(())
            }
            Err(e) => {
                fault = Some(e);
                ControlFlow::Break(())
            }
        },
    )?;
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    if head.entries < end.entries {
        return broken(head.entries + 1, ChainFault::Truncated);
    }
    if head != end {
        return broken(head.entries, ChainFault::Changed);
    }
    Ok(head)
}

/// Verifies a ledger whose entries come one after another, from the first on.
pub struct Chain {
    head: Head,
    end: Head,
}

impl Chain {
    /// Of `ca`'s ledger, which must end with `end`.
    #[must_use]
    pub fn new(ca: &CaId, end: Head) -> Self {
        Self {
            head: Head::genesis(ca),
            end,
        }
    }

    /// The next entry, as it is stored.
    ///
    /// # Errors
    /// When it is not the one that was written there.
    pub fn entry(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), ChainError> {
        self.head = step(&self.head, &self.end, key, bytes)?;
        Ok(())
    }

    /// That was all.
    ///
    /// # Errors
    /// When entries are missing at the end, or the last one is not as it was.
    pub fn finish(self) -> Result<(), ChainError> {
        let (seq, what) = match self.head.entries {
            entries if entries < self.end.entries => (entries + 1, ChainFault::Truncated),
            entries if self.head != self.end => (entries, ChainFault::Changed),
            _ => return Ok(()),
        };
        Err(ChainError { seq, what })
    }
}

/// The head after the entry `bytes` under `key`, which must be the one after `head`.
fn step(head: &Head, end: &Head, key: &[u8], bytes: &[u8]) -> Result<Head, ChainError> {
    let seq = head.entries + 1;
    let broken = |seq, what| Err(ChainError { seq, what });
    let Ok(place) = key.try_into().map(u64::from_be_bytes) else {
        return broken(seq, ChainFault::Misplaced);
    };
    if place != seq {
        return if place > end.entries || place == 0 {
            broken(place, ChainFault::Added)
        } else {
            broken(seq, ChainFault::Missing)
        };
    }
    if seq > end.entries {
        return broken(seq, ChainFault::Added);
    }
    let Ok(link) = serde_json::from_slice::<Link>(bytes) else {
        return broken(seq, ChainFault::Changed);
    };
    if link.seq != seq {
        return broken(seq, ChainFault::Misplaced);
    }
    if link.prev != head.hash {
        // This entry names the hash that the one before had when it was written: so that one was changed, unless it
        // is the point we began at and trust; then it is this one.
        return broken(head.entries.max(1), ChainFault::Changed);
    }
    Ok(head.after(bytes))
}
