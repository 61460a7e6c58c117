//! Gives a partition its log: the one that is here, or a new one.

use std::sync::Arc;

use foz_log::{LogConfig, PartitionLog, TopicPartition};
use foz_metadata::image::{NO_LEADER, Partition as Assigned, Topic};
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::burying::has_lost_log;
use super::{Key, Partitions};
use crate::broker::Broker;
use crate::partition::data_directory::InFailed;
use crate::partition::topic_settings::TopicSettings;
use crate::partition::{DataDirectory, Partition, wall_clock_ms};

/// A log, and where it is.
type InDirectory<'a> = (&'a Arc<DataDirectory>, Arc<PartitionLog>);

/// Threads that make new logs: most of it is the file system's work.
const CREATING_THREADS: usize = 8;
/// Fewer are not worth a thread.
const LOGS_PER_THREAD: usize = 16;

impl Partitions {
    /// Makes the logs that partitions of new topics need, many at the same time. What cannot be made is tried again,
    /// and told, by who takes the partition on.
    pub(super) fn create_logs(&self, broker: &Broker, topics: &[TopicSettings<'_>]) {
        let mut new = Vec::new();
        for settings in topics {
            let topic = settings.topic();
            for (index, assigned) in topic.indexed_partitions() {
                let name = TopicPartition::new(topic.name.to_string(), index);
                if index >= topic.restored_partitions
                    && assigned.replicas.contains(&broker.node_id)
                    && !assigned.offline.contains(&broker.node_id)
                    && !self.directories.is_open(&name)
                    && !self.offline.contains(&name)
                {
                    let config = settings.log_config(assigned.original_replica_count());
                    new.push((name, topic.id, config));
                }
            }
        }
        self.free_names(&new.iter().map(|(name, _, _)| name));
        new.retain(|(name, topic_id, _)| {
            let found = self
                .directories
                .in_failed(name, (*topic_id, name.partition));
            found == InFailed::Nothing
        });
        let threads = (new.len() / LOGS_PER_THREAD).min(CREATING_THREADS);
        if threads < 2 {
            // Whoever takes them on makes them.
            return;
        }
        let left = Mutex::new(new.into_iter());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let Some((name, topic_id, config)) = left.lock().next() else {
                            return;
                        };
                        let _ = self.directories.create(&name, topic_id, config);
                    }
                });
            }
        });
    }

    pub(super) fn open_log(
        &self,
        broker: &Broker,
        settings: &TopicSettings<'_>,
        key: Key,
        assigned: &Assigned,
    ) -> Option<Arc<Partition>> {
        let topic = settings.topic();
        let name = TopicPartition::new(topic.name.to_string(), key.1);
        let replicas = assigned.original_replica_count();
        let config = settings.log_config(replicas);
        if self.directories.in_failed(&name, key) == InFailed::Its {
            self.offline.add_offline(&name);
            return None;
        }
        if assigned.offline.contains(&broker.node_id) {
            self.offline.add_offline(&name);
            if self.is_here(&name, key) {
                self.reports.damage.notify_one();
            }
            return None;
        }
        self.offline.remove_offline(&name);
        let mut own = None;
        for (directory, log) in self.directories.open(&name) {
            // It may wait to be set aside.
            if log.topic_id() == topic.id && !log.is_deleted() {
                log.set_config(Arc::clone(&config));
                own = Some((directory, log));
            } else {
                self.set_aside(directory, &name, "it is not of this replica");
            }
        }
        let (directory, log) = match own {
            Some(own) => own,
            None => self.find_or_create(broker, topic, &name, config, assigned)?,
        };
        log.set_flush_interval(settings.flush_interval());
        directory.flusher().opened(&log);
        let directory = Arc::clone(directory);
        let partition = Partition::new(log, directory, replicas, self.reports.clone());
        let partition = Arc::new(partition);
        if let Some(offset) = partition.log().damaged_from() {
            // Found while it was held before.
            partition.found_damage(&partition.located(), offset);
        }
        self.held.write().insert(key, Arc::clone(&partition));
        self.go_on_with_move(&partition);
        if partition.log().has_unchecked_batches() {
            self.reports.due_checks.add(key);
            self.metrics.unchecked_logs.inc();
        }
        Some(partition)
    }

    /// The log of this replica, in use or buried.
    pub(super) fn is_here(&self, name: &TopicPartition, (topic_id, index): Key) -> bool {
        let mut open = self.directories.open(name).into_iter();
        open.any(|(_, log)| log.topic_id() == topic_id)
            || self.directories.buried(topic_id, index).is_some()
    }

    /// The log that is damaged here, or buried, or else a new one.
    fn find_or_create(
        &self,
        broker: &Broker,
        topic: &Topic,
        name: &TopicPartition,
        config: Arc<LogConfig>,
        assigned: &Assigned,
    ) -> Option<InDirectory<'_>> {
        let index = name.partition;
        if self.offline.is_damaged(name) {
            return self.open_damaged(broker, topic, name, config, assigned);
        }
        if let Some(directory) = self.directories.buried(topic.id, index) {
            let Some(log) = self.unbury(directory, topic, name.clone(), config) else {
                if !self.offline.contains(name) {
                    // What was buried under its id was another topic's.
                    self.offline.add_lost(name);
                }
                return None;
            };
            self.checkpoint(directory);
            return Some((directory, log));
        }
        if has_lost_log(topic, index, assigned, broker.node_id) {
            self.offline.add_lost(name);
            return None;
        }
        self.create(topic, name, config)
    }

    fn create(
        &self,
        topic: &Topic,
        name: &TopicPartition,
        config: Arc<LogConfig>,
    ) -> Option<InDirectory<'_>> {
        if self.directories.in_failed(name, (topic.id, name.partition)) == InFailed::GivenUp {
            // Until the broker is registered anew.
            self.offline.add_offline(name);
            self.reports.damage.notify_one();
            return None;
        }
        let (directory, created) = self.directories.create(name, topic.id, config);
        match created {
            Ok(log) => {
                if self.offline.remove(name) {
                    info!(partition = %name, "log created at last");
                }
                Some((directory, log))
            }
            Err(error) => {
                if error.is_shortage() {
                    directory.disk_gate().refuse();
                } else if !directory.has_failed() && directory.logs().is_being_buried(name) {
                    // Of an earlier topic of that name, which could not be buried.
                    self.unburying_failed(directory, name, &error);
                }
                if self.offline.add_not_made(name.clone(), &error) {
                    error!(partition = %name, %error, "log cannot be created; it is tried again");
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
        config: Arc<LogConfig>,
        assigned: &Assigned,
    ) -> Option<InDirectory<'_>> {
        let counts =
            assigned.isr.contains(&broker.node_id) || assigned.elr.contains(&broker.node_id);
        if counts || [NO_LEADER, broker.node_id].contains(&assigned.leader) {
            return None;
        }
        let is_others = |directory: &&Arc<DataDirectory>| {
            let id = directory.logs().topic_id_of_offline(name);
            id.is_some_and(|id| id != topic.id)
        };
        // One that may be of this topic before one that is not.
        let directory = self.directories.offline(name).min_by_key(is_others)?;
        let logs = directory.logs();
        match logs.open_quarantined(name, Arc::clone(&config), wall_clock_ms()) {
            Ok((log, findings)) => {
                self.forget_damaged(name);
                if log.topic_id() != topic.id {
                    self.set_aside(directory, name, "it is of an earlier topic of that name");
                    return self.create(topic, name, config);
                }
                warn!(partition = %name, ?findings, "damaged data was set aside; it is fetched again");
                // Where it was opened by a mark it takes no records before.
                self.checkpoint(directory);
                Some((directory, log))
            }
            Err(error) => {
                error!(partition = %name, %error, "log cannot be opened");
                if error.is_shortage() {
                    directory.disk_gate().refuse();
                }
                directory.failure().open_failed(&error);
                None
            }
        }
    }
}
