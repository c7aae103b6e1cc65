//! How many machines are worked on at a time.

use tokio::sync::{Semaphore, SemaphorePermit};

/// So many turns at a time.
#[derive(Debug)]
pub struct Pace(Semaphore);

impl Pace {
    /// `at_once` turns, at least one.
    #[must_use]
    pub fn new(at_once: u8) -> Self {
        Self(Semaphore::new(usize::from(at_once.max(1))))
    }

    /// Waits for a turn, which lasts until the value is dropped.
    ///
    /// # Panics
    /// Never: nobody closes it.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        self.0
            .acquire()
            .await
            .expect("the semaphore is never closed")
    }
}
