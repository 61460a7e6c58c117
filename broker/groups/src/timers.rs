use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::consumer::ConsumerTimer;

/// What a deadline is for. Scheduling a key again replaces its deadline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// The session of a member, or of a member id that was handed out and not used yet.
    Heartbeat {
        group_id: Arc<str>,
        member_id: Arc<str>,
    },
    /// The end of the join phase.
    Join { group_id: Arc<str> },
    /// The end of the sync phase.
    Sync { group_id: Arc<str> },
    /// A deadline of a member of a consumer group.
    Consumer {
        group_id: Arc<str>,
        member_id: Arc<str>,
        timer: ConsumerTimer,
    },
}

/// Deadlines on the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: BTreeMap<TimerKey, i64>,
    queue: BTreeSet<(i64, TimerKey)>,
}

impl Timers {
    pub(crate) fn schedule(&mut self, key: TimerKey, deadline_ms: i64) {
        if let Some(old) = self.deadlines.insert(key.clone(), deadline_ms) {
            self.queue.remove(&(old, key.clone()));
        }
        self.queue.insert((deadline_ms, key));
    }

    pub(crate) fn cancel(&mut self, key: &TimerKey) {
        if let Some(deadline_ms) = self.deadlines.remove(key) {
            self.queue.remove(&(deadline_ms, key.clone()));
        }
    }

    pub(crate) fn is_scheduled(&self, key: &TimerKey) -> bool {
        self.deadlines.contains_key(key)
    }

    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.queue.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// The keys due now, earliest first, still scheduled: each is to be taken with [`Self::take`]
    /// before it is acted on, since acting on one can cancel or move another.
    pub(crate) fn due(&self, now_ms: i64) -> Vec<(i64, TimerKey)> {
        self.queue
            .iter()
            .take_while(|(deadline_ms, _)| *deadline_ms <= now_ms)
            .cloned()
            .collect()
    }

    /// Removes the key when it is still scheduled for that deadline; says whether it was.
    pub(crate) fn take(&mut self, deadline_ms: i64, key: &TimerKey) -> bool {
        if self.deadlines.get(key) != Some(&deadline_ms) {
            return false;
        }
        self.cancel(key);
        true
    }
}
