//! The table of Kafka's keys of brokers on which nothing here depends, in alphabetical order.

use super::Effect::{self, Applied, FileOnly};
use super::kind::{Kind, int, long};
use super::{ConfigKey, Support};

/// Sizes, intervals and numbers of threads of parts that are made otherwise here, or that are not there at all
/// and cannot be switched on. Whoever comes from Kafka keeps them in their files and tools.
pub const KEPT_BROKER_KEYS: &[ConfigKey] = &[
    of_file(
        "alter.log.dirs.replication.quota.window.num",
        int(1),
        Some("11"),
    ),
    of_file(
        "alter.log.dirs.replication.quota.window.size.seconds",
        int(1),
        Some("1"),
    ),
    of_requests("background.threads", int(1), Some("10")),
    of_file("broker.heartbeat.interval.ms", int(i32::MIN), Some("2000")),
    of_file("broker.session.timeout.ms", int(i32::MIN), Some("9000")),
    of_file(
        "connection.failed.authentication.delay.ms",
        int(0),
        Some("100"),
    ),
    of_file("controller.listener.names", Kind::List(&[]), None),
    of_file("controller.quorum.append.linger.ms", int(0), Some("25")),
    of_file(
        "controller.quorum.bootstrap.servers",
        Kind::List(&[]),
        Some(""),
    ),
    of_file(
        "controller.quorum.election.backoff.max.ms",
        int(0),
        Some("1000"),
    ),
    of_file(
        "controller.quorum.election.timeout.ms",
        int(0),
        Some("1000"),
    ),
    of_file("controller.quorum.fetch.max.bytes", int(1), Some("1048576")),
    of_file(
        "controller.quorum.fetch.snapshot.max.bytes",
        int(1),
        Some("1048576"),
    ),
    of_file("controller.quorum.fetch.timeout.ms", int(0), Some("2000")),
    of_file("controller.quorum.request.timeout.ms", int(0), Some("2000")),
    of_file("controller.quorum.retry.backoff.ms", int(0), Some("20")),
    of_file("controller.quota.window.num", int(1), Some("11")),
    of_file("controller.quota.window.size.seconds", int(1), Some("1")),
    of_file("controller.socket.timeout.ms", int(i32::MIN), Some("30000")),
    of_file(
        "delegation.token.expiry.check.interval.ms",
        long(1),
        Some("3600000"),
    ),
    of_file("delegation.token.expiry.time.ms", long(1), Some("86400000")),
    of_file(
        "delegation.token.max.lifetime.ms",
        long(1),
        Some("604800000"),
    ),
    of_file(
        "delete.records.purgatory.purge.interval.requests",
        int(i32::MIN),
        Some("1"),
    ),
    of_file("fetch.max.bytes", int(1024), Some("57671680")),
    of_file(
        "fetch.purgatory.purge.interval.requests",
        int(i32::MIN),
        Some("1000"),
    ),
    of_requests(
        "follower.fetch.last.tiered.offset.enable",
        Kind::Boolean,
        Some("false"),
    ),
    of_file("group.coordinator.append.linger.ms", int(-1), Some("-1")),
    of_file("group.coordinator.background.threads", int(1), Some("2")),
    of_requests(
        "group.coordinator.cached.buffer.max.bytes",
        int(524288),
        Some("1048588"),
    ),
    of_file("group.coordinator.threads", int(1), Some("4")),
    of_requests("group.share.assignment.interval.ms", int(0), Some("1000")),
    of_file("group.share.assignors", Kind::List(&[]), Some("simple")),
    of_file("group.share.delivery.count.limit", int(i32::MIN), Some("5")),
    of_file("group.share.heartbeat.interval.ms", int(1), Some("5000")),
    of_file(
        "group.share.max.assignment.interval.ms",
        int(0),
        Some("15000"),
    ),
    of_file(
        "group.share.max.delivery.count.limit",
        int(i32::MIN),
        Some("10"),
    ),
    of_file(
        "group.share.max.heartbeat.interval.ms",
        int(1),
        Some("15000"),
    ),
    of_file(
        "group.share.max.partition.max.record.locks",
        int(i32::MIN),
        Some("4000"),
    ),
    of_file(
        "group.share.max.record.lock.duration.ms",
        int(i32::MIN),
        Some("60000"),
    ),
    of_file("group.share.max.session.timeout.ms", int(1), Some("60000")),
    of_file("group.share.max.share.sessions", int(1), Some("2000")),
    of_file("group.share.max.size", int(i32::MIN), Some("200")),
    of_file("group.share.min.assignment.interval.ms", int(0), Some("0")),
    of_file(
        "group.share.min.delivery.count.limit",
        int(i32::MIN),
        Some("2"),
    ),
    of_file(
        "group.share.min.heartbeat.interval.ms",
        int(1),
        Some("5000"),
    ),
    of_file(
        "group.share.min.partition.max.record.locks",
        int(i32::MIN),
        Some("100"),
    ),
    of_file(
        "group.share.min.record.lock.duration.ms",
        int(i32::MIN),
        Some("15000"),
    ),
    of_file("group.share.min.session.timeout.ms", int(1), Some("45000")),
    of_file(
        "group.share.partition.max.record.locks",
        int(i32::MIN),
        Some("2000"),
    ),
    of_file(
        "group.share.record.lock.duration.ms",
        int(i32::MIN),
        Some("30000"),
    ),
    of_file("group.share.session.timeout.ms", int(1), Some("45000")),
    of_requests("group.streams.assignment.interval.ms", int(0), Some("1000")),
    of_file("group.streams.heartbeat.interval.ms", int(1), Some("5000")),
    of_file(
        "group.streams.initial.rebalance.delay.ms",
        int(0),
        Some("3000"),
    ),
    of_file(
        "group.streams.max.assignment.interval.ms",
        int(0),
        Some("15000"),
    ),
    of_file(
        "group.streams.max.heartbeat.interval.ms",
        int(1),
        Some("15000"),
    ),
    of_file(
        "group.streams.max.session.timeout.ms",
        int(1),
        Some("60000"),
    ),
    of_file("group.streams.max.size", int(1), Some("2147483647")),
    of_file("group.streams.max.standby.replicas", int(0), Some("2")),
    of_file(
        "group.streams.min.assignment.interval.ms",
        int(0),
        Some("0"),
    ),
    of_file(
        "group.streams.min.heartbeat.interval.ms",
        int(1),
        Some("5000"),
    ),
    of_file(
        "group.streams.min.session.timeout.ms",
        int(1),
        Some("45000"),
    ),
    of_file("group.streams.num.standby.replicas", int(0), Some("0")),
    of_file("group.streams.session.timeout.ms", int(1), Some("45000")),
    of_file(
        "initial.broker.registration.timeout.ms",
        int(i32::MIN),
        Some("60000"),
    ),
    of_file("kafka.metrics.polling.interval.secs", int(1), Some("10")),
    of_file("kafka.metrics.reporters", Kind::List(&[]), Some("")),
    of_requests(
        "listener.security.protocol.map",
        Kind::ProtocolOfListeners,
        Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"),
    ),
    of_requests(
        "log.cleaner.io.buffer.load.factor",
        Kind::Double(f64::MIN, f64::MAX),
        Some("0.9"),
    ),
    of_requests("log.cleaner.io.buffer.size", int(0), Some("524288")),
    of_file("log.dir.failure.timeout.ms", long(1), Some("30000")),
    of_file(
        "log.flush.start.offset.checkpoint.interval.ms",
        int(0),
        Some("60000"),
    ),
    of_file("max.request.partition.size.limit", int(1), Some("2000")),
    of_file(
        "metadata.log.max.record.bytes.between.snapshots",
        long(1),
        Some("20971520"),
    ),
    of_file(
        "metadata.log.max.snapshot.interval.ms",
        long(0),
        Some("3600000"),
    ),
    of_file(
        "metadata.log.segment.bytes",
        int(8388608),
        Some("1073741824"),
    ),
    of_file("metadata.log.segment.ms", long(i64::MIN), Some("604800000")),
    of_file("metadata.max.idle.interval.ms", int(0), Some("500")),
    of_file(
        "metadata.max.retention.bytes",
        long(i64::MIN),
        Some("104857600"),
    ),
    of_file(
        "metadata.max.retention.ms",
        long(i64::MIN),
        Some("604800000"),
    ),
    of_requests(
        "metric.reporters",
        Kind::List(&[]),
        Some("org.apache.kafka.common.metrics.JmxReporter"),
    ),
    of_file("metrics.num.samples", int(1), Some("2")),
    of_file("metrics.recording.level", Kind::Text, Some("INFO")),
    of_file("metrics.sample.window.ms", long(1), Some("30000")),
    of_requests("num.io.threads", int(1), Some("8")),
    of_requests("num.network.threads", int(1), Some("3")),
    of_file("num.replica.alter.log.dirs.threads", int(i32::MIN), None),
    of_file("offsets.load.buffer.size", int(1), Some("5242880")),
    of_file(
        "producer.purgatory.purge.interval.requests",
        int(i32::MIN),
        Some("1000"),
    ),
    of_file("queued.max.request.bytes", long(i64::MIN), Some("-1")),
    of_file("queued.max.requests", int(1), Some("500")),
    of_file("quota.window.num", int(1), Some("11")),
    of_file("quota.window.size.seconds", int(1), Some("1")),
    of_requests("remote.fetch.max.wait.ms", int(1), Some("500")),
    of_requests(
        "remote.list.offsets.request.timeout.ms",
        long(1),
        Some("30000"),
    ),
    of_requests(
        "remote.log.index.file.cache.total.size.bytes",
        long(1),
        Some("1073741824"),
    ),
    of_requests(
        "remote.log.manager.copier.thread.pool.size",
        int(1),
        Some("10"),
    ),
    of_requests(
        "remote.log.manager.copy.max.bytes.per.second",
        long(1),
        Some("9223372036854775807"),
    ),
    of_file(
        "remote.log.manager.copy.quota.window.num",
        int(1),
        Some("11"),
    ),
    of_file(
        "remote.log.manager.copy.quota.window.size.seconds",
        int(1),
        Some("1"),
    ),
    of_requests(
        "remote.log.manager.expiration.thread.pool.size",
        int(1),
        Some("10"),
    ),
    of_requests(
        "remote.log.manager.fetch.max.bytes.per.second",
        long(1),
        Some("9223372036854775807"),
    ),
    of_file(
        "remote.log.manager.fetch.quota.window.num",
        int(1),
        Some("11"),
    ),
    of_file(
        "remote.log.manager.fetch.quota.window.size.seconds",
        int(1),
        Some("1"),
    ),
    of_requests(
        "remote.log.manager.follower.thread.pool.size",
        int(1),
        Some("2"),
    ),
    of_file(
        "remote.log.manager.task.interval.ms",
        long(1),
        Some("30000"),
    ),
    of_file("remote.log.manager.thread.pool.size", int(1), Some("2")),
    of_file(
        "remote.log.metadata.custom.metadata.max.bytes",
        int(0),
        Some("128"),
    ),
    of_file(
        "remote.log.metadata.manager.class.name",
        Kind::Text,
        Some(
            "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager",
        ),
    ),
    of_file("remote.log.metadata.manager.class.path", Kind::Text, None),
    of_file(
        "remote.log.metadata.manager.impl.prefix",
        Kind::Text,
        Some("rlmm.config."),
    ),
    of_file(
        "remote.log.metadata.manager.listener.name",
        Kind::Text,
        None,
    ),
    of_file("remote.log.reader.max.pending.tasks", int(1), Some("100")),
    of_requests("remote.log.reader.threads", int(1), Some("10")),
    of_file("remote.log.storage.manager.class.name", Kind::Text, None),
    of_file("remote.log.storage.manager.class.path", Kind::Text, None),
    of_file(
        "remote.log.storage.manager.impl.prefix",
        Kind::Text,
        Some("rsm.config."),
    ),
    of_file(
        "replica.socket.receive.buffer.bytes",
        int(i32::MIN),
        Some("65536"),
    ),
    of_file("replica.socket.timeout.ms", int(i32::MIN), Some("30000")),
    of_file("replication.quota.window.num", int(1), Some("11")),
    of_file("replication.quota.window.size.seconds", int(1), Some("1")),
    of_file("request.timeout.ms", int(i32::MIN), Some("30000")),
    of_file("share.coordinator.append.linger.ms", int(-1), Some("-1")),
    of_requests(
        "share.coordinator.cached.buffer.max.bytes",
        int(524288),
        Some("1048588"),
    ),
    of_file(
        "share.coordinator.load.buffer.size",
        int(1),
        Some("5242880"),
    ),
    of_file(
        "share.coordinator.snapshot.update.records.per.snapshot",
        int(i32::MIN),
        Some("500"),
    ),
    of_file(
        "share.coordinator.state.topic.compression.codec",
        int(i32::MIN),
        Some("0"),
    ),
    of_file(
        "share.coordinator.state.topic.min.isr",
        Kind::Short(1, i16::MAX),
        Some("2"),
    ),
    of_file(
        "share.coordinator.state.topic.num.partitions",
        int(1),
        Some("50"),
    ),
    of_file(
        "share.coordinator.state.topic.replication.factor",
        Kind::Short(1, i16::MAX),
        Some("3"),
    ),
    of_file(
        "share.coordinator.state.topic.segment.bytes",
        int(1),
        Some("104857600"),
    ),
    of_file("share.coordinator.threads", int(1), Some("1")),
    of_file("share.coordinator.write.timeout.ms", int(1), Some("5000")),
    of_file(
        "share.fetch.purgatory.purge.interval.requests",
        int(i32::MIN),
        Some("1000"),
    ),
    of_file(
        "socket.connection.setup.timeout.max.ms",
        long(i64::MIN),
        Some("30000"),
    ),
    of_file(
        "socket.connection.setup.timeout.ms",
        long(i64::MIN),
        Some("10000"),
    ),
    of_file("socket.listen.backlog.size", int(1), Some("50")),
    of_file("socket.receive.buffer.bytes", int(i32::MIN), Some("102400")),
    of_file("socket.send.buffer.bytes", int(i32::MIN), Some("102400")),
    of_file("telemetry.max.bytes", int(1), Some("1048576")),
    of_file(
        "transaction.state.log.load.buffer.size",
        int(1),
        Some("5242880"),
    ),
];

/// Kafka reads it once, at start.
const fn of_file(name: &'static str, kind: Kind, default: Option<&'static str>) -> ConfigKey {
    kept(name, kind, default, FileOnly)
}

/// A request can set it, as Kafka lets it.
const fn of_requests(name: &'static str, kind: Kind, default: Option<&'static str>) -> ConfigKey {
    kept(name, kind, default, Applied)
}

const fn kept(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    effect: Effect,
) -> ConfigKey {
    let documentation =
        "Accepted so that Kafka's settings can be kept: nothing here depends on it.";
    let mut key = ConfigKey::broker(name, kind, default, effect, documentation);
    key.support = Support::Kept;
    key
}
