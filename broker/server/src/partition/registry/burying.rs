//! Keeps the logs of deleted topics, brings them back and gives them up.

use std::sync::Arc;

use foz_log::{LogConfig, OpenError, PartitionLog, StorageError, TopicPartition};
use foz_metadata::Image;
use foz_metadata::image::{Partition as Assigned, Topic};
use parking_lot::Mutex;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Key, Partitions};
use crate::broker::Broker;
use crate::partition::topic_settings::TopicSettings;
use crate::partition::{DataDirectory, wall_clock_ms};

/// Threads that bring logs back: they mostly wait for the disk.
const UNBURYING_THREADS: usize = 8;
const OF_ANOTHER_TOPIC: &str = "it is of an earlier topic of that name";

impl Partitions {
    /// Neither leads nor follows any of its partitions, and keeps their logs.
    pub(super) fn bury_topic(&self, broker: &Broker, image: &Image, topic: &Topic) {
        for (index, _) in topic.indexed_partitions() {
            let key = (topic.id, index);
            broker.fetchers.leave(key);
            let name = TopicPartition::new(topic.name.to_string(), index);
            let removed = self.held.write().remove(&key);
            if let Some(partition) = removed {
                partition.resign();
                self.bury(&partition.located().directory, image, topic.id, &name);
            } else if self.offline.remove(&name) {
                // What is being buried under that name is of the topic before, for which this one waited.
                let directories = self.directories.usable();
                for directory in directories.filter(|it| !it.logs().is_being_buried(&name)) {
                    match directory.logs().topic_id_of(&name) {
                        Some(other) if other != topic.id => {
                            self.set_aside(directory, &name, OF_ANOTHER_TOPIC);
                        }
                        _ => self.bury(directory, image, topic.id, &name),
                    }
                }
            }
        }
    }

    /// What that takes is done in the background.
    pub(super) fn bury(
        &self,
        directory: &DataDirectory,
        image: &Image,
        topic_id: Uuid,
        name: &TopicPartition,
    ) {
        self.give_up_copies(topic_id, name);
        // One that was brought back under another name goes there next, and is given up by nobody.
        let deleted = image.deleted_topic(topic_id);
        let grace_ends_at_ms = deleted.map_or(i64::MAX, |it| it.grace_ends_at_ms);
        if directory.logs().bury(name, topic_id, grace_ends_at_ms) {
            info!(partition = %name, %topic_id, "log of a deleted topic is kept");
            directory.deletions().notify_one();
        }
    }

    /// Goes on with what is on its way to be buried. Blocks. False where something is left to be tried again.
    pub(super) fn finish_burials(&self, directory: &DataDirectory) -> bool {
        if directory.has_failed() {
            return true;
        }
        let left = directory.logs().finish_burials();
        for (name, error) in &left {
            self.burial_failed(directory, name, error);
        }
        left.is_empty()
    }

    fn burial_failed(
        &self,
        directory: &DataDirectory,
        name: &TopicPartition,
        error: &StorageError,
    ) {
        if error.is_failed_flush() || directory.logs().has_failed_flush() {
            directory.failure().flush_failed(name, error);
        } else if error.is_shortage() {
            directory.disk_gate().refuse();
            warn!(partition = %name, %error, "log of a deleted topic keeps its name until there is room");
        } else {
            error!(partition = %name, %error, "log of a deleted topic keeps its name; it is tried again");
            directory.failure().storage_failed(error);
        }
    }

    /// Before many logs are made, or brought back: whatever has their names still is buried, all at once.
    pub(super) fn free_names<'a>(
        &self,
        names: &(impl Iterator<Item = &'a TopicPartition> + Clone),
    ) {
        for directory in self.directories.usable() {
            let mut names = names.clone();
            if names.any(|name| directory.logs().is_being_buried(name)) {
                self.finish_burials(directory);
            }
        }
    }

