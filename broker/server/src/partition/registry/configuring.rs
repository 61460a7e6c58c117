//! Takes over configs that changed.

use std::sync::Arc;

use foz_log::PartitionLog;
use foz_metadata::Image;
use foz_metadata::image::{Resource, Topic};

use super::Partitions;
use crate::broker::Broker;
use crate::partition::log_config::{log_config, set_flush_interval};

impl Partitions {
    pub(super) fn configure(&self, broker: &Broker, image: &Image, resource: &Resource) {
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

    pub(super) fn set_config(
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
}
