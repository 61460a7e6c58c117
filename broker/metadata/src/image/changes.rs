//! What differs between two images, so that a broker need not look at everything after each batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::{Image, Resource, Topic};
use crate::record::{Batch, Fact};

/// What was touched on the way from one image to a later one. Details are in the images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Node ids of brokers that are new, or whose registration, fence, rack or cordon changed.
    pub brokers_changed: BTreeSet<i32>,
    /// Node ids of brokers that are gone.
    pub brokers_removed: BTreeSet<i32>,
    /// Node ids that got a restart grant.
    pub grants_changed: BTreeSet<i32>,
    /// Node ids whose restart grant ended.
    pub grants_ended: BTreeSet<i32>,
    /// Ids of topics that are new, or brought back. Their partitions are not listed below.
    pub topics_created: BTreeSet<Uuid>,
    /// Topics that are gone, as they were. Those that can be brought back are among
    /// [`Image::deleted_topics`] from now on. One that was brought back meanwhile under another name is here and above.
    pub topics_deleted: BTreeMap<Uuid, Arc<Topic>>,
    /// Ids of deleted topics that can be brought back no more.
    pub topics_purged: BTreeSet<Uuid>,
    /// Partitions, of topics that were there before, that are new or changed: (topic id, index).
    pub partitions_changed: BTreeSet<(Uuid, i32)>,
    /// Resources on which a config was set or removed; not those of deleted topics.
    pub configs_changed: BTreeSet<Resource>,
    /// Whether there is a newer rebalance, or it is further.
    pub rebalance_changed: bool,
}

impl Changes {
    /// What `batch` changes in `before`, from its records alone. It may name things that the batch
    /// wrote without making them different.
    #[must_use]
    pub fn of_batch(before: &Image, batch: &Batch) -> Self {
        let mut changes = Self::default();
        for fact in batch
            .records
            .iter()
            .filter_map(|record| record.record.as_ref())
        {
            changes.add(before, fact);
        }
        changes
    }

    /// What is different in `after`. Looks at everything, but quickly past what both images share.
    #[must_use]
    pub fn between(before: &Image, after: &Image) -> Self {
        let mut changes = Self::default();
        changes.compare_brokers(before, after);
        changes.compare_grants(before, after);
        changes.compare_topics(before, after);
        changes.compare_configs(before, after);
        changes.rebalance_changed = before.rebalance() != after.rebalance();
        changes
    }

