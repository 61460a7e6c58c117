//! The table of topic keys, in Kafka's alphabetical order.

use super::default_only_broker_keys::TIERED;
use super::kind::{Kind, int, long};
use super::{ConfigKey, hours, minutes, same};

/// Why `compression.type` cannot be a codec.
pub(super) const COMPRESSION: &str =
    "batches are stored as their producer compressed them, so it must be producer";

/// Every key that can be set on a topic. (`TopicConfig` of Kafka 4.4 also names
/// `message.downconversion.enable`, which its brokers refuse since 4.0.)
pub const TOPIC_KEYS: &[ConfigKey] = &[
    ConfigKey::topic(
        "cleanup.policy",
        Kind::List(&["compact", "delete"]),
        "delete",
        &[same("log.cleanup.policy")],
        "What happens to old segments: delete drops them by age and size, compact keeps the newest \
         record of each key. Both may be given; none keeps everything.",
    ),
    ConfigKey::topic(
        "compression.gzip.level",
        Kind::GzipLevel,
        "-1",
        &[same("compression.gzip.level")],
        "The level when compression.type is gzip.",
    ),
    ConfigKey::topic(
        "compression.lz4.level",
        Kind::Int(1, 17),
        "9",
        &[same("compression.lz4.level")],
        "The level when compression.type is lz4.",
    ),
    ConfigKey::topic(
        "compression.type",
        Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "producer",
        &[same("compression.type")],
        "The codec in which batches are stored; producer keeps the one they came with.",
    )
    .default_only(COMPRESSION),
    ConfigKey::topic(
        "compression.zstd.level",
        Kind::Int(-131_072, 22),
        "3",
        &[same("compression.zstd.level")],
        "The level when compression.type is zstd.",
    ),
    ConfigKey::topic(
        "delete.retention.ms",
        long(0),
        "86400000",
        &[same("log.cleaner.delete.retention.ms")],
        "How long the tombstones of a compacted topic are kept.",
    ),
    ConfigKey::topic(
        "errors.deadletterqueue.group.enable",
        Kind::Boolean,
        "false",
        &[],
        "Whether share groups may use the topic as their dead letter queue (KIP-1191).",
    ),
    ConfigKey::topic(
        "file.delete.delay.ms",
        long(0),
        "60000",
        &[same("log.segment.delete.delay.ms")],
        "How long a segment stays on disk after it was taken out of the log.",
    ),
    ConfigKey::topic(
        "flush.messages",
        long(1),
        "9223372036854775807",
        &[same("log.flush.interval.messages")],
        "After how many records the log is flushed to disk; 1 flushes before every acknowledgement.",
    ),
    ConfigKey::topic(
        "flush.ms",
        long(0),
        "9223372036854775807",
        &[
            same("log.flush.interval.ms"),
            same("log.flush.scheduler.interval.ms"),
        ],
        "After what time the log is flushed to disk.",
    ),
    ConfigKey::topic(
        "follower.replication.throttled.replicas",
        Kind::ThrottledReplicas,
        "",
        &[],
        "The replicas whose replication is throttled on the follower's side.",
    ),
    ConfigKey::topic(
        "foz.delete.grace.ms",
        long(0),
        "86400000",
        &[same("foz.delete.grace.ms")],
        "How long the topic can be brought back after it was deleted; 0 removes it at once.",
    ),
    ConfigKey::topic(
        "foz.flush.single.replica",
        Kind::Boolean,
        "true",
        &[same("foz.flush.single.replica")],
        "Whether a partition with a single replica flushes to disk before it acknowledges: nobody \
         else has the data.",
    ),
    ConfigKey::topic(
        "index.interval.bytes",
        int(0),
        "4096",
        &[same("log.index.interval.bytes")],
        "How many bytes of log lie between two entries of the offset index.",
    ),
    ConfigKey::topic(
        "leader.replication.throttled.replicas",
        Kind::ThrottledReplicas,
        "",
        &[],
        "The replicas whose replication is throttled on the leader's side.",
    ),
    ConfigKey::topic(
        "local.retention.bytes",
        long(-2),
        "-2",
        &[same("log.local.retention.bytes")],
        "How much of a tiered partition stays on the broker; -2 means retention.bytes.",
    ),
    ConfigKey::topic(
        "local.retention.ms",
        long(-2),
        "-2",
        &[same("log.local.retention.ms")],
        "How long segments of a tiered partition stay on the broker; -2 means retention.ms.",
    ),
    ConfigKey::topic(
        "max.compaction.lag.ms",
        long(1),
        "9223372036854775807",
        &[same("log.cleaner.max.compaction.lag.ms")],
        "How long a record may stay uncompacted.",
    ),
    ConfigKey::topic(
        "max.decompressed.message.bytes",
        Kind::Int(1, 2_147_483_639),
        "2147483639",
        &[same("max.decompressed.message.bytes")],
        "The largest record batch after decompression, where the broker has to decompress it.",
    ),
    ConfigKey::topic(
        "max.message.bytes",
        int(0),
        "1048588",
        &[same("message.max.bytes")],
        "The largest record batch, as the producer compressed it.",
    ),
    ConfigKey::topic(
        "message.timestamp.after.max.ms",
        long(0),
        "3600000",
        &[same("log.message.timestamp.after.max.ms")],
        "How far a record's timestamp may lie after the broker's clock.",
    ),
    ConfigKey::topic(
        "message.timestamp.before.max.ms",
        long(0),
        "9223372036854775807",
        &[same("log.message.timestamp.before.max.ms")],
        "How far a record's timestamp may lie before the broker's clock.",
    ),
    ConfigKey::topic(
        "message.timestamp.type",
        Kind::OneOf(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
        &[same("log.message.timestamp.type")],
        "Whether records carry the producer's time or the time at which the broker appended them.",
    ),
    ConfigKey::topic(
        "min.cleanable.dirty.ratio",
        Kind::Double(0.0, 1.0),
        "0.5",
        &[same("log.cleaner.min.cleanable.ratio")],
        "What part of the log has to be uncompacted before compaction starts.",
    ),
    ConfigKey::topic(
        "min.compaction.lag.ms",
        long(0),
        "0",
        &[same("log.cleaner.min.compaction.lag.ms")],
        "How long a record stays uncompacted at least.",
    ),
    ConfigKey::topic(
        "min.insync.replicas",
        int(1),
        "1",
        &[same("min.insync.replicas")],
        "How many replicas must have a record before acks=all is answered.",
    ),
    ConfigKey::topic(
        "preallocate",
        Kind::Boolean,
        "false",
        &[same("log.preallocate")],
        "Whether the file of a new segment is allocated on disk at once.",
    ),
    ConfigKey::topic(
        "remote.copy.lag.bytes",
        long(-1),
        "-1",
        &[same("log.remote.copy.lag.bytes")],
        "How many bytes of closed segments wait before they are copied to the remote tier (KIP-1241).",
    ),
    ConfigKey::topic(
        "remote.copy.lag.ms",
        long(-1),
        "0",
        &[same("log.remote.copy.lag.ms")],
        "How long a closed segment waits before it is copied to the remote tier (KIP-1241).",
    ),
    ConfigKey::topic(
        "remote.log.copy.disable",
        Kind::Boolean,
        "false",
        &[],
        "Whether a tiered topic stops copying to the remote tier.",
    ),
    ConfigKey::topic(
        "remote.log.delete.on.disable",
        Kind::Boolean,
        "false",
        &[],
        "Whether the remote data goes when tiered storage is switched off for the topic.",
    ),
    ConfigKey::topic(
        "remote.storage.enable",
        Kind::Boolean,
        "false",
        &[],
        "Whether closed segments are copied to the remote tier.",
    )
    .default_only(TIERED),
    ConfigKey::topic(
        "retention.bytes",
        long(i64::MIN),
        "-1",
        &[same("log.retention.bytes")],
        "How large a partition may grow before its oldest segments are deleted; -1 is no limit.",
    ),
    ConfigKey::topic(
        "retention.ms",
        long(-1),
        "604800000",
        &[
            same("log.retention.ms"),
            minutes("log.retention.minutes"),
            hours("log.retention.hours"),
        ],
        "How old a segment may grow before it is deleted; -1 is no limit.",
    ),
    ConfigKey::topic(
        "segment.bytes",
        int(1_048_576),
        "1073741824",
        &[same("log.segment.bytes")],
        "The size at which a segment is closed. Retention and compaction work on closed segments.",
    ),
    ConfigKey::topic(
        "segment.index.bytes",
        int(4),
        "10485760",
        &[same("log.index.size.max.bytes")],
        "The largest size of a segment's offset index.",
    ),
    ConfigKey::topic(
        "segment.jitter.ms",
        long(0),
        "0",
        &[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")],
        "A random part, at most this, is taken from segment.ms so that segments do not roll at once.",
    ),
    ConfigKey::topic(
        "segment.ms",
        long(1),
        "604800000",
        &[same("log.roll.ms"), hours("log.roll.hours")],
        "The age at which a segment is closed though it is not full.",
    ),
    ConfigKey::topic(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        &[same("unclean.leader.election.enable")],
        "Whether a replica that is not in sync may lead as a last resort; records may be lost.",
    ),
];
