//! Deletes logs that nobody wants any more, and sets those aside of which nobody said so.

use std::sync::Arc;

use foz_log::TopicPartition;
use foz_metadata::Image;
use foz_metadata::image::Topic;
use tokio::sync::Notify;
use tracing::{error, warn};

use super::Partitions;
use crate::broker::Broker;

impl Partitions {
    /// Takes logs of topics that were deleted while this broker was away out of service, and of replicas that
    /// were moved to other brokers. To be called once, with an image from after the registration: topic ids are
    /// never used again, so what it does not know is gone. As Kafka, it deletes neither: metadata that was lost
    /// must not take the last copy with it.
    pub(crate) fn set_strays_aside(&self, image: &Image, node_id: i32) {
        for log in self.directory.logs() {
            let topic = image.topic_by_id(log.topic_id());
            if let Some(reason) = stray(topic, log.partition().partition, node_id) {
                self.set_aside(log.partition(), reason);
            }
        }
        // Of which topic of that name they are, nobody has read.
        for name in self.offline.damaged() {
            if let Some(reason) = stray(image.topic(&name.topic), name.partition, node_id)
                && self.set_aside(&name, reason)
            {
                self.offline.remove(&name);
            }
        }
    }

    pub(super) fn delete(&self, broker: &Broker, topic: &Topic) {
        for (index, _) in topic.indexed_partitions() {
            self.give_up(broker, topic, index);
        }
    }

    /// Woken when there is something to do for [`Self::remove_deleted`].
    pub(crate) fn deletions(&self) -> Arc<Notify> {
        Arc::clone(&self.deletions)
    }

    /// Removes the files of deleted partitions, as long as `proceed` says so. Blocks. False where some could not be
    /// removed: that may be tried again.
    pub(crate) fn remove_deleted(&self, proceed: &dyn Fn() -> bool) -> bool {
        match self.directory.remove_deleted(proceed) {
            Ok(_) => true,
            Err(error) => {
                warn!(%error, "files of a deleted partition are left; they are tried again");
                false
            }
        }
    }

    /// Neither leads nor follows any more, and deletes the log. False where there was none.
    pub(super) fn give_up(&self, broker: &Broker, topic: &Topic, index: i32) -> bool {
        let key = (topic.id, index);
        broker.fetchers.leave(key);
        let removed = self.held.write().remove(&key);
        if let Some(partition) = removed {
            partition.resign();
            self.remove(partition.log.partition());
            return true;
        }
        let name = TopicPartition::new(topic.name.to_string(), index);
        let was_offline = self.offline.remove(&name);
        if was_offline {
            self.remove(&name);
        }
        was_offline
    }

    /// Nothing is deleted that nobody asked to delete. Whether it is out of the way.
    pub(super) fn set_aside(&self, partition: &TopicPartition, reason: &str) -> bool {
        match self.directory.set_aside(partition) {
            Ok(path) => {
                warn!(%partition, reason, path = %path.display(), "log set aside; remove it when nobody needs it");
                true
            }
            Err(error) => {
                error!(%partition, reason, %error, "log cannot be set aside");
                false
            }
        }
    }

    fn remove(&self, partition: &TopicPartition) {
        if let Err(error) = self.directory.delete(partition) {
            error!(%partition, %error, "a deleted partition's directory keeps its name; it is tried again");
        }
        self.deletions.notify_one();
    }
}

/// Why this broker should have no log of this partition, if so.
fn stray(topic: Option<&Arc<Topic>>, index: i32, node_id: i32) -> Option<&'static str> {
    let Some(topic) = topic else {
        return Some("the topic was deleted meanwhile");
    };
    let is_replica = topic
        .partition(index)
        .is_some_and(|assigned| assigned.replicas.contains(&node_id));
    (!is_replica).then_some("the replica was moved to other brokers meanwhile")
}
