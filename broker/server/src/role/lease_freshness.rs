//! Until when this broker may believe that nobody else was made a leader in its place.
//!
//! A process that was stopped for a while goes on as if nothing had happened, and an answer that it reads
//! then may be old. So what counts is when the newest beat that was answered had been sent.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Less than any time after which a controller gives up a broker that is silent.
const FRESH_FOR: Duration = Duration::from_millis(1_500);
/// Beats that were not answered, at most: more than there are in this time.
const BEATS_MAX: usize = 1_024;

/// Read by those who serve clients.
#[derive(Debug)]
pub(crate) struct LeaseFreshness {
    /// `None`: no controller answers.
    fresh_until: watch::Sender<Option<Instant>>,
}

/// What the lease thread remembers of the beats of one stream.
#[derive(Debug, Default)]
pub(super) struct Beats {
    sent: VecDeque<(u64, Instant)>,
    last: u64,
}

impl Default for LeaseFreshness {
    fn default() -> Self {
        Self {
            fresh_until: watch::Sender::new(None),
        }
    }
}

impl LeaseFreshness {
    pub(crate) fn is_fresh(&self) -> bool {
        is_fresh(*self.fresh_until.borrow())
    }

    /// Waits until it is, up to `deadline`.
    pub(crate) async fn renewed(&self, deadline: Instant) -> bool {
        let mut fresh_until = self.fresh_until.subscribe();
        let fresh = fresh_until.wait_for(|until| is_fresh(*until));
        timeout_at(deadline, fresh).await.is_ok()
    }

    pub(super) fn answered(&self, sent: Instant) {
        self.fresh_until.send_replace(Some(sent + FRESH_FOR));
    }

    pub(super) fn lost(&self) {
        self.fresh_until.send_replace(None);
    }
}

impl Beats {
    /// The number of the beat that is sent now.
    pub(super) fn next(&mut self, now: Instant) -> u64 {
        self.last += 1;
        if self.sent.len() == BEATS_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((self.last, now));
        self.last
    }

    /// Whether no beat was sent after the one of this number.
    pub(super) fn is_newest(&self, number: u64) -> bool {
        self.last == number
    }

    /// When the beat of this number was sent; it and those before it are answered.
    pub(super) fn answered(&mut self, number: u64) -> Option<Instant> {
        let mut found = None;
        while let Some((first, at)) = self.sent.front().copied()
            && first <= number
        {
            self.sent.pop_front();
            found = (first == number).then_some(at);
        }
        found
    }
}

fn is_fresh(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_counts_is_when_the_answered_beat_was_sent() {
        let (lease, mut beats) = (LeaseFreshness::default(), Beats::default());
        assert!(!lease.is_fresh());
        let first = beats.next(Instant::now());
        tokio::time::advance(FRESH_FOR / 2).await;
        let second = beats.next(Instant::now());
        lease.answered(beats.answered(first).unwrap());
        assert!(lease.is_fresh());
        tokio::time::advance(FRESH_FOR / 2).await;
        assert!(!lease.is_fresh());
        lease.answered(beats.answered(second).unwrap());
        assert!(lease.is_fresh());
        lease.lost();
        assert!(!lease.is_fresh());
        let deadline = Instant::now() + FRESH_FOR;
        assert!(!lease.renewed(deadline).await);
    }

    #[test]
    fn an_answer_is_about_one_beat_only() {
        let (mut beats, now) = (Beats::default(), Instant::now());
        let numbers: Vec<u64> = (0..3).map(|_| beats.next(now)).collect();
        assert!(beats.is_newest(numbers[2]) && !beats.is_newest(numbers[1]));
        assert_eq!(beats.answered(0), None, "of no beat");
        assert!(beats.answered(numbers[1]).is_some());
        assert_eq!(beats.answered(numbers[0]), None, "long since");
        assert_eq!(beats.answered(numbers[2] + 1), None, "of another process");
        for _ in 0..2 * BEATS_MAX {
            beats.next(now);
        }
        assert_eq!(beats.sent.len(), BEATS_MAX);
    }
}
