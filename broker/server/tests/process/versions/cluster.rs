//! ApiVersions, Metadata, DescribeCluster, UpdateFeatures and UnregisterBroker.

use foz_protocol::apis::APIS;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, DescribeClusterRequest, MetadataRequest, MetadataResponse,
    UnregisterBrokerRequest, UpdateFeaturesRequest,
};
use uuid::Uuid;

use super::connection::{Connection, Topic, error, text, topic_name, versions_of};

const FEATURES_FROM: i16 = 3;
const NOT_ASKED: i32 = i32::MIN;
const AUTO_CREATION_FROM: i16 = 4;
const TOPIC_OPERATIONS_FROM: i16 = 8;
const TOPIC_IDS_FROM: i16 = 10;
const ASKING_BY_ID_FROM: i16 = 12;

pub(super) fn check(connection: &mut Connection) {
    ranges_are_told(connection);
    features_are_finalised(connection);
    brokers_that_live_or_never_were_are_not_unregistered(connection);
    let topic = connection.create_topic("seen", 3);
    let cluster_id = clusters_are_described(connection);
    for version in versions_of::<MetadataRequest>() {
        metadata_names_the_topic(connection, version, &topic, &cluster_id);
        all_and_none_differ(connection, version);
        missing_topics_are_told(connection, version);
        if version >= TOPIC_OPERATIONS_FROM {
            operations_are_told_when_asked(connection, version, &topic);
        }
        if version >= TOPIC_IDS_FROM {
            topics_are_found_by_id(connection, version, &topic);
        }
    }
}

fn ranges_are_told(connection: &mut Connection) {
    for version in versions_of::<ApiVersionsRequest>() {
        let request = ApiVersionsRequest::default();
        let request = if version >= 3 {
            request
                .with_client_software_name(text("test"))
                .with_client_software_version(text("1.0"))
        } else {
            request
        };
        let response = connection.call(version, &request);
        assert_eq!(error(response.error_code), ErrorCode::None);
        let told: Vec<_> = response
            .api_keys
            .iter()
            .map(|row| (row.api_key, row.min_version, row.max_version))
            .collect();
        let expected: Vec<_> = APIS
            .iter()
            .map(|api| (api.key as i16, api.advertised_min, api.max))
            .collect();
        assert_eq!(told, expected, "{version}");
        let finalized = response.finalized_features.iter();
        let finalized: Vec<_> = finalized
            .map(|it| (&*it.name, it.max_version_level))
            .collect();
        if version >= FEATURES_FROM {
            let founded = [
                ("foz.version", 1),
                ("group.version", 1),
                ("transaction.version", 2),
            ];
            assert_eq!(finalized, founded);
            // Those that may be at 0 are told to who can read it.
            let supported = response.supported_features.len();
            assert_eq!(supported, if version == 3 { 1 } else { 3 });
        } else {
            assert_eq!(finalized, []);
        }
    }
}

fn features_are_finalised(connection: &mut Connection) {
    let refused = ErrorCode::InvalidUpdateVersion;
    let updates = [
        ("foz.version", 1, ErrorCode::None),
        ("foz.version", 2, refused),
        ("foz.version", 0, refused),
        ("metadata.version", 1, refused),
        ("transaction.version", 2, ErrorCode::None),
        ("transaction.version", 3, refused),
        ("transaction.version", 1, refused),
        ("transaction.version", -1, refused),
        ("group.version", 1, ErrorCode::None),
        ("group.version", 0, refused),
        ("group.version", i16::MAX, refused),
        ("group.version", i16::MIN, refused),
    ];
    for version in versions_of::<UpdateFeaturesRequest>() {
        for (name, level, expected) in updates {
            let update = FeatureUpdateKey::default()
                .with_feature(text(name))
                .with_max_version_level(level);
            let request = UpdateFeaturesRequest::default()
                .with_timeout_ms(10_000)
                .with_feature_updates(vec![update]);
            let response = connection.call(version, &request);
            assert_eq!(error(response.error_code), expected, "{name} {level}");
            // An error is that of the whole request.
            let has_results = version <= 1 && expected == ErrorCode::None;
            assert_eq!(response.results.len(), usize::from(has_results));
        }
        let mut ask = |updates: Vec<FeatureUpdateKey>, validate_only| {
            let request = UpdateFeaturesRequest::default()
                .with_timeout_ms(10_000)
                .with_validate_only(validate_only)
                .with_feature_updates(updates);
            let response = connection.call(version, &request);
            (error(response.error_code), response.error_message)
        };
        let invalid = ErrorCode::InvalidRequest;
        assert_eq!(ask(Vec::new(), false), (ErrorCode::None, None));
        let level = |name: &str, level| {
            FeatureUpdateKey::default()
                .with_feature(text(name))
                .with_max_version_level(level)
        };
        let twice = vec![level("foz.version", 1); 100_000];
        assert_eq!(ask(twice, false).0, invalid);
        let both = vec![level("foz.version", 1), level("metadata.version", 1)];
        let (code, message) = ask(both, false);
        let message = message.unwrap();
        assert_eq!(code, refused);
        assert!(message.contains("failed for all features"), "{message}");
        if version == 0 {
            let down = level("foz.version", 1).with_allow_downgrade(true);
            assert_eq!(ask(vec![down], false).0, ErrorCode::None);
            continue;
        }
        let cases = [
            (1, 2, ErrorCode::None),
            (1, 3, ErrorCode::None),
            (2, 1, refused),
            (2, 2, refused),
            (0, 2, refused),
            (0, 3, refused),
            (-1, 3, refused),
            (1, 0, refused),
            (1, 4, refused),
        ];
        for (to, upgrade_type, expected) in cases {
            let update = level("foz.version", to).with_upgrade_type(upgrade_type);
            for validate_only in [false, true] {
                let (code, _) = ask(vec![update.clone()], validate_only);
                assert_eq!(code, expected, "{to} by {upgrade_type}");
            }
        }
        levels_may_go_both_ways(connection, version);
    }
}

