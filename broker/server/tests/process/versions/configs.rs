//! DescribeConfigs, IncrementalAlterConfigs, AlterConfigs and ListConfigResources.

mod of_groups;

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_configs_request as replacing;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest,
};

use super::connection::{Connection, error, eventually, text, versions_of};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// KIP-412: levels of loggers, which Foz does not have.
const BROKER_LOGGER: i8 = 8;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
/// Where a value comes from.
const OF_TOPIC: i8 = 1;
const OF_ALL_BROKERS: i8 = 3;
const OF_DEFAULT: i8 = 5;

pub(super) fn check(connection: &mut Connection) {
    connection.create_topic("configured", 1);
    let default = ("retention.ms", DELETE, None);
    alter(connection, 1, false, TOPIC, "configured", default);
    for version in versions_of::<IncrementalAlterConfigsRequest>() {
        changes_take_effect(connection, version);
        lists_grow_and_shrink(connection, version);
        wrong_changes_are_refused(connection, version);
    }
    for version in versions_of::<AlterConfigsRequest>() {
        what_is_not_named_goes_back(connection, version);
        wrong_replacements_are_refused(connection, version);
    }
    resources_are_listed(connection);
    of_groups::check(connection);
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

/// A topic's list, and one of all brokers on which nothing here depends: other areas go on meanwhile.
fn lists_grow_and_shrink(connection: &mut Connection, version: i16) {
    const REPORTER: &str = "org.apache.kafka.common.metrics.JmxReporter";
    let lists = [
        (
            TOPIC,
            "configured",
            "cleanup.policy",
            OF_TOPIC,
            ["delete", "compact"],
        ),
        (
            BROKER,
            "",
            "metric.reporters",
            OF_ALL_BROKERS,
            [REPORTER, "a.Reporter"],
        ),
    ];
    for (kind, resource, key, source, [first, second]) in lists {
        let both = format!("{first},{second}");
        let turned = format!("{second},{first}");
        for (operation, operand, expected) in [
            // To its default, as long as it has no value of its own.
            (APPEND, Some(second), Some(&*both)),
            // It has it.
            (APPEND, Some(first), Some(&*both)),
            (SUBTRACT, Some(first), Some(second)),
            (SUBTRACT, Some(first), Some(second)),
            (APPEND, Some(first), Some(&*turned)),
            (DELETE, None, None),
        ] {
            let change = (key, operation, operand);
            let code = alter(connection, version, false, kind, resource, change);
            assert_eq!(code, ErrorCode::None, "{version}: {change:?}");
            eventually(|| {
                let found = describe(connection, 4, kind, resource, Some(&[key]));
                let mut set = found
                    .configs
                    .into_iter()
                    .filter(|it| it.config_source == source);
                let value = set.next().and_then(|it| it.value);
                match value.as_deref() == expected {
                    true => Ok(()),
                    false => Err((change, value)),
                }
            });
        }
    }
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
            ErrorCode::InvalidRequest,
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
        (
            BROKER,
            "7",
            ("log.cleaner.threads", SET, Some("2")),
            ErrorCode::InvalidRequest,
        ),
    ];
    for (kind, resource, change, expected) in cases {
        let refused = alter(connection, version, false, kind, resource, change);
        assert_eq!(refused, expected, "{version}: {resource} {change:?}");
    }
}

type Values<'a> = &'a [(&'a str, Option<&'a str>)];

