//! The media that the contract runs on, and a few words that all tests use.

use std::{path::PathBuf, sync::Arc};

use ca_server::{
    ledger::{self, Actor, CaId, Event, Head},
    store::{
        Backend, Db, KeyRange, MemoryBackend, Read, ReadError, RedbBackend, Table, Txn, WriteError,
    },
};

pub const CA: CaId = CaId([7; 16]);

/// Where a store lies: it can be opened again after everything that had it open is gone.
pub trait Medium {
    fn new() -> Self;
    fn backend(&self) -> Arc<dyn Backend>;
}

pub struct InMemory(MemoryBackend);

impl Medium for InMemory {
    fn new() -> Self {
        Self(MemoryBackend::default())
    }

    fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.0.clone())
    }
}

pub struct OnDisk(tempfile::TempDir);

impl OnDisk {
    pub fn path(&self) -> PathBuf {
        self.0.path().join("ca.redb")
    }
}

impl Medium for OnDisk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn backend(&self) -> Arc<dyn Backend> {
        let path = self.path();
        if path.exists() {
            Arc::new(RedbBackend::open(&path).unwrap())
        } else {
            Arc::new(RedbBackend::create(&path).unwrap())
        }
    }
}

pub type Written<T> = Result<T, WriteError<ReadError>>;

/// An event that any test may record.
pub fn event(text: &str) -> Event {
    Event::ServerStarted {
        version: text.to_owned(),
    }
}

/// Puts a pair, with its ledger entry.
pub fn put(txn: &mut Txn<'_>, key: &str, value: &str) -> Result<u64, ReadError> {
    txn.put(Table::Meta, key, value);
    Ok(txn.record(1_800_000_000_123, &Actor::Server, &event(key)))
}

pub fn write(db: &Db, key: &'static str, value: &'static str) -> Written<u64> {
    db.write(move |txn| put(txn, key, value))
}

pub fn value(source: &impl Read, key: &str) -> Option<String> {
    let bytes = source.get(Table::Meta, key.as_bytes()).unwrap();
    bytes.map(|bytes| String::from_utf8(bytes).unwrap())
}

/// The ledger is whole, has as many entries as its head says, and is what the database shows.
pub fn whole(db: &Db) -> Head {
    let snapshot = db.snapshot().unwrap();
    let head = ledger::verify_all(&snapshot, &db.ca_id()).unwrap();
    assert_eq!(head, snapshot.head());
    let rows = snapshot.count(Table::Ledger, &KeyRange::all()).unwrap();
    assert_eq!(rows, head.entries);
    head
}

/// Makes a test of each function, on every medium.
macro_rules! on_every_medium {
    ($($test:ident)*) => {
        mod memory { $(#[test] fn $test() { super::$test::<crate::medium::InMemory>(); })* }
        mod redb { $(#[test] fn $test() { super::$test::<crate::medium::OnDisk>(); })* }
    };
}
pub(crate) use on_every_medium;
