//! The table of Kafka's keys of brokers for consumer groups (KIP-848), in alphabetical order.

use super::ConfigKey;
use super::Effect::Applied;
use super::kind::{Kind, int};

/// Kafka takes them in any case.
const MIGRATION_POLICIES: &[&str] = &[
    "bidirectional",
    "upgrade",
    "downgrade",
    "disabled",
    "BIDIRECTIONAL",
    "UPGRADE",
    "DOWNGRADE",
    "DISABLED",
];

/// Of each time there is a least and a greatest value: where it is beyond one of them, that one counts.
pub const CONSUMER_GROUP_KEYS: &[ConfigKey] = &[
    ConfigKey::broker(
        "group.consumer.assignment.interval.ms",
        int(0),
        Some("1000"),
        Applied,
        "The least time between two target assignments of a consumer group.",
    ),
    ConfigKey::broker(
        "group.consumer.assignors",
        Kind::List(&["uniform", "range"]),
        Some("uniform,range"),
        Applied,
        "The assignors that members may ask for; the first is taken where they ask for none.",
    ),
    ConfigKey::broker(
        "group.consumer.heartbeat.interval.ms",
        int(1),
        Some("5000"),
        Applied,
        "How often members of consumer groups are to send a heartbeat.",
    ),
    ConfigKey::broker(
        "group.consumer.max.assignment.interval.ms",
        int(0),
        Some("15000"),
        Applied,
        "The greatest value of group.consumer.assignment.interval.ms that counts.",
    ),
    ConfigKey::broker(
        "group.consumer.max.heartbeat.interval.ms",
        int(1),
        Some("15000"),
        Applied,
        "The greatest value of group.consumer.heartbeat.interval.ms that counts.",
    ),
    ConfigKey::broker(
        "group.consumer.max.session.timeout.ms",
        int(1),
        Some("60000"),
        Applied,
        "The greatest value of group.consumer.session.timeout.ms that counts.",
    ),
    ConfigKey::broker(
        "group.consumer.max.size",
        int(1),
        Some("2147483647"),
        Applied,
        "The most members of one consumer group of KIP-848.",
    ),
    ConfigKey::broker(
        "group.consumer.migration.policy",
        Kind::OneOf(MIGRATION_POLICIES),
        Some("bidirectional"),
        Applied,
        "Which groups with members may change their protocol: upgrade is from the classic one to that of KIP-848.",
    ),
    ConfigKey::broker(
        "group.consumer.min.assignment.interval.ms",
        int(0),
        Some("0"),
        Applied,
        "The least value of group.consumer.assignment.interval.ms that counts.",
    ),
    ConfigKey::broker(
        "group.consumer.min.heartbeat.interval.ms",
        int(1),
        Some("5000"),
        Applied,
        "The least value of group.consumer.heartbeat.interval.ms that counts.",
    ),
    ConfigKey::broker(
        "group.consumer.min.session.timeout.ms",
        int(1),
        Some("45000"),
        Applied,
        "The least value of group.consumer.session.timeout.ms that counts.",
    ),
    ConfigKey::broker(
        "group.consumer.regex.refresh.interval.ms",
        int(10_000),
        Some("600000"),
        Applied,
        "How often subscriptions by regular expression are matched again when no topic has come.",
    ),
    ConfigKey::broker(
        "group.consumer.session.timeout.ms",
        int(1),
        Some("45000"),
        Applied,
        "How long a member of a consumer group may stay silent before it is fenced.",
    ),
    ConfigKey::broker(
        "group.coordinator.rebalance.protocols",
        Kind::List(&["classic", "consumer", "share", "streams"]),
        Some("classic,consumer,streams"),
        Applied,
        "Without consumer in it, ConsumerGroupHeartbeat and ConsumerGroupDescribe are refused. Share and streams \
         groups are not there.",
    ),
];
