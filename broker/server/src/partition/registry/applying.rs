//! Follows the metadata.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use foz_canary::{Canary, sings};
use foz_metadata::image::{NO_LEADER, Partition as Assigned};
use foz_metadata::{Changes, Image};
use foz_replication::Assignment;
use tracing::info;

use super::Partitions;
use crate::broker::Broker;
use crate::partition::topic_settings::TopicSettings;
use crate::partition::{Partition, monotonic_ms, wall_clock_ms};

impl Partitions {
    /// Follows the metadata: creates, deletes, leads, resigns, configures.
    pub(crate) fn apply(&self, broker: &Broker, image: &Arc<Image>, changes: &Changes) {
        let mut applied = self.applied.lock();
        *applied = Arc::clone(image);
        for topic in changes.topics_deleted.values() {
            self.delete(broker, image, topic);
        }
        for id in &changes.topics_purged {
            self.remove_buried(*id, None);
        }
        let created = changes.topics_created.iter();
        let created: Vec<_> = created
            .filter_map(|id| image.topic_by_id(*id))
            .map(|topic| TopicSettings::on(broker, image, topic))
            .collect();
        self.unbury_logs(broker, &created);
        self.create_logs(broker, &created);
        for settings in &created {
            for (index, assigned) in settings.topic().indexed_partitions() {
                self.follow(broker, settings, index, assigned);
            }
        }
        let changed: Vec<_> = changes.partitions_changed.iter().collect();
        for of_topic in changed.chunk_by(|(one, _), (other, _)| one == other) {
            let Some(topic) = image.topic_by_id(of_topic[0].0) else {
                continue;
            };
            let settings = TopicSettings::on(broker, image, topic);
            for (_, index) in of_topic {
                if let Some(assigned) = topic.partition(*index) {
                    self.follow(broker, &settings, *index, assigned);
                }
            }
        }
        self.configure(broker, image, changes);
    }

    pub(super) fn follow(
        &self,
        broker: &Broker,
        settings: &TopicSettings<'_>,
        index: i32,
        assigned: &Assigned,
    ) {
        let topic = settings.topic();
        let key = (topic.id, index);
        let mut held = self.held.read().get(&key).cloned();
        if let Some(partition) = &held
            && assigned.offline.contains(&broker.node_id)
        {
            broker.fetchers.leave(key);
            partition.resign();
            self.held.write().remove(&key);
            held = None;
        }
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
            self.set_config(settings, partition, replicas);
        }
        let Some(partition) = held.or_else(|| self.open_log(broker, settings, key, assigned))
        else {
            return;
        };
        if sings(Canary::TruncateByHighWatermark)
            && partition.role.read().leader_epoch() != Some(assigned.leader_epoch)
        {
            let (it, now_ms) = (partition.located(), wall_clock_ms());
            let logs = it.directory.logs();
            let _ = logs.truncate(&it.log, it.log.high_watermark(), now_ms);
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
                Self::lead(broker, settings, &partition, assigned);
            }
            leader => {
                // An ISR that changed is nothing to a follower.
                if partition.follow(leader, assigned.leader_epoch) {
                    broker.fetchers.join(broker, leader, &partition);
                }
            }
        }
    }

    pub(super) fn lead(
        broker: &Broker,
        settings: &TopicSettings<'_>,
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
        let settings = settings.replication(assigned);
        partition.lead(broker.node_id, &assignment, settings, monotonic_ms());
    }
}
