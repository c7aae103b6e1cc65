//! What the courier did, in numbers that only grow, for whoever watches from outside.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use ca_api::admin::DeliveryOutcome;
use tokio::sync::watch;

use super::courier::Attempt;

/// Upper bounds of the buckets, in milliseconds.
pub const BUCKETS_MILLIS: [u64; 12] = [
    50, 100, 200, 400, 800, 1_500, 3_000, 5_000, 10_000, 20_000, 40_000, 80_000,
];

/// Deliveries by how long they took, and those that failed.
#[derive(Debug)]
pub struct Pulse {
    buckets: [AtomicU64; BUCKETS_MILLIS.len()],
    proven: AtomicU64,
    proven_millis: AtomicU64,
    refused: AtomicU64,
    unreachable: AtomicU64,
    under_way: AtomicUsize,
    kept: AtomicUsize,
    urgent: watch::Sender<usize>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            buckets: Default::default(),
            proven: AtomicU64::default(),
            proven_millis: AtomicU64::default(),
            refused: AtomicU64::default(),
            unreachable: AtomicU64::default(),
            under_way: AtomicUsize::default(),
            kept: AtomicUsize::default(),
            urgent: watch::Sender::new(0),
        }
    }
}

/// A look at a [`Pulse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Proven deliveries that took at most [`BUCKETS_MILLIS`], each bucket with those below it.
    pub within: [u64; BUCKETS_MILLIS.len()],
    /// Proven deliveries.
    pub proven: u64,
    /// How long they took together.
    pub proven_millis: u64,
    /// Attempts that the machine answered without doing what was asked.
    pub refused: u64,
    /// Attempts without an answer.
    pub unreachable: u64,
    /// What is under way now.
    pub under_way: usize,
    /// Connections that are kept open.
    pub kept: usize,
}

impl Pulse {
    pub(super) fn count(&self, attempt: &Attempt) {
        let add = |counter: &AtomicU64, more: u64| {
            counter.fetch_add(more, Ordering::Relaxed);
        };
        if !matches!(attempt.delivery.outcome, DeliveryOutcome::Proven { .. }) {
            let counter = if attempt.answered {
                &self.refused
            } else {
                &self.unreachable
            };
            add(counter, 1);
            return;
        }
        let millis = attempt.delivery.millis;
        add(&self.proven, 1);
        add(&self.proven_millis, millis);
        if let Some(bucket) = BUCKETS_MILLIS.iter().position(|most| millis <= *most) {
            add(&self.buckets[bucket], 1);
        }
    }

    pub(super) fn under_way(&self, number: usize) {
        self.under_way.store(number, Ordering::Relaxed);
    }

    pub(super) fn urgent(&self, number: usize) {
        self.urgent.send_if_modified(|known| {
            let changed = *known != number;
            *known = number;
            changed
        });
    }

    /// Waits until no revocation is being brought or waits for its turn, but no longer than `most`: what has time goes after them, and one
    /// that never ends does not keep it from being done.
    pub async fn calm(&self, most: Duration) {
        let mut urgent = self.urgent.subscribe();
        // It cannot fail: the sender is ours.
        drop(tokio::time::timeout(most, urgent.wait_for(|number| *number == 0)).await);
    }

    pub(super) fn kept(&self, number: usize) {
        self.kept.store(number, Ordering::Relaxed);
    }

    /// The numbers now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut below = 0;
        let within = std::array::from_fn(|bucket: usize| {
            below += self.buckets[bucket].load(Ordering::Relaxed);
            below
        });
        Counts {
            within,
            proven: self.proven.load(Ordering::Relaxed),
            proven_millis: self.proven_millis.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            unreachable: self.unreachable.load(Ordering::Relaxed),
            under_way: self.under_way.load(Ordering::Relaxed),
            kept: self.kept.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r7_what_has_time_waits_for_revocations_but_not_for_ever() {
        let pulse = std::sync::Arc::new(Pulse::default());
        let long = Duration::from_secs(3600);
        pulse.calm(long).await;
        pulse.urgent(2);
        // One that never ends.
        pulse.calm(Duration::from_millis(1)).await;
        let waits = tokio::spawn({
            let pulse = std::sync::Arc::clone(&pulse);
            async move { pulse.calm(long).await }
        });
        pulse.urgent(1);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished(), "a revocation is under way");
        pulse.urgent(0);
        waits.await.unwrap();
    }
}
