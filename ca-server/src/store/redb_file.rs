//! The back end on disk: one redb file, open in one process only.

use std::{
    cell::OnceCell,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use redb::{
    Database, DatabaseError, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase,
    ReadableTable, TableDefinition, TableError, backends::FileBackend,
};

pub use super::redb_io::{DiskFaults, DiskOp, DiskOperation, Lasting};
use super::{
    Backend, Batch, Cause, CommitError, Direction, KeyRange, Mark, ReadError, Table, View,
    backend::Visitor,
    redb_io::{Watch, WatchedFile},
};

/// The format that this version writes and reads.
const FORMAT: u64 = 1;

/// redb's cache. Certificates are keyed by random serials: what does not fit here is read from the page cache.
const CACHE_BYTES: usize = 128 * 1024 * 1024;

type Pairs = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The back end's own table: what it must know before it can trust the rest.
const OWN: Pairs = TableDefinition::new("store");
const FORMAT_KEY: &[u8] = b"format";
const MARK_KEY: &[u8] = b"mark";

const fn definition(table: Table) -> Pairs {
    TableDefinition::new(table.name())
}

/// Why a file could not be opened or created as a store.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// `create` where there is a file.
    #[error("{} exists already; nothing was changed", .0.display())]
    Exists(PathBuf),
    /// `open` where there is none.
    #[error("there is no store at {}: run `ca-server init` first", .0.display())]
    Missing(PathBuf),
    /// Others can read it (S6, K2).
    #[error("{} has mode {mode:04o}, so others than its owner may open it; run `chmod 0600 {}` after finding out why", .path.display(), .path.display())]
    TooWide {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a plain file.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Another process has it open.
    #[error("{} is in use by another process: is ca-server running already?", .0.display())]
    InUse(PathBuf),
    /// Not a store, or one whose creation was cut short.
    #[error("{} is not a store of ca-server, or its creation was cut short", .0.display())]
    NotAStore(PathBuf),
    /// Written by another version.
    #[error("{} has format {found}, this version of ca-server reads format {FORMAT}: use the version that wrote it; nothing was changed", .path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u64,
    },
    /// The file could not be read or written.
    #[error("{} cannot be opened: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// redb cannot make sense of the file.
    #[error("{} cannot be opened: {cause}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb said.
        cause: Cause,
    },
}

/// A redb file as back end. Commits are immediate and two-phase (S2).
pub struct RedbBackend {
    path: PathBuf,
    watch: Arc<Watch>,
    /// `None` after an error, until the file is opened afresh.
    database: RwLock<Option<Database>>,
}

/// A flush failed: what is on disk cannot be known any more (S1).
#[derive(Debug, thiserror::Error)]
#[error(
    "flushing {0} to disk failed; what is on it cannot be trusted until the disk was checked and the server restarted"
)]
struct FlushFailed(String);

