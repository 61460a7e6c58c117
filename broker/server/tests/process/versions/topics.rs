//! CreateTopics, CreatePartitions and DeleteTopics.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest,
};
use uuid::Uuid;

use super::connection::{Connection, error, eventually, text, topic_name, versions_of};

const TIMEOUT_MS: i32 = 10_000;
const CONFIGS_FROM: i16 = 5;

pub(super) fn check(connection: &mut Connection) {
    for version in versions_of::<CreateTopicsRequest>() {
        topics_are_made(connection, version);
        topics_that_cannot_be_are_refused(connection, version);
    }
    for version in versions_of::<CreatePartitionsRequest>() {
        partitions_are_added(connection, version);
    }
    for version in versions_of::<DeleteTopicsRequest>() {
        topics_are_deleted(connection, version);
        if version >= 6 {
            topics_are_deleted_by_id(connection, version);
        }
    }
}

fn new(name: &str) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(1)
        .with_replication_factor(1)
}

/// With replicas chosen by the caller the numbers are -1.
fn assigned(name: &str, partitions: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = partitions.iter().map(|(index, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*index)
            .with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
    });
    new(name)
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(assignments.collect())
}

fn config(key: &str, value: &str) -> CreatableTopicConfig {
    CreatableTopicConfig::default()
        .with_name(text(key))
        .with_value(Some(text(value)))
}

fn create(
    connection: &mut Connection,
    version: i16,
    validate_only: bool,
    topics: Vec<CreatableTopic>,
) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(TIMEOUT_MS)
        .with_validate_only(validate_only);
    connection.call(version, &request).topics
}

/// The number of partitions, 0 for a topic that does not exist.
fn partitions_of(connection: &mut Connection, name: &str) -> usize {
    let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![wanted]))
        .with_allow_auto_topic_creation(false);
    connection.call(9, &request).topics[0].partitions.len()
}

fn has_partitions(connection: &mut Connection, name: &str, expected: usize) {
    eventually(|| match partitions_of(connection, name) {
        count if count == expected => Ok(()),
        other => Err(format!("{name} has {other} partitions, not {expected}")),
    });
}

fn topics_are_made(connection: &mut Connection, version: i16) {
    let plain = format!("made-{version}");
    let chosen = format!("chosen-{version}");
    let wanted = vec![
        new(&plain)
            .with_num_partitions(3)
            .with_configs(vec![config("retention.ms", "1234")]),
        assigned(&chosen, &[(1, &[0]), (0, &[0])]),
    ];
    let tried = create(connection, version, true, wanted.clone());
    assert!(tried.iter().all(|topic| topic.error_code == 0), "{tried:?}");
    assert_eq!(partitions_of(connection, &plain), 0);
    let made = create(connection, version, false, wanted);
    for (topic, (name, partitions)) in made.iter().zip([(&plain, 3), (&chosen, 2)]) {
        assert_eq!(error(topic.error_code), ErrorCode::None, "{topic:?}");
        assert_eq!(topic.name, topic_name(name));
        assert_eq!(topic.topic_id.is_nil(), version < 7);
        if version >= CONFIGS_FROM {
            assert_eq!(topic.num_partitions, partitions);
            assert_eq!(topic.replication_factor, 1);
        }
        has_partitions(connection, name, partitions as usize);
    }
    if version >= CONFIGS_FROM {
        let configs = made[0].configs.as_ref().unwrap();
        let retention = configs.iter().find(|entry| &*entry.name == "retention.ms");
        let retention = retention.unwrap();
        assert_eq!(retention.value, Some(text("1234")));
        assert_eq!(retention.config_source, 1, "of the topic");
    }
    if version >= 4 {
        let name = format!("default-{version}");
        let wanted = new(&name)
            .with_num_partitions(-1)
            .with_replication_factor(-1);
        let made = create(connection, version, false, vec![wanted]);
        assert_eq!(error(made[0].error_code), ErrorCode::None, "{made:?}");
        has_partitions(connection, &name, 1);
    }
}

