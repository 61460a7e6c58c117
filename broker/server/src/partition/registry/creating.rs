//! Gives a partition its log: the one that is here, or a new one.

use std::sync::Arc;

use foz_log::{LogConfig, PartitionLog, TopicPartition};
use foz_metadata::Image;
use foz_metadata::image::{NO_LEADER, Partition as Assigned, Topic};
use tracing::{error, info, warn};

use super::{Key, Partitions};
use crate::broker::Broker;
use crate::partition::log_config::{log_config, set_flush_interval};
use crate::partition::{Partition, wall_clock_ms};

impl Partitions {
    pub(super) fn open_log(
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
}