    /// Whether nothing was touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, before: &Image, fact: &Fact) {
        match fact {
            Fact::RegisterBroker(record) => self.broker_changed(record.node_id),
            Fact::BrokerFence(record) => self.broker_changed(record.node_id),
            Fact::Rack(record) => self.broker_changed(record.node_id),
            Fact::Cordon(record) => self.broker_changed(record.node_id),
            Fact::RestartGrant(record) => {
                self.grants_ended.remove(&record.node_id);
                self.grants_changed.insert(record.node_id);
            }
            Fact::EndRestartGrant(record) => {
                self.grants_changed.remove(&record.node_id);
                self.grants_ended.insert(record.node_id);
            }
            Fact::UnregisterBroker(record) => {
                self.brokers_changed.remove(&record.node_id);
                self.brokers_removed.insert(record.node_id);
            }
            Fact::Topic(record) => {
                self.topics_created.extend(Uuid::from_slice(&record.id));
            }
            Fact::Partition(record) => self.partition_changed(&record.topic_id, record.index),
            Fact::PartitionChange(record) => {
                self.partition_changed(&record.topic_id, record.index);
            }
            Fact::RemoveTopic(record) => self.topic_removed(before, &record.topic_id),
            Fact::DeleteTopic(record) => self.topic_removed(before, &record.topic_id),
            Fact::RestoreTopic(record) => {
                self.topic_restored(before, &record.topic_id, &record.name);
            }
            Fact::PurgeDeletedTopic(record) => {
                let id = Uuid::from_slice(&record.topic_id).ok();
                let was_deleted = |id: &Uuid| before.deleted_topic(*id).is_some();
                self.topics_purged.extend(id.filter(was_deleted));
            }
            Fact::Config(record) => {
                self.configs_changed
                    .extend(Resource::from_record(record.kind, &record.name));
            }
            Fact::Rebalance(_) => self.rebalance_changed = true,
            Fact::Cluster(_)
            | Fact::ProducerIds(_)
            | Fact::OperatorEpoch(_)
            | Fact::FeatureLevel(_) => {}
        }
    }

    fn broker_changed(&mut self, node_id: i32) {
        self.brokers_removed.remove(&node_id);
        self.brokers_changed.insert(node_id);
    }

    fn partition_changed(&mut self, topic_id: &[u8], index: i32) {
        if let Ok(id) = Uuid::from_slice(topic_id)
            && !self.topics_created.contains(&id)
        {
            self.partitions_changed.insert((id, index));
        }
    }

    fn topic_removed(&mut self, before: &Image, topic_id: &[u8]) {
        let Ok(id) = Uuid::from_slice(topic_id) else {
            return;
        };
        self.topics_created.remove(&id);
        self.partitions_changed.retain(|(topic, _)| *topic != id);
        if let Some(topic) = before.topic_by_id(id) {
            self.configs_changed
                .remove(&Resource::Topic(topic.name.clone()));
            self.topics_deleted.insert(id, topic.clone());
        }
    }

    fn topic_restored(&mut self, before: &Image, topic_id: &[u8], name: &str) {
        let Ok(id) = Uuid::from_slice(topic_id) else {
            return;
        };
        self.partitions_changed.retain(|(topic, _)| *topic != id);
        self.topics_created.insert(id);
        let has_configs = before
            .deleted_topic(id)
            .is_some_and(|deleted| !deleted.configs.is_empty());
        if has_configs {
            self.configs_changed.insert(Resource::topic(name));
        }
    }

    fn compare_brokers(&mut self, before: &Image, after: &Image) {
        for broker in before.brokers() {
            if after.broker(broker.node_id).is_none() {
                self.brokers_removed.insert(broker.node_id);
            }
        }
        for broker in after.brokers() {
            let node_id = broker.node_id;
            if before.broker(node_id) != Some(broker)
                || before.rack(node_id) != after.rack(node_id)
                || before.is_cordoned(node_id) != after.is_cordoned(node_id)
            {
                self.brokers_changed.insert(node_id);
            }
        }
    }

    fn compare_grants(&mut self, before: &Image, after: &Image) {
        for grant in before.grants() {
            if after.grant(grant.node_id).is_none() {
                self.grants_ended.insert(grant.node_id);
            }
        }
        for grant in after.grants() {
            if before.grant(grant.node_id) != Some(grant) {
                self.grants_changed.insert(grant.node_id);
            }
        }
    }

    fn compare_topics(&mut self, before: &Image, after: &Image) {
        let keeps_name =
            |old: &Topic, new: Option<&Arc<Topic>>| new.is_some_and(|new| new.name == old.name);
        for topic in before.topics() {
            if !keeps_name(topic, after.topic_by_id(topic.id)) {
                self.topics_deleted.insert(topic.id, topic.clone());
            }
        }
        for deleted in before.deleted_topics() {
            let id = deleted.topic.id;
            if after.deleted_topic(id).is_none() && after.topic_by_id(id).is_none() {
                self.topics_purged.insert(id);
            }
        }
        for topic in after.topics() {
            match before.topic_by_id(topic.id) {
                None => {
                    self.topics_created.insert(topic.id);
                }
                Some(old) if old.name != topic.name => {
                    self.topics_created.insert(topic.id);
                }
                Some(old) if !Arc::ptr_eq(old, topic) => self.compare_partitions(old, topic),
                Some(_) => {}
            }
        }
    }

    fn compare_partitions(&mut self, before: &Topic, after: &Topic) {
        for (index, partition) in after.indexed_partitions() {
            if before.partition(index) != Some(partition) {
                self.partitions_changed.insert((after.id, index));
            }
        }
    }

    fn compare_configs(&mut self, before: &Image, after: &Image) {
        for (resource, configs) in after.configured() {
            if before.configs(resource) != Some(configs) {
                self.configs_changed.insert(resource.clone());
            }
        }
        for (resource, _) in before.configured() {
            let topic_is_gone =
                matches!(resource, Resource::Topic(name) if after.topic(name).is_none());
            if after.configs(resource).is_none() && !topic_is_gone {
                self.configs_changed.insert(resource.clone());
            }
        }
    }
}
