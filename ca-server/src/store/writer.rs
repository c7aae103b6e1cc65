//! The one writer: takes what waits, runs it against one state, commits it together, answers everybody.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rand_core::{OsRng, RngCore};

use super::{
    Backend, Batch, Cause, CommitError, Mark, Snapshot, StoreError,
    db::{State, random_id},
    job::Job,
    txn::{Overlay, Revisions, Txn},
};

/// How often a group is run again because another replica was first.
const CONFLICTS_MAX: u32 = 32;

pub(crate) struct Writer {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) state: Arc<State>,
    pub(crate) revisions: Revisions,
    pub(crate) group: usize,
}

/// Other replicas were first every time.
#[derive(Debug, thiserror::Error)]
#[error("other writers were first {CONFLICTS_MAX} times")]
struct Crowded;

/// A store that lost its mark.
#[derive(Debug, thiserror::Error)]
#[error("its mark is gone")]
struct MarkGone;

impl Writer {
    /// Works until nobody can submit any more and everything submitted is answered.
    pub(crate) fn run(self, waiting: &mpsc::Receiver<Box<dyn Job>>) {
        while let Ok(first) = waiting.recv() {
            let mut jobs = vec![first];
            // Whatever came while the last group was flushed goes together: the busier, the larger the groups.
            jobs.extend(waiting.try_iter().take(self.group - 1));
            let committed = self.commit(&mut jobs);
            // Answers only now: a refusal too may rest on what an earlier change of the group wrote.
            for job in jobs {
                job.answer(committed.clone());
            }
        }
    }

    fn commit(&self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        if let Some(cause) = self.state.stopped() {
            return Err(StoreError::Stopped(cause));
        }
        for conflicts in 0..CONFLICTS_MAX {
            if conflicts > 0 {
                // Two writers in step would make each other late for ever.
                let span = 1 << conflicts.min(5);
                thread::sleep(Duration::from_micros(OsRng.next_u64() % (span * 1000)));
            }
            let base = Snapshot::of(self.backend.as_ref())?;
            let before = *base
                .mark()
                .ok_or_else(|| self.stop(&(Arc::new(MarkGone) as Cause)))?;
            let mut writes = Overlay::default();
            let mut head = before.head;
            for job in jobs.iter_mut() {
                if let Some(left) = job.run(Txn::new(&base, &writes, head, &self.revisions)) {
                    writes.absorb(left.writes);
                    head = left.head;
                }
            }
            drop(base);
            if writes.is_empty() {
                return Ok(());
            }
            let batch = Batch {
                changes: writes.into_changes(),
                mark: Mark {
                    id: random_id(),
                    commits: before.commits + 1,
                    head,
                },
            };
            match self.backend.commit(Some(&before), &batch) {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict) => {}
                Err(CommitError::NotPersisted(cause)) => {
                    return Err(StoreError::NotPersisted(cause));
                }
                Err(CommitError::Stopped(cause)) => return Err(self.stop(&cause)),
                Err(CommitError::Unknown(cause)) => {
                    return self.look(&before, &batch.mark, cause);
                }
            }
        }
        Err(StoreError::NotPersisted(Arc::new(Crowded)))
    }

    /// After an unknown outcome: reopens and reads which commit is the last one (S2).
    fn look(&self, before: &Mark, attempted: &Mark, cause: Cause) -> Result<(), StoreError> {
        match self.backend.reopen() {
            Ok(()) => {}
            Err(CommitError::Stopped(stopped)) => {
                self.state.stop(&stopped);
                return Err(StoreError::Unknown(cause));
            }
            Err(_) => return Err(StoreError::Unknown(cause)),
        }
        match Snapshot::of(self.backend.as_ref()).map(|now| now.mark().copied()) {
            Ok(Some(mark)) if mark.id == attempted.id => Ok(()),
            Ok(Some(mark)) if mark.id == before.id => Err(StoreError::NotPersisted(cause)),
            // Another replica went on from one of the two; which, only its ledger would tell. The safe side: unknown.
            _ => Err(StoreError::Unknown(cause)),
        }
    }

    fn stop(&self, cause: &Cause) -> StoreError {
        self.state.stop(cause);
        StoreError::Stopped(Arc::clone(cause))
    }
}
