//! Why there is no plan.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("broker {node_id} is not registered")]
    UnknownBroker { node_id: i32 },
    #[error("broker {node_id} is cordoned and gets no new replicas; uncordon it first")]
    Cordoned { node_id: i32 },
    #[error("broker {node_id} is not alive and cannot get replicas; wait until it is back")]
    NotAlive { node_id: i32 },
    /// At least one; all that there are.
    #[error("{} partitions cannot be moved off; the first: {}", .0.len(), .0[0])]
    CannotDrain(Vec<CannotDrain>),
}

/// A partition that keeps a drain from being possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannotDrain {
    pub topic: u32,
    pub partition: i32,
    pub reason: CannotDrainReason,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotDrainReason {
    #[error("it has {replicas} replicas, and only {brokers} brokers could have them")]
    TooFewBrokers { replicas: usize, brokers: usize },
    #[error(
        "none of its replicas is on a broker that is alive and can use it, so there is nothing to copy from"
    )]
    NothingToCopyFrom,
    #[error("no broker that keeps it in as many racks has room on its disk for its {bytes} bytes")]
    NoRoom { bytes: u64 },
}

impl fmt::Display for CannotDrain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            topic,
            partition,
            reason,
        } = self;
        write!(
            formatter,
            "partition {partition} of topic {topic}: {reason}"
        )
    }
}