/// Only asked for: what is served to the others that test now depends on the levels.
fn levels_may_go_both_ways(connection: &mut Connection, version: i16) {
    const UPGRADE: i8 = 1;
    const SAFE_DOWNGRADE: i8 = 2;
    const UNSAFE_DOWNGRADE: i8 = 3;
    let refused = ErrorCode::InvalidUpdateVersion;
    for (name, level, upgrade_type, expected) in [
        ("transaction.version", 2, UPGRADE, ErrorCode::None),
        ("transaction.version", 1, UPGRADE, refused),
        ("transaction.version", 1, SAFE_DOWNGRADE, ErrorCode::None),
        ("transaction.version", 0, UNSAFE_DOWNGRADE, ErrorCode::None),
        ("transaction.version", -1, UNSAFE_DOWNGRADE, refused),
        ("transaction.version", 3, UPGRADE, refused),
        ("transaction.version", 3, SAFE_DOWNGRADE, refused),
        ("group.version", 0, SAFE_DOWNGRADE, ErrorCode::None),
        ("group.version", 2, UPGRADE, refused),
        ("kraft.version", 0, UNSAFE_DOWNGRADE, refused),
    ] {
        let update = FeatureUpdateKey::default()
            .with_feature(text(name))
            .with_max_version_level(level)
            .with_upgrade_type(upgrade_type);
        let request = UpdateFeaturesRequest::default()
            .with_timeout_ms(10_000)
            .with_validate_only(true)
            .with_feature_updates(vec![update]);
        let response = connection.call(version, &request);
        assert_eq!(error(response.error_code), expected, "{name} {level}");
    }
}

fn brokers_that_live_or_never_were_are_not_unregistered(connection: &mut Connection) {
    for version in versions_of::<UnregisterBrokerRequest>() {
        let cases = [
            (0, ErrorCode::InvalidRequest),
            (7, ErrorCode::BrokerIdNotRegistered),
            (-1, ErrorCode::BrokerIdNotRegistered),
            (i32::MAX, ErrorCode::BrokerIdNotRegistered),
        ];
        for (node_id, expected) in cases {
            let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(node_id));
            let response = connection.call(version, &request);
            assert_eq!(error(response.error_code), expected, "{node_id}");
            let message = response.error_message.unwrap();
            assert!(message.contains(&node_id.to_string()), "{message}");
        }
    }
}

fn clusters_are_described(connection: &mut Connection) -> String {
    let mut cluster_id = String::new();
    for version in versions_of::<DescribeClusterRequest>() {
        for asked in [false, true] {
            let request = DescribeClusterRequest::default()
                .with_include_cluster_authorized_operations(asked)
                .with_include_fenced_brokers(asked && version >= 2);
            let response = connection.call(version, &request);
            assert_eq!(error(response.error_code), ErrorCode::None);
            assert_eq!(response.endpoint_type, 1);
            assert_eq!(response.controller_id, BrokerId(0));
            let [broker] = &response.brokers[..] else {
                panic!("{response:?}");
            };
            assert_eq!(broker.broker_id, BrokerId(0));
            assert_eq!(broker.host, text("127.0.0.1"));
            assert_eq!(broker.port, i32::from(connection.broker.kafka_port));
            assert!(!broker.is_fenced);
            let operations = response.cluster_authorized_operations;
            assert_eq!(operations != NOT_ASKED, asked, "{version}");
            cluster_id = response.cluster_id.to_string();
            assert!(!cluster_id.is_empty());
        }
        if version >= 1 {
            for (endpoint_type, refused) in [
                (2, ErrorCode::MismatchedEndpointType),
                (9, ErrorCode::UnsupportedEndpointType),
            ] {
                let request = DescribeClusterRequest::default().with_endpoint_type(endpoint_type);
                let response = connection.call(version, &request);
                assert_eq!(error(response.error_code), refused);
            }
        }
    }
    cluster_id
}

/// Asks for these topics, and makes none where the version can say so.
fn ask(topics: Option<Vec<MetadataRequestTopic>>, version: i16) -> MetadataRequest {
    MetadataRequest::default()
        .with_topics(topics)
        .with_allow_auto_topic_creation(version < AUTO_CREATION_FROM)
}

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(topic_name(name)))
}

