//! A change that waits for the writer, with the way back to its caller.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
};

use tokio::sync::oneshot;

use super::{
    StoreError, WriteError,
    txn::{Outcome, Txn},
};

/// A submitted change, whatever its types are.
pub(crate) trait Job: Send {
    /// Runs the change (again); `Some` if it leaves something to commit.
    fn run(&mut self, txn: Txn<'_>) -> Option<Outcome>;

    /// Answers the caller: with what the last run returned if `committed` is `Ok`, with the store's error otherwise.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// The way back to a caller that waits on a thread or in a task.
pub(crate) enum Reply<T> {
    Thread(mpsc::SyncSender<T>),
    Task(oneshot::Sender<T>),
}

impl<T> Reply<T> {
    fn send(self, value: T) {
        // A caller that went away has no use for the answer; the change stands as it is.
        match self {
            Self::Thread(sender) => drop(sender.send(value)),
            Self::Task(sender) => drop(sender.send(value)),
        }
    }
}

pub(crate) struct Change<F, T, E> {
    change: F,
    result: Option<Result<T, WriteError<E>>>,
    reply: Reply<Result<T, WriteError<E>>>,
}

impl<F, T, E> Change<F, T, E> {
    pub(crate) fn new(change: F, reply: Reply<Result<T, WriteError<E>>>) -> Self {
        Self {
            change,
            result: None,
            reply,
        }
    }
}

impl<F, T, E> Job for Change<F, T, E>
where
    F: FnMut(&mut Txn<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, mut txn: Txn<'_>) -> Option<Outcome> {
        // A panic in one change must not take the writer, and so every later change, with it (W3). What the change wrote is
        // in `txn`, which is dropped.
        let ran = catch_unwind(AssertUnwindSafe(|| (self.change)(&mut txn)));
        let (result, outcome) = match ran {
            Err(_) => (Err(StoreError::Panicked.into()), None),
            Ok(Err(refusal)) => (Err(WriteError::Refused(refusal)), None),
            Ok(Ok(value)) => match txn.finish() {
                Ok(outcome) => (Ok(value), Some(outcome)),
                Err(breach) => (Err(breach.into()), None),
            },
        };
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(StoreError::Panicked.into()),
            (Err(e), _) => Err(e.into()),
        };
        self.reply.send(answer);
    }
}
