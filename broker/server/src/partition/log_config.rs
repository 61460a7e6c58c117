//! A topic's effective configuration, as its logs use it.

use std::sync::Arc;

use foz_log::{FlushInterval, Flusher, LogConfig, PartitionLog, TimestampType};
use foz_metadata::Image;
use foz_metadata::config::Resolver;
use foz_metadata::rules;
use foz_replication::Settings;

use crate::broker::Broker;

/// What the logs of `topic` are configured with. Values were checked when they were set.
pub(super) fn log_config(
    broker: &Broker,
    image: &Image,
    topic: &str,
    replicas: usize,
) -> LogConfig {
    let resolver = Resolver::new(image, broker.node_id, &broker.statics);
    let value = |key: &str| {
        resolver
            .topic(topic, key)
            .expect("the key is in the table of topic keys")
    };
    let number = |key: &str| {
        value(key)
            .as_i64()
            .expect("the key is a number with a default")
    };
    let broker_value = |key: &str| {
        resolver
            .broker(key)
            .expect("the key is in the table of brokers")
    };
    let unlimited = |key: &str| Some(number(key)).filter(|limit| *limit >= 0);
    let cleanup_policy = value("cleanup.policy");
    let timestamp_type = value("message.timestamp.type");
    LogConfig {
        segment_bytes: number("segment.bytes") as u64,
        segment_ms: number("segment.ms"),
        segment_index_bytes: number("segment.index.bytes") as u32,
        index_interval_bytes: number("index.interval.bytes") as u32,
        max_message_bytes: number("max.message.bytes") as usize,
        message_timestamp_type: match timestamp_type.value.as_deref() {
            Some("LogAppendTime") => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        message_timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
        message_timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
        cleanup_delete: cleanup_policy.items().contains(&"delete"),
        cleanup_compact: cleanup_policy.items().contains(&"compact"),
        delete_retention_ms: number("delete.retention.ms"),
        min_compaction_lag_ms: number("min.compaction.lag.ms"),
        max_compaction_lag_ms: number("max.compaction.lag.ms"),
        min_cleanable_dirty_ratio: value("min.cleanable.dirty.ratio")
            .as_f64()
            .expect("the key is a number with a default"),
        retention_ms: unlimited("retention.ms"),
        retention_bytes: unlimited("retention.bytes").map(|bytes| bytes as u64),
        producer_id_expiration_ms: broker_value("producer.id.expiration.ms")
            .as_i64()
            .expect("the key is a number with a default"),
        flush_before_acknowledge: flushes_each(number("flush.messages"))
            || (replicas == 1 && value("foz.flush.single.replica").is_true()),
    }
}

/// Has `log` flushed as often as `topic` wants it, also what it holds already.
pub(super) fn set_flush_interval(
    broker: &Broker,
    image: &Image,
    topic: &str,
    log: &Arc<PartitionLog>,
    flusher: &Flusher,
) {
    let resolver = Resolver::new(image, broker.node_id, &broker.statics);
    let number = |key: &str| {
        let value = resolver.topic(topic, key).and_then(|it| it.as_i64());
        value.expect("the key is a number with a default")
    };
    log.set_flush_interval(FlushInterval {
        messages: number("flush.messages"),
        ms: number("flush.ms"),
    });
    flusher.appended(log);
}

/// What the leader of a partition goes by.
pub(super) fn replication_settings(
    broker: &Broker,
    image: &Image,
    topic: &str,
    partition: &foz_metadata::image::Partition,
) -> Settings {
    let resolver = Resolver::new(image, broker.node_id, &broker.statics);
    // As the controller sees it, or the two would not agree on when the ELR counts.
    let min_insync = image
        .topic(topic)
        .map_or(1, |topic| rules::min_insync_replicas(image, topic));
    Settings {
        min_insync: rules::partition_min_insync(min_insync, partition),
        lag_time_max_ms: resolver
            .broker("replica.lag.time.max.ms")
            .and_then(|value| value.as_i64())
            .expect("the key is in the table, with a number"),
    }
}

/// `flush.messages=1`: nothing is acknowledged before it was flushed.
fn flushes_each(flush_messages: i64) -> bool {
    flush_messages == 1
}