fn topics_that_cannot_be_are_refused(connection: &mut Connection, version: i16) {
    let exists = format!("made-{version}");
    let name = format!("refused-{version}");
    let null = CreatableTopicConfig::default()
        .with_name(text("retention.ms"))
        .with_value(None);
    let cases = [
        (new(&exists), ErrorCode::TopicAlreadyExists),
        (new("no spaces"), ErrorCode::InvalidTopicException),
        (new(""), ErrorCode::InvalidTopicException),
        (
            new(&name).with_num_partitions(0),
            ErrorCode::InvalidPartitions,
        ),
        (
            new(&name).with_replication_factor(2),
            ErrorCode::InvalidReplicationFactor,
        ),
        (
            new(&name).with_replication_factor(0),
            ErrorCode::InvalidReplicationFactor,
        ),
        (
            assigned(&name, &[(0, &[7])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            assigned(&name, &[(1, &[0])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            assigned(&name, &[(0, &[])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            assigned(&name, &[(0, &[0, 0])]),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            assigned(&name, &[(0, &[0])]).with_num_partitions(1),
            ErrorCode::InvalidRequest,
        ),
        (
            new(&name).with_configs(vec![config("retention.m", "1")]),
            ErrorCode::InvalidConfig,
        ),
        (
            new(&name).with_configs(vec![config("retention.ms", "soon")]),
            ErrorCode::InvalidConfig,
        ),
        (
            new(&name).with_configs(vec![null]),
            ErrorCode::InvalidConfig,
        ),
    ];
    for (topic, expected) in cases {
        let what = format!("version {version}: {topic:?}");
        let results = create(connection, version, false, vec![topic]);
        assert_eq!(error(results[0].error_code), expected, "{what}");
        let message = &results[0].error_message;
        assert!(
            message.as_ref().is_some_and(|text| !text.is_empty()),
            "{what}"
        );
    }
    // Twice in a request, neither is made; what is right beside them is.
    let good = format!("good-{version}");
    let results = create(
        connection,
        version,
        false,
        vec![new(&name), new(&good), new(&name)],
    );
    for result in &results {
        let expected = if result.name == topic_name(&good) {
            ErrorCode::None
        } else {
            ErrorCode::InvalidRequest
        };
        assert_eq!(error(result.error_code), expected, "{version}");
    }
    assert_eq!(partitions_of(connection, &name), 0);
}

fn partitions_are_added(connection: &mut Connection, version: i16) {
    let name = format!("grown-{version}");
    connection.create_topic(&name, 1);
    let wanted = |name: &str, count: i32| {
        CreatePartitionsTopic::default()
            .with_name(topic_name(name))
            .with_count(count)
            .with_assignments(None)
    };
    let on = |brokers: &[i32]| {
        let brokers = brokers.iter().copied().map(BrokerId).collect();
        CreatePartitionsAssignment::default().with_broker_ids(brokers)
    };
    let mut increase = |validate_only: bool, topic: CreatePartitionsTopic| {
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic.clone()])
            .with_timeout_ms(TIMEOUT_MS)
            .with_validate_only(validate_only);
        let response = connection.call(version, &request);
        let [result] = &response.results[..] else {
            panic!("{response:?}");
        };
        assert_eq!(result.name, topic.name);
        assert_eq!(result.error_code == 0, result.error_message.is_none());
        error(result.error_code)
    };
    assert_eq!(increase(true, wanted(&name, 9)), ErrorCode::None);
    assert_eq!(increase(false, wanted(&name, 2)), ErrorCode::None);
    let chosen = wanted(&name, 4).with_assignments(Some(vec![on(&[0]), on(&[0])]));
    assert_eq!(increase(false, chosen), ErrorCode::None);
    let refusals = [
        (wanted(&name, 4), ErrorCode::InvalidPartitions),
        (wanted(&name, 3), ErrorCode::InvalidPartitions),
        (wanted("nowhere", 3), ErrorCode::UnknownTopicOrPartition),
        (
            wanted(&name, 6).with_assignments(Some(vec![on(&[0])])),
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            wanted(&name, 5).with_assignments(Some(vec![on(&[7])])),
            ErrorCode::InvalidReplicaAssignment,
        ),
    ];
    for (topic, expected) in refusals {
        assert_eq!(increase(false, topic), expected, "{version}");
    }
    has_partitions(connection, &name, 4);
    eventually(|| connection.latest_offset(&name, 3));
}

fn topics_are_deleted(connection: &mut Connection, version: i16) {
    let name = format!("deleted-{version}");
    let topic = connection.create_topic(&name, 1);
    let request = |names: &[&str]| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
        if version >= 6 {
            let topics = names
                .iter()
                .map(|name| DeleteTopicState::default().with_name(Some(topic_name(name))));
            request.with_topics(topics.collect())
        } else {
            request.with_topic_names(names.iter().copied().map(topic_name).collect())
        }
    };
    let response = connection.call(version, &request(&[&name, "nowhere"]));
    let [deleted, unknown] = &response.responses[..] else {
        panic!("{response:?}");
    };
    assert_eq!(error(deleted.error_code), ErrorCode::None);
    assert_eq!(deleted.name, Some(topic_name(&name)));
    if version >= 6 {
        assert_eq!(deleted.topic_id, topic.id);
    }
    let expected = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(error(unknown.error_code), expected, "{version}");
    assert_eq!(unknown.name, Some(topic_name("nowhere")));
    assert_eq!(unknown.error_message.is_some(), version >= 5);
    has_partitions(connection, &name, 0);
    let response = connection.call(version, &request(&[&name]));
    assert_eq!(error(response.responses[0].error_code), expected);
}

fn topics_are_deleted_by_id(connection: &mut Connection, version: i16) {
    let topic = connection.create_topic("deleted-by-id", 1);
    let by_id = |id: Uuid| {
        DeleteTopicState::default()
            .with_name(None)
            .with_topic_id(id)
    };
    let mut delete = |states: Vec<DeleteTopicState>| {
        let request = DeleteTopicsRequest::default()
            .with_timeout_ms(TIMEOUT_MS)
            .with_topics(states);
        connection.call(version, &request).responses
    };
    // Kafka wants one of name and id, not both and not neither.
    let both = by_id(topic.id).with_name(Some(topic_name(&topic.name)));
    for state in [both, by_id(Uuid::nil())] {
        let refused = delete(vec![state]);
        let expected = ErrorCode::InvalidRequest;
        assert_eq!(error(refused[0].error_code), expected, "{refused:?}");
    }
    let twice = delete(vec![by_id(topic.id), by_id(topic.id)]);
    assert!(
        twice
            .iter()
            .all(|result| error(result.error_code) == ErrorCode::InvalidRequest)
    );
    let results = delete(vec![by_id(topic.id), by_id(Uuid::from_u128(42))]);
    assert_eq!(error(results[0].error_code), ErrorCode::None);
    assert_eq!(results[0].name, Some(topic_name(&topic.name)));
    assert_eq!(error(results[1].error_code), ErrorCode::UnknownTopicId);
    assert_eq!(results[1].name, None);
    assert_eq!(results[1].topic_id, Uuid::from_u128(42));
}
