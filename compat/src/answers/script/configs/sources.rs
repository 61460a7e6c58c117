//! Where the values of brokers, topics and groups come from once some were changed; what is changed is put back.

use anyhow::Result;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::super::{Asker, ORDERS, text};
use super::{BROKER, DELETE, GROUP, SET, TOPIC};

const THIS_BROKER: &str = "0";
const ALL_BROKERS: &str = "";
/// The second one stands in the file of each broker, too.
const KEYS: [&str; 3] = ["log.segment.bytes", "log.retention.ms", "message.max.bytes"];
const OF_TOPICS: [&str; 3] = ["segment.bytes", "retention.ms", "max.message.bytes"];

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    described(asker, "nothing is changed")?;
    let all = |values: [&'static str; 3]| changes(BROKER, ALL_BROKERS, &KEYS, &values);
    let this = |values: [&'static str; 3]| changes(BROKER, THIS_BROKER, &KEYS, &values);
    let of_all = ["200000000", "9000000000000", "2000000"];
    change(asker, all(of_all))?;
    await_values(asker, ALL_BROKERS, &of_all)?;
    await_values(asker, THIS_BROKER, &of_all)?;
    described(asker, "changed of all brokers")?;
    let of_one = ["300000000", "9100000000000", "3000000"];
    change(asker, this(of_one))?;
    await_values(asker, THIS_BROKER, &of_one)?;
    described(asker, "changed of a broker, too")?;
    let of_topic = ["400000000", "9200000000000", "4000000"];
    change(asker, changes(TOPIC, ORDERS, &OF_TOPICS, &of_topic))?;
    described(asker, "changed of a topic, too")?;
    change(asker, deletions(TOPIC, ORDERS, &OF_TOPICS))?;
    change(asker, deletions(BROKER, ALL_BROKERS, &KEYS))?;
    await_values(asker, ALL_BROKERS, &[])?;
    described(asker, "changed of a broker alone")?;
    change(asker, deletions(BROKER, THIS_BROKER, &KEYS))?;
    await_values(asker, THIS_BROKER, &["1073741824", "-1", "1048588"])?;
    described(asker, "nothing is changed any more")?;
    groups(asker)
}

fn changes(kind: i8, name: &str, keys: &[&str], values: &[&str]) -> AlterConfigsResource {
    let changes = keys.iter().zip(values).map(|(key, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(SET)
            .with_value(Some(text(value)))
    });
    AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(changes.collect())
}

fn deletions(kind: i8, name: &str, keys: &[&str]) -> AlterConfigsResource {
    let values = vec![""; keys.len()];
    let mut resource = changes(kind, name, keys, &values);
    for config in &mut resource.configs {
        config.config_operation = DELETE;
        config.value = None;
    }
    resource
}

/// Keeps no answer; it is right.
fn change(asker: &mut Asker, resource: AlterConfigsResource) -> Result<()> {
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    asker.until(1, &request, |answer| {
        answer.responses.iter().all(|it| it.error_code == 0)
    })?;
    Ok(())
}

fn describing(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys);
    DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
}

/// A broker hears of its configs a moment after they are changed.
fn await_values(asker: &mut Asker, broker: &str, values: &[&str]) -> Result<()> {
    asker.until(4, &describing(BROKER, broker, Some(&KEYS)), |answer| {
        let configs: Vec<_> = answer.results.iter().flat_map(|it| &it.configs).collect();
        let is_told = |(key, value): (&&str, &&str)| {
            let mut configs = configs.iter();
            configs.any(|it| it.name.as_str() == *key && it.value == Some(text(value)))
        };
        match values.is_empty() {
            true => configs.is_empty(),
            false => KEYS.iter().zip(values).all(is_told),
        }
    })?;
    Ok(())
}

fn described(asker: &mut Asker, when: &str) -> Result<()> {
    for (what, kind, name, keys) in [
        ("a broker's values", BROKER, THIS_BROKER, Some(&KEYS[..])),
        ("all brokers' values", BROKER, ALL_BROKERS, None),
        (
            "some of all brokers' values",
            BROKER,
            ALL_BROKERS,
            Some(&KEYS[..2]),
        ),
        ("a topic's values", TOPIC, ORDERS, Some(&OF_TOPICS[..])),
    ] {
        asker.ask_each(&format!("{what}, {when}"), 1..=4, |_| {
            describing(kind, name, keys)
        })?;
    }
    Ok(())
}

fn groups(asker: &mut Asker) -> Result<()> {
    let keys = [
        "consumer.session.timeout.ms",
        "consumer.heartbeat.interval.ms",
    ];
    let name = "sources";
    let describe = |asker: &mut Asker, when: &str| {
        asker.ask_each(&format!("a group's values, {when}"), 1..=4, |_| {
            describing(GROUP, name, Some(&keys))
        })
    };
    describe(asker, "nothing is changed")?;
    change(asker, changes(GROUP, name, &keys[..1], &["51000"]))?;
    describe(asker, "one is changed")?;
    change(asker, deletions(GROUP, name, &keys[..1]))?;
    describe(asker, "nothing is changed any more")
}
