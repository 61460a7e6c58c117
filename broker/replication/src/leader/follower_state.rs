//! What the leader knows about one follower, from its fetches in this leader epoch.

/// Where a follower is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FollowerState {
    /// Its log end: the offset it asked for last. `None` until it has fetched in this epoch.
    pub(super) end_offset: Option<i64>,
    /// Its log start; -1 until it said.
    pub(super) log_start_offset: i64,
    /// The broker epoch it fetched with; -1 until it has.
    pub(super) broker_epoch: i64,
    /// When it fetched last.
    pub(super) last_fetch_ms: Option<i64>,
    /// The leader's log end at that moment; never goes back.
    last_fetch_leader_end: i64,
    /// The latest time at which it is known to have had all that the leader had.
    pub(super) last_caught_up_ms: Option<i64>,
    /// The latest time after which it is known to have made a fetch.
    pub(super) fetched_after_ms: Option<i64>,
    /// About to join the ISR: the high watermark waits for it, or it would run ahead of the follower
    /// for ever under steady load.
    pub(super) awaited: bool,
}

impl FollowerState {
    /// Of a follower that was not heard of in this epoch. A member of the ISR has the whole lag time
    /// to come.
    pub(super) fn unheard(in_isr: bool, now_ms: i64) -> Self {
        Self {
            end_offset: None,
            log_start_offset: -1,
            broker_epoch: -1,
            last_fetch_ms: None,
            last_fetch_leader_end: -1,
            last_caught_up_ms: in_isr.then_some(now_ms),
            fetched_after_ms: None,
            awaited: false,
        }
    }

    /// Takes a fetch in. `lastCaughtUpTimeMs` as in Kafka's `Replica`: caught up now if it asks for the
    /// leader's end, or at its last fetch if it asks for what was the end then.
    pub(super) fn fetched(
        &mut self,
        fetch_offset: i64,
        log_start_offset: i64,
        broker_epoch: i64,
        leader_end: i64,
        now_ms: i64,
    ) {
        if fetch_offset >= leader_end {
            self.last_caught_up_ms = self.last_caught_up_ms.max(Some(now_ms));
        } else if self.last_fetch_ms.is_some() && fetch_offset >= self.last_fetch_leader_end {
            self.last_caught_up_ms = self.last_caught_up_ms.max(self.last_fetch_ms);
        }
        self.end_offset = Some(fetch_offset);
        self.log_start_offset = log_start_offset;
        self.broker_epoch = broker_epoch;
        self.last_fetch_ms = Some(now_ms);
        self.last_fetch_leader_end = self.last_fetch_leader_end.max(leader_end);
    }

    /// Has all of the leader's log, or had within the lag time.
    pub(super) fn is_caught_up(&self, leader_end: i64, lag_time_max_ms: i64, now_ms: i64) -> bool {
        self.end_offset == Some(leader_end)
            || self
                .last_caught_up_ms
                .is_some_and(|at| now_ms.saturating_sub(at) <= lag_time_max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_that_is_always_a_little_behind_counts_as_caught_up() {
        let mut state = FollowerState::unheard(false, 0);
        // Under load the end moves between any two fetches.
        state.fetched(90, 0, 1, 100, 1_000);
        assert_eq!(state.last_caught_up_ms, None);
        state.fetched(100, 0, 1, 110, 2_000);
        assert_eq!(state.last_caught_up_ms, Some(1_000));
        state.fetched(110, 0, 1, 120, 3_000);
        assert_eq!(state.last_caught_up_ms, Some(2_000));
        assert!(state.is_caught_up(120, 1_000, 3_000));
        assert!(!state.is_caught_up(120, 1_000, 3_001));
    }

    #[test]
    fn a_slow_follower_is_not_caught_up_however_often_it_fetches() {
        let mut state = FollowerState::unheard(true, 0);
        for second in 1..=40 {
            state.fetched(second, 0, 1, 100 * second, second * 1_000);
        }
        assert_eq!(state.last_caught_up_ms, Some(0));
        assert!(!state.is_caught_up(4_000, 30_000, 40_000));
    }

    #[test]
    fn at_the_end_of_the_log_silence_is_no_lag() {
        let mut state = FollowerState::unheard(false, 0);
        state.fetched(100, 0, 1, 100, 0);
        assert!(state.is_caught_up(100, 10, 1_000_000));
        assert!(!state.is_caught_up(101, 10, 1_000_000));
    }
}
