//! What can go wrong with the store, by what the caller may believe afterwards.

use std::sync::Arc;

use super::Table;

/// What a back end reported; shared, because one failed commit answers many callers.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A read that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The back end could not read.
    #[error("the store cannot be read: {0}; see the server's disk and log")]
    Backend(Cause),
    /// Bytes are there, but are not what this version writes.
    #[error(
        "a value in table {table} cannot be understood: {cause}; was it written by another version?"
    )]
    Decode {
        /// The table.
        table: Table,
        /// What the decoder said.
        cause: Cause,
    },
}

impl ReadError {
    /// A back end's error.
    pub fn backend(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Backend(Arc::new(cause))
    }

    /// A value of `table` that cannot be decoded.
    pub fn decode(table: Table, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Decode {
            table,
            cause: Arc::new(cause),
        }
    }
}

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The queue is full; nothing happened.
    #[error("the CA is busy; try again in a moment")]
    Busy,
    /// The store takes no more writes, after a failure it cannot judge (S1) or because it was closed; nothing happened.
    #[error("the store has stopped: {0}; the server must be restarted")]
    Stopped(Cause),
    /// Nothing of the change is in the store.
    #[error("the change was not saved: {0}; nothing was changed")]
    NotPersisted(Cause),
    /// The change may or may not be in the store: treat it as done where that is the safe side, and as not done where that is (I6).
    #[error("it is not known whether the change was saved: {0}")]
    Unknown(Cause),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The change would have altered state without a ledger entry: a bug of the caller; nothing happened.
    #[error(
        "a change of table {0} carried no ledger entry; nothing was changed (please report this)"
    )]
    Unrecorded(Table),
    /// The change wrote a table that is not its to write; a bug of the caller; nothing happened.
    #[error("table {0} may not be written like this; nothing was changed (please report this)")]
    Forbidden(Table),
    /// The change panicked; nothing happened.
    #[error("the change failed inside; nothing was changed (please report this)")]
    Panicked,
}

/// Why [`super::Db::write`] returned no value.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError<E> {
    /// The change itself said no; nothing of it is in the store.
    #[error(transparent)]
    Refused(E),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a store could not be opened or created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `open` of a store that holds nothing.
    #[error("the store is empty: run `ca-server init` first")]
    Empty,
    /// `create` of a store that holds something.
    #[error("the store holds a CA already; nothing was changed")]
    NotEmpty,
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The first commit failed.
    #[error("the store cannot be written: {0}")]
    Commit(#[from] super::CommitError),
    /// The writer's thread could not be started.
    #[error("the store's writer cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}
