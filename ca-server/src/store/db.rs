//! The store as the rest of the server uses it: submit changes, read snapshots.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use rand_core::{OsRng, RngCore};
use tokio::sync::oneshot;

use super::{
    Backend, Batch, Cause, Mark, OpenError, ReadError, Snapshot, StoreError, Table, Txn,
    WriteError,
    job::{Change, Job, Reply},
    read::CA_ID_KEY,
    txn::Revisions,
    writer::Writer,
};
use crate::ledger::{CaId, Head};

/// How much may wait, and how much is committed together.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Changes that may wait for the writer; one more is answered [`StoreError::Busy`].
    pub queue: usize,
    /// Changes that one commit may hold.
    pub group: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 4096,
            group: 256,
        }
    }
}

/// A handle to the open store; clones share it. When the last one is dropped, what waits is committed and the writer ends.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    ca: CaId,
    state: Arc<State>,
    queue: Option<mpsc::SyncSender<Box<dyn Job>>>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer shows to everybody.
#[derive(Default)]
pub(crate) struct State {
    stopped: Mutex<Option<Cause>>,
}

impl State {
    pub(crate) fn stop(&self, cause: &Cause) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.get_or_insert_with(|| Arc::clone(cause));
    }

    pub(crate) fn stopped(&self) -> Option<Cause> {
        self.stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The writer's thread has ended.
#[derive(Debug, thiserror::Error)]
#[error("its writer has ended")]
struct WriterEnded;

impl Db {
    /// Makes the store of a new CA in an empty back end, and opens it.
    ///
    /// # Errors
    /// [`OpenError::NotEmpty`] if there is a CA in it; nothing is changed then.
    pub fn create(backend: Arc<dyn Backend>, ca: CaId) -> Result<Self, OpenError> {
        if Snapshot::of(backend.as_ref())?.mark().is_some() {
            return Err(OpenError::NotEmpty);
        }
        let first = Batch {
            changes: vec![(Table::Internal, CA_ID_KEY.to_vec(), Some(ca.0.to_vec()))],
            mark: Mark {
                id: random_id(),
                commits: 1,
                head: Head::genesis(&ca),
            },
        };
        backend.commit(None, &first)?;
        Self::open(backend)
    }

    /// Opens the store of a CA.
    ///
    /// # Errors
    /// [`OpenError::Empty`] if there is none.
    pub fn open(backend: Arc<dyn Backend>) -> Result<Self, OpenError> {
        Self::open_with(backend, Options::default())
    }

    /// [`Self::open`] with other bounds.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(backend: Arc<dyn Backend>, options: Options) -> Result<Self, OpenError> {
        let ca = Snapshot::of(backend.as_ref())?
            .ca_id()?
            .ok_or(OpenError::Empty)?;
        let state = Arc::new(State::default());
        let (queue, waiting) = mpsc::sync_channel(options.queue);
        let writer = Writer {
            backend: Arc::clone(&backend),
            state: Arc::clone(&state),
            revisions: Revisions::starting_at(OsRng.next_u64()),
            group: options.group.max(1),
        };
        let writer = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(&waiting))?;
        Ok(Self {
            inner: Arc::new(Inner {
                backend,
                ca,
                state,
                queue: Some(queue),
                writer: Some(writer),
            }),
        })
    }

    /// Runs `change` in the writer and returns when it is durable (or what went wrong). Blocks: from async code use
    /// [`Self::write_async`].
    ///
    /// # Errors
    /// [`WriteError::Refused`] with what `change` returned, or [`WriteError::Store`].
    pub fn write<T, E, F>(&self, change: F) -> Result<T, WriteError<E>>
    where
        F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = mpsc::sync_channel(1);
        self.submit(Box::new(Change::new(change, Reply::Thread(reply))))?;
        answer.recv().unwrap_or_else(|_| Err(ended().into()))
    }

    /// Runs `change` in the writer; ready when it is durable. A caller that stops waiting does not take the change back.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_async<T, E, F>(&self, change: F) -> Result<T, WriteError<E>>
    where
        F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.submit(Box::new(Change::new(change, Reply::Task(reply))))?;
        answer.await.unwrap_or_else(|_| Err(ended().into()))
    }

    /// Reads one committed state; holds up no writer.
    ///
    /// # Errors
    /// What `look` returns, or that the store cannot be read.
    pub fn read<T, E: From<ReadError>>(
        &self,
        look: impl FnOnce(&Snapshot) -> Result<T, E>,
    ) -> Result<T, E> {
        look(&self.snapshot()?)
    }

    /// What is committed now.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        Snapshot::of(self.inner.backend.as_ref())
    }

    /// The id of the CA whose store this is.
    #[must_use]
    pub fn ca_id(&self) -> CaId {
        self.inner.ca
    }

    /// Why the store takes no more writes; `None` while it does.
    #[must_use]
    pub fn stopped(&self) -> Option<Cause> {
        self.inner.state.stopped()
    }

    fn submit(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        if let Some(cause) = self.stopped() {
            return Err(StoreError::Stopped(cause));
        }
        let queue = self.inner.queue.as_ref().ok_or_else(ended)?;
        queue.try_send(job).map_err(|e| match e {
            mpsc::TrySendError::Full(_) => StoreError::Busy,
            mpsc::TrySendError::Disconnected(_) => ended(),
        })
    }
}

/// No answer came: the writer is gone, and whether it had committed nobody can say.
fn ended() -> StoreError {
    StoreError::Unknown(Arc::new(WriterEnded))
}

pub(crate) fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    OsRng.fill_bytes(&mut id);
    id
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue = None;
        // The file's lock must be free when the last handle is gone; but a change that holds the last handle is dropped by
        // the writer itself, which cannot wait for its own end.
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != thread::current().id()
        {
            drop(writer.join());
        }
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("ca", &self.inner.ca).finish()
    }
}