impl RedbBackend {
    /// Makes a new file with mode 0600.
    ///
    /// # Errors
    /// [`FileError::Exists`] if there is one.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let io = |source| FileError::Io {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
                _ => io(e),
            })?;
        let watch = Arc::new(Watch::default());
        let database = open_database(path, file, &watch)?;
        found_format(&database).map_err(|cause| FileError::Damaged {
            path: path.to_owned(),
            cause,
        })?;
        // The name must survive a power cut as the content does.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            watch,
            database: RwLock::new(Some(database)),
        })
    }

    /// Opens a file that [`Self::create`] made.
    ///
    /// # Errors
    /// See [`FileError`]; nothing is changed then.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_watched(path, Watch::default())
    }

    /// Opens a file whose disk breaks on demand: for tests.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_faults(path: &Path, faults: Arc<DiskFaults>) -> Result<Self, FileError> {
        Self::open_watched(path, Watch::with_faults(faults))
    }

    fn open_watched(path: &Path, watch: Watch) -> Result<Self, FileError> {
        let watch = Arc::new(watch);
        let database = open_existing(path, &watch)?;
        Ok(Self {
            path: path.to_owned(),
            watch,
            database: RwLock::new(Some(database)),
        })
    }

    /// Uses the open database; opens it if an error had closed it.
    ///
    /// The lock is held meanwhile, so that [`Self::close`] finds nobody who still keeps the file open.
    fn with_database<T, E>(
        &self,
        cannot_open: impl FnOnce(FileError) -> E,
        use_it: impl FnOnce(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*open {
            return use_it(database);
        }
        drop(open);
        let mut slot = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Some(database) => use_it(database),
            closed => match open_existing(&self.path, &self.watch) {
                Ok(database) => use_it(closed.insert(database)),
                Err(e) => Err(cannot_open(e)),
            },
        }
    }

    fn close(&self) {
        let mut slot = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = None;
    }

    fn stopped(&self) -> Option<CommitError> {
        self.watch
            .flush_failed()
            .then(|| CommitError::Stopped(Arc::new(FlushFailed(self.path.display().to_string()))))
    }

    fn write(
        &self,
        database: &Database,
        expected: Option<&Mark>,
        batch: &Batch,
    ) -> Result<(), CommitError> {
        let mut txn = database.begin_write().map_err(not_persisted)?;
        txn.set_durability(Durability::Immediate)
            .map_err(not_persisted)?;
        txn.set_two_phase_commit(true);
        {
            let mut own = txn.open_table(OWN).map_err(not_persisted)?;
            let found = own.get(MARK_KEY).map_err(not_persisted)?;
            let found = found.map(|bytes| Mark::from_bytes(bytes.value()));
            if found != expected.map(|mark| Some(*mark)) {
                return Err(CommitError::Conflict);
            }
            own.insert(MARK_KEY, batch.mark.to_bytes().as_slice())
                .map_err(not_persisted)?;
        }
        for changes in batch.changes.chunk_by(|a, b| a.0 == b.0) {
            let mut table = txn
                .open_table(definition(changes[0].0))
                .map_err(not_persisted)?;
            for (_, key, value) in changes {
                match value {
                    Some(value) => table
                        .insert(key.as_slice(), value.as_slice())
                        .map_err(not_persisted)?,
                    None => table.remove(key.as_slice()).map_err(not_persisted)?,
                };
            }
        }
        // From here on an error says nothing about what is on disk.
        txn.commit().map_err(|e| CommitError::Unknown(Arc::new(e)))
    }
}

fn not_persisted(e: impl std::error::Error + Send + Sync + 'static) -> CommitError {
    CommitError::NotPersisted(Arc::new(e))
}

impl Backend for RedbBackend {
    fn snapshot(&self) -> Result<Box<dyn View>, ReadError> {
        let txn = self.with_database(ReadError::backend, |database| {
            database.begin_read().map_err(ReadError::backend)
        })?;
        Ok(Box::new(RedbView {
            txn,
            own: OnceCell::new(),
            tables: std::array::from_fn(|_| OnceCell::new()),
        }))
    }

    fn commit(&self, expected: Option<&Mark>, batch: &Batch) -> Result<(), CommitError> {
        if let Some(stopped) = self.stopped() {
            return Err(stopped);
        }
        let result = self.with_database(not_persisted, |database| {
            self.write(database, expected, batch)
        });
        if let Some(CommitError::Stopped(cause)) = self.stopped() {
            // Whatever redb made of it (it also flushes where it only grows the file): after a failed flush nothing is sure.
            self.close();
            return Err(CommitError::Unknown(cause));
        }
        if let Err(CommitError::NotPersisted(_) | CommitError::Unknown(_)) = &result {
            // redb refuses further writes after an error until the file is opened afresh.
            self.close();
        }
        result
    }

    fn reopen(&self) -> Result<(), CommitError> {
        self.close();
        if let Some(stopped) = self.stopped() {
            return Err(stopped);
        }
        let unknown = |e: Cause| CommitError::Unknown(e);
        self.with_database(|e| unknown(Arc::new(e)), |_| Ok(()))?;
        // What is about to be read may be in the page cache only: a commit found there counts when it is on disk.
        let flushed = File::open(&self.path).and_then(|file| self.watch.flush(|| file.sync_all()));
        match (self.stopped(), flushed) {
            (Some(stopped), _) => Err(stopped),
            (None, Err(e)) => Err(unknown(Arc::new(e))),
            (None, Ok(())) => Ok(()),
        }
    }
}

