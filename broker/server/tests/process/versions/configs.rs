//! DescribeConfigs and IncrementalAlterConfigs.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::connection::{Connection, error, eventually, text, versions_of};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// KIP-412: levels of loggers, which Foz does not have.
const BROKER_LOGGER: i8 = 8;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
/// Where a value comes from.
const OF_TOPIC: i8 = 1;
const OF_DEFAULT: i8 = 5;

pub(super) fn check(connection: &mut Connection) {
    connection.create_topic("configured", 1);
    let default = ("retention.ms", DELETE, None);
    alter(connection, 1, false, TOPIC, "configured", default);
    for version in versions_of::<IncrementalAlterConfigsRequest>() {
        changes_take_effect(connection, version);
        wrong_changes_are_refused(connection, version);
    }
    alter(
        connection,
        1,
        false,
        TOPIC,
        "configured",
        ("retention.ms", SET, Some("77")),
    );
    eventually(|| match retention(connection).as_str() {
        "77" => Ok(()),
        other => Err(other.to_owned()),
    });
    for version in versions_of::<DescribeConfigsRequest>() {
        values_are_described(connection, version);
        unknown_resources_are_refused(connection, version);
    }
}

fn alter(
    connection: &mut Connection,
    version: i16,
    validate_only: bool,
    kind: i8,
    resource: &str,
    (key, operation, value): (&str, i8, Option<&str>),
) -> ErrorCode {
    let change = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(vec![change]);
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource.clone()])
        .with_validate_only(validate_only);
    let response = connection.call(version, &request);
    let [result] = &response.responses[..] else {
        panic!("{response:?}");
    };
    assert_eq!(result.resource_type, kind);
    assert_eq!(result.resource_name, resource.resource_name);
    assert_eq!(result.error_code == 0, result.error_message.is_none());
    error(result.error_code)
}

fn describe(
    connection: &mut Connection,
    version: i16,
    kind: i8,
    resource: &str,
    keys: Option<&[&str]>,
) -> DescribeConfigsResult {
    let keys = keys.map(|keys| keys.iter().copied().map(text).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource.clone()])
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3);
    let mut response = connection.call(version, &request);
    let result = response.results.remove(0);
    assert_eq!(result.resource_type, kind);
    assert_eq!(result.resource_name, resource.resource_name);
    result
}

fn retention(connection: &mut Connection) -> String {
    let found = describe(connection, 4, TOPIC, "configured", Some(&["retention.ms"]));
    found.configs[0].value.clone().unwrap().to_string()
}

fn changes_take_effect(connection: &mut Connection, version: i16) {
    let before = retention(connection);
    let value = format!("{}", 1_000 + version);
    let set = ("retention.ms", SET, Some(value.as_str()));
    let mut change = |validate_only, change| {
        alter(
            connection,
            version,
            validate_only,
            TOPIC,
            "configured",
            change,
        )
    };
    assert_eq!(change(true, set), ErrorCode::None);
    assert_eq!(
        change(false, ("cleanup.policy", APPEND, Some("compact"))),
        ErrorCode::None
    );
    assert_eq!(retention(connection), before);
    let mut change = |change| alter(connection, version, false, TOPIC, "configured", change);
    assert_eq!(change(set), ErrorCode::None);
    eventually(|| match retention(connection) {
        found if found == value => Ok(()),
        other => Err(other),
    });
    let mut change = |change| alter(connection, version, false, TOPIC, "configured", change);
    assert_eq!(change(("retention.ms", DELETE, None)), ErrorCode::None);
    assert_eq!(change(("cleanup.policy", DELETE, None)), ErrorCode::None);
    eventually(|| match retention(connection) {
        found if found == before => Ok(()),
        other => Err(other),
    });
}

fn wrong_changes_are_refused(connection: &mut Connection, version: i16) {
    let cases = [
        (
            TOPIC,
            "configured",
            ("retention.m", SET, Some("1")),
            ErrorCode::InvalidConfig,
        ),
        (
            TOPIC,
            "configured",
            ("retention.ms", SET, Some("soon")),
            ErrorCode::InvalidConfig,
        ),
        (
            TOPIC,
            "configured",
            ("retention.ms", SET, None),
            ErrorCode::InvalidConfig,
        ),
        (
            TOPIC,
            "configured",
            ("retention.ms", 9, Some("1")),
            ErrorCode::InvalidRequest,
        ),
        (
            TOPIC,
            "nowhere",
            ("retention.ms", SET, Some("1")),
            ErrorCode::UnknownTopicOrPartition,
        ),
        (
            BROKER_LOGGER,
            "0",
            ("root", SET, Some("DEBUG")),
            ErrorCode::InvalidRequest,
        ),
    ];
    for (kind, resource, change, expected) in cases {
        let refused = alter(connection, version, false, kind, resource, change);
        assert_eq!(refused, expected, "{version}: {resource} {change:?}");
    }
}

fn values_are_described(connection: &mut Connection, version: i16) {
    for keys in [
        None,
        Some(&[][..]),
        Some(&["retention.ms", "segment.bytes"][..]),
    ] {
        let found = describe(connection, version, TOPIC, "configured", keys);
        assert_eq!(error(found.error_code), ErrorCode::None);
        match keys {
            Some(keys) if !keys.is_empty() => assert_eq!(found.configs.len(), keys.len()),
            _ => assert!(found.configs.len() > 20),
        }
        let entry = |name: &str| {
            let entry = found.configs.iter().find(|entry| &*entry.name == name);
            entry.unwrap()
        };
        let retention = entry("retention.ms");
        assert_eq!(retention.value, Some(text("77")));
        assert_eq!(retention.config_source, OF_TOPIC);
        assert!(!retention.read_only && !retention.is_sensitive);
        assert_eq!(retention.synonyms[0].source, OF_TOPIC);
        assert_eq!(retention.synonyms[0].value, Some(text("77")));
        assert_eq!(entry("segment.bytes").config_source, OF_DEFAULT);
        if version >= 3 {
            assert_eq!(retention.config_type, 5, "a long");
            assert!(
                retention
                    .documentation
                    .as_ref()
                    .is_some_and(|text| !text.is_empty())
            );
        }
    }
    let broker = describe(connection, version, BROKER, "0", None);
    assert_eq!(error(broker.error_code), ErrorCode::None);
    let node_id = broker
        .configs
        .iter()
        .find(|entry| &*entry.name == "node.id");
    assert!(node_id.is_some_and(|entry| entry.read_only));
    let all_brokers = describe(connection, version, BROKER, "", None);
    assert_eq!(error(all_brokers.error_code), ErrorCode::None);
}

fn unknown_resources_are_refused(connection: &mut Connection, version: i16) {
    let cases = [
        (TOPIC, "nowhere", ErrorCode::UnknownTopicOrPartition),
        (TOPIC, "no spaces", ErrorCode::InvalidTopicException),
        (BROKER, "7", ErrorCode::InvalidRequest),
        (BROKER_LOGGER, "0", ErrorCode::InvalidRequest),
    ];
    for (kind, name, expected) in cases {
        let refused = describe(connection, version, kind, name, None);
        assert_eq!(error(refused.error_code), expected, "{version}: {name}");
        assert!(refused.configs.is_empty());
        assert!(refused.error_message.is_some());
    }
}
