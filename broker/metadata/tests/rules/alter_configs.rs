//! Configs are set, deleted, appended to and subtracted from.

use std::collections::BTreeMap;

use foz_metadata::config::{Effect, Resolver};
use foz_metadata::image::{Image, Resource};
use foz_metadata::record::Record;
use foz_metadata::rules::{
    AlterConfigs, AlterResource, ConfigChange, ConfigOperation, ErrorCode, ResourceName,
    alter_configs, unregister_broker,
};

use crate::support::{alter, cluster, commit, create, fence, new_topic, set};

#[test]
fn lists_grow_and_shrink_from_their_effective_value() {
    let mut image = cluster(1);
    create(&mut image, new_topic("t"));
    let topic = || ResourceName::Topic("t".to_owned());
    let value = |image: &Image| {
        image
            .config(&Resource::topic("t"), "cleanup.policy")
            .map(str::to_owned)
    };
    for (operation, given, expected) in [
        (ConfigOperation::Append, "compact", Some("delete,compact")),
        (ConfigOperation::Append, "compact", Some("delete,compact")),
        (ConfigOperation::Subtract, "delete", Some("compact")),
        (ConfigOperation::Delete, "", None),
        (ConfigOperation::Set, " delete ", Some("delete")),
    ] {
        let change = ConfigChange {
            operation,
            ..set("cleanup.policy", given)
        };
        let decision = alter(&image, topic(), &[change]).unwrap();
        commit(&mut image, decision);
        assert_eq!(value(&image).as_deref(), expected, "{operation:?} {given}");
    }
    let unchanged = alter(&image, topic(), &[set("cleanup.policy", "delete")]).unwrap();
    assert_eq!(unchanged.records, [] as [Record; 0]);
}

#[test]
fn bad_config_changes_are_refused_and_good_ones_say_when_they_count() {
    let mut image = cluster(1);
    create(&mut image, new_topic("t"));
    let topic = || ResourceName::Topic("t".to_owned());
    let broker = |name: &str| ResourceName::Broker(name.to_owned());
    let append = ConfigChange {
        operation: ConfigOperation::Append,
        ..set("retention.ms", "1")
    };
    for (name, changes, code) in [
        (
            ResourceName::Topic("x".to_owned()),
            vec![],
            ErrorCode::UnknownTopicOrPartition,
        ),
        (broker("one"), vec![], ErrorCode::InvalidRequest),
        (broker("-1"), vec![], ErrorCode::InvalidRequest),
        (broker("1"), vec![], ErrorCode::InvalidRequest),
        (
            broker("1"),
            vec![set("log.cleaner.threads", "2")],
            ErrorCode::InvalidRequest,
        ),
        (
            ResourceName::Other("GROUP".to_owned()),
            vec![],
            ErrorCode::InvalidRequest,
        ),
        (topic(), vec![append], ErrorCode::InvalidConfig),
        (
            topic(),
            vec![set("retention.ms", "1"), set("retention.ms", "2")],
            ErrorCode::InvalidRequest,
        ),
        (
            topic(),
            vec![set("retention.ms", "1"), set("nope", "2")],
            ErrorCode::InvalidConfig,
        ),
        (
            broker(""),
            vec![set("node.id", "2")],
            ErrorCode::InvalidConfig,
        ),
        (
            broker("0"),
            vec![set("min.insync.replicas", "2")],
            ErrorCode::InvalidConfig,
        ),
    ] {
        let what = format!("{name:?} {changes:?}");
        assert_eq!(
            alter(&image, name, &changes).unwrap_err().code,
            code,
            "{what}"
        );
    }
    let changes = [
        set("log.retention.ms", "1"),
        set("offsets.topic.num.partitions", "2"),
    ];
    let effects = alter(&image, broker("0"), &changes).unwrap().answer;
    assert_eq!(effects, [Effect::Applied, Effect::NeedsRestart]);
}

