//! Takes over configs that changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use foz_log::LogConfig;
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
            Resource::Topic(_) | Resource::Group(_) => false,
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
                    Resource::DefaultBroker | Resource::Broker(_) | Resource::Group(_) => None,
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
            let located = partition.located();
            let before = located.log.config();
            self.set_config(&settings, &partition, assigned.original_replica_count());
            if keeps_less(&before, &located.log.config()) {
                located.directory.due_retention().add(partition.key());
            }
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
        let located = partition.located();
        let log = &located.log;
        log.set_config(settings.log_config(replicas));
        log.set_flush_interval(settings.flush_interval());
        located.directory.flusher().appended(log);
    }
}

/// Retention may have something to remove that it kept before: nobody who asks for it wants to wait until
/// `log.retention.check.interval.ms` is over.
fn keeps_less(before: &LogConfig, after: &LogConfig) -> bool {
    let is_lower = |before: Option<u64>, after: Option<u64>| {
        after.is_some_and(|after| before.is_none_or(|before| after < before))
    };
    let unsigned = |ms: Option<i64>| ms.map(i64::unsigned_abs);
    after.cleanup_delete
        && (!before.cleanup_delete
            || is_lower(unsigned(before.retention_ms), unsigned(after.retention_ms))
            || is_lower(before.retention_bytes, after.retention_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_remove_something_is_looked_at_at_once() {
        let config = |cleanup_delete, retention_ms, retention_bytes| LogConfig {
            cleanup_delete,
            retention_ms,
            retention_bytes,
            ..LogConfig::default()
        };
        let before = config(true, Some(100), None);
        for (after, is_due) in [
            (config(true, Some(100), None), false),
            (config(true, Some(99), None), true),
            (config(true, Some(0), None), true),
            (config(true, Some(101), None), false),
            (config(true, None, None), false),
            (config(true, Some(100), Some(0)), true),
            (config(true, None, Some(1 << 40)), true),
            (config(false, Some(1), Some(0)), false),
        ] {
            assert_eq!(keeps_less(&before, &after), is_due, "{after:?}");
        }
        let compacted = config(false, Some(100), Some(100));
        assert!(keeps_less(&compacted, &config(true, Some(100), Some(100))));
        assert!(keeps_less(&before, &config(true, Some(1), None)));
        let bounded = config(true, None, Some(100));
        assert!(keeps_less(&bounded, &config(true, None, Some(99))));
        assert!(!keeps_less(&bounded, &config(true, None, Some(100))));
        assert!(keeps_less(
            &bounded,
            &config(true, Some(i64::MAX), Some(100))
        ));
    }
}