fn open_existing(path: &Path, watch: &Arc<Watch>) -> Result<Database, FileError> {
    let owned = || path.to_owned();
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing(owned()),
        _ => FileError::Io {
            path: owned(),
            source,
        },
    };
    // Looked at before it is opened: opening a pipe would block.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(FileError::NotAFile(owned()));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::TooWide {
            path: owned(),
            mode,
        });
    }
    if metadata.len() == 0 {
        return Err(FileError::NotAStore(owned()));
    }
    let database = open_database(path, file, watch)?;
    match format_of(&database) {
        Ok(Some(FORMAT)) => Ok(database),
        Ok(Some(found)) => Err(FileError::OtherFormat {
            path: owned(),
            found,
        }),
        Ok(None) => Err(FileError::NotAStore(owned())),
        Err(e) => Err(FileError::Damaged {
            path: owned(),
            cause: Arc::new(e),
        }),
    }
}

fn open_database(path: &Path, file: File, watch: &Arc<Watch>) -> Result<Database, FileError> {
    let path = path.to_owned();
    let opened = FileBackend::new(file).and_then(|file| {
        let watch = Arc::clone(watch);
        Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(WatchedFile { file, watch })
    });
    opened.map_err(|e| match e {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            FileError::InUse(path)
        }
        DatabaseError::Storage(redb::StorageError::Io(e))
            if e.kind() == io::ErrorKind::InvalidData =>
        {
            FileError::NotAStore(path)
        }
        DatabaseError::Storage(redb::StorageError::Io(source)) => FileError::Io { path, source },
        e => FileError::Damaged {
            path,
            cause: Arc::new(e),
        },
    })
}

/// Writes the format into a new file.
fn found_format(database: &Database) -> Result<(), Cause> {
    fn cause(e: impl std::error::Error + Send + Sync + 'static) -> Cause {
        Arc::new(e)
    }
    let mut txn = database.begin_write().map_err(cause)?;
    txn.set_two_phase_commit(true);
    txn.open_table(OWN)
        .map_err(cause)?
        .insert(FORMAT_KEY, FORMAT.to_be_bytes().as_slice())
        .map_err(cause)?;
    txn.commit().map_err(cause)
}

fn format_of(database: &Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(OWN) {
        Ok(own) => {
            let found = own.get(FORMAT_KEY)?;
            Ok(found.and_then(|bytes| bytes.value().try_into().ok().map(u64::from_be_bytes)))
        }
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

type OpenTable = Option<ReadOnlyTable<&'static [u8], &'static [u8]>>;

/// One read transaction (dead once the file is closed or opened afresh); tables are opened at their first use. A table nobody has written does not exist: it is empty.
struct RedbView {
    txn: ReadTransaction,
    own: OnceCell<OpenTable>,
    tables: [OnceCell<OpenTable>; Table::COUNT],
}

impl RedbView {
    fn table<'v>(
        &self,
        cell: &'v OnceCell<OpenTable>,
        definition: Pairs,
    ) -> Result<&'v OpenTable, ReadError> {
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open = match self.txn.open_table(definition) {
            Ok(table) => Some(table),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(e) => return Err(ReadError::backend(e)),
        };
        Ok(cell.get_or_init(|| open))
    }

    fn find(
        &self,
        cell: &OnceCell<OpenTable>,
        definition: Pairs,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, ReadError> {
        match self.table(cell, definition)? {
            Some(table) => {
                let found = table.get(key).map_err(ReadError::backend)?;
                Ok(found.map(|value| value.value().to_vec()))
            }
            None => Ok(None),
        }
    }
}

impl View for RedbView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.find(&self.tables[table.index()], definition(table), key)
    }

    fn visit(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), ReadError> {
        let cell = &self.tables[table.index()];
        let Some(table) = self.table(cell, definition(table))? else {
            return Ok(());
        };
        let mut within = table
            .range::<&[u8]>(range.bounds())
            .map_err(ReadError::backend)?;
        loop {
            let next = match direction {
                Direction::Forward => within.next(),
                Direction::Backward => within.next_back(),
            };
            match next.transpose().map_err(ReadError::backend)? {
                Some((key, value)) if visitor(key.value(), value.value()).is_continue() => {}
                _ => return Ok(()),
            }
        }
    }

    fn mark(&self) -> Result<Option<Mark>, ReadError> {
        let bytes = self.find(&self.own, OWN, MARK_KEY)?;
        Ok(bytes.and_then(|bytes| Mark::from_bytes(&bytes)))
    }
}
