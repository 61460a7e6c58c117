//! Which replica a consumer reads from (KIP-392).

use super::Leader;
use crate::assignment::Cluster;

/// `replica.selector.class`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReplicaSelector {
    /// Not configured: everybody reads from the leader.
    #[default]
    Leader,
    /// `org.apache.kafka.common.replica.RackAwareReplicaSelector`.
    RackAware,
}

impl Leader {
    /// The follower that a consumer in `rack` should read `fetch_offset` from; `None` to read here: no
    /// selector, no rack, the leader is in it, or nobody in it has the offset. (On the wire the leader is
    /// never named as the preferred replica: the client would take it for a redirection.)
    ///
    /// As in Kafka, a replica outside the ISR qualifies too; the most caught up one is taken.
    #[must_use]
    pub fn preferred_read_replica(
        &self,
        selector: ReplicaSelector,
        rack: &str,
        fetch_offset: i64,
        cluster: &dyn Cluster,
    ) -> Option<i32> {
        if selector == ReplicaSelector::Leader
            || rack.is_empty()
            || cluster.living_rack(self.node_id) == Some(rack)
        {
            return None;
        }
        self.followers
            .iter()
            .filter(|&(&node_id, _)| cluster.living_rack(node_id) == Some(rack))
            .filter(|(_, state)| (0..=fetch_offset).contains(&state.log_start_offset))
            .filter_map(|(&node_id, state)| {
                let end_offset = state.end_offset.filter(|&end| end >= fetch_offset)?;
                Some((end_offset, state.last_caught_up_ms, node_id))
            })
            .max()
            .map(|(_, _, node_id)| node_id)
    }
}
