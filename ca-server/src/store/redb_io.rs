//! The file under redb, watched: whether a flush ever failed (S1), and faults on demand for tests.

use std::{
    io,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{BackendError, StorageBackend, backends::FileBackend};

/// What is known of a file's input and output, across reopens.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    flush_failed: AtomicBool,
    faults: Option<Arc<DiskFaults>>,
}

impl Watch {
    pub(crate) fn with_faults(faults: Arc<DiskFaults>) -> Self {
        Self {
            flush_failed: AtomicBool::new(false),
            faults: Some(faults),
        }
    }

    pub(crate) fn flush_failed(&self) -> bool {
        self.flush_failed.load(Ordering::SeqCst)
    }

    /// Does `flush` and remembers a failure.
    pub(crate) fn flush(&self, flush: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let result = self.pass(DiskOperation::Flush, || DiskOp::Flush, flush);
        if result.is_err() {
            self.flush_failed.store(true, Ordering::SeqCst);
        }
        result
    }

    fn pass(
        &self,
        operation: DiskOperation,
        record: impl FnOnce() -> DiskOp,
        run: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        match &self.faults {
            Some(faults) => faults.pass(operation, record, run),
            None => run(),
        }
    }
}

/// Breaks the disk of a [`super::RedbBackend`] on demand, and records what is done to it: an instrument for tests.
#[derive(Debug, Default)]
pub struct DiskFaults {
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    /// Operations that go through before the next fault.
    good: Option<u64>,
    lasting: bool,
    struck: Option<DiskOperation>,
    operations: u64,
    log: Option<Vec<DiskOp>>,
}

/// How long a fault on demand lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// One operation fails.
    Once,
    /// Every operation fails from then on, until [`DiskFaults::mend`].
    UntilMended,
}

/// An operation that changes the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOperation {
    /// Bytes were written.
    Write,
    /// The file's length was set.
    Resize,
    /// What was written was flushed.
    Flush,
}

/// A recorded operation that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskOp {
    /// These bytes at this offset.
    Write(u64, Vec<u8>),
    /// This length in bytes.
    Resize(u64),
    /// Everything before is on the medium.
    Flush,
}

impl DiskFaults {
    /// Lets `good` more operations through, and fails the next.
    pub fn fail_after(&self, good: u64, lasting: Lasting) {
        let mut script = self.script();
        script.good = Some(good);
        script.lasting = lasting == Lasting::UntilMended;
    }

    /// No more faults.
    pub fn mend(&self) {
        self.script().good = None;
    }

    /// The first operation that was failed.
    #[must_use]
    pub fn struck(&self) -> Option<DiskOperation> {
        self.script().struck
    }

    /// How many operations were tried.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.script().operations
    }

    /// Records from now on.
    pub fn record(&self) {
        self.script().log.get_or_insert_default();
    }

    /// What was recorded.
    #[must_use]
    pub fn recorded(&self) -> Vec<DiskOp> {
        self.script().log.clone().unwrap_or_default()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `operation`, unless it is its turn to fail.
    fn pass(
        &self,
        operation: DiskOperation,
        record: impl FnOnce() -> DiskOp,
        run: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut script = self.script();
        script.operations += 1;
        match script.good {
            Some(0) => {
                if !script.lasting {
                    script.good = None;
                }
                script.struck.get_or_insert(operation);
                return Err(io::Error::other(format!("fault on demand: {operation:?}")));
            }
            Some(good) => script.good = Some(good - 1),
            None => {}
        }
        run()?;
        if let Some(log) = &mut script.log {
            log.push(record());
        }
        Ok(())
    }
}

/// redb's file, with every operation that changes the disk watched.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    pub(crate) file: FileBackend,
    pub(crate) watch: Arc<Watch>,
}

impl StorageBackend for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let record = || DiskOp::Resize(len);
        self.watch
            .pass(DiskOperation::Resize, record, || self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.flush(|| self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let record = || DiskOp::Write(offset, data.to_vec());
        self.watch.pass(DiskOperation::Write, record, || {
            self.file.write(offset, data)
        })
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
