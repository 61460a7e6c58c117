//! Topics that were deleted, and can be brought back.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::{Image, Partition, Topic};

/// A topic that was deleted, and whose replicas keep what they have of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// As it was, but for replicas that lost since what they had: these are in sync or eligible no more, and whose disk
    /// is gone is named in `never_in_sync`. Nobody leads it, whatever it says.
    pub topic: Arc<Topic>,
    /// What was set on it.
    pub configs: Arc<BTreeMap<String, String>>,
    /// By the clock of the controller that was active then.
    pub deleted_at_ms: i64,
    /// From then on it may be purged.
    pub grace_ends_at_ms: i64,
    /// Of the operator that asked; 0: somebody else did.
    pub operator_epoch: i64,
}

impl DeletedTopic {
    /// Whether some replica of each partition still has data that it was in sync with; else the first partition of which
    /// none has.
    pub fn check_has_data(&self) -> Result<(), i32> {
        let has_none = |(_, partition): &(i32, &Partition)| {
            let has_lost_all = |id| partition.never_in_sync.contains(id);
            partition.replicas.iter().all(has_lost_all)
        };
        match self.topic.indexed_partitions().find(has_none) {
            Some((index, _)) => Err(index),
            None => Ok(()),
        }
    }
}

impl Image {
    /// Every deleted topic, by ascending id.
    pub fn deleted_topics(&self) -> impl Iterator<Item = &Arc<DeletedTopic>> {
        self.deleted.values()
    }

    /// A deleted topic by its id.
    #[must_use]
    pub fn deleted_topic(&self, id: Uuid) -> Option<&Arc<DeletedTopic>> {
        self.deleted.get(&id)
    }

    /// How many topics are deleted and can be brought back.
    #[must_use]
    pub fn deleted_topic_count(&self) -> usize {
        self.deleted.size()
    }

    /// How many partitions those have together.
    #[must_use]
    pub fn deleted_partition_count(&self) -> usize {
        let topics = self.deleted_topics();
        topics.map(|it| it.topic.partitions.len()).sum()
    }

    /// The deleted topics in the order in which they are purged: what was deleted first comes first.
    #[must_use]
    pub fn deleted_topics_oldest_first(&self) -> Vec<&Arc<DeletedTopic>> {
        let mut topics: Vec<_> = self.deleted_topics().collect();
        topics.sort_by_key(|it| (it.deleted_at_ms, it.topic.id));
        topics
    }
}
