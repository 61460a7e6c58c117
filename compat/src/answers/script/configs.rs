//! Configs of topics, brokers and groups.

mod sources;

use anyhow::Result;
use kafka_protocol::messages::alter_configs_request::{
    AlterConfigsResource as ReplacedResource, AlterableConfig as Replaced,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest,
};

use super::{Asker, NOWHERE, ORDERS, text};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    described(asker)?;
    changed(asker)?;
    replaced(asker)?;
    for version in 0..=1 {
        asker.ask("all", version, &ListConfigResourcesRequest::default())?;
    }
    for kind in [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, 99] {
        let request = ListConfigResourcesRequest::default().with_resource_types(vec![kind]);
        asker.ask(&format!("kind {kind}"), 1, &request)?;
    }
    sources::ask(asker)
}

fn described(asker: &mut Asker) -> Result<()> {
    let of = |kind: i8, name: &str, keys: Option<&[&str]>| {
        let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(keys);
        DescribeConfigsRequest::default().with_resources(vec![resource])
    };
    asker.ask_each("a topic", 1..=4, |version| {
        of(TOPIC, ORDERS, None).with_include_synonyms(version >= 4)
    })?;
    asker.ask_each("a broker", [1, 4], |version| {
        of(BROKER, "0", None).with_include_synonyms(version >= 4)
    })?;
    asker.ask(
        "all brokers",
        4,
        &of(BROKER, "", None).with_include_synonyms(true),
    )?;
    let documented = of(TOPIC, ORDERS, Some(&["retention.ms"])).with_include_documentation(true);
    asker.ask("with documentation", 4, &documented)?;
    for (what, kind, name, keys) in [
        (
            "two keys of a topic",
            TOPIC,
            ORDERS,
            Some(&["retention.ms", "no.such.key"][..]),
        ),
        ("no keys of a topic", TOPIC, ORDERS, Some(&[][..])),
        ("an unknown topic", TOPIC, NOWHERE, None),
        ("a wrong topic name", TOPIC, "a/b", None),
        ("an unknown broker", BROKER, "7", None),
        ("a broker that is no number", BROKER, "x", None),
        ("a group", GROUP, "g", None),
        ("a group without a name", GROUP, "", None),
        ("an unknown kind", 99, "x", None),
        ("kind 0", 0, "x", None),
    ] {
        asker.ask_each(what, [1, 4], |_| of(kind, name, keys))?;
    }
    Ok(())
}

