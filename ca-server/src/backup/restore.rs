//! `restore`: a backup becomes a data folder, and everything that only rises is raised above what the lost CA may have done since (S7).

use std::{
    io::{BufRead, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use time::OffsetDateTime;

use super::{
    About, BackupError,
    archive::{self, Contents, Taker},
    lock::{Key, Locked},
    verify::ca_id,
};
use crate::{
    config::Config,
    folder::Begun,
    ledger::{self, Head},
    recovery,
    store::{Backend, Batch, Db, Mark, RedbBackend, Table, random_id},
};

/// A commit while rows are put back holds about this much, in bytes.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The store of the new folder as the restore writes it; tests put a back end in between that kills the process at a commit.
pub type Medium<'m> = &'m dyn Fn(RedbBackend) -> Arc<dyn Backend>;

/// The store on disk, as it is.
#[must_use]
pub fn plain(store: RedbBackend) -> Arc<dyn Backend> {
    Arc::new(store)
}

/// What was put back.
#[derive(Debug)]
pub struct Restored {
    /// The folder.
    pub data: PathBuf,
    /// What was in the backup.
    pub contents: Contents,
    /// The instance epoch from now on.
    pub instance_epoch: u32,
    /// Machines whose KRL is read back before anything is brought to them.
    pub machines: usize,
}

/// Opens a backup and puts it into `root`.
///
/// # Errors
/// See [`restore`].
pub fn locked<R: BufRead>(
    backup: Locked<R>,
    key: &Key,
    root: &Path,
    now: OffsetDateTime,
) -> Result<Restored, BackupError> {
    restore(backup.unlock(key)?, root, now, &plain)
}

/// Puts the archive that `input` gives into `root`, which must not exist, be empty, or be what a killed restore left.
///
/// # Errors
/// See [`BackupError`]; what was begun is taken away again.
pub fn restore(
    input: impl Read,
    root: &Path,
    now: OffsetDateTime,
    medium: Medium<'_>,
) -> Result<Restored, BackupError> {
    let existed = root.exists();
    let begun = Begun::begin(root)?;
    match fill(&begun, input, now, medium) {
        Ok((contents, started)) => {
            let folder = begun.seal()?;
            Ok(Restored {
                data: folder.root().to_owned(),
                contents,
                instance_epoch: started.instance_epoch,
                machines: started.machines,
            })
        }
        Err(error) => {
            if let Err(left) = begun.abandon() {
                tracing::warn!(error = %left, "what the restore began could not be taken away; the next one does");
            } else if !existed {
                drop(std::fs::remove_dir(root));
            }
            Err(error)
        }
    }
}

fn fill(
    begun: &Begun,
    input: impl Read,
    now: OffsetDateTime,
    medium: Medium<'_>,
) -> Result<(Contents, recovery::Started), BackupError> {
    let folder = begun.folder();
    let store = RedbBackend::create(&folder.store()).map_err(store_error)?;
    let backend = medium(store);
    let mut load = Load {
        begun,
        backend: Arc::clone(&backend),
        about: None,
        mark: None,
        batch: Vec::new(),
        bytes: 0,
    };
    let contents = archive::read(input, &mut load)?;
    load.finish()?;
    drop(load);
    let about = &contents.manifest.about;
    let ca = ca_id(about)?;
    let db = Db::open(backend).map_err(store_error)?;
    if db.ca_id() != ca {
        return Err(BackupError::Damaged(
            "its store belongs to another CA".to_owned(),
        ));
    }
    // What lies on the disk now, not what came by.
    let snapshot = db.snapshot().map_err(store_error)?;
    ledger::verify_all(&snapshot, &ca).map_err(|error| BackupError::Ledger(error.to_string()))?;
    drop(snapshot);
    let config =
        Config::read(&folder.config()).map_err(|error| BackupError::Damaged(error.to_string()))?;
    let beginning = recovery::Beginning {
        now,
        made_unix: about.made_unix,
        entries: about.head.entries,
        ca_keys: recovery::ca_keys(folder)?,
        last_uid: config.sync.uids[1],
        manifest: String::from_utf8_lossy(&contents.manifest_json).into_owned(),
        signature: contents.signature.clone(),
    };
    let started = db
        .write(move |txn| recovery::begin(txn, &beginning))
        .map_err(store_error)?;
    drop(db);
    Ok((contents, started))
}

fn store_error(error: impl std::fmt::Display) -> BackupError {
    BackupError::Store(error.to_string())
}

/// Writes what comes into the folder that was begun.
struct Load<'b> {
    begun: &'b Begun,
    backend: Arc<dyn Backend>,
    about: Option<About>,
    mark: Option<Mark>,
    batch: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
    bytes: usize,
}

impl Load<'_> {
    fn commit(&mut self, head: Head, commits: u64) -> Result<(), BackupError> {
        let mark = Mark {
            id: random_id(),
            commits,
            head,
        };
        let batch = Batch {
            changes: std::mem::take(&mut self.batch),
            mark,
        };
        self.bytes = 0;
        self.backend
            .commit(self.mark.as_ref(), &batch)
            .map_err(store_error)?;
        self.mark = Some(mark);
        Ok(())
    }

    /// The last rows, with the mark that the store had.
    fn finish(&mut self) -> Result<(), BackupError> {
        let about = self
            .about
            .take()
            .ok_or_else(|| BackupError::Damaged("it is cut off".to_owned()))?;
        self.commit(about.head, about.commits)
    }
}

impl Taker for Load<'_> {
    fn about(&mut self, about: &About) -> Result<(), BackupError> {
        self.about = Some(about.clone());
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        Ok(self.begun.folder().write(name, bytes)?)
    }

    fn row(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        self.bytes += key.len() + value.len();
        self.batch.push((table, key.to_vec(), Some(value.to_vec())));
        if self.bytes >= BATCH_BYTES {
            // Nothing counts yet: the mark of the first commits is that of an empty ledger.
            let commits = self.mark.map_or(1, |mark| mark.commits + 1);
            self.commit(Head::NONE, commits)?;
        }
        Ok(())
    }
}
