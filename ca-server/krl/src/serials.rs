//! Sets of serial numbers as sorted runs that neither overlap nor touch.

use std::ops::RangeInclusive;

/// A run of revoked serials, both ends included; a single serial has equal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialRun {
    first: u64,
    last: u64,
}

impl SerialRun {
    /// Only the builder and the decoder make runs, after they refused 0 and `first > last`.
    pub(crate) const fn new(first: u64, last: u64) -> Self {
        Self { first, last }
    }

    /// The lowest revoked serial of the run; never 0.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The highest revoked serial of the run.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The run as a range.
    pub const fn range(&self) -> RangeInclusive<u64> {
        self.first..=self.last
    }

    /// How many serials it holds; it cannot overflow, because serial 0 is never in a run.
    pub const fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// Sorts the runs and merges those that overlap or touch.
pub(crate) fn normalise(runs: &mut Vec<SerialRun>) {
    // The stable sort merges what is sorted in parts (a KRL and a few new entries) in one pass.
    runs.sort_by_key(|run| run.first);
    // Shifts in place: `kept` is the index of the run that still may grow.
    let mut kept = 0;
    for index in 1..runs.len() {
        let next = runs[index];
        let open = &mut runs[kept];
        if next.first <= open.last.saturating_add(1) {
            open.last = open.last.max(next.last);
        } else {
            kept += 1;
            runs[kept] = next;
        }
    }
    runs.truncate(kept + 1);
}

/// Whether normalised runs hold the serial.
pub(crate) fn contain(runs: &[SerialRun], serial: u64) -> bool {
    let index = runs.partition_point(|run| run.last < serial);
    runs.get(index).is_some_and(|run| run.first <= serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(pairs: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut runs: Vec<_> = pairs.iter().map(|&(a, b)| SerialRun::new(a, b)).collect();
        normalise(&mut runs);
        runs.iter().map(|run| (run.first, run.last)).collect()
    }

    #[test]
    fn touching_overlapping_and_nested_runs_become_one() {
        assert_eq!(normalised(&[]), []);
        assert_eq!(normalised(&[(5, 5), (4, 4)]), [(4, 5)]);
        assert_eq!(normalised(&[(1, 9), (2, 3), (10, 12)]), [(1, 12)]);
        assert_eq!(normalised(&[(7, 7), (1, 1), (7, 7)]), [(1, 1), (7, 7)]);
        assert_eq!(
            normalised(&[(u64::MAX, u64::MAX), (3, u64::MAX), (1, 1)]),
            [(1, 1), (3, u64::MAX)]
        );
    }

    #[test]
    fn lookup_finds_the_ends_and_not_the_gaps() {
        let runs = [SerialRun::new(3, 5), SerialRun::new(9, 9)];
        let found: Vec<u64> = (0..12).filter(|&serial| contain(&runs, serial)).collect();
        assert_eq!(found, [3, 4, 5, 9]);
        assert_eq!(SerialRun::new(1, u64::MAX).count(), u64::MAX);
    }
}
