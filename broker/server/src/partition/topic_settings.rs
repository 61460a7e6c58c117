//! A topic's effective configuration, as its partitions use it. It is resolved once for all of them: a topic may have
//! thousands, and a broker more.

use std::cell::OnceCell;
use std::sync::Arc;

use foz_log::{FlushInterval, LogConfig, StoredCompression, TimestampType};
use foz_metadata::config::{Effective, Resolver};
use foz_metadata::image::{Partition as Assigned, Topic};
use foz_metadata::{Image, rules};
use foz_protocol::codec::Compression;
use foz_replication::Settings;

use crate::broker::Broker;

/// Values were checked when they were set. Each part is resolved when it is asked for: most changes of a partition
/// need only what its leader goes by.
pub(super) struct TopicSettings<'a> {
    resolver: Resolver<'a>,
    image: &'a Image,
    topic: &'a Topic,
    logs: OnceCell<LogSettings>,
    leading: OnceCell<Settings>,
}

/// What the logs of a topic go by.
struct LogSettings {
    /// With one replica, and with several.
    single: Arc<LogConfig>,
    replicated: Arc<LogConfig>,
    flush_interval: FlushInterval,
}

impl<'a> TopicSettings<'a> {
    /// Of `topic`, which is in `image`, on this broker.
    pub(super) fn on(broker: &'a Broker, image: &'a Image, topic: &'a Topic) -> Self {
        let resolver = Resolver::new(image, broker.node_id, &broker.statics);
        Self::new(resolver, image, topic)
    }

    fn new(resolver: Resolver<'a>, image: &'a Image, topic: &'a Topic) -> Self {
        Self {
            resolver,
            image,
            topic,
            logs: OnceCell::new(),
            leading: OnceCell::new(),
        }
    }

    pub(super) fn topic(&self) -> &'a Topic {
        self.topic
    }

    /// What the log of a partition with so many replicas is configured with.
    pub(super) fn log_config(&self, replicas: usize) -> Arc<LogConfig> {
        let logs = self.logs();
        Arc::clone(if replicas == 1 {
            &logs.single
        } else {
            &logs.replicated
        })
    }

    pub(super) fn flush_interval(&self) -> FlushInterval {
        self.logs().flush_interval
    }

    /// What the leader of a partition goes by.
    pub(super) fn replication(&self, partition: &Assigned) -> Settings {
        let of_topic = self.leading.get_or_init(|| Settings {
            // As the controller sees it, or the two would not agree on when the ELR counts.
            min_insync: rules::min_insync_replicas(self.image, self.topic),
            lag_time_max_ms: self.broker_number("replica.lag.time.max.ms"),
        });
        Settings {
            min_insync: rules::partition_min_insync(of_topic.min_insync, partition),
            ..*of_topic
        }
    }

    fn logs(&self) -> &LogSettings {
        self.logs.get_or_init(|| {
            let flush_interval = FlushInterval {
                messages: self.number("flush.messages"),
                ms: self.number("flush.ms"),
            };
            let flushes_each = flushes_each(flush_interval.messages);
            let flushes_single = self.value("foz.flush.single.replica").is_true();
            let replicated = self.resolve_log_config(flushes_each);
            let single = LogConfig {
                flush_before_acknowledge: flushes_each || flushes_single,
                ..replicated
            };
            LogSettings {
                single: Arc::new(single),
                replicated: Arc::new(replicated),
                flush_interval,
            }
        })
    }

    fn resolve_log_config(&self, flush_before_acknowledge: bool) -> LogConfig {
        let number = |key| self.number(key);
        let unlimited = |key| Some(number(key)).filter(|limit| *limit >= 0);
        let cleanup_policy = self.value("cleanup.policy");
        let timestamp_type = self.value("message.timestamp.type");
        LogConfig {
            segment_bytes: number("segment.bytes") as u64,
            segment_ms: number("segment.ms"),
            segment_jitter_ms: number("segment.jitter.ms"),
            segment_index_bytes: number("segment.index.bytes") as u32,
            index_interval_bytes: number("index.interval.bytes") as u32,
            max_message_bytes: number("max.message.bytes") as usize,
            compression: self.stored_compression(),
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
            min_cleanable_dirty_ratio: self
                .value("min.cleanable.dirty.ratio")
                .as_f64()
                .expect("the key is a number with a default"),
            retention_ms: unlimited("retention.ms"),
            retention_bytes: unlimited("retention.bytes").map(|bytes| bytes as u64),
            producer_id_expiration_ms: self.broker_number("producer.id.expiration.ms"),
            flush_before_acknowledge,
        }
    }

    fn stored_compression(&self) -> Option<StoredCompression> {
        let named = self.value("compression.type");
        let codec = match named.value.as_deref() {
            Some("uncompressed") => Compression::None,
            name => name.and_then(Compression::from_name)?,
        };
        let level = match codec {
            Compression::Gzip => Some("compression.gzip.level"),
            Compression::Zstd => Some("compression.zstd.level"),
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        };
        let level = level.map(|key| self.number(key) as i32);
        Some(StoredCompression { codec, level })
    }

    fn value(&self, key: &str) -> Effective {
        self.resolver
            .topic(&self.topic.name, key)
            .expect("the key is in the table of topic keys")
    }

    fn number(&self, key: &str) -> i64 {
        self.value(key)
            .as_i64()
            .expect("the key is a number with a default")
    }

    fn broker_number(&self, key: &str) -> i64 {
        self.resolver
            .broker(key)
            .and_then(|value| value.as_i64())
            .expect("the key is in the table of brokers, a number with a default")
    }
}

/// `flush.messages=1`: nothing is acknowledged before it was flushed.
fn flushes_each(flush_messages: i64) -> bool {
    flush_messages == 1
}
