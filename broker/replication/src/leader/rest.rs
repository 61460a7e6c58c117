//! When there is nothing to do until something happens.

use super::follower_state::FollowerState;
use super::{Leader, LocalLog};

impl Leader {
    /// Everybody is in sync and has all, it is committed, and nothing is proposed: time alone changes nothing, and neither
    /// does what becomes of other nodes, until metadata says so. No [tick](Self::tick) is needed before something happens to
    /// the partition.
    #[must_use]
    pub fn rests(&self, local: LocalLog) -> bool {
        let has_all = |(node_id, state): (&i32, &FollowerState)| {
            self.isr.contains(node_id) && state.end_offset == Some(local.end_offset)
        };
        self.high_watermark == local.end_offset
            && self.isr.len() == self.replicas.len()
            && self.has_min_insync()
            && self.pending.is_settled()
            && self.followers.iter().all(has_all)
    }
}
