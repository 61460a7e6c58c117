//! That nobody else leads: what a leader that was stopped, or cut off, cannot know by itself.
//!
//! Raft's read index, with the fetches of followers in place of heartbeats. The controller elects among
//! those that this leader must take for in sync (the maximal ISR) and, below min.insync.replicas, those
//! that left it (KIP-966). Nobody else gets among them without a leader's proposal, so the first one that
//! leads after this leader is one of them; and it leads only after it stopped to follow. So when each of
//! them has made a fetch of this leader epoch after some moment, nothing was committed in a newer epoch
//! before that moment. A majority is not enough: any one of them may be elected. An unclean election is
//! beyond this, as it is beyond all else that is promised.
//!
//! That a fetch comes in after the moment proves nothing: it may have lain in a socket while this process
//! stood still, or long before. What proves something is that whoever made it knew an answer that this
//! leader gave after the moment. In a fetch session it does: nobody can name the next epoch of a session
//! before the answer to the one before, see [`Begun::after_ms`](crate::Begun::after_ms). And it says
//! anew what it follows: what a follower leaves is forgotten by the session's next request, and it is left
//! before another role begins.

use super::Leader;
use super::follower_state::FollowerState;

impl Leader {
    /// A fetch that counted was made after this moment. True when somebody who asked may have an answer by it.
    #[must_use]
    pub fn fetch_was_made_after(&mut self, node_id: i32, moment_ms: i64) -> bool {
        let before = self.asked_ms.map(|_| self.led_before_ms());
        if let Some(state) = self.followers.get_mut(&node_id) {
            state.fetched_after_ms = state.fetched_after_ms.max(Some(moment_ms));
        }
        before.is_some_and(|before| self.asked_ms >= before && self.led_before_ms() > before)
    }

    /// Nobody had begun to lead in a newer epoch at this moment. True at once where nobody else could be
    /// elected.
    #[must_use]
    pub fn led_at(&self, moment_ms: i64) -> bool {
        self.led_before_ms() > Some(moment_ms)
    }

    /// Somebody waits until [`led_at`](Self::led_at) holds for this moment.
    pub fn ask(&mut self, moment_ms: i64) {
        self.asked_ms = self.asked_ms.max(Some(moment_ms));
    }

    /// Whether a fetch that was made after `made_after_ms` should be answered at once, since somebody waits
    /// for the one that comes after its answer.
    #[must_use]
    pub fn waits_for_later_than(&self, made_after_ms: i64) -> bool {
        self.asked_ms >= Some(made_after_ms)
    }

    /// Nobody else led at any moment before this one, as far as is known.
    fn led_before_ms(&self) -> Option<i64> {
        let confirmed = self.electable().map(|state| state.fetched_after_ms);
        confirmed.min().unwrap_or(Some(i64::MAX))
    }

    /// Those beside the leader that a controller may have elected by now.
    fn electable(&self) -> impl Iterator<Item = &FollowerState> {
        // While the ISR has its minimum the ELR is empty.
        let may_be_in_elr = !self.has_min_insync();
        self.followers.iter().filter_map(move |(&node_id, state)| {
            let may_be_in_isr = self.isr.contains(&node_id) || self.pending.may_have_added(node_id);
            (may_be_in_isr || may_be_in_elr).then_some(state)
        })
    }
}
