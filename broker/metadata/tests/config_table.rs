//! The tables of config keys are consistent in themselves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use foz_metadata::config::{
    BROKER_KEYS, CONSUMER_GROUP_KEYS, ConfigError, DEFAULT_ONLY_BROKER_KEYS, Effect, GROUP_KEYS,
    KEPT_BROKER_KEYS, Kind, Scope, Support, TOPIC_DEFAULT_KEYS, TOPIC_KEYS, TRANSACTION_KEYS,
    validate, validate_in_file,
};

#[test]
fn keys_are_in_order_and_each_is_there_once() {
    for keys in [
        TOPIC_KEYS,
        GROUP_KEYS,
        BROKER_KEYS,
        CONSUMER_GROUP_KEYS,
        TRANSACTION_KEYS,
        TOPIC_DEFAULT_KEYS,
        KEPT_BROKER_KEYS,
        DEFAULT_ONLY_BROKER_KEYS,
    ] {
        assert!(keys.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
    let names: BTreeSet<_> = Scope::Broker.keys().map(|key| key.name).collect();
    assert_eq!(names.len(), Scope::Broker.keys().count());
}

#[test]
fn every_default_passes_its_own_validation_and_every_key_is_documented() {
    for key in [Scope::Topic, Scope::Broker, Scope::Group]
        .into_iter()
        .flat_map(Scope::keys)
    {
        if let Some(default) = key.default {
            assert_eq!(key.check(default), Ok(()), "{}", key.name);
        }
        assert!(key.documentation.ends_with('.'), "{}", key.name);
    }
}

#[test]
fn every_synonym_is_a_broker_key_and_the_first_has_the_same_default() {
    for key in TOPIC_KEYS.iter().chain(GROUP_KEYS) {
        for synonym in key.synonyms {
            assert!(
                Scope::Broker.key(synonym.name).is_some(),
                "{} of {}",
                synonym.name,
                key.name
            );
        }
        let first = key
            .synonyms
            .iter()
            .find_map(|synonym| Some((Scope::Broker.key(synonym.name)?.default?, synonym.factor)));
        if let Some((default, factor)) = first {
            let scaled = default.parse::<i64>().map_or(default.to_owned(), |number| {
                if factor == 1 {
                    default.to_owned()
                } else {
                    (number * factor).to_string()
                }
            });
            assert_eq!(key.default, Some(scaled.as_str()), "{}", key.name);
        }
    }
}

/// `LogConfig.configNames()` of Kafka 4.4, without the internal one.
#[test]
fn every_topic_key_of_kafka_is_there() {
    let names = "cleanup.policy compression.gzip.level compression.lz4.level compression.type \
        compression.zstd.level delete.retention.ms errors.deadletterqueue.group.enable \
        file.delete.delay.ms flush.messages flush.ms follower.replication.throttled.replicas \
        index.interval.bytes leader.replication.throttled.replicas local.retention.bytes \
        local.retention.ms max.compaction.lag.ms max.decompressed.message.bytes max.message.bytes \
        message.timestamp.after.max.ms message.timestamp.before.max.ms message.timestamp.type \
        min.cleanable.dirty.ratio min.compaction.lag.ms min.insync.replicas preallocate \
        remote.copy.lag.bytes remote.copy.lag.ms remote.log.copy.disable \
        remote.log.delete.on.disable remote.storage.enable retention.bytes retention.ms \
        segment.bytes segment.index.bytes segment.jitter.ms segment.ms \
        unclean.leader.election.enable";
    let ours: Vec<_> = TOPIC_KEYS
        .iter()
        .map(|key| key.name)
        .filter(|name| !name.starts_with("foz."))
        .collect();
    assert_eq!(ours, names.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn errors_name_the_key_the_value_and_what_would_be_right() {
    for (scope, key, value, expected) in [
        (
            Scope::Topic,
            "retention.msx",
            "1",
            "unknown topic config \"retention.msx\"; did you mean retention.ms?",
        ),
        (
            Scope::Topic,
            "colour",
            "1",
            "unknown topic config \"colour\"",
        ),
        (
            Scope::Topic,
            "retention.ms",
            "7d",
            "invalid value \"7d\" for topic config retention.ms: it must be a 64-bit number, at least -1",
        ),
        (
            Scope::Topic,
            "cleanup.policy",
            "keep",
            "invalid value \"keep\" for topic config cleanup.policy: it must be any of compact, \
             delete, separated by commas, none twice",
        ),
        (
            Scope::Broker,
            "node.id",
            "1",
            "node.id cannot be changed by a request: it is set in each broker's properties file",
        ),
        (
            Scope::Broker,
            "connections.max.idle.ms",
            "1",
            "connections.max.idle.ms cannot be changed by a request: it is set in each broker's \
             properties file",
        ),
        (
            Scope::Broker,
            "replica.selector.class",
            "RackAwareReplicaSelector",
            "invalid value \"RackAwareReplicaSelector\" for broker config replica.selector.class: it must \
             be one of org.apache.kafka.common.replica.LeaderSelector, \
             org.apache.kafka.common.replica.RackAwareReplicaSelector, or empty",
        ),
        (
            Scope::Topic,
            "remote.storage.enable",
            "true",
            "remote.storage.enable=true is not supported: there is no tiered storage in this version",
        ),
        (
            Scope::Topic,
            "compression.type",
            "none",
            "invalid value \"none\" for topic config compression.type: it must be one of uncompressed, zstd, \
             lz4, snappy, gzip, producer",
        ),
    ] {
        let refused = validate(scope, key, value).map(|key| key.name).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    assert!(validate(Scope::Topic, "remote.storage.enable", "false").is_ok());
    for class in [
        "org.apache.kafka.common.replica.LeaderSelector",
        " org.apache.kafka.common.replica.RackAwareReplicaSelector ",
        "",
    ] {
        assert!(validate(Scope::Broker, "replica.selector.class", class).is_ok());
    }
    assert!(matches!(
        validate(Scope::Broker, "min.insync.replicas", "0"),
        Err(ConfigError::BadValue {
            key: "min.insync.replicas",
            ..
        })
    ));
}

/// A key that is read once, when a process starts and knows no metadata yet, must not look as if a request
/// could change it.
#[test]
fn what_only_the_file_can_say_is_refused_by_request() {
    for key in [
        "connections.max.idle.ms",
        "listeners",
        "log.dirs",
        "max.incremental.fetch.session.cache.slots",
        "num.recovery.threads.per.data.dir",
        "socket.request.max.bytes",
    ] {
        let refused = validate(Scope::Broker, key, "1").map(|key| key.name);
        assert!(
            matches!(refused, Err(ConfigError::FileOnly { .. })),
            "{key}: {refused:?}"
        );
    }
    for key in [
        "max.connections",
        "replica.high.watermark.checkpoint.interval.ms",
        // What kafka-reassign-partitions sets with --throttle, and always takes back in the end.
        "follower.replication.throttled.rate",
        "leader.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    ] {
        let row = validate(Scope::Broker, key, "1000").unwrap();
        assert_eq!(row.effect, Effect::Applied, "{key}");
        assert!(validate(Scope::Broker, key, "-1").is_err(), "{key}");
    }
}

/// As `KafkaBrokerKeys.java` printed them: name, type, default, `DYN` where a request can change it, `INTERNAL`.
const KAFKAS: &str = include_str!("config_table/kafka_broker_keys.tsv");

#[test]
fn every_broker_key_of_kafka_is_there_with_its_type_and_default() {
    let mut differences = Vec::new();
    let mut names = BTreeSet::new();
    for line in KAFKAS.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, kind, default, dynamic, internal] = fields[..] else {
            panic!("{line}");
        };
        names.insert(name);
        let Some(row) = Scope::Broker.key(name) else {
            assert_eq!(internal, "INTERNAL", "{name} is not there");
            continue;
        };
        let number = [
            "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD",
        ]
        .iter()
        .position(|it| *it == kind)
        .unwrap() as i8
            + 1;
        if row.kind.kafka_type() != number {
            differences.push(format!("{name}: type {kind}"));
        }
        let theirs = (!matches!(default, "null" | "<none>")).then_some(default);
        if row.default != theirs {
            differences.push(format!(
                "{name}: default {:?}, Kafka's {default}",
                row.default
            ));
        }
        // More of ours can be changed by a request.
        if dynamic == "DYN" && row.effect != Effect::Applied {
            differences.push(format!("{name}: dynamic in Kafka"));
        }
    }
    assert_eq!(differences, DIFFERENCES, "{differences:#?}");
    // Kafka has these by request alone.
    names.extend([
        "follower.replication.throttled.rate",
        "leader.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    ]);
    // Since 4.4.
    names.extend([
        "log.remote.copy.lag.bytes",
        "log.remote.copy.lag.ms",
        "max.decompressed.message.bytes",
    ]);
    for key in Scope::Broker.keys() {
        assert!(
            names.contains(key.name)
                || key.name.starts_with("foz.")
                || key.name == "controller.listener",
            "{} is not one of Kafka's",
            key.name
        );
    }
}

/// As `KafkaGroupKeys.java` printed them: name, type, default, least value, the broker's key that gives the default.
const KAFKAS_GROUPS: &str = include_str!("config_table/kafka_group_keys.tsv");

#[test]
fn every_key_of_groups_of_kafka_is_there_with_its_type_default_bound_and_synonym() {
    let theirs: Vec<_> = KAFKAS_GROUPS.lines().map(str::to_owned).collect();
    let ours = GROUP_KEYS.iter().map(|key| {
        let kind = match key.kind {
            Kind::Boolean => "BOOLEAN",
            Kind::Int(..) => "INT",
            Kind::OneOf(_) | Kind::OffsetReset => "STRING",
            other => panic!("{other:?}"),
        };
        let least = match key.kind {
            Kind::Int(min, i32::MAX) => min.to_string(),
            _ => "-".to_owned(),
        };
        let synonym = key.synonyms.first().map_or("-", |synonym| synonym.name);
        [key.name, kind, key.default.unwrap(), &least, synonym].join("\t")
    });
    assert_eq!(ours.collect::<Vec<_>>(), theirs);
    assert!(GROUP_KEYS.iter().all(|key| key.effect == Effect::Applied));
    for (key, value, expected) in [
        (
            "group.consumer.session.timeout.ms",
            "1",
            "unknown group config \"group.consumer.session.timeout.ms\"; did you mean consumer.session.timeout.ms?",
        ),
        ("retention.ms", "1", "unknown group config \"retention.ms\""),
        (
            "share.auto.offset.reset",
            "none",
            "invalid value \"none\" for group config share.auto.offset.reset: it must be earliest, latest or \
             by_duration:PnDTnHnMn.nS, as by_duration:P1DT12H",
        ),
    ] {
        let refused = validate(Scope::Group, key, value).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
}

/// Where we differ, on purpose.
const DIFFERENCES: &[&str] = &[
    // A process has its listeners for as long as it lives.
    "listeners: dynamic in Kafka",
    // Memory for all of compaction is bounded by 64 MiB.
    "log.cleaner.dedupe.buffer.size: default Some(\"50331648\"), Kafka's 134217728",
    // Nothing is kept where nobody looks for it.
    "log.dir: default None, Kafka's /tmp/kafka-logs",
    // Every buffer and queue here has a bound.
    "max.connections: default Some(\"10000\"), Kafka's 2147483647",
    // As many as there are processors; they are needed at start alone.
    "num.recovery.threads.per.data.dir: default None, Kafka's 2",
    "num.recovery.threads.per.data.dir: dynamic in Kafka",
];

#[test]
fn what_is_not_there_can_have_its_default_alone_and_secrets_are_not_told() {
    for key in DEFAULT_ONLY_BROKER_KEYS {
        assert!(
            matches!(key.support, Support::DefaultOnly(_)),
            "{}",
            key.name
        );
        if let Some(default) = key.default {
            assert_eq!(validate_in_file(key.name, default), Ok(()));
        }
    }
    for (key, value, expected) in [
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer is not supported: there are \
             no ACLs in this version",
        ),
        (
            "ssl.keystore.password",
            "hush",
            "ssl.keystore.password=[hidden] is not supported: there is no TLS in this version",
        ),
        (
            "log.cleaner.io.buffer.size",
            "-1",
            "invalid value \"-1\" for broker config log.cleaner.io.buffer.size: it must be a 32-bit number, at least 0",
        ),
        (
            "queued.max.request",
            "1",
            "unknown broker config \"queued.max.request\"; did you mean queued.max.requests?",
        ),
    ] {
        let refused = validate_in_file(key, value).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    let too_long = "a,".repeat(1 << 20);
    let refused = validate(Scope::Broker, "ssl.cipher.suites", &too_long).unwrap_err();
    assert!(
        matches!(refused, ConfigError::TooLong { .. }),
        "{refused:?}"
    );
    for (key, value) in [
        ("queued.max.requests", "7"),
        ("ssl.enabled.protocols", "TLSv1.2, TLSv1.3"),
        ("sasl.login.refresh.window.factor", "0.80"),
        (
            "listener.security.protocol.map",
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL",
        ),
        ("transaction.state.log.replication.factor", "1"),
        ("controlled.shutdown.enable", " TRUE "),
    ] {
        assert_eq!(validate_in_file(key, value), Ok(()));
    }
    assert!(validate(Scope::Broker, "background.threads", "3").is_ok());
    assert!(validate(Scope::Broker, "ssl.client.auth", "required").is_err());
    assert!(matches!(
        validate(Scope::Broker, "queued.max.requests", "7"),
        Err(ConfigError::FileOnly { .. })
    ));
}
