//! What the store asks of a back end: few verbs, and a durability contract in prose.

use std::ops::ControlFlow;

use super::{Cause, ReadError, Table};
use crate::ledger::Head;

/// Keeps bytes in named tables.
///
/// # The contract
///
/// 1. **Atomic.** After [`commit`](Self::commit), whatever happened, either everything of a batch (its mark included) is
///    in the store or nothing is.
/// 2. **Durable.** When `commit` returns `Ok`, the batch survives `kill -9`, a power cut and a full disk from then on, as far
///    as the medium keeps what it acknowledged. Nobody may be told of a change before.
/// 3. **Compare and swap.** A batch goes in only if the store's mark is still the `expected` one: otherwise
///    [`CommitError::Conflict`], nothing changed. So two writers cannot both extend the same ledger head.
/// 4. **Honest about doubt.** [`CommitError::NotPersisted`] is a promise that nothing of the batch will ever appear.
///    Whoever cannot promise it says [`CommitError::Unknown`]; then [`reopen`](Self::reopen) and the mark tell which it was.
/// 5. **A failed flush is final (S1).** The kernel may have dropped the dirty pages and call the next flush a success. A back
///    end that saw one answers every later `commit` and `reopen` with `Stopped`; reading back cannot settle the doubt either.
/// 6. **Consistent reads.** A view shows one committed state, whatever is committed meanwhile, and holds up no writer.
pub trait Backend: Send + Sync {
    /// A consistent view of what is committed now.
    ///
    /// # Errors
    /// If the medium cannot be read.
    fn snapshot(&self) -> Result<Box<dyn View>, ReadError>;

    /// Puts `batch` in, if the mark is still `expected` (`None`: the store is empty).
    ///
    /// # Errors
    /// See [`CommitError`]: the variant says what may be believed.
    fn commit(&self, expected: Option<&Mark>, batch: &Batch) -> Result<(), CommitError>;

    /// After [`CommitError::Unknown`]: drops what is held in memory and looks at the medium afresh.
    ///
    /// # Errors
    /// [`CommitError::Stopped`] if what is read could not be trusted, [`CommitError::Unknown`] if it cannot be read now.
    fn reopen(&self) -> Result<(), CommitError>;
}

/// One committed state.
pub trait View: Send {
    /// The value under `key`.
    ///
    /// # Errors
    /// If the medium cannot be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;

    /// Shows the pairs of `range` to `visitor`, in the order of `direction`, until it breaks.
    ///
    /// # Errors
    /// If the medium cannot be read.
    fn visit(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), ReadError>;

    /// The mark of the last commit; `None` if there was none.
    ///
    /// # Errors
    /// If the medium cannot be read.
    fn mark(&self) -> Result<Option<Mark>, ReadError>;
}

/// Sees one pair after another.
pub type Visitor<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// What one commit changes: everything or nothing.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Puts (`Some`) and deletes (`None`), at most one for each key, keys of one table in order.
    pub changes: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
    /// The mark afterwards.
    pub mark: Mark,
}

/// The mark of a commit: which it was, and the ledger's head with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Random, so that a writer recognises its own commit after an unknown outcome, also one without a ledger entry.
    pub id: [u8; 16],
    /// Commits so far, this one included.
    pub commits: u64,
    /// The ledger's head after the commit.
    pub head: Head,
}

impl Mark {
    /// The mark as 64 bytes: id, commits, entries (big endian), hash.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..16].copy_from_slice(&self.id);
        bytes[16..24].copy_from_slice(&self.commits.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.head.entries.to_be_bytes());
        bytes[32..].copy_from_slice(&self.head.hash);
        bytes
    }

    /// The inverse of [`Self::to_bytes`]; `None` if there are not 64.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 64] = bytes.try_into().ok()?;
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (commits, rest) = rest.split_first_chunk::<8>()?;
        let (entries, hash) = rest.split_first_chunk::<8>()?;
        Some(Self {
            id: *id,
            commits: u64::from_be_bytes(*commits),
            head: Head {
                entries: u64::from_be_bytes(*entries),
                hash: hash.try_into().ok()?,
            },
        })
    }
}

/// Why a commit did not succeed, by what may be believed afterwards.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// Somebody else committed first; nothing of the batch is in the store.
    #[error("another writer was first")]
    Conflict,
    /// Nothing of the batch is in the store, nor will it appear.
    #[error("not saved: {0}")]
    NotPersisted(Cause),
    /// The batch may be in the store or not; [`Backend::reopen`] and look at the mark.
    #[error("it is not known whether it was saved: {0}")]
    Unknown(Cause),
    /// The back end takes no more writes; nothing of the batch is in the store.
    #[error("the store has stopped: {0}")]
    Stopped(Cause),
}

/// Which end of a range comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Rising keys.
    Forward,
    /// Falling keys.
    Backward,
}

/// Keys from one (included) until another (not included).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    pub(crate) from: Vec<u8>,
    pub(crate) until: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self::since([])
    }

    /// `from` and every later key.
    #[must_use]
    pub fn since(from: impl Into<Vec<u8>>) -> Self {
        Self {
            from: from.into(),
            until: None,
        }
    }

    /// Keys before `until`.
    #[must_use]
    pub fn before(until: impl Into<Vec<u8>>) -> Self {
        Self::between([], until)
    }

    /// `from` and later keys, before `until`.
    #[must_use]
    pub fn between(from: impl Into<Vec<u8>>, until: impl Into<Vec<u8>>) -> Self {
        Self {
            from: from.into(),
            until: Some(until.into()),
        }
    }

    /// Keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let from = prefix.into();
        let mut until = from.clone();
        while until.last() == Some(&u8::MAX) {
            until.pop();
        }
        if let Some(last) = until.last_mut() {
            *last += 1;
        }
        let until = (!until.is_empty()).then_some(until);
        Self { from, until }
    }

    /// Whether no key can be in it: from at or after until.
    pub(crate) fn is_empty(&self) -> bool {
        self.until.as_ref().is_some_and(|until| *until <= self.from)
    }

    /// As bounds over byte slices.
    pub(crate) fn bounds(&self) -> (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        (
            Included(self.from.as_slice()),
            self.until.as_deref().map_or(Unbounded, Excluded),
        )
    }
}
