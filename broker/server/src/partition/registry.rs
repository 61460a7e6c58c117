//! All partitions of this broker, kept in line with the metadata.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use foz_log::{
    CleanShutdown, FileHandles, FlushObserver, Flusher, LogConfig, LogDirectory, PartitionLog,
    StorageError, TopicPartition,
};
use foz_metadata::image::{NO_LEADER, Partition as Assigned, Resource, Topic};
use foz_metadata::{Changes, Image};
use foz_protocol::error::ErrorCode;
use foz_replication::Assignment;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::log_config::{log_config, replication_settings};
use super::{Partition, Proposed, monotonic_ms, wall_clock_ms};
use crate::broker::Broker;
use crate::metrics::Metrics;

/// Files of logs that are open at once. Kafka keeps three for each segment; here they are opened when
/// they are read or written.
const OPEN_FILES_MAX: usize = 4_096;

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
    /// Partitions of this broker whose log could not be opened or made.
    offline: Mutex<HashSet<TopicPartition>>,
    metrics: Metrics,
    proposals: mpsc::UnboundedSender<Proposed>,
    /// See [`Recovered`].
    recovered: Recovered,
}

/// What recovery says of the process before this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recovered {
    /// It stopped in good order, with this broker epoch.
    pub(crate) stopped_cleanly: Option<i64>,
    /// Every log could be opened.
    pub(crate) is_whole: bool,
}

impl Partitions {
    /// Recovers everything in `data_dir`. Nothing is led until the metadata says so. `fatal` hears of a
    /// flush that failed: the process must stop.
    pub(crate) fn open(
        data_dir: &Path,
        fatal: mpsc::Sender<String>,
        metrics: Metrics,
        proposals: mpsc::UnboundedSender<Proposed>,
    ) -> anyhow::Result<Self> {
        let handles = FileHandles::new(OPEN_FILES_MAX);
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let (directory, report) = LogDirectory::open(
            data_dir,
            threads,
            &handles,
            wall_clock_ms(),
            &|_, _| until_configured(),
            &|progress| {
                if progress.opened % 1_000 == 0 || progress.opened == progress.total {
                    info!(
                        opened = progress.opened,
                        total = progress.total,
                        "recovering logs"
                    );
                }
            },
        )?;
        for (partition, finding) in &report.findings {
            warn!(%partition, ?finding, "found while recovering");
        }
        for offline in &report.offline {
            error!(partition = %offline.partition, error = %offline.error, "log is offline");
        }
        for path in &report.ignored {
            warn!(path = %path.display(), "not a partition; left alone");
        }
        let recovered = Recovered {
            stopped_cleanly: report.clean_shutdown.map(|mark| mark.broker_epoch),
            is_whole: report.offline.is_empty(),
        };
        let offline: HashSet<_> = report
            .offline
            .into_iter()
            .map(|log| log.partition)
            .collect();
        metrics.offline_log_partitions.set(offline.len() as i64);
        let held = Map::default();
        let observer = Observer {
            held: Arc::clone(&held),
            fatal,
        };
        let flusher = Flusher::start(Arc::new(observer)).context("cannot start the flusher")?;
        Ok(Self {
            directory: Arc::new(directory),
            handles,
            flusher: Arc::new(flusher),
            held,
            offline: Mutex::new(offline),
            metrics,
            proposals,
            recovered,
        })
    }