#[test]
fn what_is_set_on_a_broker_can_be_taken_away_when_the_broker_is_gone() {
    let mut image = cluster(2);
    let broker = || ResourceName::Broker("1".to_owned());
    let set = set("log.cleaner.threads", "2");
    let decision = alter(&image, broker(), std::slice::from_ref(&set)).unwrap();
    commit(&mut image, decision);
    fence(&mut image, 1);
    let decision = unregister_broker(&image, 1, 0).unwrap();
    commit(&mut image, decision);
    let delete = ConfigChange {
        operation: ConfigOperation::Delete,
        ..set
    };
    let decision = alter(&image, broker(), std::slice::from_ref(&delete)).unwrap();
    commit(&mut image, decision);
    assert_eq!(image.configs(&Resource::Broker(1)), None);
    let refused = alter(&image, broker(), &[delete]).unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
}

#[test]
fn what_is_not_named_is_deleted_where_a_request_replaces() {
    let mut image = cluster(1);
    create(&mut image, new_topic("t"));
    let replace = |image: &mut Image, name: ResourceName, changes: &[ConfigChange]| {
        let request = AlterConfigs {
            resources: vec![AlterResource {
                name,
                changes: changes.to_vec(),
            }],
            replaces: true,
            validate_only: false,
            operator_epoch: 0,
        };
        // What is in the file of the controllers comes back where it was made metadata.
        let properties = BTreeMap::from([("min.insync.replicas".to_owned(), "1".to_owned())]);
        let decision = alter_configs(image, &properties, &request).unwrap();
        let written = decision.records.len();
        let mut results = commit(image, decision).into_iter();
        let effects = results.next().unwrap().unwrap();
        (written, effects.len())
    };
    let topic = || ResourceName::Topic("t".to_owned());
    let of = |image: &Image, resource: &Resource| -> Vec<String> {
        let set = image.configs(resource).into_iter();
        set.flat_map(|set| set.iter().map(|(key, value)| format!("{key}={value}")))
            .collect()
    };
    let on_topic = Resource::topic("t");
    let both = [set("retention.ms", "5"), set("segment.bytes", "2097152")];
    assert_eq!(replace(&mut image, topic(), &both), (2, 2));
    // One is set to what it is, the other one goes.
    assert_eq!(replace(&mut image, topic(), &both[..1]), (1, 2));
    assert_eq!(of(&image, &on_topic), ["retention.ms=5"]);
    assert_eq!(replace(&mut image, topic(), &[]), (1, 1));
    assert_eq!(of(&image, &on_topic), [] as [&str; 0]);
    assert_eq!(replace(&mut image, topic(), &[]), (0, 0));

    let all_brokers = || ResourceName::Broker(String::new());
    let decision = alter(&image, all_brokers(), &[set("min.insync.replicas", "2")]).unwrap();
    commit(&mut image, decision);
    let other = [set("log.retention.ms", "5")];
    replace(&mut image, all_brokers(), &other);
    let left = of(&image, &Resource::DefaultBroker);
    assert_eq!(left, ["log.retention.ms=5", "min.insync.replicas=1"]);
}

fn group(name: &str) -> ResourceName {
    ResourceName::Group(name.to_owned())
}

