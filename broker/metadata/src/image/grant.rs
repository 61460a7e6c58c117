//! Who may stop, and who gets nothing new.

use std::sync::Arc;

use uuid::Uuid;

use super::Image;

/// Node ids of controllers begin here; brokers are below.
pub const CONTROLLER_ID_FIRST: i32 = 1000;

/// One process of a node may stop: a lock that lasts until the node is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// A broker, or a controller.
    pub node_id: i32,
    /// The offset of the image with the grant: never used again.
    pub epoch: i64,
    /// The process that may stop; no other of the same node may.
    pub incarnation: Uuid,
    /// For people.
    pub reason: String,
    /// Of the operator that asked; 0 when the process itself did, or a hand.
    pub operator_epoch: i64,
    /// Partitions, as `topic-3`, that have too few in-sync replicas while it is away; not all of them when there
    /// are many.
    pub unprotected: Vec<String>,
}

impl Image {
    /// Every grant, by ascending node id.
    pub fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.grants.values()
    }

    /// The grant of a node. It may be of a process that has ended since.
    #[must_use]
    pub fn grant(&self, node_id: i32) -> Option<&Arc<Grant>> {
        self.grants.get(&node_id)
    }

    /// Whether the process that the grant was given to is still the registered one of its node.
    #[must_use]
    pub fn is_granted_incarnation(&self, grant: &Grant) -> bool {
        let broker = self.broker(grant.node_id);
        broker.is_some_and(|broker| broker.incarnation == grant.incarnation)
    }

    /// Whether the node gets no new replicas. It need not be registered.
    #[must_use]
    pub fn is_cordoned(&self, node_id: i32) -> bool {
        self.cordoned.contains(&node_id)
    }

    /// Every cordoned node, by ascending id.
    pub fn cordoned(&self) -> impl Iterator<Item = i32> {
        self.cordoned.iter().copied()
    }
}
