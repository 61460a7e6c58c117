//! Which followers may be given what they lack at leisure.

use super::Leader;
use crate::assignment::LocalLog;

impl Leader {
    /// The follower, which asks for `fetch_offset`, lacks records, and nobody waits for it: the high watermark
    /// does not, and enough others are in sync for producers to go on.
    #[must_use]
    pub fn catches_up(&self, node_id: i32, fetch_offset: i64, local: LocalLog) -> bool {
        let is_behind = fetch_offset < local.end_offset;
        let Some(state) = self.followers.get(&node_id) else {
            return false;
        };
        is_behind
            && self.has_min_insync()
            && !state.awaited
            && !self.isr.contains(&node_id)
            && !self.pending.may_have_added(node_id)
    }
}
