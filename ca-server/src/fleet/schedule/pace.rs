//! How long errands usually take, and from when on one is slow.

use std::time::Duration;

/// The usual time of an errand, as a moving average: a busy CA host waits longer before it calls a machine slow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    usual: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            usual: Duration::from_millis(500),
        }
    }
}

impl Pace {
    /// An errand took so long.
    pub(super) fn took(&mut self, time: Duration) {
        self.usual = (self.usual * 7 + time.min(LONGEST)) / 8;
    }

    /// How long an errand may hold its turn.
    pub(super) fn patience(&self) -> Duration {
        (self.usual * 3).clamp(SHORTEST, LONGEST)
    }
}

const SHORTEST: Duration = Duration::from_millis(300);
const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_what_is_usual_within_bounds() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            pace.took(Duration::from_millis(10));
        }
        assert_eq!(pace.patience(), SHORTEST);
        for _ in 0..100 {
            pace.took(Duration::from_secs(2));
        }
        assert!(pace.patience() > Duration::from_secs(5));
        pace.took(Duration::from_secs(100_000));
        assert!(pace.patience() <= LONGEST);
    }
}