fn by_id(id: Uuid) -> MetadataRequestTopic {
    MetadataRequestTopic::default()
        .with_name(None)
        .with_topic_id(id)
}

fn only(response: &MetadataResponse) -> &MetadataResponseTopic {
    let [topic] = &response.topics[..] else {
        panic!("one topic was asked for: {response:?}");
    };
    topic
}

fn metadata_names_the_topic(
    connection: &mut Connection,
    version: i16,
    topic: &Topic,
    cluster_id: &str,
) {
    let request = ask(Some(vec![named(&topic.name)]), version);
    let response = connection.call(version, &request);
    let [broker] = &response.brokers[..] else {
        panic!("{response:?}");
    };
    assert_eq!(broker.node_id, BrokerId(0));
    assert_eq!(broker.port, i32::from(connection.broker.kafka_port));
    if version >= 1 {
        assert_eq!(response.controller_id, BrokerId(0));
    }
    if version >= 2 {
        assert_eq!(response.cluster_id, Some(text(cluster_id)));
    }
    let found = only(&response);
    assert_eq!(error(found.error_code), ErrorCode::None);
    assert_eq!(found.name, Some(topic_name(&topic.name)));
    if version >= TOPIC_IDS_FROM {
        assert_eq!(found.topic_id, topic.id);
    }
    assert_eq!(found.topic_authorized_operations, NOT_ASKED);
    let indexes: Vec<_> = found
        .partitions
        .iter()
        .map(|partition| {
            assert_eq!(error(partition.error_code), ErrorCode::None);
            assert_eq!(partition.leader_id, BrokerId(0));
            assert_eq!(partition.leader_epoch, if version >= 7 { 0 } else { -1 });
            assert_eq!(partition.replica_nodes, [BrokerId(0)]);
            assert_eq!(partition.isr_nodes, [BrokerId(0)]);
            assert!(partition.offline_replicas.is_empty());
            partition.partition_index
        })
        .collect();
    assert_eq!(indexes, [0, 1, 2], "{version}");
}

/// Version 0 has no null: there an empty list means all.
fn all_and_none_differ(connection: &mut Connection, version: i16) {
    let none = connection.call(version, &ask(Some(Vec::new()), version));
    let all = if version == 0 {
        none
    } else {
        assert!(none.topics.is_empty(), "{version}");
        connection.call(version, &ask(None, version))
    };
    let seen = Some(topic_name("seen"));
    assert!(all.topics.iter().any(|topic| topic.name == seen));
}

fn missing_topics_are_told(connection: &mut Connection, version: i16) {
    let response = connection.call(version, &ask(Some(vec![named("no spaces")]), version));
    let illegal = only(&response);
    let expected = ErrorCode::InvalidTopicException;
    assert_eq!(error(illegal.error_code), expected);
    assert_eq!(illegal.name, Some(topic_name("no spaces")));
    let name = format!("asked-for-{version}");
    let mut request = ask(Some(vec![named(&name)]), version);
    if version >= AUTO_CREATION_FROM {
        let response = connection.call(version, &request);
        let unknown = ErrorCode::UnknownTopicOrPartition;
        assert_eq!(error(only(&response).error_code), unknown);
        assert!(only(&response).partitions.is_empty());
        request.allow_auto_topic_creation = true;
    }
    let response = connection.call(version, &request);
    let made = only(&response);
    assert_eq!(error(made.error_code), ErrorCode::None, "{version}");
    assert_eq!(made.partitions.len(), 1);
}

fn operations_are_told_when_asked(connection: &mut Connection, version: i16, topic: &Topic) {
    let has_cluster_operations = version <= 10;
    let request = ask(Some(vec![named(&topic.name)]), version)
        .with_include_topic_authorized_operations(true)
        .with_include_cluster_authorized_operations(has_cluster_operations);
    let response = connection.call(version, &request);
    assert!(only(&response).topic_authorized_operations > 0);
    let cluster = response.cluster_authorized_operations;
    assert_eq!(cluster > 0, has_cluster_operations, "{version}");
}

/// Versions 10 and 11 have the field, but Kafka refuses it there.
fn topics_are_found_by_id(connection: &mut Connection, version: i16, topic: &Topic) {
    if version < ASKING_BY_ID_FROM {
        let wanted = named("").with_topic_id(topic.id);
        let response = connection.call(version, &ask(Some(vec![wanted]), version));
        let refused = ErrorCode::InvalidRequest;
        assert_eq!(error(only(&response).error_code), refused, "{version}");
        return;
    }
    let request = ask(
        Some(vec![by_id(topic.id), by_id(Uuid::from_u128(42))]),
        version,
    );
    let response = connection.call(version, &request);
    let [found, missing] = &response.topics[..] else {
        panic!("{response:?}");
    };
    assert_eq!(error(found.error_code), ErrorCode::None);
    assert_eq!(found.name, Some(topic_name(&topic.name)));
    assert_eq!(found.partitions.len(), 3);
    assert_eq!(error(missing.error_code), ErrorCode::UnknownTopicId);
    assert_eq!(missing.topic_id, Uuid::from_u128(42));
    assert_eq!(missing.name, None, "{version}");
}
