//! An image as the records that build it, so that a snapshot and the log cannot differ in meaning.

use std::collections::BTreeMap;

use prost::Message;

use super::{Directory, Image, Resource, Topic};
use crate::record::{
    BrokerFenceRecord, ClusterRecord, ConfigRecord, CordonRecord, DecodeError, DeleteTopicRecord,
    Fact, FeatureLevelRecord, OperatorEpochRecord, PartitionRecord, ProducerIdsRecord, RackRecord,
    Record, RegisterBrokerRecord, RestartGrantRecord, Snapshot, TopicRecord, id_bytes,
};

/// The bytes are not an image.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Not even a message.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// A message whose records contradict each other, or that a newer version wrote.
    #[error("record {position} of the snapshot at offset {offset}: {reason}")]
    Unusable {
        /// The snapshot's offset.
        offset: i64,
        /// From 0.
        position: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Image {
    /// The whole image; equal images give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Snapshot {
            offset: self.offset,
            term: self.term,
            records: self.to_records(),
        }
        .encode_to_vec()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, RestoreError> {
        let snapshot = Snapshot::decode_from(bytes)?;
        let mut image = Self::default();
        for (position, record) in snapshot.records.iter().enumerate() {
            image
                .apply_record(record)
                .map_err(|reason| RestoreError::Unusable {
                    offset: snapshot.offset,
                    position,
                    reason,
                })?;
        }
        image.offset = snapshot.offset;
        image.term = snapshot.term;
        Ok(image)
    }

    fn to_records(&self) -> Vec<Record> {
        let mut facts = Vec::new();
        if !self.cluster_id.is_empty() {
            facts.push(Fact::Cluster(ClusterRecord {
                cluster_id: self.cluster_id.to_string(),
            }));
        }
        self.features_to_facts(&mut facts);
        self.brokers_to_facts(&mut facts);
        self.grants_to_facts(&mut facts);
        // First: their names may be those of others by now.
        self.deleted_topics_to_facts(&mut facts);
        for topic in self.topics() {
            topic_to_facts(topic, &mut facts);
        }
        facts.extend(self.rebalance().map(|it| Fact::Rebalance(it.to_record())));
        self.configs_to_facts(&mut facts);
        if self.next_producer_id > 0 {
            // Who got the last block is of interest in the log only.
            facts.push(Fact::ProducerIds(ProducerIdsRecord {
                next_producer_id: self.next_producer_id,
                node_id: -1,
                broker_epoch: -1,
            }));
        }
        if self.operator_epoch > 0 {
            facts.push(Fact::OperatorEpoch(OperatorEpochRecord {
                epoch: self.operator_epoch,
                holder: self.operator_holder.to_string(),
            }));
        }
        facts.into_iter().map(Record::from).collect()
    }

    fn features_to_facts(&self, facts: &mut Vec<Fact>) {
        for (name, level) in self.features() {
            facts.push(Fact::FeatureLevel(FeatureLevelRecord {
                name: name.to_owned(),
                level,
            }));
        }
    }

    fn brokers_to_facts(&self, facts: &mut Vec<Fact>) {
        for broker in self.brokers() {
            facts.push(Fact::RegisterBroker(RegisterBrokerRecord {
                node_id: broker.node_id,
                epoch: broker.epoch,
                incarnation: id_bytes(broker.incarnation),
                directory_ids: Vec::new(),
                host: broker.host.clone(),
                port: i32::from(broker.port),
                rack: broker.reported_rack.clone(),
                version: broker.version.clone(),
                features: broker.features.to_records(),
                replication_host: broker.replication_host.clone(),
                replication_port: i32::from(broker.replication_port),
                previous_epochs: Vec::new(),
                directories: broker
                    .directories
                    .iter()
                    .map(Directory::to_record)
                    .collect(),
            }));
            if !broker.fenced || broker.stopping || broker.short_of_space {
                facts.push(Fact::BrokerFence(BrokerFenceRecord::of(broker)));
            }
        }
        for (node_id, rack) in self.assigned_racks() {
            facts.push(Fact::Rack(RackRecord {
                node_id,
                rack: Some(rack.to_owned()),
            }));
        }
    }

    fn grants_to_facts(&self, facts: &mut Vec<Fact>) {
        for grant in self.grants() {
            facts.push(Fact::RestartGrant(RestartGrantRecord {
                node_id: grant.node_id,
                grant_epoch: grant.epoch,
                incarnation: id_bytes(grant.incarnation),
                reason: grant.reason.clone(),
                operator_epoch: grant.operator_epoch,
                unprotected: grant.unprotected.clone(),
            }));
        }
        for node_id in self.cordoned() {
            facts.push(Fact::Cordon(CordonRecord {
                node_id,
                cordoned: true,
            }));
        }
    }

    fn deleted_topics_to_facts(&self, facts: &mut Vec<Fact>) {
        for deleted in self.deleted_topics() {
            topic_to_facts(&deleted.topic, facts);
            let resource = Resource::Topic(deleted.topic.name.clone());
            config_to_facts(&resource, &deleted.configs, facts);
            facts.push(Fact::DeleteTopic(DeleteTopicRecord {
                topic_id: id_bytes(deleted.topic.id),
                deleted_at_ms: deleted.deleted_at_ms,
                grace_ends_at_ms: deleted.grace_ends_at_ms,
                operator_epoch: deleted.operator_epoch,
            }));
        }
    }

    fn configs_to_facts(&self, facts: &mut Vec<Fact>) {
        for (resource, configs) in self.configured() {
            config_to_facts(resource, configs, facts);
        }
    }
}

fn topic_to_facts(topic: &Topic, facts: &mut Vec<Fact>) {
    let topic_id = id_bytes(topic.id);
    facts.push(Fact::Topic(TopicRecord {
        id: topic_id.clone(),
        name: topic.name.to_string(),
        internal: topic.internal,
        restored_partitions: topic.restored_partitions,
    }));
    for (index, partition) in topic.indexed_partitions() {
        facts.push(Fact::Partition(PartitionRecord {
            topic_id: topic_id.clone(),
            index,
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            elr: partition.elr.clone(),
            last_known_elr: partition.last_known_elr.clone(),
            never_in_sync: partition.never_in_sync.clone(),
            adding_replicas: partition.adding_replicas.clone(),
            removing_replicas: partition.removing_replicas.clone(),
            rebalance_id: partition.rebalance_id,
            offline: partition.offline.clone(),
        }));
    }
}

fn config_to_facts(resource: &Resource, configs: &BTreeMap<String, String>, facts: &mut Vec<Fact>) {
    let (kind, name) = resource.to_record();
    for (key, value) in configs {
        facts.push(Fact::Config(ConfigRecord {
            kind: kind.into(),
            name: name.clone(),
            key: key.clone(),
            value: Some(value.clone()),
        }));
    }
}