/// Error codes of each resource, in the order of the request.
fn replace(
    connection: &mut Connection,
    version: i16,
    validate_only: bool,
    resources: &[(i8, &str, Values<'_>)],
) -> Vec<ErrorCode> {
    let resources = resources.iter().map(|(kind, name, values)| {
        let values = values.iter().map(|(key, value)| {
            replacing::AlterableConfig::default()
                .with_name(text(key))
                .with_value(value.map(text))
        });
        replacing::AlterConfigsResource::default()
            .with_resource_type(*kind)
            .with_resource_name(text(name))
            .with_configs(values.collect())
    });
    let request = AlterConfigsRequest::default()
        .with_resources(resources.collect())
        .with_validate_only(validate_only);
    let responses = connection.call(version, &request).responses;
    assert_eq!(responses.len(), request.resources.len(), "{version}");
    let pairs = responses.into_iter().zip(&request.resources);
    pairs
        .map(|(result, asked)| {
            assert_eq!(result.resource_type, asked.resource_type);
            assert_eq!(result.resource_name, asked.resource_name);
            assert_eq!(result.error_code == 0, result.error_message.is_none());
            error(result.error_code)
        })
        .collect()
}

/// The keys that are set on the topic.
fn set_on_topic(connection: &mut Connection) -> Vec<(String, String)> {
    let found = describe(connection, 4, TOPIC, "configured", None).configs;
    let set = found.into_iter().filter(|it| it.config_source == OF_TOPIC);
    set.map(|it| (it.name.to_string(), it.value.unwrap().to_string()))
        .collect()
}

fn what_is_not_named_goes_back(connection: &mut Connection, version: i16) {
    let named = |values: &[(&str, &str)]| -> Vec<(String, String)> {
        let values = values.iter();
        values
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let mut step = |validate_only, values: Values<'_>, expected: &[(&str, &str)]| {
        let resource = (TOPIC, "configured", values);
        let codes = replace(connection, version, validate_only, &[resource]);
        assert_eq!(codes, [ErrorCode::None], "{version}: {values:?}");
        let mut set = set_on_topic(connection);
        set.sort();
        assert_eq!(set, named(expected), "{version}: {values:?}");
    };
    let both: &[_] = &[("retention.ms", "5"), ("segment.bytes", "2097152")];
    let values: Values<'_> = &[
        ("segment.bytes", Some("2097152")),
        ("retention.ms", Some("5")),
    ];
    step(false, values, both);
    step(true, &[], both);
    let one: &[_] = &[("retention.ms", "6")];
    step(false, &[("retention.ms", Some("6"))], one);
    step(false, &[], &[]);
}

fn wrong_replacements_are_refused(connection: &mut Connection, version: i16) {
    let good: Values<'_> = &[("retention.ms", Some("5"))];
    let invalid = ErrorCode::InvalidRequest;
    let resources: &[(i8, &str, Values<'_>)] = &[
        (TOPIC, "nowhere", good),
        (TOPIC, "configured", &[("retention.ms", None)]),
        (BROKER_LOGGER, "0", &[("root", Some("DEBUG"))]),
        (-1, "configured", good),
        (BROKER, "one", &[]),
        (BROKER, "7", &[("log.cleaner.threads", Some("2"))]),
    ];
    let expected = [
        ErrorCode::UnknownTopicOrPartition,
        invalid,
        invalid,
        invalid,
        invalid,
        invalid,
    ];
    let codes = replace(connection, version, false, resources);
    assert_eq!(codes, expected, "{version}");
    let set = (TOPIC, "configured", good);
    let codes = replace(connection, version, false, &[set, set]);
    assert_eq!(codes, [invalid, invalid], "{version}: named twice");
    // Also where one of them is wrong by itself: the other one must not count.
    let null: Values<'_> = &[("retention.ms", None)];
    let codes = replace(
        connection,
        version,
        false,
        &[set, (TOPIC, "configured", null)],
    );
    assert_eq!(codes, [invalid, invalid], "{version}: named twice");
    let twice: Values<'_> = &[good[0], good[0]];
    let codes = replace(connection, version, false, &[(TOPIC, "configured", twice)]);
    assert_eq!(codes, [invalid], "{version}: a key twice");
    // One wrong key leaves the whole resource as it was.
    let half: Values<'_> = &[good[0], ("retention.m", Some("1"))];
    let codes = replace(connection, version, false, &[(TOPIC, "configured", half)]);
    assert_eq!(codes, [ErrorCode::InvalidConfig], "{version}");
    assert_eq!(replace(connection, version, false, &[]), []);
    assert_eq!(set_on_topic(connection), []);
}

fn resources_are_listed(connection: &mut Connection) {
    let mut ask = |version, types: &[i8]| {
        let request = ListConfigResourcesRequest::default().with_resource_types(types.to_vec());
        let response = connection.call(version, &request);
        let resources = response.config_resources.into_iter();
        let resources: Vec<_> = resources
            .map(|it| (it.resource_type, it.resource_name.to_string()))
            .collect();
        (error(response.error_code), resources)
    };
    // Version 0 is for client metrics, of which there are none.
    assert_eq!(ask(0, &[]), (ErrorCode::None, Vec::new()));
    let (code, all) = ask(1, &[]);
    assert_eq!(code, ErrorCode::None);
    let broker = (BROKER, "0".to_owned());
    assert!(all.contains(&broker) && all.contains(&(TOPIC, "configured".to_owned())));
    assert_eq!(ask(1, &[BROKER, BROKER]), (ErrorCode::None, vec![broker]));
    let (_, topics) = ask(1, &[TOPIC]);
    assert!(!topics.is_empty() && topics.iter().all(|(kind, _)| *kind == TOPIC));
    for unknown in [0, -1, 3, 127] {
        let refused = (ErrorCode::UnsupportedVersion, Vec::new());
        assert_eq!(ask(1, &[TOPIC, unknown]), refused, "{unknown}");
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
