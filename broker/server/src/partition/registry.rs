//! All partitions of this broker, kept in line with the metadata.

mod compacting;
mod opening;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foz_canary::{Canary, sings};
use foz_log::{
    CleanShutdown, FileHandles, Flusher, LogConfig, LogDirectory, PartitionLog, StorageError,
    TopicPartition,
};
use foz_metadata::image::{NO_LEADER, Partition as Assigned, Resource, Topic};
use foz_metadata::{Changes, Image};
use foz_protocol::error::ErrorCode;
use foz_replication::Assignment;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::damage::{Repair, repair};
use super::log_config::{log_config, replication_settings, set_flush_interval};
use super::offline::{Offline, must_leave};
use super::{Partition, Reports, monotonic_ms, wall_clock_ms};
use crate::broker::Broker;
use crate::metrics::Metrics;

pub(crate) use compacting::Resting;
pub(crate) use opening::Recovered;

/// A partition by topic id and index: a topic that was deleted and made again is another one.
pub(crate) type Key = (Uuid, i32);
type Map = Arc<RwLock<HashMap<Key, Arc<Partition>>>>;

/// The partitions that have a replica here.
#[derive(Debug)]
pub(crate) struct Partitions {
    directory: Arc<LogDirectory>,
    handles: Arc<FileHandles>,
    flusher: Arc<Flusher>,
    held: Map,
    offline: Offline,
    /// With which `held` is in line. Locked by whoever changes what is held.
    applied: Mutex<Arc<Image>>,
    metrics: Metrics,
    reports: Reports,
    /// See [`Recovered`].
    recovered: Recovered,
}

impl Partitions {
    pub(crate) fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Open files, and what is under way with them.
    pub(crate) fn handles(&self) -> &Arc<FileHandles> {
        &self.handles
    }

    pub(crate) fn directory(&self) -> &LogDirectory {
        &self.directory
    }

