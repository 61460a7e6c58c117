//! The table of Kafka's keys of brokers for transactions, in alphabetical order.

use super::ConfigKey;
use super::Effect::{Applied, NeedsRestart};
use super::kind::{Kind, int};

/// Coordinators of transactions go by these, and leaders that ask them.
pub const TRANSACTION_KEYS: &[ConfigKey] = &[
    ConfigKey::broker(
        "add.partitions.to.txn.retry.backoff.max.ms",
        int(0),
        Some("100"),
        Applied,
        "How long a leader asks again whether a transaction may begin, while the one before is still ending.",
    ),
    ConfigKey::broker(
        "add.partitions.to.txn.retry.backoff.ms",
        int(1),
        Some("20"),
        Applied,
        "How long it waits before it asks again.",
    ),
    ConfigKey::broker(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        int(1),
        Some("10000"),
        Applied,
        "How often a coordinator looks for transactions that are open for longer than their timeout, to abort them.",
    ),
    ConfigKey::broker(
        "transaction.max.timeout.ms",
        int(1),
        Some("900000"),
        Applied,
        "The longest timeout that a producer may ask for its transactions.",
    ),
    ConfigKey::broker(
        "transaction.partition.verification.enable",
        Kind::Boolean,
        Some("true"),
        Applied,
        "Whether a leader asks the coordinator, before the first record of a transaction, if the partition takes part \
         in it. Producers that follow transaction.version 2 have no choice.",
    ),
    ConfigKey::broker(
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        int(1),
        Some("3600000"),
        Applied,
        "How often a coordinator looks for transactional ids that have expired.",
    ),
    ConfigKey::broker(
        "transaction.state.log.min.isr",
        int(1),
        Some("2"),
        NeedsRestart,
        "The min.insync.replicas of __transaction_state, when it is created.",
    ),
    ConfigKey::broker(
        "transaction.state.log.num.partitions",
        int(1),
        Some("50"),
        NeedsRestart,
        "The partitions of __transaction_state, when it is created.",
    ),
    ConfigKey::broker(
        "transaction.state.log.replication.factor",
        Kind::Short(1, i16::MAX),
        Some("3"),
        Applied,
        "The replication factor of __transaction_state. With fewer brokers alive it is created with as many \
         replicas as there are, and gets the others when there are more.",
    ),
    ConfigKey::broker(
        "transaction.state.log.segment.bytes",
        int(1),
        Some("104857600"),
        NeedsRestart,
        "The size at which a segment of __transaction_state is closed.",
    ),
    ConfigKey::broker(
        "transactional.id.expiration.ms",
        int(1),
        Some("604800000"),
        Applied,
        "How long a transactional id without an open transaction is kept after its last change.",
    ),
];
