//! How fast a rebalance is, of late.

use std::collections::VecDeque;
use std::time::Duration;

/// What happened longer ago does not count.
const WINDOW: Duration = Duration::from_secs(60);
/// Sizes are told every ten seconds, so looking more often says little.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// At most one for each second of the window, and one more.
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    bytes: u64,
    moves: u64,
}

impl Pace {
    /// What was copied and moved from the beginning until `at`.
    pub(super) fn add(&mut self, at: Duration, bytes: u64, moves: u64) {
        let is_due = |last: &Sample| at.saturating_sub(last.at) >= SAMPLE_EVERY;
        if !self.samples.back().is_none_or(is_due) {
            return;
        }
        self.samples.push_back(Sample { at, bytes, moves });
        // The first that stays is just outside of the window, or else there is none to compare with.
        while self
            .samples
            .get(1)
            .is_some_and(|second| at.saturating_sub(second.at) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    pub(super) fn bytes_per_second(&self) -> u64 {
        self.rate(|sample| sample.bytes) as u64
    }

    /// `None`: something is left, and nothing was done of late. Bytes count; where there are none left, or nobody
    /// has told how many, the number of moves does.
    pub(super) fn seconds_left(&self, bytes: u64, moves: u64) -> Option<u64> {
        let (left, rate) = match (bytes, moves) {
            (0, 0) => return Some(0),
            (0, moves) => (moves, self.rate(|sample| sample.moves)),
            (bytes, _) => (bytes, self.rate(|sample| sample.bytes)),
        };
        (rate > 0.0).then(|| (left as f64 / rate).ceil() as u64)
    }

    fn rate(&self, of: impl Fn(&Sample) -> u64) -> f64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return 0.0;
        };
        let elapsed = last.at.saturating_sub(first.at).as_secs_f64();
        // What was copied for moves that were called off since counts for nothing.
        let done = of(last).saturating_sub(of(first)) as f64;
        if elapsed > 0.0 { done / elapsed } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(samples: &[(u64, u64, u64)]) -> Pace {
        let mut pace = Pace::default();
        for (seconds, bytes, moves) in samples {
            pace.add(Duration::from_secs(*seconds), *bytes, *moves);
        }
        pace
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        let steady = pace(&[(0, 0, 0), (10, 1000, 2)]);
        assert_eq!(steady.bytes_per_second(), 100);
        assert_eq!(steady.seconds_left(950, 7), Some(10));
        assert_eq!(steady.seconds_left(0, 3), Some(15));
        assert_eq!(steady.seconds_left(0, 0), Some(0));
        for unknown in [pace(&[]), pace(&[(0, 5, 5)]), pace(&[(0, 5, 5), (9, 5, 5)])] {
            assert_eq!(unknown.seconds_left(1, 1), None);
            assert_eq!(unknown.seconds_left(0, 0), Some(0));
        }
    }

    #[test]
    fn only_the_last_minute_counts() {
        let mut samples = vec![(0, 0, 0), (1, 1_000_000, 0)];
        samples.extend((2..=100).map(|second| (second, 1_000_000 + second, 0)));
        let pace = pace(&samples);
        assert_eq!(pace.bytes_per_second(), 1);
        assert!(pace.samples.len() <= 62, "{}", pace.samples.len());
        // Called off: less was copied than before.
        let mut pace = pace;
        pace.add(Duration::from_secs(101), 7, 0);
        assert_eq!(pace.bytes_per_second(), 0);
    }
}
