//! The file under redb, watched: whether a flush ever failed (S1), and faults on demand for tests.

use std::{
    fs::File,
    io,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use redb::{BackendError, StorageBackend, backends::FileBackend};

/// What is known of a file's input and output, across reopens.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    flush_failed: AtomicBool,
    faults: Arc<DiskFaults>,
}

impl Watch {
    pub(crate) fn with_faults(faults: Arc<DiskFaults>) -> Self {
        Self {
            flush_failed: AtomicBool::new(false),
            faults,
        }
    }

    pub(crate) fn flush_failed(&self) -> bool {
        self.flush_failed.load(Ordering::SeqCst)
    }

    /// Flushes `file` and remembers a failure.
    pub(crate) fn flush(&self, file: &File) -> io::Result<()> {
        self.flushed(
            self.faults
                .strike(Operation::Flush)
                .and_then(|()| file.sync_all()),
        )
    }

    fn flushed(&self, result: io::Result<()>) -> io::Result<()> {
        if result.is_err() {
            self.flush_failed.store(true, Ordering::SeqCst);
        }
        result
    }
}

/// Breaks the disk of a [`super::RedbBackend`] on demand: an instrument for tests.
#[derive(Debug)]
pub struct DiskFaults {
    countdown: AtomicU64,
    seen: AtomicU64,
    lasting: AtomicBool,
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self {
            countdown: AtomicU64::new(NEVER),
            seen: AtomicU64::new(0),
            lasting: AtomicBool::new(false),
        }
    }
}

const NEVER: u64 = u64::MAX;

/// How long a fault on demand lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// One operation fails.
    Once,
    /// Every operation fails from then on, until [`DiskFaults::mend`].
    UntilMended,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Write,
    Resize,
    Flush,
}

impl DiskFaults {
    /// Lets `good` more operations that change the disk (write, resize, flush) through, and fails the next.
    pub fn fail_after(&self, good: u64, lasting: Lasting) {
        self.lasting
            .store(lasting == Lasting::UntilMended, Ordering::SeqCst);
        self.countdown.store(good, Ordering::SeqCst);
    }

    /// No more faults.
    pub fn mend(&self) {
        self.countdown.store(NEVER, Ordering::SeqCst);
    }

    /// Whether a fault is still to come.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.countdown.load(Ordering::SeqCst) != NEVER
    }

    /// How many operations were tried that change the disk.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    fn strike(&self, operation: Operation) -> io::Result<()> {
        self.seen.fetch_add(1, Ordering::SeqCst);
        match self.countdown.load(Ordering::SeqCst) {
            NEVER => return Ok(()),
            0 => {}
            left => {
                self.countdown.store(left - 1, Ordering::SeqCst);
                return Ok(());
            }
        }
        if !self.lasting.load(Ordering::SeqCst) {
            self.mend();
        }
        Err(io::Error::other(format!("fault on demand: {operation:?}")))
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
        self.watch.faults.strike(Operation::Resize)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let result = self
            .watch
            .faults
            .strike(Operation::Flush)
            .and_then(|()| self.file.sync_data());
        self.watch.flushed(result)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.watch.faults.strike(Operation::Write)?;
        self.file.write(offset, data)
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
