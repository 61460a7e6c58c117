//! How far deletion has come: what DeleteRecords waits for (KIP-107).

use super::Leader;
use crate::assignment::Cluster;

impl Leader {
    /// Below it every replica that is alive has deleted everything; -1 while one of them has not fetched in this leader
    /// epoch. `start_offset` is the leader's own. As in Kafka, who is not alive does not count: it hears of the start
    /// when it follows again.
    #[must_use]
    pub fn low_watermark(&self, start_offset: i64, cluster: &dyn Cluster) -> i64 {
        let alive = self
            .followers
            .iter()
            .filter(|&(&node_id, _)| cluster.is_alive(node_id));
        let starts = alive.map(|(_, state)| state.log_start_offset);
        starts.chain([start_offset]).min().unwrap_or(start_offset)
    }

    /// Where the log of a follower starts, as it said last; -1 where it said nothing in this leader epoch.
    #[must_use]
    pub fn follower_start_offset(&self, node_id: i32) -> i64 {
        let state = self.followers.get(&node_id);
        state.map_or(-1, |state| state.log_start_offset)
    }
}
