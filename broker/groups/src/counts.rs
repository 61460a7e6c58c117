use crate::consumer::ConsumerGroupState;
use crate::group::GroupState;

/// What a coordinator has, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// By [`GroupState`]; those that assign themselves are among the empty ones.
    classic: [u64; GroupState::ALL.len()],
    consumer: [u64; ConsumerGroupState::ALL.len()],
    /// Generations of classic groups that came to be stable, since the coordinator was loaded.
    pub classic_rebalances: u64,
    /// New epochs of consumer groups, since then.
    pub consumer_rebalances: u64,
}

impl GroupCounts {
    /// Classic groups in a state.
    pub fn classic(&self, state: GroupState) -> u64 {
        self.classic[state as usize]
    }

    /// Consumer groups in a state.
    pub fn consumer(&self, state: ConsumerGroupState) -> u64 {
        self.consumer[state as usize]
    }

    /// All groups of the classic protocol, and all of KIP-848.
    pub fn by_protocol(&self) -> [(&'static str, u64); 2] {
        [
            ("classic", self.classic.iter().sum()),
            ("consumer", self.consumer.iter().sum()),
        ]
    }

    pub(crate) fn add_classic(&mut self, state: GroupState) {
        self.classic[state as usize] += 1;
    }

    pub(crate) fn add_consumer(&mut self, state: ConsumerGroupState) {
        self.consumer[state as usize] += 1;
    }
}
