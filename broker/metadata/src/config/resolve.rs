//! Which value of a key counts, and why (KIP-226).

use std::collections::BTreeMap;

use super::kind::split_list;
use super::{ConfigKey, Scope, Synonym, bounds};
use crate::image::{Image, Resource};

/// Where a value comes from. The numbers are those of Kafka's `DescribeConfigs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Set on the topic.
    DynamicTopic = 1,
    /// Set by a request on this broker.
    DynamicBroker = 2,
    /// Set by a request on the default of all brokers.
    DynamicDefaultBroker = 3,
    /// In the broker's properties file.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the group.
    DynamicGroup = 8,
}

/// One of the places that have a value for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynonymValue {
    /// The key there.
    pub name: &'static str,
    /// As it is written there.
    pub value: String,
    /// The place.
    pub source: Source,
}

/// The value of a key that counts.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Its row.
    pub key: &'static ConfigKey,
    /// `None` where Kafka's default is null.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// Every place that has a value, the one that counts first.
    pub synonyms: Vec<SynonymValue>,
}

/// Finds values as one node sees them.
#[derive(Clone, Copy, Debug)]
pub struct Resolver<'a> {
    image: &'a Image,
    node_id: i32,
    properties: &'a BTreeMap<String, String>,
}

impl<'a> Resolver<'a> {
    /// `properties` is the node's own file, whose values were checked when it was read.
    #[must_use]
    pub fn new(image: &'a Image, node_id: i32, properties: &'a BTreeMap<String, String>) -> Self {
        Self {
            image,
            node_id,
            properties,
        }
    }

    /// The value of a topic key for a topic; the topic need not exist. `None`: no such key.
    #[must_use]
    pub fn topic(&self, topic: &str, key: &str) -> Option<Effective> {
        Some(self.topic_row(&Resource::topic(topic), Scope::Topic.key(key)?))
    }

    /// Every topic key for a topic.
    #[must_use]
    pub fn topic_all(&self, topic: &str) -> Vec<Effective> {
        let resource = Resource::topic(topic);
        Scope::Topic
            .keys()
            .map(|key| self.topic_row(&resource, key))
            .collect()
    }

    /// The value of a group's key; there need not be such a group. `None`: no such key.
    #[must_use]
    pub fn group(&self, group_id: &str, key: &str) -> Option<Effective> {
        let resource = Resource::Group(group_id.into());
        Some(self.group_row(&resource, Scope::Group.key(key)?))
    }

    /// Every key of a group.
    #[must_use]
    pub fn group_all(&self, group_id: &str) -> Vec<Effective> {
        let resource = Resource::Group(group_id.into());
        let keys = Scope::Group.keys();
        keys.map(|key| self.group_row(&resource, key)).collect()
    }

    /// The number of a group's key, where it is beyond a bound of the brokers' that bound. `None`: no such key, or no
    /// number.
    #[must_use]
    pub fn group_within_bounds(&self, group_id: &str, key: &str) -> Option<i64> {
        let value = self.group(group_id, key)?.as_i64()?;
        let bound = |key: &'static ConfigKey| self.broker_row(key).as_i64();
        let [min, max] = bounds(key).map(|key| key.and_then(bound));
        let value = min.map_or(value, |min| value.max(min));
        Some(max.map_or(value, |max| value.min(max)))
    }

    /// The value of a broker key on this node. `None`: no such key.
    #[must_use]
    pub fn broker(&self, key: &str) -> Option<Effective> {
        Some(self.broker_row(Scope::Broker.key(key)?))
    }

    /// Every broker key on this node.
    #[must_use]
    pub fn broker_all(&self) -> Vec<Effective> {
        Scope::Broker
            .keys()
            .map(|key| self.broker_row(key))
            .collect()
    }

    fn topic_row(&self, resource: &Resource, key: &'static ConfigKey) -> Effective {
        let mut found = Found::new(key);
        if let Some(value) = self.image.config(resource, key.name) {
            found.add(key.name, value, Source::DynamicTopic, 1);
        }
        self.add_broker_values(&mut found, key.synonyms);
        found.into_effective()
    }

    fn group_row(&self, resource: &Resource, key: &'static ConfigKey) -> Effective {
        let mut found = Found::new(key);
        if let Some(value) = self.image.config(resource, key.name) {
            found.add(key.name, value, Source::DynamicGroup, 1);
        }
        self.add_broker_values(&mut found, key.synonyms);
        if let (true, Some(default)) = (key.synonyms.is_empty(), key.default) {
            found.add(key.name, default, Source::Default, 1);
        }
        found.into_effective()
    }

    fn broker_row(&self, key: &'static ConfigKey) -> Effective {
        let mut found = Found::new(key);
        let itself = [Synonym {
            name: key.name,
            factor: 1,
        }];
        let chain: Vec<Synonym> = itself.iter().chain(key.synonyms).copied().collect();
        self.add_broker_values(&mut found, &chain);
        found.into_effective()
    }

    fn add_broker_values(&self, found: &mut Found, chain: &[Synonym]) {
        let node = Resource::Broker(self.node_id);
        for (resource, source) in [
            (&node, Source::DynamicBroker),
            (&Resource::DefaultBroker, Source::DynamicDefaultBroker),
        ] {
            for synonym in chain {
                if let Some(value) = self.image.config(resource, synonym.name) {
                    found.add(synonym.name, value, source, synonym.factor);
                }
            }
        }
        for synonym in chain {
            if let Some(value) = self.properties.get(synonym.name) {
                found.add(synonym.name, value, Source::StaticBroker, synonym.factor);
            }
        }
        for synonym in chain {
            let default = Scope::Broker.key(synonym.name).and_then(|key| key.default);
            if let Some(value) = default {
                found.add(synonym.name, value, Source::Default, synonym.factor);
            }
        }
    }
}

