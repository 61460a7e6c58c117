//! The part that this broker plays in a partition.

use std::sync::Arc;

use foz_replication::{IsrProposal, Leader};
use parking_lot::Mutex;
use prometheus::IntGauge;

use super::Partition;

#[derive(Debug)]
pub(super) enum Role {
    /// Nobody leads, or nothing is known yet.
    Idle,
    Leads(Leading),
    Follows(Following),
}

#[derive(Debug)]
pub(super) struct Leading {
    pub(super) epoch: i32,
    pub(super) leader: Mutex<Box<Leader>>,
    pub(super) _counted: Counted,
}

/// It is counted among the partitions that this broker leads, for as long as this lives.
#[derive(Debug)]
pub(super) struct Counted(IntGauge);

impl Counted {
    pub(super) fn among(led: &IntGauge) -> Self {
        led.inc();
        Self(led.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Following {
    pub(super) leader: i32,
    /// Of the leader.
    pub(super) epoch: i32,
}

/// A change of the ISR on its way to the controller.
#[derive(Debug)]
pub(crate) struct Proposed {
    pub(crate) partition: Arc<Partition>,
    pub(crate) proposal: IsrProposal,
}

impl Partition {
    /// The leader, as this replica knows it, and its epoch: as new as the image that clients are shown, or
    /// newer. `None`: there is none, or this is no replica. `node_id` is this broker's.
    pub(crate) fn leader(&self, node_id: i32) -> Option<(i32, i32)> {
        match &*self.role.read() {
            Role::Idle => None,
            Role::Leads(leading) => Some((node_id, leading.epoch)),
            Role::Follows(following) => Some((following.leader, following.epoch)),
        }
    }

    /// Not in the middle of a write.
    pub(super) fn set_role(&self, role: Role) {
        let _role_change = self.role_change.lock();
        *self.role.write() = role;
    }
}

impl Role {
    /// In which it leads or follows.
    pub(super) fn leader_epoch(&self) -> Option<i32> {
        match self {
            Self::Idle => None,
            Self::Leads(leading) => Some(leading.epoch),
            Self::Follows(following) => Some(following.epoch),
        }
    }

    pub(super) fn leading(&self) -> Option<&Leading> {
        match self {
            Self::Leads(leading) => Some(leading),
            _ => None,
        }
    }

    pub(super) fn following(&self) -> Option<Following> {
        match self {
            Self::Follows(following) => Some(*following),
            _ => None,
        }
    }
}
