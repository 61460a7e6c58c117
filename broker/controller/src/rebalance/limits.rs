//! How much a rebalance does at once.

use std::time::Duration;

/// What one step may have under way, for each broker and altogether.
#[derive(Debug, Clone)]
pub struct RebalanceLimits {
    /// Moves that a broker takes part in, as the one that sends or that gets records. Others' moves count.
    pub moves_per_broker: usize,
    /// Left to copy by these. A move that is larger runs when its brokers take part in no other.
    pub bytes_per_broker: u64,
    /// Moves that copy, in the whole cluster. One batch of records begins as many.
    pub moves: usize,
    /// Moves of one step that only change who leads: clients of each have to find the new leader.
    pub order_moves: usize,
    /// A move to a broker that is away for longer is called off, and planned anew without it.
    pub away: Duration,
    /// How long the first plan of a controller waits for brokers to tell their load, where not all have.
    pub loads_wait: Duration,
}

impl Default for RebalanceLimits {
    /// Few enough that each gets on: followers that catch up are paced anyway, so that clients feel little of it.
    fn default() -> Self {
        Self {
            moves_per_broker: 8,
            bytes_per_broker: 16 << 30,
            moves: 500,
            order_moves: 100,
            away: Duration::from_secs(60),
            loads_wait: Duration::from_secs(15),
        }
    }
}
