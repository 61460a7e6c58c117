//! What the leader of a partition is told about it.

/// A partition as the metadata has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The nodes that hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those that are in sync, as committed by the controller.
    pub isr: Vec<i32>,
    /// The leader; -1 for none.
    pub leader: i32,
    /// Grows with every change of the leader.
    pub leader_epoch: i32,
    /// Grows with every change of the partition.
    pub partition_epoch: i32,
}

/// What config says about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The effective minimum: max(1, min(`min.insync.replicas`, number of replicas)).
    pub min_insync: usize,
    /// `replica.lag.time.max.ms`.
    pub lag_time_max_ms: i64,
}

/// The leader's own log, as it is at the moment of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalLog {
    /// The first offset there is.
    pub start_offset: i64,
    /// The offset after the last record.
    pub end_offset: i64,
    /// What the leader itself vouches for: `end_offset`, or the flushed offset where the partition
    /// flushes before it acknowledges.
    pub durable_offset: i64,
}

/// What the leader asks about other nodes, answered from the current metadata.
pub trait Cluster {
    /// The broker epoch of a node that may join the ISR: alive, able to use its replica, not stopping, and with room on its
    /// disk unless all in sync lack that. `None` for any other.
    fn may_join(&self, node_id: i32) -> Option<i64>;

    /// It is registered and not fenced, and can use its replica: it may be stopping.
    fn is_alive(&self, node_id: i32) -> bool;

    /// The rack of a node that is alive; `None` for any other, and for one without a rack.
    fn living_rack(&self, _node_id: i32) -> Option<&str> {
        None
    }
}