fn changed(asker: &mut Asker) -> Result<()> {
    let of = |kind: i8, name: &str, changes: &[(&str, i8, Option<&str>)]| {
        let changes = changes.iter().map(|(key, operation, value)| {
            AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(*operation)
                .with_value(value.map(text))
        });
        AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(changes.collect())
    };
    let request = |resources: Vec<AlterConfigsResource>| {
        IncrementalAlterConfigsRequest::default().with_resources(resources)
    };
    for (what, kind, name, changes) in [
        (
            "a topic's key",
            TOPIC,
            ORDERS,
            &[("retention.ms", SET, Some("1000"))][..],
        ),
        (
            "a number that is none",
            TOPIC,
            ORDERS,
            &[("retention.ms", SET, Some("x"))],
        ),
        (
            "a number out of range",
            TOPIC,
            ORDERS,
            &[("retention.ms", SET, Some("-2"))],
        ),
        (
            "a null value",
            TOPIC,
            ORDERS,
            &[("retention.ms", SET, None)],
        ),
        (
            "an unknown key",
            TOPIC,
            ORDERS,
            &[("no.such.key", SET, Some("1"))],
        ),
        (
            "an unknown key deleted",
            TOPIC,
            ORDERS,
            &[("no.such.key", DELETE, None)],
        ),
        (
            "an unknown topic",
            TOPIC,
            NOWHERE,
            &[("retention.ms", SET, Some("1"))],
        ),
        (
            "a wrong topic name",
            TOPIC,
            "a/b",
            &[("retention.ms", SET, Some("1"))],
        ),
        (
            "a key twice",
            TOPIC,
            ORDERS,
            &[
                ("retention.ms", SET, Some("1")),
                ("retention.ms", SET, Some("2")),
            ],
        ),
        (
            "an unknown operation",
            TOPIC,
            ORDERS,
            &[("retention.ms", 9, Some("1"))],
        ),
        (
            "appended to a list",
            TOPIC,
            ORDERS,
            &[("cleanup.policy", APPEND, Some("compact"))],
        ),
        (
            "subtracted from a list",
            TOPIC,
            ORDERS,
            &[("cleanup.policy", SUBTRACT, Some("compact"))],
        ),
        (
            "appended to no list",
            TOPIC,
            ORDERS,
            &[("retention.ms", APPEND, Some("1"))],
        ),
        ("deleted", TOPIC, ORDERS, &[("retention.ms", DELETE, None)]),
        ("nothing", TOPIC, ORDERS, &[]),
        (
            "a broker's key",
            BROKER,
            "0",
            &[("log.cleaner.threads", SET, Some("2"))],
        ),
        (
            "a broker's key that is read-only",
            BROKER,
            "0",
            &[("node.id", SET, Some("2"))],
        ),
        (
            "a broker's unknown key",
            BROKER,
            "0",
            &[("no.such.key", SET, Some("2"))],
        ),
        (
            "a broker's wrong value",
            BROKER,
            "0",
            &[("log.cleaner.threads", SET, Some("x"))],
        ),
        (
            "an unknown broker",
            BROKER,
            "7",
            &[("log.cleaner.threads", SET, Some("2"))],
        ),
        (
            "a broker that is no number",
            BROKER,
            "x",
            &[("log.cleaner.threads", SET, Some("2"))],
        ),
        (
            "all brokers",
            BROKER,
            "",
            &[("log.retention.ms", SET, Some("86400000"))],
        ),
        (
            "all brokers deleted",
            BROKER,
            "",
            &[("log.retention.ms", DELETE, None)],
        ),
        (
            "a group's key",
            GROUP,
            "g",
            &[("consumer.session.timeout.ms", SET, Some("50000"))],
        ),
        (
            "a group's unknown key",
            GROUP,
            "g",
            &[("no.such.key", SET, Some("50000"))],
        ),
        (
            "a group's number out of range",
            GROUP,
            "g",
            &[("consumer.session.timeout.ms", SET, Some("1"))],
        ),
        (
            "a group without a name",
            GROUP,
            "",
            &[("consumer.session.timeout.ms", SET, Some("50000"))],
        ),
        ("an unknown kind", 99, "x", &[("a", SET, Some("1"))]),
    ] {
        let change = of(kind, name, changes);
        asker.ask(
            &format!("{what}, validated only"),
            1,
            &request(vec![change.clone()]).with_validate_only(true),
        )?;
        asker.ask_each(what, 0..=1, |_| request(vec![change.clone()]))?;
    }
    let change = of(TOPIC, ORDERS, &[("retention.ms", SET, Some("1000"))]);
    asker.ask("a topic twice", 1, &request(vec![change.clone(), change]))?;
    asker.ask("no resources", 1, &request(vec![]))?;
    let keys = Some(vec![text("retention.ms"), text("cleanup.policy")]);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(ORDERS))
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true);
    asker.ask("what was changed", 4, &request)?;
    Ok(())
}

fn replaced(asker: &mut Asker) -> Result<()> {
    let of = |kind: i8, name: &str, configs: &[(&str, Option<&str>)]| {
        let configs = configs.iter().map(|(key, value)| {
            Replaced::default()
                .with_name(text(key))
                .with_value(value.map(text))
        });
        let resource = ReplacedResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(configs.collect());
        AlterConfigsRequest::default().with_resources(vec![resource])
    };
    for (what, kind, name, configs) in [
        (
            "a topic's keys",
            TOPIC,
            ORDERS,
            &[("retention.ms", Some("5000"))][..],
        ),
        (
            "a topic's wrong value",
            TOPIC,
            ORDERS,
            &[("retention.ms", Some("x"))],
        ),
        (
            "a topic's null value",
            TOPIC,
            ORDERS,
            &[("retention.ms", None)],
        ),
        (
            "a topic's unknown key",
            TOPIC,
            ORDERS,
            &[("no.such.key", Some("x"))],
        ),
        (
            "an unknown topic",
            TOPIC,
            NOWHERE,
            &[("retention.ms", Some("5000"))],
        ),
        (
            "an unknown broker",
            BROKER,
            "7",
            &[("log.cleaner.threads", Some("2"))],
        ),
        ("an unknown kind", 99, "7", &[]),
        ("no keys of a topic", TOPIC, ORDERS, &[]),
    ] {
        asker.ask_each(what, 0..=2, |_| of(kind, name, configs))?;
    }
    Ok(())
}
