//! What a topic's configuration means to its log.

use foz_protocol::codec::Compression;

/// Kafka's topic configuration as the log uses it; names and defaults are Kafka's.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`
    pub segment_bytes: u64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: the greatest batch, headers included.
    pub max_message_bytes: usize,
    /// `compression.type`; `None` is `producer`: batches are stored as they came.
    pub compression: Option<StoredCompression>,
    /// `message.timestamp.type`
    pub message_timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub message_timestamp_after_max_ms: i64,
    /// `cleanup.policy` contains `delete`.
    pub cleanup_delete: bool,
    /// `cleanup.policy` contains `compact`: every record needs a key.
    pub cleanup_compact: bool,
    /// `delete.retention.ms`: how long tombstones and the markers of transactions that are gone stay after the
    /// first compaction that met them.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: nothing younger is compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: what is older is compacted, however little it is.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`: the part of a log that must be new before it is compacted.
    pub min_cleanable_dirty_ratio: f64,
    /// `retention.ms`; `None` is Kafka's -1, without limit.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` is Kafka's -1, without limit.
    pub retention_bytes: Option<u64>,
    /// `producer.id.expiration.ms` of the broker.
    pub producer_id_expiration_ms: i64,
    /// Every append is flushed before it is acknowledged (a partition with a single replica and
    /// `foz.flush.single.replica`): space is allocated ahead, so that a flush changes no file size.
    pub flush_before_acknowledge: bool,
}

impl LogConfig {
    /// How old a segment becomes before the next one begins. What is appended to is not compacted, so a compacted
    /// topic rolls soon enough for `max.compaction.lag.ms` (KIP-354).
    pub(crate) fn segment_ms_max(&self) -> i64 {
        if self.cleanup_compact {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}

/// What a leader stores batches in that come in another codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredCompression {
    /// [`Compression::None`] is `uncompressed`.
    pub codec: Compression,
    /// `compression.gzip.level` or `compression.zstd.level`; `None` is the codec's own default.
    pub level: Option<i32>,
}

/// When the [`crate::Flusher`] flushes a partition that does not flush before it acknowledges.
///
/// Not in [`LogConfig`], for the log itself does not act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushInterval {
    /// `flush.messages`: records that are not flushed at most. 1 is the same as
    /// [`LogConfig::flush_before_acknowledge`], which has to be set besides.
    pub messages: i64,
    /// `flush.ms`: how long a record is not flushed at most.
    pub ms: i64,
}

impl Default for FlushInterval {
    /// Kafka's: the operating system decides.
    fn default() -> Self {
        Self {
            messages: i64::MAX,
            ms: i64::MAX,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            max_message_bytes: 1_048_588,
            compression: None,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: 3_600_000,
            cleanup_delete: true,
            cleanup_compact: false,
            delete_retention_ms: 24 * 3_600_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            retention_ms: Some(7 * 24 * 3_600_000),
            retention_bytes: None,
            producer_id_expiration_ms: 24 * 3_600_000,
            flush_before_acknowledge: false,
        }
    }
}

/// Whose clock stamps the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, when it appends.
    LogAppendTime,
}
