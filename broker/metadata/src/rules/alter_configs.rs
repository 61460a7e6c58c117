//! `IncrementalAlterConfigs` and `AlterConfigs`: each resource of the request succeeds or fails as a whole.

use std::collections::{BTreeMap, HashSet};

use super::create_topics::check_config;
use super::draft::Draft;
use super::group_configs::check_group_configs;
use super::min_insync::MIN_INSYNC_REPLICAS;
use super::min_insync_changed::min_insync_changed;
use super::named_once::NamedOnce;
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::config::{ConfigKey, Effect, Resolver, Scope, settable};
use crate::image::{GROUP_VERSION_FEATURE, Image, Resource};
use crate::record::{ConfigRecord, Fact};

/// A request to change configs.
#[derive(Debug, Clone)]
pub struct AlterConfigs {
    /// In the order in which they are answered.
    pub resources: Vec<AlterResource>,
    /// What is set on a resource and not changed here is deleted, as Kafka's older `AlterConfigs` wants it.
    pub replaces: bool,
    /// Check and answer, but write nothing.
    pub validate_only: bool,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
}

/// The changes of one resource.
#[derive(Debug, Clone)]
pub struct AlterResource {
    /// What is changed.
    pub name: ResourceName,
    /// At most one for each key.
    pub changes: Vec<ConfigChange>,
}

/// A resource as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ResourceName {
    /// By name.
    Topic(String),
    /// The node id of a broker that is registered, or on which something is set; empty for the default of all brokers.
    Broker(String),
    /// A group id. There need not be a group of it.
    Group(String),
    /// A type that holds no configs here, by Kafka's name.
    Other(String),
}

/// One change of one key.
#[derive(Debug, Clone)]
pub struct ConfigChange {
    /// As it was given.
    pub key: String,
    /// What to do.
    pub operation: ConfigOperation,
    /// Without meaning for [`ConfigOperation::Delete`].
    pub value: String,
}

/// Kafka's `AlterConfigOp.OpType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigOperation {
    /// Replaces the value.
    Set,
    /// Goes back to the default.
    Delete,
    /// Adds items to a list.
    Append,
    /// Takes items out of a list.
    Subtract,
}

/// When a changed key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEffect {
    /// The key.
    pub key: &'static str,
    /// From the table of keys, whether or not the value is another one now.
    pub effect: Effect,
}

/// Decides a request; the results are in its order, their effects in the order of the changes, and behind them those of
/// what is deleted because it was not named.
/// `properties` are those of the controller, for lists that nobody set by a request.
pub fn alter_configs(
    image: &Image,
    properties: &BTreeMap<String, String>,
    request: &AlterConfigs,
) -> Decided<Vec<Result<Vec<KeyEffect>, Refusal>>> {
    check_operator_epoch(image, request.operator_epoch)?;
    let named = NamedOnce::of(request.resources.iter().map(|resource| &resource.name));
    let mut draft = Draft::new(image);
    let results = request
        .resources
        .iter()
        .map(|altered| {
            named.check(&&altered.name, &altered.name)?;
            let resource = find(image, &altered.name)?;
            let mut changes = altered.changes.clone();
            if request.replaces {
                changes.extend(deletions_of_others(image, &resource, &altered.changes));
            }
            let decided = decide(image, properties, &resource, &changes)?;
            if let Resource::Group(group_id) = &resource {
                check_group_configs(image, properties, group_id, &decided)?;
            }
            Ok(write(&mut draft, &resource, decided))
        })
        .collect();
    if request.validate_only {
        draft = Draft::new(image);
    }
    Ok(draft.decide(results))
}

fn find(image: &Image, name: &ResourceName) -> Result<Resource, Refusal> {
    match name {
        ResourceName::Topic(name) if image.topic(name).is_some() => Ok(Resource::topic(name)),
        ResourceName::Topic(name) => Err(Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("there is no topic {name:?}"),
        )),
        ResourceName::Broker(name) if name.is_empty() => Ok(Resource::DefaultBroker),
        ResourceName::Broker(name) => find_broker(image, name),
        ResourceName::Group(name) if name.is_empty() => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "the group id is empty; what counts for all groups is set on brokers".to_owned(),
        )),
        // A program before the features cannot read records of groups (ADR 0019).
        ResourceName::Group(_) if image.feature_level(GROUP_VERSION_FEATURE).is_none() => {
            Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "groups have configs once every node knows the feature group.version".to_owned(),
            ))
        }
        ResourceName::Group(name) => Ok(Resource::Group(name.as_str().into())),
        ResourceName::Other(kind) => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "configs of {kind} cannot be changed; only those of topics, brokers and groups can"
            ),
        )),
    }
}

/// What was set on a broker that was unregistered since can still be taken away.
fn find_broker(image: &Image, name: &str) -> Result<Resource, Refusal> {
    let node_id = name.parse().ok().filter(|node_id| *node_id >= 0);
    let Some(node_id) = node_id else {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("broker {name:?} must be a node id, or empty for all brokers"),
        ));
    };
    let resource = Resource::Broker(node_id);
    if image.broker(node_id).is_none() && image.configs(&resource).is_none() {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!("there is no broker {node_id}: name one that is registered, or none for all"),
        ));
    }
    Ok(resource)
}