#[test]
fn groups_say_of_themselves_what_brokers_let_them() {
    const SESSION: &str = "consumer.session.timeout.ms";
    const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
    let mut image = cluster(1);
    let properties = BTreeMap::new();
    let within = |image: &Image, group: &str, key: &str| {
        Resolver::new(image, 0, &properties).group_within_bounds(group, key)
    };
    assert_eq!(within(&image, "g", SESSION), Some(45_000));
    let share = set("share.auto.offset.reset", "by_duration:PT1H");
    let changes = [set(SESSION, " 50000"), set(HEARTBEAT, "10000"), share];
    let decision = alter(&image, group("g"), &changes).unwrap();
    assert_eq!(decision.records.len(), 3);
    commit(&mut image, decision);
    // As it is restored from a snapshot, too.
    assert_eq!(Image::decode(&image.encode()).unwrap(), image);
    assert_eq!(within(&image, "g", SESSION), Some(50_000));
    assert_eq!(within(&image, "h", SESSION), Some(45_000));
    assert_eq!(within(&image, "h", "share.auto.offset.reset"), None);
    let groups: Vec<_> = image.configured_groups().map(|it| &**it).collect();
    assert_eq!(groups, ["g"]);

    // A bound that comes later.
    let bounds = [
        set("group.consumer.max.session.timeout.ms", "48000"),
        set("group.consumer.min.heartbeat.interval.ms", "12000"),
        set("group.consumer.heartbeat.interval.ms", "12000"),
    ];
    let everywhere = ResourceName::Broker(String::new());
    let decision = alter(&image, everywhere, &bounds).unwrap();
    commit(&mut image, decision);
    assert_eq!(within(&image, "g", SESSION), Some(48_000));
    assert_eq!(within(&image, "g", HEARTBEAT), Some(12_000));
    for (changes, expected) in [
        (
            vec![set(SESSION, "48001")],
            "consumer.session.timeout.ms is 48001, more than group.consumer.max.session.timeout.ms=48000",
        ),
        (
            vec![set(HEARTBEAT, "11999")],
            "consumer.heartbeat.interval.ms is 11999, less than group.consumer.min.heartbeat.interval.ms=12000",
        ),
        (
            vec![set("streams.num.standby.replicas", "3")],
            "streams.num.standby.replicas is 3, more than group.streams.max.standby.replicas=2",
        ),
        (
            vec![set(SESSION, "0")],
            "invalid value \"0\" for group config consumer.session.timeout.ms: it must be a 32-bit number, at least 1",
        ),
        (
            vec![ConfigChange {
                operation: ConfigOperation::Append,
                ..set(SESSION, "46000")
            }],
            "consumer.session.timeout.ms is not a list; only SET and DELETE are possible",
        ),
        (
            vec![set("consumer.assignor.offload.enable", "true")],
            "unknown group config \"consumer.assignor.offload.enable\"",
        ),
    ] {
        let refusal = alter(&image, group("g"), &changes).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidConfig, "{expected}");
        assert_eq!(refusal.message, expected);
    }
    // What is out of bounds by now can be taken back all the same.
    let back = ConfigChange {
        operation: ConfigOperation::Delete,
        ..set(SESSION, "")
    };
    let decision = alter(&image, group("g"), &[back]).unwrap();
    commit(&mut image, decision);
    assert_eq!(within(&image, "g", SESSION), Some(45_000));
    let refusal = alter(&image, group(""), &[set(SESSION, "46000")]).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidRequest);
}

#[test]
fn a_session_outlasts_the_pause_between_heartbeats() {
    let mut image = cluster(1);
    let bounds = [
        set("group.consumer.max.heartbeat.interval.ms", "60000"),
        set("group.consumer.min.session.timeout.ms", "1"),
    ];
    let everywhere = ResourceName::Broker(String::new());
    let decision = alter(&image, everywhere, &bounds).unwrap();
    commit(&mut image, decision);
    let (session, heartbeat) = (
        "consumer.session.timeout.ms",
        "consumer.heartbeat.interval.ms",
    );
    for changes in [
        vec![set(heartbeat, "45000")],
        vec![set(session, "5000")],
        vec![set(heartbeat, "50000"), set(session, "50000")],
    ] {
        let refusal = alter(&image, group("g"), &changes).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidConfig, "{changes:?}");
        assert!(
            refusal.message.contains("must be more than"),
            "{}",
            refusal.message
        );
    }
    let both = [set(heartbeat, "50000"), set(session, "50001")];
    let decision = alter(&image, group("g"), &both).unwrap();
    commit(&mut image, decision);
    // 45 s are left for a session, and 50 s between two heartbeats.
    let back = ConfigChange {
        operation: ConfigOperation::Delete,
        ..set(session, "")
    };
    let refusal = alter(&image, group("g"), &[back]).unwrap_err();
    assert!(
        refusal.message.contains("would be 45000"),
        "{}",
        refusal.message
    );
}