    /// Every partition with a replica here.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        self.held.read().values().cloned().collect()
    }

    /// A partition with a replica here.
    pub(crate) fn get(&self, topic_id: Uuid, index: i32) -> Option<Arc<Partition>> {
        self.held.read().get(&(topic_id, index)).cloned()
    }

    /// A partition as a client asks for it.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION` for an index that the topic does not have, `KAFKA_STORAGE_ERROR`
    /// where the log is here but cannot be used, else `NOT_LEADER_OR_FOLLOWER`.
    pub(crate) fn find(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        if topic.partition(index).is_none() {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        self.get(topic.id, index).ok_or_else(|| {
            let name = TopicPartition::new(topic.name.to_string(), index);
            if self.offline.contains(&name) {
                ErrorCode::KafkaStorageError
            } else {
                ErrorCode::NotLeaderOrFollower
            }
        })
    }

    /// Follows the metadata: creates, deletes, leads, resigns, configures.
    pub(crate) fn apply(&self, broker: &Broker, image: &Arc<Image>, changes: &Changes) {
        let mut applied = self.applied.lock();
        *applied = Arc::clone(image);
        for topic in changes.topics_deleted.values() {
            self.delete(broker, topic);
        }
        for topic in changes
            .topics_created
            .iter()
            .filter_map(|id| image.topic_by_id(*id))
        {
            for (index, assigned) in topic.indexed_partitions() {
                self.follow(broker, image, topic, index, assigned);
            }
        }
        for (id, index) in &changes.partitions_changed {
            let topic = image.topic_by_id(*id);
            if let Some((topic, assigned)) = topic.and_then(|t| Some((t, t.partition(*index)?))) {
                self.follow(broker, image, topic, *index, assigned);
            }
        }
        for resource in &changes.configs_changed {
            self.configure(broker, image, resource);
        }
        let led = self
            .held
            .read()
            .values()
            .filter(|partition| partition.led().is_some())
            .count();
        self.metrics.leader_partitions.set(led as i64);
    }

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

    /// Woken when damage was found.
    pub(crate) fn damage_found(&self) -> Arc<Notify> {
        Arc::clone(&self.reports.damage)
    }

    /// Makes the logs that could not be made, and has damaged data fetched again where that is possible. Says
    /// whether this broker has to register anew for the sake of what is left.
    pub(crate) fn repair(&self, broker: &Broker) -> Option<Leave> {
        let image = broker.image();
        let registered = broker.epoch();
        if image.offset() < *broker.registered_offset.borrow() {
            return None;
        }
        let mut leave = self.make_logs(broker).then_some(Leave::WithAllData);
        for partition in self.all() {
            let Some(damage) = partition.damage() else {
                continue;
            };
            let key = partition.key();
            let topic = image.topic_by_id(key.0);
            let Some(assigned) = topic.and_then(|topic| topic.partition(key.1)) else {
                continue;
            };
            let can_lead = |id| image.can_lead(id);
            match repair(damage, assigned, can_lead, broker.node_id, registered) {
                Repair::Wait => {}
                Repair::LeaveIsr => leave = Some(Leave::WithoutSomeData),
                Repair::Cut => {
                    if partition.cut_damage(&self.directory) {
                        broker.fetchers.join(broker, assigned.leader, &partition);
                    }
                }
            }
        }
        leave
    }

    /// Tries again what could not be made. True when this broker has to leave the ISR of one that still cannot.
    fn make_logs(&self, broker: &Broker) -> bool {
        let image = self.applied.lock();
        let can_lead = |id| image.can_lead(id);
        let mut leave = false;
        for name in self.offline.not_made() {
            let topic = image.topic(&name.topic);
            let Some((topic, assigned)) =
                topic.and_then(|t| Some((t, t.partition(name.partition)?)))
            else {
                continue;
            };
            self.follow(broker, &image, topic, name.partition, assigned);
            leave |= self.offline.contains(&name) && must_leave(assigned, can_lead, broker.node_id);
        }
        leave
    }

    /// A flush has failed: what the logs seem to hold may not be on the disk.
    pub(crate) fn has_failed_flush(&self) -> bool {
        let logs = self.directory.logs();
        logs.iter().any(|log| log.has_failed_flush())
    }

    /// Writes down what the next start goes by, where it changed.
    pub(crate) fn checkpoint(&self) {
        if let Err(error) = self.directory.checkpoint() {
            warn!(%error, "checkpoints not written");
        }
    }

    pub(crate) fn begin_writebacks(&self) {
        for partition in self.all() {
            partition.log.begin_writeback();
        }
    }

    pub(crate) fn close_idle_files(&self) {
        self.handles.close_idle();
    }

    /// Drops what retention no longer keeps. It looks into every log, also those that nobody uses.
    pub(crate) fn apply_retention(&self) {
        let now_ms = wall_clock_ms();
        // Only of partitions that the metadata has given: before that nobody knows what their topics
        // keep, and Kafka's default would delete what `retention.ms=-1` keeps for ever. Followers drop
        // their own, too.
        for partition in self.all() {
            if let Err(error) = partition.log.apply_retention(now_ms) {
                warn!(partition = partition.name(), %error, "retention not applied");
            }
        }
    }

    /// Flushes and closes everything. Leaves the mark of a clean stop where the logs have all that this node had
    /// when it was registered with this epoch.
    pub(crate) fn close(&self, broker_epoch: Option<i64>) -> Result<(), StorageError> {
        for partition in self.held.read().values() {
            partition.resign();
        }
        match broker_epoch {
            Some(broker_epoch) => self.directory.close_cleanly(CleanShutdown { broker_epoch }),
            None => self.directory.close_without_mark(),
        }
    }

    fn follow(
        &self,
        broker: &Broker,
        image: &Image,
        topic: &Topic,
        index: i32,
        assigned: &Assigned,
    ) {
        let key = (topic.id, index);
        let held = self.held.read().get(&key).cloned();
        if !assigned.replicas.contains(&broker.node_id) {
            if self.give_up(broker, topic, index) {
                let (partition, replicas) = (format!("{}-{index}", topic.name), &assigned.replicas);
                info!(%partition, ?replicas, "replica moved to other brokers; its log is deleted");
            }
            return;
        }
        // Those that are being copied protect nothing yet.
        let replicas = assigned.original_replica_count();
        if let Some(partition) = &held
            && partition.replicas.swap(replicas, Ordering::AcqRel) != replicas
        {
            // A single one flushes before it acknowledges, one of several need not.
            self.set_config(broker, image, topic, &partition.log, replicas);
        }
        let Some(partition) = held.or_else(|| self.open_log(broker, image, topic, key, assigned))
        else {
            return;
        };
        if sings(Canary::TruncateByHighWatermark)
            && partition.role.read().leader_epoch() != Some(assigned.leader_epoch)
        {
            let (log, now_ms) = (&partition.log, wall_clock_ms());
            let _ = self.directory.truncate(log, log.high_watermark(), now_ms);
        }
        match assigned.leader {
            NO_LEADER => {
                broker.fetchers.leave(key);
                partition.resign();
            }
            leader if leader == broker.node_id => {
                // First: from here on no fetch says that it is followed, which an old leader takes for proof
                // that nobody else leads (`foz_replication::Leader::led_at`).
                broker.fetchers.leave(key);
                Self::lead(broker, image, topic, &partition, assigned);
            }
            leader => {
                // An ISR that changed is nothing to a follower.
                if partition.follow(leader, assigned.leader_epoch) {
                    broker.fetchers.join(broker, leader, &partition);
                }
            }
        }
    }

    fn lead(
        broker: &Broker,
        image: &Image,
        topic: &Topic,
        partition: &Arc<Partition>,
        assigned: &Assigned,
    ) {
        let assignment = Assignment {
            replicas: assigned.replicas.clone(),
            isr: assigned.isr.clone(),
            leader: assigned.leader,
            leader_epoch: assigned.leader_epoch,
            partition_epoch: assigned.partition_epoch,
        };
        let settings = replication_settings(broker, image, &topic.name, assigned);
        partition.lead(broker.node_id, &assignment, settings, monotonic_ms());
    }

    fn open_log(
        &self,
        broker: &Broker,
        image: &Image,
        topic: &Topic,
        key: Key,
        assigned: &Assigned,
    ) -> Option<Arc<Partition>> {
        let name = TopicPartition::new(topic.name.to_string(), key.1);
        let config = log_config(
            broker,
            image,
            &topic.name,
            assigned.original_replica_count(),
        );
        let found = self.directory.get(&name);
        let log = match found {
            Some(log) if log.topic_id() == topic.id => {
                log.set_config(config);
                log
            }
            other => {
                if other.is_some() {
                    self.set_aside(&name, "it is of an earlier topic of that name");
                }
                if self.offline.is_damaged(&name) {
                    self.open_damaged(broker, topic, &name, config, assigned)?
                } else {
                    self.create(topic, name, config)?
                }
            }
        };
        set_flush_interval(broker, image, &topic.name, &log, &self.flusher);
        let (flusher, reports) = (Arc::clone(&self.flusher), self.reports.clone());
        let partition = Partition::new(log, assigned.original_replica_count(), flusher, reports);
        let partition = Arc::new(partition);
        self.held.write().insert(key, Arc::clone(&partition));
        Some(partition)
    }

    fn create(
        &self,
        topic: &Topic,
        name: TopicPartition,
        config: LogConfig,
    ) -> Option<Arc<PartitionLog>> {
        let created = self
            .directory
            .create(name.clone(), topic.id, config, wall_clock_ms());
        match created {
            Ok(log) => {
                if self.offline.remove(&name) {
                    info!(partition = %name, "log created at last");
                }
                Some(log)
            }
            Err(error) => {
                let partition = name.to_string();
                if self.offline.add_not_made(name, error.to_string()) {
                    error!(partition, %error, "log cannot be created; it is tried again");
                }
                None
            }
        }
    }

    /// A log that recovery found damaged: it ends before the damage, and the rest is fetched again, where
    /// another broker leads and this one is not counted on.
    fn open_damaged(
        &self,
        broker: &Broker,
        topic: &Topic,
        name: &TopicPartition,
        config: LogConfig,
        assigned: &Assigned,
    ) -> Option<Arc<PartitionLog>> {
        let counts =
            assigned.isr.contains(&broker.node_id) || assigned.elr.contains(&broker.node_id);
        if counts || [NO_LEADER, broker.node_id].contains(&assigned.leader) {
            return None;
        }
        match self
            .directory
            .open_quarantined(name, config.clone(), wall_clock_ms())
        {
            Ok((log, findings)) => {
                self.offline.remove(name);
                if log.topic_id() != topic.id {
                    self.set_aside(name, "it is of an earlier topic of that name");
                    return self.create(topic, name.clone(), config);
                }
                warn!(partition = %name, ?findings, "damaged data was set aside; it is fetched again");
                Some(log)
            }
            Err(error) => {
                error!(partition = %name, %error, "log cannot be opened");
                if error.is_failed_flush() {
                    self.reports.fail_stop.log_stopped(name, &error);
                }
                None
            }
        }
    }

    fn delete(&self, broker: &Broker, topic: &Topic) {
        for (index, _) in topic.indexed_partitions() {
            self.give_up(broker, topic, index);
        }
    }

    /// Neither leads nor follows any more, and deletes the log. False where there was none.
    fn give_up(&self, broker: &Broker, topic: &Topic, index: i32) -> bool {
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
    fn set_aside(&self, partition: &TopicPartition, reason: &str) -> bool {
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
            error!(%partition, %error, "files of a deleted partition are left behind");
        }
    }

    fn set_config(
        &self,
        broker: &Broker,
        image: &Image,
        topic: &Topic,
        log: &Arc<PartitionLog>,
        replicas: usize,
    ) {
        log.set_config(log_config(broker, image, &topic.name, replicas));
        set_flush_interval(broker, image, &topic.name, log, &self.flusher);
    }

    fn configure(&self, broker: &Broker, image: &Image, resource: &Resource) {
        let topic_name = match resource {
            Resource::Topic(name) => Some(name),
            Resource::DefaultBroker => None,
            Resource::Broker(node_id) if *node_id == broker.node_id => None,
            Resource::Broker(_) => return,
        };
        for ((topic_id, index), partition) in self.held.read().iter() {
            let Some(topic) = image.topic_by_id(*topic_id) else {
                continue;
            };
            let Some(assigned) = topic.partition(*index) else {
                continue;
            };
            if topic_name.is_none_or(|name| *name == topic.name) {
                let replicas = assigned.original_replica_count();
                self.set_config(broker, image, topic, &partition.log, replicas);
                if partition.led() == Some(assigned.leader_epoch) {
                    Self::lead(broker, image, topic, partition, assigned);
                }
            }
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

/// How to register anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// As after any restart.
    WithAllData,
    WithoutSomeData,
}

#[cfg(test)]
mod tests;
