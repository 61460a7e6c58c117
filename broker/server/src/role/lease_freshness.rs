//! Until when this broker may believe that nobody else was made a leader in its place.
//!
//! A process that was stopped for a while goes on as if nothing had happened, and an answer that it reads
//! then may be old. So what counts is when the newest beat that was answered had been sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
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
    is_short: AtomicBool,
}

/// What the lease thread remembers of the beats of one stream.
#[derive(Debug, Default)]
pub(super) struct Beats {
    sent: VecDeque<(u64, Instant)>,
    last: u64,
}

/// What the beats of one stream say of the disk, and whether this broker has heard what follows from it: who has no
/// room hands over, while it holds its lease.
#[derive(Debug, Default)]
pub(super) struct SpaceSaid {
    /// `None`: nothing yet.
    is_short: Option<bool>,
    /// The first beat that says so.
    since: u64,
    /// What follows is in the metadata up to here; `None`: that is not decided, or nobody has said so.
    decided_offset: Option<i64>,
}

impl Default for LeaseFreshness {
    fn default() -> Self {
        Self {
            fresh_until: watch::Sender::new(None),
            is_short: AtomicBool::new(false),
        }
    }
}

impl LeaseFreshness {
    /// While this broker has said that its disk has no room, others' words make others leaders of what it leads, and it
    /// acknowledges what it does not hear of: then this says nothing of partitions that others could lead.
    pub(crate) fn is_fresh(&self, is_alone_in_sync: impl Fn() -> bool) -> bool {
        let is_fresh = is_fresh(*self.fresh_until.borrow());
        is_fresh && (!self.is_short.load(Ordering::Acquire) || is_alone_in_sync())
    }

    /// Waits until it is, up to `deadline`.
    pub(crate) async fn renewed(
        &self,
        is_alone_in_sync: impl Fn() -> bool,
        deadline: Instant,
    ) -> bool {
        let mut fresh_until = self.fresh_until.subscribe();
        let counts = || !self.is_short.load(Ordering::Acquire) || is_alone_in_sync();
        let fresh = fresh_until.wait_for(|until| is_fresh(*until) && counts());
        timeout_at(deadline, fresh).await.is_ok()
    }

    pub(crate) fn answered(&self, sent: Instant) {
        self.fresh_until.send_replace(Some(sent + FRESH_FOR));
    }

    pub(super) fn lost(&self) {
        self.fresh_until.send_replace(None);
    }

    /// This broker says from now on that its disk has room, or none. Others may be made leaders for that.
    pub(crate) fn says(&self, is_short: bool) {
        self.lost();
        self.is_short.store(is_short, Ordering::Release);
        // Whoever saw the one before the other.
        self.lost();
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

impl SpaceSaid {
    /// What the beat of this number says. True when it is another thing than before: others may be made leaders.
    pub(super) fn says(&mut self, number: u64, is_short: bool) -> bool {
        let is_new = self.is_short != Some(is_short);
        if is_new {
            *self = Self {
                is_short: Some(is_short),
                since: number,
                decided_offset: None,
            };
        }
        is_new
    }

    /// The beat of this number is answered; `decided_offset` is 0 where nothing is decided.
    pub(super) fn answered(&mut self, number: u64, decided_offset: i64) {
        if number >= self.since && self.decided_offset.is_none() && decided_offset > 0 {
            self.decided_offset = Some(decided_offset);
        }
    }

    /// Whether who has applied the metadata up to here knows all that follows.
    pub(super) fn is_settled(&self, applied_offset: i64) -> bool {
        self.decided_offset
            .is_some_and(|offset| applied_offset >= offset)
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
        assert!(!lease.is_fresh(|| false));
        let first = beats.next(Instant::now());
        tokio::time::advance(FRESH_FOR / 2).await;
        let second = beats.next(Instant::now());
        lease.answered(beats.answered(first).unwrap());
        assert!(lease.is_fresh(|| false));
        tokio::time::advance(FRESH_FOR / 2).await;
        assert!(!lease.is_fresh(|| false));
        lease.answered(beats.answered(second).unwrap());
        assert!(lease.is_fresh(|| false));
        lease.lost();
        assert!(!lease.is_fresh(|| false));
        let deadline = Instant::now() + FRESH_FOR;
        assert!(!lease.renewed(|| false, deadline).await);
    }

    #[test]
    fn what_was_said_of_the_disk_is_settled_once_what_follows_is_applied() {
        let mut said = SpaceSaid::default();
        assert!(!said.is_settled(i64::MAX), "nobody has answered");
        assert!(said.says(1, false));
        said.answered(1, 40);
        assert!(!said.is_settled(39) && said.is_settled(40));
        assert!(!said.says(2, false));
        said.answered(2, 70);
        assert!(said.is_settled(40), "it says nothing new");
        // Also a broker without room may know that it leads.
        assert!(said.says(3, true));
        said.answered(2, 80);
        assert!(!said.is_settled(i64::MAX), "to an older beat");
        said.answered(3, 0);
        assert!(!said.is_settled(i64::MAX), "it is not decided");
        said.answered(4, 90);
        assert!(!said.is_settled(89) && said.is_settled(90));
        // Room comes, and the answers to beats that said short are still on their way.
        assert!(said.says(5, false));
        said.answered(4, 95);
        assert!(!said.is_settled(i64::MAX));
        said.answered(5, 99);
        assert!(said.is_settled(99));
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
