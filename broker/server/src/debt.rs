//! How long somebody waits who is to take no more than so many bytes in a second.

use std::time::Duration;

/// Bytes that were taken ahead of the rate.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Debt {
    bytes: u64,
    /// When it was so much.
    at: Duration,
}

impl Debt {
    /// So many were taken.
    pub(crate) fn add(&mut self, now: Duration, rate: u64, bytes: u64) {
        self.bytes = self.left(now, rate).saturating_add(bytes);
        self.at = now;
    }

    /// Until the next may be.
    pub(crate) fn wait(&self, now: Duration, rate: u64) -> Duration {
        if rate == 0 {
            return Duration::MAX;
        }
        let left = self.left(now, rate);
        let nanos = u128::from(left % rate) * 1_000_000_000 / u128::from(rate);
        Duration::new(left / rate, nanos as u32)
    }

    /// As if the rate had been the same since; one that was raised counts at once.
    fn left(&self, now: Duration, rate: u64) -> u64 {
        let nanos = now.saturating_sub(self.at).as_nanos();
        let paid = nanos.saturating_mul(u128::from(rate)) / 1_000_000_000;
        self.bytes
            .saturating_sub(u64::try_from(paid).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_comes_than_the_rate_allows() {
        let (rate, answer) = (1_000_000, 300_000);
        let mut debt = Debt::default();
        let (mut now, mut got) = (Duration::ZERO, 0);
        let end = Duration::from_secs(60);
        while now < end {
            let wait = debt.wait(now, rate);
            now += wait.max(Duration::from_millis(1));
            if debt.wait(now, rate).is_zero() {
                debt.add(now, rate, answer);
                got += answer;
            }
        }
        let allowed = rate * end.as_secs();
        assert!(
            (allowed * 9 / 10..=allowed + answer).contains(&got),
            "{got}"
        );
    }

    #[test]
    fn time_without_a_fetch_is_not_saved_up() {
        let mut debt = Debt::default();
        let now = Duration::from_secs(1_000);
        debt.add(now, 100, 150);
        assert_eq!(debt.wait(now, 100), Duration::from_millis(1_500));
        let later = now + Duration::from_secs(1);
        assert_eq!(debt.wait(later, 100), Duration::from_millis(500));
    }

    #[test]
    fn a_rate_that_is_raised_counts_at_once_and_none_is_for_ever() {
        let mut debt = Debt::default();
        assert_eq!(debt.wait(Duration::ZERO, 0), Duration::MAX);
        assert_eq!(debt.wait(Duration::ZERO, 1), Duration::ZERO);
        debt.add(Duration::ZERO, 1, 1 << 20);
        let now = Duration::from_secs(1);
        assert!(debt.wait(now, 1) > Duration::from_secs(1_000_000));
        assert_eq!(debt.wait(now, 1 << 20), Duration::ZERO);
        debt.add(now, u64::MAX, u64::MAX);
        assert!(debt.wait(now, u64::MAX) <= Duration::from_secs(1));
        assert_eq!(debt.wait(Duration::ZERO, 1), Duration::from_secs(u64::MAX));
    }
}
