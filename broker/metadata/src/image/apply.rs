//! Turns an image and a batch into the next image.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use uuid::Uuid;

use super::features::check_readable;
use super::{
    Broker, DeletedTopic, Directory, Grant, Image, Partition, Rebalance, Resource,
    SupportedFeatures, Topic,
};
use crate::record::{
    Batch, BrokerFenceRecord, ConfigRecord, DeleteTopicRecord, EndRestartGrantRecord, Fact,
    PartitionChangeRecord, PartitionRecord, PurgeDeletedTopicRecord, Record, RegisterBrokerRecord,
    RemoveTopicRecord, RestartGrantRecord, RestoreTopicRecord, TopicRecord, UnregisterBrokerRecord,
};

/// A topic, and what is set on it.
type TopicAndConfigs = (Arc<Topic>, Arc<BTreeMap<String, String>>);

/// Why a batch was not applied; the image is as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It was decided on another state, for example by an active controller that had been replaced.
    /// Every replica rejects it alike.
    #[error(
        "the batch follows offset {follows} of term {batch_term}, \
         the image is at offset {offset} of term {image_term}"
    )]
    DoesNotFollow {
        /// What the batch follows.
        follows: i64,
        /// The batch's term.
        batch_term: i64,
        /// Where the image is.
        offset: i64,
        /// The term of the image's newest batch.
        image_term: i64,
    },
    /// It follows, yet it cannot be applied: it was written by a newer version, or it is damaged. Going
    /// on without it would be another truth, so a process that meets one has to stop.
    #[error("record {position} of the batch at offset {offset}: {reason}")]
    Unusable {
        /// The batch's own offset.
        offset: i64,
        /// From 0.
        position: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Image {
    /// The image after `batch`.
    pub fn apply(&self, batch: &Batch) -> Result<Self, ApplyError> {
        if batch.follows != self.offset || batch.term < self.term {
            return Err(ApplyError::DoesNotFollow {
                follows: batch.follows,
                batch_term: batch.term,
                offset: self.offset,
                image_term: self.term,
            });
        }
        let mut next = self.clone();
        for (position, record) in batch.records.iter().enumerate() {
            next.apply_record(record)
                .map_err(|reason| ApplyError::Unusable {
                    offset: batch.offset(),
                    position,
                    reason,
                })?;
        }
        next.offset = batch.offset();
        next.term = batch.term;
        Ok(next)
    }

    pub(crate) fn apply_record(&mut self, record: &Record) -> Result<(), String> {
        let fact = record
            .record
            .as_ref()
            .ok_or("this version does not know the record")?;
        match fact {
            Fact::Cluster(record) => self.cluster_id = record.cluster_id.as_str().into(),
            Fact::RegisterBroker(record) => self.register_broker(record)?,
            Fact::UnregisterBroker(record) => self.unregister_broker(record)?,
            Fact::BrokerFence(record) => self.fence_broker(record)?,
            Fact::Topic(record) => self.add_topic(record)?,
            Fact::Partition(record) => self.add_partition(record)?,
            Fact::PartitionChange(record) => self.change_partition(record)?,
            Fact::RemoveTopic(record) => self.remove_topic(record)?,
            Fact::DeleteTopic(record) => self.delete_topic(record)?,
            Fact::RestoreTopic(record) => self.restore_topic(record)?,
            Fact::PurgeDeletedTopic(record) => self.purge_deleted_topic(record)?,
            Fact::Config(record) => self.set_config(record)?,
            Fact::ProducerIds(record) => self.next_producer_id = record.next_producer_id,
            Fact::OperatorEpoch(record) => {
                self.operator_epoch = record.epoch;
                self.operator_holder = record.holder.as_str().into();
            }
            Fact::Rack(record) => match &record.rack {
                Some(rack) => self.racks.insert_mut(record.node_id, rack.as_str().into()),
                None => {
                    self.racks.remove_mut(&record.node_id);
                }
            },
            Fact::FeatureLevel(record) => {
                check_readable(&record.name, record.level)?;
                self.features
                    .insert_mut(record.name.as_str().into(), record.level);
            }
            Fact::RestartGrant(record) => self.grant_restart(record)?,
            Fact::EndRestartGrant(record) => self.end_restart_grant(record)?,
            Fact::Cordon(record) => {
                if record.cordoned {
                    self.cordoned.insert_mut(record.node_id);
                } else {
                    self.cordoned.remove_mut(&record.node_id);
                }
            }
            Fact::Rebalance(record) => {
                self.rebalance = Some(Arc::new(Rebalance::from_record(record)?));
            }
        }
        Ok(())
    }

    fn register_broker(&mut self, record: &RegisterBrokerRecord) -> Result<(), String> {
        let broker = Broker {
            node_id: record.node_id,
            epoch: record.epoch,
            incarnation: read_id(&record.incarnation)?,
            directories: Directory::all_of(record)?,
            host: record.host.clone(),
            port: read_port(record.port)?,
            replication_host: record.replication_host.clone(),
            replication_port: read_port(record.replication_port)?,
            reported_rack: record.rack.clone(),
            version: record.version.clone(),
            features: SupportedFeatures::from_records(&record.features),
            fenced: true,
            stopping: false,
            short_of_space: false,
        };
        self.brokers.insert_mut(record.node_id, Arc::new(broker));
        Ok(())
    }

    fn unregister_broker(&mut self, record: &UnregisterBrokerRecord) -> Result<(), String> {
        self.broker_of_epoch(record.node_id, record.epoch)?;
        self.brokers.remove_mut(&record.node_id);
        Ok(())
    }

    fn fence_broker(&mut self, record: &BrokerFenceRecord) -> Result<(), String> {
        let mut broker = self.broker_of_epoch(record.node_id, record.epoch)?;
        let changed = Arc::make_mut(&mut broker);
        changed.fenced = record.fenced;
        changed.stopping = record.stopping;
        changed.short_of_space = record.short_of_space;
        if !record.fenced {
            // It has written down this epoch wherever it could.
            let heard = changed.directories.iter_mut();
            heard
                .filter(|directory| directory.epoch == record.epoch)
                .for_each(|directory| directory.previous_epochs.clear());
        }
        self.brokers.insert_mut(record.node_id, broker);
        Ok(())
    }

    fn broker_of_epoch(&self, node_id: i32, epoch: i64) -> Result<Arc<Broker>, String> {
        match self.broker(node_id) {
            Some(broker) if broker.epoch == epoch => Ok(broker.clone()),
            Some(broker) => Err(format!(
                "broker {node_id} has epoch {}, not {epoch}",
                broker.epoch
            )),
            None => Err(format!("no broker {node_id}")),
        }
    }

    fn grant_restart(&mut self, record: &RestartGrantRecord) -> Result<(), String> {
        let grant = Grant {
            node_id: record.node_id,
            epoch: record.grant_epoch,
            incarnation: read_id(&record.incarnation)?,
            reason: record.reason.clone(),
            operator_epoch: record.operator_epoch,
            unprotected: record.unprotected.clone(),
        };
        self.grants.insert_mut(record.node_id, Arc::new(grant));
        Ok(())
    }

    fn end_restart_grant(&mut self, record: &EndRestartGrantRecord) -> Result<(), String> {
        let (node_id, epoch) = (record.node_id, record.grant_epoch);
        match self.grant(node_id) {
            Some(grant) if grant.epoch == epoch => {
                self.grants.remove_mut(&node_id);
                Ok(())
            }
            Some(grant) => Err(format!(
                "node {node_id} has the restart grant {}, not {epoch}",
                grant.epoch
            )),
            None => Err(format!("node {node_id} has no restart grant")),
        }
    }

    fn add_topic(&mut self, record: &TopicRecord) -> Result<(), String> {
        let id = read_id(&record.id)?;
        let name: Arc<str> = record.name.as_str().into();
        if self.topics.contains_key(&id) || self.deleted.contains_key(&id) {
            return Err(format!("the id {id} of topic {name} exists already"));
        }
        self.insert_topic(Arc::new(Topic {
            id,
            name,
            internal: record.internal,
            restored_partitions: record.restored_partitions,
            partitions: Vec::new(),
        }))
    }

    fn insert_topic(&mut self, topic: Arc<Topic>) -> Result<(), String> {
        if self.topic_ids.contains_key(&topic.name) {
            return Err(format!("topic {} exists already", topic.name));
        }
        self.topic_ids.insert_mut(topic.name.clone(), topic.id);
        self.topics.insert_mut(topic.id, topic);
        Ok(())
    }

    fn add_partition(&mut self, record: &PartitionRecord) -> Result<(), String> {
        let topic = self.topic_mut(&record.topic_id)?;
        if usize::try_from(record.index) != Ok(topic.partitions.len()) {
            return Err(format!(
                "partition {} of topic {} does not come next: it has {}",
                record.index,
                topic.name,
                topic.partitions.len()
            ));
        }
        let partition = Partition {
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            elr: record.elr.clone(),
            last_known_elr: record.last_known_elr.clone(),
            never_in_sync: record.never_in_sync.clone(),
            adding_replicas: record.adding_replicas.clone(),
            removing_replicas: record.removing_replicas.clone(),
            rebalance_id: record.rebalance_id,
            offline: record.offline.clone(),
        };
        topic.partitions.push(partition);
        self.count_replicas(&record.replicas, 1);
        Ok(())
    }

    fn change_partition(&mut self, record: &PartitionChangeRecord) -> Result<(), String> {
        let is_deleted = self.deleted.contains_key(&read_id(&record.topic_id)?);
        let topic = if is_deleted {
            self.deleted_topic_mut(&record.topic_id)?
        } else {
            self.topic_mut(&record.topic_id)?
        };
        let name = topic.name.clone();
        let partition = usize::try_from(record.index)
            .ok()
            .and_then(|index| topic.partitions.get_mut(index))
            .ok_or_else(|| format!("topic {name} has no partition {}", record.index))?;
        let replicas_before = record.replicas.as_ref().map(|_| partition.replicas.clone());
        partition.partition_epoch = record.partition_epoch;
        partition.leader = record.leader.unwrap_or(partition.leader);
        partition.leader_epoch = record.leader_epoch.unwrap_or(partition.leader_epoch);
        partition.rebalance_id = record.rebalance_id.unwrap_or(partition.rebalance_id);
        for (list, change) in [
            (&mut partition.replicas, &record.replicas),
            (&mut partition.isr, &record.isr),
            (&mut partition.elr, &record.elr),
            (&mut partition.last_known_elr, &record.last_known_elr),
            (&mut partition.never_in_sync, &record.never_in_sync),
            (&mut partition.adding_replicas, &record.adding_replicas),
            (&mut partition.removing_replicas, &record.removing_replicas),
            (&mut partition.offline, &record.offline),
        ] {
            if let Some(change) = change {
                list.clone_from(&change.node_ids);
            }
        }
        if let (Some(before), Some(now), false) = (replicas_before, &record.replicas, is_deleted) {
            self.count_replicas(&before, -1);
            self.count_replicas(&now.node_ids, 1);
        }
        Ok(())
    }

    fn remove_topic(&mut self, record: &RemoveTopicRecord) -> Result<(), String> {
        self.take_topic(&record.topic_id)?;
        Ok(())
    }

    fn delete_topic(&mut self, record: &DeleteTopicRecord) -> Result<(), String> {
        let (topic, configs) = self.take_topic(&record.topic_id)?;
        let id = topic.id;
        let deleted = DeletedTopic {
            topic,
            configs,
            deleted_at_ms: record.deleted_at_ms,
            grace_ends_at_ms: record.grace_ends_at_ms,
            operator_epoch: record.operator_epoch,
        };
        self.deleted.insert_mut(id, Arc::new(deleted));
        Ok(())
    }

    fn restore_topic(&mut self, record: &RestoreTopicRecord) -> Result<(), String> {
        let DeletedTopic { topic, configs, .. } =
            Arc::unwrap_or_clone(self.take_deleted_topic(&record.topic_id)?);
        let name: Arc<str> = record.name.as_str().into();
        let topic = Topic {
            name: name.clone(),
            restored_partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            ..Arc::unwrap_or_clone(topic)
        };
        for partition in &topic.partitions {
            self.count_replicas(&partition.replicas, 1);
        }
        self.insert_topic(Arc::new(topic))?;
        if !configs.is_empty() {
            self.configs.insert_mut(Resource::Topic(name), configs);
        }
        Ok(())
    }

    fn purge_deleted_topic(&mut self, record: &PurgeDeletedTopicRecord) -> Result<(), String> {
        self.take_deleted_topic(&record.topic_id)?;
        Ok(())
    }

    /// A topic goes, with what is set on it.
    fn take_topic(&mut self, id: &[u8]) -> Result<TopicAndConfigs, String> {
        let id = read_id(id)?;
        let topic = self
            .topics
            .get(&id)
            .cloned()
            .ok_or_else(|| format!("no topic {id}"))?;
        self.topics.remove_mut(&id);
        self.topic_ids.remove_mut(&topic.name);
        let resource = Resource::Topic(topic.name.clone());
        let configs = self.configs.get(&resource).cloned().unwrap_or_default();
        self.configs.remove_mut(&resource);
        for partition in &topic.partitions {
            self.count_replicas(&partition.replicas, -1);
        }
        Ok((topic, configs))
    }

    fn take_deleted_topic(&mut self, id: &[u8]) -> Result<Arc<DeletedTopic>, String> {
        let id = read_id(id)?;
        let deleted = self
            .deleted
            .get(&id)
            .cloned()
            .ok_or_else(|| format!("no deleted topic {id}"))?;
        self.deleted.remove_mut(&id);
        Ok(deleted)
    }

    fn count_replicas(&mut self, replicas: &[i32], change: isize) {
        if let Some(preferred) = replicas.first() {
            add_to_count(&mut self.preferred_counts, *preferred, change);
        }
        for node_id in replicas {
            add_to_count(&mut self.replica_counts, *node_id, change);
        }
    }

    fn set_config(&mut self, record: &ConfigRecord) -> Result<(), String> {
        let resource = Resource::from_record(record.kind, &record.name)
            .ok_or_else(|| format!("no resource of kind {} is {:?}", record.kind, record.name))?;
        let mut configs = self.configs.get(&resource).cloned().unwrap_or_default();
        match &record.value {
            Some(value) => Arc::make_mut(&mut configs).insert(record.key.clone(), value.clone()),
            None => Arc::make_mut(&mut configs).remove(&record.key),
        };
        if configs.is_empty() {
            self.configs.remove_mut(&resource);
        } else {
            self.configs.insert_mut(resource, configs);
        }
        Ok(())
    }

    fn deleted_topic_mut(&mut self, id: &[u8]) -> Result<&mut Topic, String> {
        let id = read_id(id)?;
        let deleted = self
            .deleted
            .get_mut(&id)
            .ok_or_else(|| format!("no deleted topic {id}"))?;
        Ok(Arc::make_mut(&mut Arc::make_mut(deleted).topic))
    }

    fn topic_mut(&mut self, id: &[u8]) -> Result<&mut Topic, String> {
        let id = read_id(id)?;
        let topic = self
            .topics
            .get_mut(&id)
            .ok_or_else(|| format!("no topic {id}"))?;
        Ok(Arc::make_mut(topic))
    }
}

/// A count of zero is not kept: equal images have equal maps.
fn add_to_count(counts: &mut RedBlackTreeMapSync<i32, usize>, node_id: i32, change: isize) {
    let count = counts.get(&node_id).copied().unwrap_or_default();
    match count.saturating_add_signed(change) {
        0 => {
            counts.remove_mut(&node_id);
        }
        count => counts.insert_mut(node_id, count),
    }
}

fn read_port(port: i32) -> Result<u16, String> {
    u16::try_from(port).map_err(|_| format!("port {port}"))
}

pub(super) fn read_id(bytes: &[u8]) -> Result<Uuid, String> {
    Uuid::from_slice(bytes).map_err(|_| format!("an id has 16 bytes, this one {}", bytes.len()))
}