fn deletions_of_others(
    image: &Image,
    resource: &Resource,
    changes: &[ConfigChange],
) -> Vec<ConfigChange> {
    let named: HashSet<&str> = changes.iter().map(|change| change.key.as_str()).collect();
    let set = image.configs(resource).into_iter();
    set.flat_map(|set| set.keys())
        .filter(|key| !named.contains(key.as_str()))
        .map(|key| ConfigChange {
            key: key.clone(),
            operation: ConfigOperation::Delete,
            value: String::new(),
        })
        .collect()
}

pub(super) type NewValue = (&'static ConfigKey, Option<String>);

fn decide(
    image: &Image,
    properties: &BTreeMap<String, String>,
    resource: &Resource,
    changes: &[ConfigChange],
) -> Result<Vec<NewValue>, Refusal> {
    let mut seen = HashSet::new();
    changes
        .iter()
        .map(|change| {
            if !seen.insert(&change.key) {
                return Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    format!("{} is changed more than once on {resource}", change.key),
                ));
            }
            new_value(image, properties, resource, change)
        })
        .collect()
}

fn new_value(
    image: &Image,
    properties: &BTreeMap<String, String>,
    resource: &Resource,
    change: &ConfigChange,
) -> Result<NewValue, Refusal> {
    let scope = scope(resource);
    let key = settable(scope, &change.key)?;
    if key.name == MIN_INSYNC_REPLICAS
        && matches!(resource, Resource::Broker(_))
        && change.operation != ConfigOperation::Delete
    {
        // A leader that waits for fewer replicas than the controller believes would lose records.
        return Err(Refusal::new(
            ErrorCode::InvalidConfig,
            format!(
                "{MIN_INSYNC_REPLICAS} cannot differ between brokers: set it on all of them, or on topics"
            ),
        ));
    }
    let value = match change.operation {
        // What the properties say was made metadata, and is again.
        ConfigOperation::Delete
            if key.name == MIN_INSYNC_REPLICAS && *resource == Resource::DefaultBroker =>
        {
            return Ok((key, properties.get(MIN_INSYNC_REPLICAS).cloned()));
        }
        ConfigOperation::Delete => return Ok((key, None)),
        ConfigOperation::Set => change.value.clone(),
        ConfigOperation::Append | ConfigOperation::Subtract if !key.kind.is_list() => {
            return Err(Refusal::new(
                ErrorCode::InvalidConfig,
                format!(
                    "{} is not a list; only SET and DELETE are possible",
                    key.name
                ),
            ));
        }
        ConfigOperation::Append | ConfigOperation::Subtract => {
            // An item that the list cannot hold is an error also where it would change nothing.
            check_config(scope, key.name, &change.value)?;
            changed_list(&current_list(image, properties, resource, key), change)
        }
    };
    let (_, value) = check_config(scope, key.name, &value)?;
    Ok((key, Some(value)))
}

fn scope(resource: &Resource) -> Scope {
    match resource {
        Resource::Topic(_) => Scope::Topic,
        Resource::DefaultBroker | Resource::Broker(_) => Scope::Broker,
        Resource::Group(_) => Scope::Group,
    }
}

fn current_list(
    image: &Image,
    properties: &BTreeMap<String, String>,
    resource: &Resource,
    key: &ConfigKey,
) -> Vec<String> {
    let effective = match resource {
        Resource::Topic(name) => Resolver::new(image, -1, properties).topic(name, key.name),
        Resource::DefaultBroker => Resolver::new(image, -1, properties).broker(key.name),
        Resource::Broker(node_id) => Resolver::new(image, *node_id, properties).broker(key.name),
        Resource::Group(group_id) => Resolver::new(image, -1, properties).group(group_id, key.name),
    };
    effective
        .map(|found| found.items().into_iter().map(str::to_owned).collect())
        .unwrap_or_default()
}

fn changed_list(current: &[String], change: &ConfigChange) -> String {
    let items = crate::config::split_list(&change.value);
    let mut list: Vec<&str> = current.iter().map(String::as_str).collect();
    if change.operation == ConfigOperation::Append {
        let new: Vec<&str> = items
            .into_iter()
            .filter(|item| !list.contains(item))
            .collect();
        list.extend(new);
    } else {
        list.retain(|item| !items.contains(item));
    }
    list.join(",")
}

/// Writes what is different from before.
fn write(draft: &mut Draft, resource: &Resource, values: Vec<NewValue>) -> Vec<KeyEffect> {
    let mut effects = Vec::with_capacity(values.len());
    for (key, value) in values {
        if draft.image().config(resource, key.name) != value.as_deref() {
            let (kind, name) = resource.to_record();
            let record = ConfigRecord {
                kind: kind.into(),
                name,
                key: key.name.to_owned(),
                value,
            };
            let before = draft.image().clone();
            draft.write(Fact::Config(record));
            if key.name == MIN_INSYNC_REPLICAS {
                min_insync_changed(draft, &before, resource);
            }
        }
        effects.push(KeyEffect {
            key: key.name,
            effect: key.effect,
        });
    }
    effects
}

impl std::fmt::Display for ResourceName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => write!(formatter, "topic {name:?}"),
            Self::Broker(name) if name.is_empty() => {
                write!(formatter, "the default of all brokers")
            }
            Self::Broker(name) => write!(formatter, "broker {name:?}"),
            Self::Group(name) => write!(formatter, "group {name:?}"),
            Self::Other(kind) => formatter.write_str(kind),
        }
    }
}
