//! Takes over configs that changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use foz_metadata::image::{Resource, Topic};
use foz_metadata::{Changes, Image};

use super::Partitions;
use crate::broker::Broker;
use crate::partition::Partition;
use crate::partition::topic_settings::TopicSettings;

impl Partitions {
    /// A topic that is new was configured when it was made.
    pub(super) fn configure(&self, broker: &Broker, image: &Image, changes: &Changes) {
        let is_ours = |resource: &Resource| match resource {
            Resource::DefaultBroker => true,
            Resource::Broker(node_id) => *node_id == broker.node_id,
            Resource::Topic(_) => false,
        };
        let topics: Vec<&Arc<Topic>> = if changes.configs_changed.iter().any(is_ours) {
            let held: BTreeSet<_> = self.held.read().keys().map(|(id, _)| *id).collect();
            held.into_iter()
                .filter_map(|id| image.topic_by_id(id))
                .collect()
        } else {
            let changed = changes.configs_changed.iter();
            changed
                .filter_map(|resource| match resource {
                    Resource::Topic(name) => image.topic(name),
                    Resource::DefaultBroker | Resource::Broker(_) => None,
                })
                .collect()
        };
        let old = topics
            .into_iter()
            .filter(|topic| !changes.topics_created.contains(&topic.id));
        for topic in old {
            self.configure_topic(broker, image, topic);
        }
    }

    fn configure_topic(&self, broker: &Broker, image: &Image, topic: &Topic) {
        let settings = TopicSettings::on(broker, image, topic);
        for (index, assigned) in topic.indexed_partitions() {
            let Some(partition) = self.get(topic.id, index) else {
                continue;
            };
            self.set_config(&settings, &partition, assigned.original_replica_count());
            if partition.led() == Some(assigned.leader_epoch) {
                Self::lead(broker, &settings, &partition, assigned);
            }
        }
    }

    /// The log is also flushed as often as its topic wants it, with what it holds already.
    pub(super) fn set_config(
        &self,
        settings: &TopicSettings<'_>,
        partition: &Partition,
        replicas: usize,
    ) {
        let log = &partition.log;
        log.set_config(settings.log_config(replicas));
        log.set_flush_interval(settings.flush_interval());
        self.flusher.appended(log);
    }
}