    pub(crate) fn recovered(&self) -> Recovered {
        self.recovered
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
            if self.offline.lock().contains(&name) {
                ErrorCode::KafkaStorageError
            } else {
                ErrorCode::NotLeaderOrFollower
            }
        })
    }

    /// Follows the metadata: creates, deletes, leads, resigns, configures.
    pub(crate) fn apply(&self, broker: &Broker, image: &Image, changes: &Changes) {
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

    /// Removes logs of topics that were deleted while this broker was away. To be called once, with an
    /// image from after the registration: topic ids are never used again, so what it does not know is
    /// gone.
    pub(crate) fn remove_strays(&self, image: &Image) {
        for log in self.directory.logs() {
            if image.topic_by_id(log.topic_id()).is_none() {
                let partition = log.partition();
                info!(%partition, topic_id = %log.topic_id(), "topic was deleted meanwhile; log removed");
                self.remove(partition);
            }
        }
    }

    /// Writes checkpoints, closes files that are not used.
    pub(crate) fn keep_house(&self) {
        if let Err(error) = self.directory.checkpoint() {
            warn!(%error, "checkpoints not written");
        }
        self.handles.close_idle();
    }

    /// Drops what retention no longer keeps. It looks into every log, also those that nobody uses.
    pub(crate) fn apply_retention(&self) {
        let now_ms = wall_clock_ms();
        // Only of partitions that the metadata has given: before that nobody knows what their topics
        // keep, and Kafka's default would delete what `retention.ms=-1` keeps for ever.
        let led: Vec<Arc<Partition>> = self
            .held
            .read()
            .values()
            .filter(|it| it.led().is_some())
            .cloned()
            .collect();
        for partition in led {
            if let Err(error) = partition.log.apply_retention(now_ms) {
                warn!(partition = partition.name(), %error, "retention not applied");
            }
        }
    }

    /// Flushes and closes everything and leaves the mark of a clean stop.
    pub(crate) fn close(&self, broker_epoch: i64) -> Result<(), StorageError> {
        for partition in self.held.read().values() {
            partition.resign();
        }
        self.directory.close_cleanly(CleanShutdown { broker_epoch })
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
            if let Some(partition) = held {
                broker.fetchers.leave(key);
                partition.resign();
            }
            return;
        }
        let Some(partition) = held.or_else(|| self.open_log(broker, image, topic, key, assigned))
        else {
            return;
        };
        match assigned.leader {
            NO_LEADER => {
                broker.fetchers.leave(key);
                partition.resign();
            }
            leader if leader == broker.node_id => {
                broker.fetchers.leave(key);
                Self::lead(broker, image, topic, &partition, assigned);
            }
            leader => {
                partition.follow(leader, assigned.leader_epoch);
                broker.fetchers.join(broker, leader, &partition);
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
        let settings = replication_settings(broker, image, &topic.name, assigned.replicas.len());
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
        let config = log_config(broker, image, &topic.name, assigned.replicas.len());
        let found = self.directory.get(&name);
        let log = match found {
            Some(log) if log.topic_id() == topic.id => {
                log.set_config(config);
                log
            }
            other => {
                if other.is_some() {
                    info!(partition = %name, "log of an earlier topic of that name removed");
                    self.remove(&name);
                }
                match self
                    .directory
                    .create(name.clone(), topic.id, config, wall_clock_ms())
                {
                    Ok(log) => log,
                    Err(error) => {
                        error!(partition = %name, %error, "log cannot be created");
                        self.count_offline(|offline| offline.insert(name));
                        return None;
                    }
                }
            }
        };
        let partition = Partition::new(log, Arc::clone(&self.flusher), self.proposals.clone());
        let partition = Arc::new(partition);
        self.held.write().insert(key, Arc::clone(&partition));
        Some(partition)
    }

    fn delete(&self, broker: &Broker, topic: &Topic) {
        for (index, _) in topic.indexed_partitions() {
            broker.fetchers.leave((topic.id, index));
            let removed = self.held.write().remove(&(topic.id, index));
            if let Some(partition) = removed {
                partition.resign();
                self.remove(partition.log.partition());
                continue;
            }
            let name = TopicPartition::new(topic.name.to_string(), index);
            if self.offline.lock().contains(&name) {
                self.remove(&name);
                self.count_offline(|offline| offline.remove(&name));
            }
        }
    }

    fn count_offline(&self, change: impl FnOnce(&mut HashSet<TopicPartition>) -> bool) {
        let mut offline = self.offline.lock();
        change(&mut offline);
        let count = offline.len() as i64;
        self.metrics.offline_log_partitions.set(count);
    }

    fn remove(&self, partition: &TopicPartition) {
        if let Err(error) = self.directory.delete(partition) {
            error!(%partition, %error, "files of a deleted partition are left behind");
        }
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
                let replicas = assigned.replicas.len();
                partition
                    .log
                    .set_config(log_config(broker, image, &topic.name, replicas));
                if partition.led() == Some(assigned.leader_epoch) {
                    Self::lead(broker, image, topic, partition, assigned);
                }
            }
        }
    }
}

/// What a log is opened with: what its topic keeps is known when the metadata is, so until then
/// nothing is deleted.
fn until_configured() -> LogConfig {
    LogConfig {
        cleanup_delete: false,
        retention_ms: None,
        ..LogConfig::default()
    }
}

/// Passes on what the flusher says.
struct Observer {
    held: Map,
    fatal: mpsc::Sender<String>,
}

impl FlushObserver for Observer {
    fn flushed(&self, log: &Arc<PartitionLog>, _flushed_offset: i64) {
        let key = (log.topic_id(), log.partition().partition);
        let partition = self.held.read().get(&key).cloned();
        if let Some(partition) = partition {
            partition.flushed();
        }
    }

    fn failed(&self, log: &Arc<PartitionLog>, error: &StorageError) {
        let partition = log.partition();
        // One is enough: the process stops.
        let _ = self
            .fatal
            .try_send(format!("{partition} cannot be flushed: {error}"));
    }
}
