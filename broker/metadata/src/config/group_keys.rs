//! The table of config keys of groups, in alphabetical order.

use super::kind::{Kind, int};
use super::{ConfigKey, Scope, Synonym, same};

/// Those of Kafka 4.3. What a group does not say is as its coordinator's broker says. Share and streams groups are not
/// there: theirs are kept.
pub const GROUP_KEYS: &[ConfigKey] = &[
    ConfigKey::group(
        "consumer.assignment.interval.ms",
        int(0),
        "1000",
        &[same("group.consumer.assignment.interval.ms")],
        "The least time between two target assignments of the group.",
    ),
    ConfigKey::group(
        "consumer.heartbeat.interval.ms",
        int(1),
        "5000",
        &[same("group.consumer.heartbeat.interval.ms")],
        "How often members of the group are to send a heartbeat.",
    ),
    ConfigKey::group(
        "consumer.session.timeout.ms",
        int(1),
        "45000",
        &[same("group.consumer.session.timeout.ms")],
        "How long a member of the group may stay silent before it is fenced.",
    ),
    kept(
        "share.assignment.interval.ms",
        int(0),
        "1000",
        &[same("group.share.assignment.interval.ms")],
    ),
    kept("share.auto.offset.reset", Kind::OffsetReset, "latest", &[]),
    kept(
        "share.delivery.count.limit",
        int(2),
        "5",
        &[same("group.share.delivery.count.limit")],
    ),
    kept(
        "share.heartbeat.interval.ms",
        int(1),
        "5000",
        &[same("group.share.heartbeat.interval.ms")],
    ),
    kept(
        "share.isolation.level",
        Kind::OneOf(&["read_committed", "read_uncommitted"]),
        "read_uncommitted",
        &[],
    ),
    kept(
        "share.partition.max.record.locks",
        int(100),
        "2000",
        &[same("group.share.partition.max.record.locks")],
    ),
    kept(
        "share.record.lock.duration.ms",
        int(1000),
        "30000",
        &[same("group.share.record.lock.duration.ms")],
    ),
    kept("share.renew.acknowledge.enable", Kind::Boolean, "true", &[]),
    kept(
        "share.session.timeout.ms",
        int(1),
        "45000",
        &[same("group.share.session.timeout.ms")],
    ),
    kept(
        "streams.assignment.interval.ms",
        int(0),
        "1000",
        &[same("group.streams.assignment.interval.ms")],
    ),
    kept(
        "streams.heartbeat.interval.ms",
        int(1),
        "5000",
        &[same("group.streams.heartbeat.interval.ms")],
    ),
    kept(
        "streams.initial.rebalance.delay.ms",
        int(0),
        "3000",
        &[same("group.streams.initial.rebalance.delay.ms")],
    ),
    kept(
        "streams.num.standby.replicas",
        int(0),
        "0",
        &[same("group.streams.num.standby.replicas")],
    ),
    kept(
        "streams.session.timeout.ms",
        int(1),
        "45000",
        &[same("group.streams.session.timeout.ms")],
    ),
];

const fn kept(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    synonyms: &'static [Synonym],
) -> ConfigKey {
    let documentation = "Accepted for Kafka's tools; does nothing here.";
    let mut key = ConfigKey::group(name, kind, default, synonyms, documentation);
    key.support = super::Support::Kept;
    key
}

/// The session of a member must outlast the pause between two heartbeats; each with the pause.
pub(crate) const SESSIONS: [(&str, &str); 3] = [
    (
        "consumer.session.timeout.ms",
        "consumer.heartbeat.interval.ms",
    ),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    (
        "streams.session.timeout.ms",
        "streams.heartbeat.interval.ms",
    ),
];

/// The keys of brokers that say the least and the greatest value of a group's key; no key where there is no such bound.
pub(crate) fn bounds(key: &str) -> [Option<&'static ConfigKey>; 2] {
    let (protocol, name) = key.split_once('.').unwrap_or((key, ""));
    // The one whose bound has a name of its own.
    let name = name.strip_prefix("num.").unwrap_or(name);
    ["min", "max"].map(|bound| Scope::Broker.key(&format!("group.{protocol}.{bound}.{name}")))
}
