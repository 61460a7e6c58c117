//! Deletes logs that nobody wants any more, and sets those aside of which nobody said so.

use std::sync::Arc;

use foz_log::TopicPartition;
use foz_metadata::Image;
use foz_metadata::image::Topic;
use tracing::{error, warn};

use super::Partitions;
use super::burying::{is_to_be_buried, may_come_back};
use crate::broker::Broker;
use crate::partition::DataDirectory;

impl Partitions {
    /// Takes logs of topics that were deleted while this broker was away out of service, and of replicas that
    /// were moved to other brokers. To be called once, with an image from after the registration: topic ids are
    /// never used again, so what it does not know is gone. As Kafka, it deletes neither: metadata that was lost
    /// must not take the last copy with it.
    pub(crate) fn set_strays_aside(&self, image: &Image, node_id: i32) {
        for directory in self.directories.usable() {
            for log in directory.logs().logs() {
                let topic = image.topic_by_id(log.topic_id());
                if is_to_be_buried(image, &log) {
                    self.bury(directory, image, log.topic_id(), log.partition());
                    continue;
                }
                if let Some(reason) = stray(topic, log.partition().partition, node_id) {
                    self.set_aside(directory, log.partition(), reason);
                }
            }
            for name in directory.logs().offline() {
                self.set_damaged_aside(directory, image, node_id, &name);
            }
            self.tidy_buried(directory, image, node_id);
        }
    }

    /// Of a log that cannot be opened. Of which topic it is, its files tell, or else its name.
    fn set_damaged_aside(
        &self,
        directory: &DataDirectory,
        image: &Image,
        node_id: i32,
        name: &TopicPartition,
    ) {
        let by_name = image.topic(&name.topic);
        let id = directory.logs().topic_id_of_offline(name).or_else(|| {
            let deleted = image.deleted_topics();
            let deleted = deleted.filter(|it| *it.topic.name == *name.topic);
            match by_name {
                Some(topic) => Some(topic.id),
                None => deleted
                    .max_by_key(|it| it.deleted_at_ms)
                    .map(|it| it.topic.id),
            }
        });
        let has_its_name = by_name.is_some_and(|topic| Some(topic.id) == id);
        if !has_its_name && let Some(id) = id.filter(|id| may_come_back(image, *id)) {
            self.bury(directory, image, id, name);
            self.forget_damaged(name);
            return;
        }
        let reason = match by_name {
            Some(_) if !has_its_name => Some("it is of an earlier topic of that name"),
            topic => stray(topic, name.partition, node_id),
        };
        if let Some(reason) = reason
            && self.set_aside(directory, name, reason)
        {
            self.forget_damaged(name);
        }
    }

    /// Its log is not offline any more, or gone; another directory may still have one of that name, of another topic.
    pub(super) fn forget_damaged(&self, name: &TopicPartition) {
        if self.directories.offline(name).next().is_none() {
            self.offline.remove(name);
        }
    }

    /// The topic is gone, for a while or for good.
    pub(super) fn delete(&self, broker: &Broker, image: &Image, topic: &Topic) {
        self.directories.forget_wanted_of(topic.id);
        if may_come_back(image, topic.id) {
            return self.bury_topic(broker, image, topic);
        }
        for (index, _) in topic.indexed_partitions() {
            self.give_up(broker, topic, index);
        }
    }

    /// Removes the files of deleted partitions of one directory, as long as `proceed` says so, and buries what is on its way there. Blocks.
    /// False where something is left that is to be tried again.
    pub(crate) fn remove_deleted(
        &self,
        directory: &DataDirectory,
        proceed: &dyn Fn() -> bool,
    ) -> bool {
        if directory.has_failed() {
            return true;
        }
        // First what gives room, and in the end what was given up on its way to be buried.
        let is_removed = remove_files(directory, proceed);
        self.finish_burials(directory) && remove_files(directory, proceed) && is_removed
    }

    /// Neither leads nor follows any more, and deletes the log. False where there was none.
    pub(super) fn give_up(&self, broker: &Broker, topic: &Topic, index: i32) -> bool {
        if index < topic.restored_partitions {
            self.remove_buried(topic.id, Some(index));
        }
        let key = (topic.id, index);
        let name = TopicPartition::new(topic.name.to_string(), index);
        broker.fetchers.leave(key);
        self.give_up_copies(topic.id, &name);
        let removed = self.held.write().remove(&key);
        if let Some(partition) = removed {
            partition.resign();
            remove(&partition.located().directory, partition.topic_partition());
            return true;
        }
        for directory in self.directories.failed() {
            directory.give_up(&name, key);
        }
        let was_offline = self.offline.remove(&name);
        if was_offline {
            self.directories.forget_wanted(key);
            for (directory, log) in self.directories.open(&name) {
                // The quorum did not count on it.
                if log.topic_id() == topic.id {
                    remove(directory, &name);
                }
            }
            for directory in self.directories.offline(&name) {
                match directory.logs().topic_id_of_offline(&name) {
                    Some(other) if other != topic.id => {
                        self.set_aside(directory, &name, "it is of an earlier topic of that name");
                    }
                    _ => remove(directory, &name),
                }
            }
        }
        was_offline
    }

    /// Nothing is deleted that nobody asked to delete. Whether it is out of the way.
    pub(super) fn set_aside(
        &self,
        directory: &DataDirectory,
        partition: &TopicPartition,
        reason: &str,
    ) -> bool {
        if let Some(log) = directory.logs().get(partition) {
            self.give_up_copies(log.topic_id(), partition);
        }
        match directory.logs().set_aside(partition) {
            Ok(path) => {
                warn!(%partition, reason, path = %path.display(), "log set aside; remove it when nobody needs it");
                true
            }
            Err(error) => {
                error!(%partition, reason, %error, "log cannot be set aside");
                directory.failure().storage_failed(&error);
                false
            }
        }
    }
}

fn remove(directory: &DataDirectory, partition: &TopicPartition) {
    if let Err(error) = directory.logs().delete(partition) {
        error!(%partition, %error, "a deleted partition's directory keeps its name; it is tried again");
        directory.failure().storage_failed(&error);
    }
    directory.deletions().notify_one();
}

fn remove_files(directory: &DataDirectory, proceed: &dyn Fn() -> bool) -> bool {
    match directory.logs().remove_deleted(proceed) {
        Ok(_) => true,
        Err(error) => {
            warn!(%error, "files of a deleted partition are left; they are tried again");
            directory.failure().storage_failed(&error);
            false
        }
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
