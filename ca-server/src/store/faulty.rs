//! A back end for tests whose commits fail on demand, each in both ways: without having saved, and having saved.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Backend, Batch, CommitError, Mark, ReadError, View};

/// What happens to one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the commit goes through.
    None,
    /// Not saved, and the back end says so.
    NotPersisted,
    /// Not saved, but the back end does not know.
    Lost,
    /// Saved, but the back end does not know.
    PersistedButErrored,
    /// Not saved; the back end does not know, and cannot be read to find out.
    LostAndBlind,
    /// Saved; the back end does not know, and cannot be read to find out.
    PersistedAndBlind,
    /// The flush failed: not saved as far as can be seen, and the back end has stopped (S1).
    FlushFailed,
}

/// Wraps a back end and breaks its commits as told.
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    script: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    next: VecDeque<Fault>,
    blind: bool,
    stopped: bool,
    commits: u64,
}

/// The error that a test asked for.
#[derive(Debug, thiserror::Error)]
#[error("fault on demand: {0:?}")]
struct OnDemand(Fault);

impl FaultyBackend {
    /// `inner`, without faults so far.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            script: Mutex::default(),
        }
    }

    /// The faults of the next commits, in order; later ones go through.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script().next.extend(faults);
    }

    /// How many commits were tried.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.script().commits
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for FaultyBackend {
    fn snapshot(&self) -> Result<Box<dyn View>, ReadError> {
        // Blind once: the look after the unknown commit fails, later ones see again.
        if std::mem::take(&mut self.script().blind) {
            return Err(ReadError::backend(OnDemand(Fault::LostAndBlind)));
        }
        self.inner.snapshot()
    }

    fn commit(&self, expected: Option<&Mark>, batch: &Batch) -> Result<(), CommitError> {
        let fault = {
            let mut script = self.script();
            if script.stopped {
                return Err(CommitError::Stopped(Arc::new(OnDemand(Fault::FlushFailed))));
            }
            script.commits += 1;
            let fault = script.next.pop_front().unwrap_or(Fault::None);
            script.blind = matches!(fault, Fault::LostAndBlind | Fault::PersistedAndBlind);
            script.stopped = fault == Fault::FlushFailed;
            fault
        };
        let cause = Arc::new(OnDemand(fault));
        match fault {
            Fault::None => self.inner.commit(expected, batch),
            Fault::NotPersisted => Err(CommitError::NotPersisted(cause)),
            Fault::Lost | Fault::LostAndBlind | Fault::FlushFailed => {
                Err(CommitError::Unknown(cause))
            }
            Fault::PersistedButErrored | Fault::PersistedAndBlind => {
                self.inner.commit(expected, batch)?;
                Err(CommitError::Unknown(cause))
            }
        }
    }

    fn reopen(&self) -> Result<(), CommitError> {
        if self.script().stopped {
            return Err(CommitError::Stopped(Arc::new(OnDemand(Fault::FlushFailed))));
        }
        self.inner.reopen()
    }
}
