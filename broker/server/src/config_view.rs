//! Effective configs as Kafka's answers carry them (KIP-226).

use std::collections::BTreeMap;

use foz_metadata::config::{Effect, Effective, Kind, Resolver, Scope, Source, SynonymValue};

use crate::broker::Broker;

/// Kafka's `ConfigResource.Type` numbers.
pub(crate) const RESOURCE_TOPIC: i8 = 2;
/// See [`RESOURCE_TOPIC`].
pub(crate) const RESOURCE_BROKER: i8 = 4;
/// See [`RESOURCE_TOPIC`].
pub(crate) const RESOURCE_GROUP: i8 = 32;

/// One key with the value that counts.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) value: Option<String>,
    pub(crate) source: i8,
    pub(crate) read_only: bool,
    pub(crate) sensitive: bool,
    pub(crate) config_type: i8,
    pub(crate) documentation: &'static str,
    /// Name, value and source of each place that has a value.
    pub(crate) synonyms: Vec<(&'static str, String, i8)>,
}

/// Every key of a topic that may have been made a moment ago: `set` is what was set on it.
pub(crate) fn topic_configs(
    broker: &Broker,
    topic: &str,
    set: &BTreeMap<String, String>,
) -> Vec<Entry> {
    let image = broker.image();
    let resolver = Resolver::new(&image, broker.node_id, &broker.statics);
    let mut entries: Vec<Entry> = resolver.topic_all(topic).into_iter().map(entry).collect();
    for entry in &mut entries {
        // A topic that was only validated is not in the image.
        if let Some(value) = set.get(entry.name) {
            entry.value = Some(value.clone());
            entry.source = Source::DynamicTopic as i8;
        }
    }
    entries
}

/// Every key of this broker.
pub(crate) fn broker_configs(broker: &Broker) -> Vec<Entry> {
    let image = broker.image();
    let resolver = Resolver::new(&image, broker.node_id, &broker.statics);
    resolver.broker_all().into_iter().map(entry).collect()
}

/// Every key of a group, which need not be there.
pub(crate) fn group_configs(broker: &Broker, group_id: &str) -> Vec<Entry> {
    let image = broker.image();
    let resolver = Resolver::new(&image, broker.node_id, &broker.statics);
    let all = resolver.group_all(group_id).into_iter();
    all.map(entry).collect()
}

/// What is set on the default of all brokers.
pub(crate) fn default_broker_configs(broker: &Broker) -> Vec<Entry> {
    let image = broker.image();
    let set = image.configs(&foz_metadata::image::Resource::DefaultBroker);
    set.iter()
        .flat_map(|set| set.iter())
        .filter_map(|(name, value)| {
            let key = Scope::Broker.key(name)?;
            let source = Source::DynamicDefaultBroker;
            Some(entry(Effective {
                key,
                value: Some(value.clone()),
                source,
                // Asked of all brokers there is no other place, unlike asked of one.
                synonyms: vec![SynonymValue {
                    name: key.name,
                    value: value.clone(),
                    source,
                }],
            }))
        })
        .collect()
}

fn entry(effective: Effective) -> Entry {
    let sensitive = effective.key.kind == Kind::Password;
    let shown = |value: String| if sensitive { None } else { Some(value) };
    Entry {
        name: effective.key.name,
        value: effective.value.and_then(shown),
        source: effective.source as i8,
        read_only: effective.key.effect == Effect::FileOnly,
        sensitive,
        config_type: effective.key.kind.kafka_type(),
        documentation: effective.key.documentation,
        synonyms: effective
            .synonyms
            .into_iter()
            .map(|synonym| (synonym.name, synonym.value, synonym.source as i8))
            .filter(|_| !sensitive)
            .collect(),
    }
}
