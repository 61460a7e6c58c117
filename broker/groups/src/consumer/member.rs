use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::JOIN_EPOCH;
use crate::assignor::Assignor;

/// Partitions by topic id, each with the epoch at which the member got it (KIP-1251); a topic without
/// partitions is not in it.
pub type EpochPartitions = BTreeMap<uuid::Uuid, BTreeMap<i32, i32>>;

/// A member of a consumer group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerMember {
    /// What it has said of itself.
    pub metadata: MemberMetadata,
    /// Where it is on its way to the target.
    pub current: CurrentAssignment,
}

/// What a member says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberMetadata {
    /// `group.instance.id`, of a static member.
    pub instance_id: Option<Arc<str>>,
    /// `client.rack`: kept and told, of no influence on the assignment.
    pub rack_id: Option<Arc<str>>,
    /// From the request's header.
    pub client_id: Arc<str>,
    /// As Kafka shows it: `/192.0.2.7`.
    pub client_host: Arc<str>,
    /// How long it may take to revoke partitions.
    pub rebalance_timeout_ms: i32,
    /// By name; topics that do not exist yet may be among them.
    pub subscribed_topics: BTreeSet<Arc<str>>,
    /// A regular expression; it subscribes to what that matches, too.
    pub subscribed_regex: Option<Arc<str>>,
    /// The assignor it asks for.
    pub assignor: Option<Assignor>,
}

/// Where a member is on its way to the target assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// Of the target it has last moved to; 0 before the first, -2 while a static member is away.
    pub epoch: i32,
    /// The one before, as long as it may not have heard of the new one.
    pub previous_epoch: i32,
    /// What it waits for.
    pub state: MemberState,
    /// What it is to read.
    pub assigned: EpochPartitions,
    /// What it is to let go of first.
    pub pending_revocation: EpochPartitions,
}

/// What a member waits for, with Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Nothing: it has all of the target of its epoch.
    Stable,
    /// That it revokes partitions; it stays at its epoch till then.
    UnrevokedPartitions,
    /// That others let go of some of its partitions.
    UnreleasedPartitions,
    /// A state that this version does not know: it has to start anew, with nothing.
    Unknown,
}

impl MemberState {
    /// As it is in the records.
    pub const fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }

    /// From a record.
    pub const fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

impl Default for CurrentAssignment {
    fn default() -> Self {
        Self {
            epoch: JOIN_EPOCH,
            previous_epoch: JOIN_EPOCH,
            state: MemberState::Stable,
            assigned: EpochPartitions::new(),
            pending_revocation: EpochPartitions::new(),
        }
    }
}

impl CurrentAssignment {
    /// It has all of the target of that epoch.
    pub(super) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// Everything that nobody else may have.
    pub(super) fn owned(&self) -> impl Iterator<Item = (&uuid::Uuid, i32)> {
        let topics = self.assigned.iter().chain(&self.pending_revocation);
        topics.flat_map(|(topic_id, partitions)| {
            partitions
                .keys()
                .map(move |partition| (topic_id, *partition))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_keep_their_codes() {
        for code in [0, 1, 2, 127] {
            assert_eq!(MemberState::from_code(code).code(), code);
        }
        assert_eq!(MemberState::from_code(3), MemberState::Unknown);
        assert_eq!(MemberState::from_code(-1), MemberState::Unknown);
    }
}
