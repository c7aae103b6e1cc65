//! The store: state and ledger of the CA, changed in one commit at a time, by one writer, durably.
//!
//! Rooms, from the bottom: a [`Backend`] keeps bytes in named tables and promises durability ([`MemoryBackend`] for tests,
//! [`RedbBackend`] on disk); a [`Txn`] is what one change sees and writes; [`Db`] runs the changes that wait, one after
//! another, and commits them together (one flush to disk for many requests). Nothing here knows what the values mean.

pub mod backend;
pub mod cached;
pub mod db;
pub mod error;
pub mod faulty;
mod job;
pub mod memory;
pub mod read;
pub mod redb_file;
mod redb_io;
pub mod table;
pub mod txn;
mod writer;

pub use backend::{Backend, Batch, CommitError, Direction, KeyRange, Mark, View};
pub use cached::Cached;
pub(crate) use db::random_id;
pub use db::{Db, Options};
pub use error::{Cause, OpenError, ReadError, StoreError, WriteError};
pub use faulty::{Fault, FaultyBackend};
pub use memory::MemoryBackend;
pub use read::{Pair, Read, Snapshot};
pub use redb_file::{DiskFaults, DiskOp, DiskOperation, FileError, Lasting, RedbBackend};
pub use table::{Revision, Table, TableGroup};
pub use txn::{Txn, Unrecorded};