impl Effective {
    /// The value as a number, for keys whose type is one; `None` where the default is null.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.value.as_deref()?.trim().parse().ok()
    }

    /// The value as a number with a fraction.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        self.value.as_deref()?.trim().parse().ok()
    }

    /// Whether the value is `true`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.value
            .as_deref()
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// The items of the value, for keys whose type is a list.
    #[must_use]
    pub fn items(&self) -> Vec<&str> {
        self.value.as_deref().map(split_list).unwrap_or_default()
    }
}

struct Found {
    key: &'static ConfigKey,
    value: Option<String>,
    synonyms: Vec<SynonymValue>,
}

impl Found {
    fn new(key: &'static ConfigKey) -> Self {
        Self {
            key,
            value: None,
            synonyms: Vec::new(),
        }
    }

    fn add(&mut self, name: &'static str, value: &str, source: Source, factor: i64) {
        if self.synonyms.is_empty() {
            self.value = Some(scaled(value, factor));
        }
        self.synonyms.push(SynonymValue {
            name,
            value: value.to_owned(),
            source,
        });
    }

    fn into_effective(self) -> Effective {
        Effective {
            key: self.key,
            value: self.value.or_else(|| self.key.default.map(str::to_owned)),
            source: self
                .synonyms
                .first()
                .map_or(Source::Default, |first| first.source),
            synonyms: self.synonyms,
        }
    }
}

/// A number in the unit of the key it counts for. Kafka takes any negative time for no limit.
fn scaled(value: &str, factor: i64) -> String {
    match value.trim().parse::<i64>() {
        Ok(number) if factor != 1 => {
            if number < 0 {
                "-1".to_owned()
            } else {
                number.saturating_mul(factor).to_string()
            }
        }
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batch, ConfigRecord, Fact, ResourceKind};

    fn image(configs: &[(ResourceKind, &str, &str, &str)]) -> Image {
        let records = configs
            .iter()
            .map(|(kind, name, key, value)| {
                Fact::Config(ConfigRecord {
                    kind: (*kind).into(),
                    name: (*name).to_owned(),
                    key: (*key).to_owned(),
                    value: Some((*value).to_owned()),
                })
                .into()
            })
            .collect();
        Image::default()
            .apply(&Batch {
                follows: 0,
                term: 1,
                records,
            })
            .unwrap()
    }

    #[test]
    fn the_nearest_place_counts_and_all_are_listed() {
        let image = image(&[
            (ResourceKind::Topic, "t", "retention.ms", "1"),
            (ResourceKind::Broker, "7", "log.retention.minutes", "2"),
            (ResourceKind::Broker, "", "log.retention.ms", "3"),
        ]);
        let properties = BTreeMap::from([("log.retention.hours".to_owned(), "4".to_owned())]);
        let places = |node_id, topic: &str| {
            let resolver = Resolver::new(&image, node_id, &properties);
            let found = resolver.topic(topic, "retention.ms").unwrap();
            let sources: Vec<_> = found
                .synonyms
                .iter()
                .map(|synonym| synonym.source)
                .collect();
            assert_eq!(sources.first(), Some(&found.source));
            (found.as_i64().unwrap(), sources)
        };
        use Source::{Default, DynamicBroker, DynamicDefaultBroker, DynamicTopic, StaticBroker};
        let all = vec![
            DynamicTopic,
            DynamicBroker,
            DynamicDefaultBroker,
            StaticBroker,
            Default,
        ];
        assert_eq!(places(7, "t"), (1, all.clone()));
        assert_eq!(places(7, "other"), (120_000, all[1..].to_vec()));
        assert_eq!(places(8, "other"), (3, all[2..].to_vec()));
    }

    #[test]
    fn hours_become_milliseconds_and_negative_ones_no_limit() {
        let image = Image::default();
        for (hours, expected) in [
            ("4", 14_400_000),
            ("-7", -1),
            ("2147483647", 7_730_941_129_200_000),
        ] {
            let properties = BTreeMap::from([("log.retention.hours".to_owned(), hours.to_owned())]);
            let found = Resolver::new(&image, 0, &properties)
                .topic("t", "retention.ms")
                .unwrap();
            assert_eq!(
                (found.as_i64(), found.source),
                (Some(expected), Source::StaticBroker)
            );
        }
    }

    #[test]
    fn without_any_setting_each_topic_key_has_its_own_default() {
        let (image, properties) = (Image::default(), BTreeMap::new());
        for found in Resolver::new(&image, 0, &properties).topic_all("t") {
            assert_eq!(found.source, Source::Default, "{}", found.key.name);
            assert_eq!(
                found.value.as_deref(),
                found.key.default,
                "{}",
                found.key.name
            );
        }
    }

    #[test]
    fn a_null_default_stays_null_unless_a_synonym_stands_in() {
        let (image, properties) = (Image::default(), BTreeMap::new());
        let resolver = Resolver::new(&image, 0, &properties);
        assert_eq!(resolver.broker("broker.rack").unwrap().value, None);
        assert_eq!(
            resolver.broker("log.roll.ms").unwrap().as_i64(),
            Some(604_800_000)
        );
        assert!(resolver.broker("no.such.key").is_none());
    }
}