    /// Brings the logs of topics back that were restored, many at the same time, with one checkpoint for all of them. What
    /// cannot be brought back is tried again, and told, by who takes the partition on.
    pub(super) fn unbury_logs(&self, broker: &Broker, topics: &[TopicSettings<'_>]) {
        let mut buried = Vec::new();
        let restored = |settings: &&TopicSettings<'_>| settings.topic().restored_partitions > 0;
        for settings in topics.iter().filter(restored) {
            let topic = settings.topic();
            for (index, assigned) in topic.indexed_partitions() {
                let name = TopicPartition::new(topic.name.to_string(), index);
                if assigned.replicas.contains(&broker.node_id)
                    && !assigned.offline.contains(&broker.node_id)
                    && !self.directories.is_open(&name)
                    && !self.offline.contains(&name)
                    && let Some(directory) = self.directories.buried(topic.id, index)
                {
                    let config = settings.log_config(assigned.original_replica_count());
                    buried.push((directory, topic, name, config));
                }
            }
        }
        if buried.is_empty() {
            return;
        }
        self.free_names(&buried.iter().map(|(_, _, name, _)| name));
        let threads = buried.len().min(UNBURYING_THREADS);
        let left = Mutex::new(buried.into_iter());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let Some((directory, topic, name, config)) = left.lock().next() else {
                            return;
                        };
                        self.unbury(directory, topic, name, config);
                    }
                });
            }
        });
        for directory in self.directories.usable() {
            self.checkpoint(directory);
        }
    }

    /// The log of a topic that was brought back. It takes no records before the next checkpoint.
    pub(super) fn unbury(
        &self,
        directory: &DataDirectory,
        topic: &Topic,
        name: TopicPartition,
        config: Arc<LogConfig>,
    ) -> Option<Arc<PartitionLog>> {
        let index = name.partition;
        let logs = directory.logs();
        match logs.unbury(topic.id, &name, config, wall_clock_ms()) {
            Ok(Some((log, findings))) => {
                info!(partition = %name, topic_id = %topic.id, "log is back");
                for finding in findings {
                    warn!(partition = %name, ?finding, "found in a log that is back");
                }
                self.offline.remove(&name);
                Some(log)
            }
            Ok(None) => None,
            // Not moved: something is in its way, or the disk says no.
            Err(error) if logs.is_buried(topic.id, index) => {
                self.unburying_failed(directory, &name, &error);
                let partition = name.to_string();
                if self.offline.add_not_made(name, &error) {
                    error!(partition, %error, "log cannot be brought back; it is tried again");
                }
                None
            }
            Err(error) => {
                self.unburying_failed(directory, &name, &error);
                error!(partition = %name, %error, "log is back, and cannot be opened");
                self.offline.add_damaged(name);
                None
            }
        }
    }

    /// A failed disk ends the use of its directory, and a full one is told.
    pub(super) fn unburying_failed(
        &self,
        directory: &DataDirectory,
        name: &TopicPartition,
        error: &OpenError,
    ) {
        if error.is_failed_flush() || directory.logs().has_failed_flush() {
            directory.failure().log_stopped(name, error);
        } else if error.is_shortage() {
            directory.disk_gate().refuse();
        } else {
            directory.failure().open_failed(error);
        }
    }

    /// Gives the buried logs of a topic up, or one of them.
    pub(super) fn remove_buried(&self, topic_id: Uuid, index: Option<i32>) {
        for directory in self.directories.usable() {
            give_up_buried(directory, topic_id, index);
            directory.deletions().notify_one();
        }
    }

    /// At a start: what was moved to other brokers meanwhile is set aside, and what the metadata gave up is told of.
    pub(super) fn tidy_buried(&self, directory: &DataDirectory, image: &Image, node_id: i32) {
        for ((topic_id, index), grace_ends_at_ms) in directory.logs().buried() {
            if image.deleted_topic(topic_id).is_some() {
                continue;
            }
            let Some(topic) = image.topic_by_id(topic_id) else {
                match grace_ends_at_ms {
                    Some(grace_ends_at_ms) => warn!(
                        %topic_id, index, grace_ends_at_ms,
                        "the metadata does not know the topic of a buried log, which is removed when its grace is over"
                    ),
                    None => {
                        set_buried_aside(directory, (topic_id, index), "nobody knows its topic")
                    }
                }
                continue;
            };
            let assigned = topic.partition(index);
            if assigned.is_some_and(|it| it.replicas.contains(&node_id)) {
                // Brought back: whoever takes the partition on opens it.
                continue;
            }
            let reason = "its replica was moved to other brokers meanwhile";
            set_buried_aside(directory, (topic_id, index), reason);
        }
    }

    /// What was purged while this broker was away is removed when its grace is over, and not before: should the metadata
    /// have been set back, that is the time to see it. To be called now and then, before [`Self::remove_deleted`].
    pub(crate) fn remove_forgotten(&self, directory: &DataDirectory, now_ms: i64) {
        let image = self.applied.lock();
        if image.offset() == 0 || directory.has_failed() {
            return;
        }
        for ((topic_id, index), grace_ends_at_ms) in directory.logs().buried() {
            let is_known =
                image.deleted_topic(topic_id).is_some() || image.topic_by_id(topic_id).is_some();
            if !is_known && grace_ends_at_ms.is_some_and(|end| end <= now_ms) {
                info!(%topic_id, index, "log of a deleted topic is given up");
                give_up_buried(directory, topic_id, Some(index));
            }
        }
    }
}

fn give_up_buried(directory: &DataDirectory, topic_id: Uuid, index: Option<i32>) {
    if let Err(error) = directory.logs().remove_buried(topic_id, index) {
        error!(%topic_id, %error, "logs of a deleted topic are left behind; they are removed when their grace is over");
        directory.failure().storage_failed(&error);
    }
}

fn set_buried_aside(directory: &DataDirectory, (topic_id, index): Key, reason: &str) {
    match directory.logs().set_buried_aside(topic_id, index) {
        Ok(path) => {
            warn!(%topic_id, index, reason, ?path, "log set aside; remove it when nobody needs it");
        }
        Err(error) => {
            error!(%topic_id, index, reason, %error, "log cannot be set aside");
            directory.failure().storage_failed(&error);
        }
    }
}

/// Whether a topic that is gone under its name is deleted and kept, or was brought back under another.
pub(super) fn may_come_back(image: &Image, topic_id: Uuid) -> bool {
    image.deleted_topic(topic_id).is_some() || image.topic_by_id(topic_id).is_some()
}

/// Its topic was deleted while this broker was away, and perhaps brought back under another name.
pub(super) fn is_to_be_buried(image: &Image, log: &PartitionLog) -> bool {
    let has_its_name = image
        .topic_by_id(log.topic_id())
        .is_some_and(|topic| *topic.name == log.partition().topic);
    may_come_back(image, log.topic_id()) && !has_its_name
}

/// A replica of a topic that was brought back is counted on for what it has, and there is no log of it: an empty one in its
/// place would make the others throw away what they have.
pub(super) fn has_lost_log(topic: &Topic, index: i32, assigned: &Assigned, node_id: i32) -> bool {
    let Assigned {
        isr,
        elr,
        last_known_elr,
        never_in_sync,
        ..
    } = assigned;
    let mut counted_on = isr.iter().chain(elr).chain(last_known_elr);
    index < topic.restored_partitions
        && counted_on.any(|id| *id == node_id)
        && !never_in_sync.contains(&node_id)
}
