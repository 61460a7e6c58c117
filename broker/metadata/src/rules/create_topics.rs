//! `CreateTopics`: each topic of the request succeeds or fails on its own.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::draft::Draft;
use super::named_once::NamedOnce;
use super::placement::Placement;
use super::replicas::{
    broker_number, check_assignment, check_placement, default_replication_factor,
    internal_replication_factor, new_partition,
};
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::config::{Scope, validate};
use crate::image::{Image, Resource, Topic};
use crate::record::{ConfigRecord, Fact, ResourceKind, TopicRecord, id_bytes};
use crate::topic_name;

/// Kafka's bound on what one request may make, so that one batch stays small.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Stands for the cluster's default.
const DEFAULT: i32 = -1;

/// A request to create topics.
#[derive(Debug, Clone)]
pub struct CreateTopics {
    /// In the order in which they are answered.
    pub topics: Vec<NewTopic>,
    /// Check and answer, but write nothing.
    pub validate_only: bool,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
    /// Decides among brokers that are equally loaded.
    pub seed: u64,
}

/// One topic of a request.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// As it was given.
    pub name: String,
    /// One that was never used before: random, or the caller's own.
    pub id: Uuid,
    /// -1: the cluster's `num.partitions`.
    pub partitions: i32,
    /// -1: the cluster's `default.replication.factor`; for an internal topic its
    /// `offsets.topic.replication.factor` or `transaction.state.log.replication.factor`, or the number of brokers that
    /// are not cordoned if that is smaller.
    pub replication_factor: i32,
    /// Either empty, or the replicas of each partition in index order; then both numbers above are -1.
    pub assignments: Vec<Vec<i32>>,
    /// As it was given.
    pub config: BTreeMap<String, String>,
    /// Made by the brokers for themselves.
    pub internal: bool,
}

/// Decides a request; the results are in its order. `properties` are those of the controller, for
/// defaults that nobody set by a request.
pub fn create_topics(
    image: &Image,
    properties: &BTreeMap<String, String>,
    request: &CreateTopics,
) -> Decided<Vec<Result<Topic, Refusal>>> {
    check_operator_epoch(image, request.operator_epoch)?;
    let mut draft = Draft::new(image);
    let mut placement = Placement::new(image, request.seed);
    let mut partitions_left = PARTITIONS_PER_REQUEST_MAX;
    let named = NamedOnce::of(request.topics.iter().map(|topic| topic.name.as_str()));
    let results = request
        .topics
        .iter()
        .map(|new| {
            named.check(&new.name.as_str(), format_args!("topic {:?}", new.name))?;
            check_name(draft.image(), new)?;
            let configs = check_configs(&new.config)?;
            let assignments = assignments(
                draft.image(),
                properties,
                &mut placement,
                new,
                partitions_left,
            )?;
            partitions_left -= assignments.len();
            Ok(write(&mut draft, new, configs, assignments))
        })
        .collect();
    if request.validate_only {
        draft = Draft::new(image);
    }
    Ok(draft.decide(results))
}

/// Whether a topic may have this name, which is nobody's yet.
pub(super) fn check_new_name(image: &Image, name: &str) -> Result<(), Refusal> {
    topic_name::validate(name)?;
    if image.topic(name).is_some() {
        return Err(Refusal::new(
            ErrorCode::TopicAlreadyExists,
            format!("topic {name:?} exists already"),
        ));
    }
    if topic_name::can_collide(name)
        && let Some(other) = image
            .topic_names()
            .find(|other| topic_name::collide(other, name))
    {
        return Err(Refusal::new(
            ErrorCode::InvalidTopic,
            format!(
                "topic {name:?} collides with topic {other:?}: they differ only in . and _, which are \
                 the same in metric names"
            ),
        ));
    }
    Ok(())
}

fn check_name(image: &Image, new: &NewTopic) -> Result<(), Refusal> {
    check_new_name(image, &new.name)?;
    if let Some(deleted) = image.deleted_topic(new.id) {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "topic id {} is that of the deleted topic {:?}: restore or purge that one first",
                new.id, deleted.topic.name
            ),
        ));
    }
    if new.id.is_nil() || image.topic_by_id(new.id).is_some() {
        return Err(Refusal::new(
            ErrorCode::UnknownServerError,
            format!("topic id {} is taken; try again", new.id),
        ));
    }
    Ok(())
}

fn check_configs(
    config: &BTreeMap<String, String>,
) -> Result<Vec<(&'static str, String)>, Refusal> {
    config
        .iter()
        .map(|(key, value)| check_config(Scope::Topic, key, value))
        .collect()
}

/// The key's name and the value as it is stored.
pub(super) fn check_config(
    scope: Scope,
    key: &str,
    value: &str,
) -> Result<(&'static str, String), Refusal> {
    let row = validate(scope, key, value)?;
    Ok((row.name, value.trim().to_owned()))
}

/// The replicas of each partition, chosen by the caller or by us.
fn assignments(
    image: &Image,
    properties: &BTreeMap<String, String>,
    placement: &mut Placement,
    new: &NewTopic,
    partitions_left: usize,
) -> Result<Vec<Vec<i32>>, Refusal> {
    if !new.assignments.is_empty() {
        if new.partitions != DEFAULT || new.replication_factor != DEFAULT {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!(
                    "topic {:?} has assignments and also partitions {} and replication factor {}; with assignments both must be -1",
                    new.name, new.partitions, new.replication_factor
                ),
            ));
        }
        check_partitions_left(new.assignments.len(), partitions_left)?;
        for (index, replicas) in new.assignments.iter().enumerate() {
            check_assignment(image, index, replicas, new.assignments[0].len())?;
        }
        return Ok(new.assignments.clone());
    }
    let factor = replication_factor(image, properties, placement, new)?;
    let partitions = match new.partitions {
        DEFAULT => broker_number(image, properties, "num.partitions"),
        given => i64::from(given),
    };
    let count = match usize::try_from(partitions) {
        Ok(count) if count > 0 => count,
        _ => {
            return Err(Refusal::new(
                ErrorCode::InvalidPartitions,
                format!(
                    "number of partitions {partitions} must be at least 1, or -1 for the default"
                ),
            ));
        }
    };
    check_partitions_left(count, partitions_left)?;
    check_placement(image, placement, &new.name, factor)?;
    Ok(placement.place(&[], count, factor))
}

fn replication_factor(
    image: &Image,
    properties: &BTreeMap<String, String>,
    placement: &Placement,
    new: &NewTopic,
) -> Result<usize, Refusal> {
    let factor = match new.replication_factor {
        DEFAULT if new.internal => {
            // In a cluster of fewer brokers groups and transactions must work all the same; `raise_internal_topics` adds the rest of the
            // replicas when there are more. A broker that is away makes the cluster no smaller: what is committed has
            // to be as safe as what is produced, which is under the same `min.insync.replicas`.
            let factor = internal_replication_factor(image, properties, &new.name);
            return Ok(factor.min(placement.broker_count()).max(1));
        }
        DEFAULT => default_replication_factor(image, properties),
        given => i64::from(given),
    };
    match usize::try_from(factor) {
        Ok(factor) if factor > 0 => Ok(factor),
        _ => Err(Refusal::new(
            ErrorCode::InvalidReplicationFactor,
            format!("replication factor {factor} must be at least 1, or -1 for the default"),
        )),
    }
}

pub(super) fn check_partitions_left(count: usize, left: usize) -> Result<(), Refusal> {
    if count <= left {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::PolicyViolation,
        format!(
            "{count} partitions are too many: one request may make {PARTITIONS_PER_REQUEST_MAX}, and {left} of them are left"
        ),
    ))
}

fn write(
    draft: &mut Draft,
    new: &NewTopic,
    configs: Vec<(&'static str, String)>,
    assignments: Vec<Vec<i32>>,
) -> Topic {
    draft.write(Fact::Topic(TopicRecord {
        id: id_bytes(new.id),
        name: new.name.clone(),
        internal: new.internal,
        restored_partitions: 0,
    }));
    for (index, replicas) in assignments.into_iter().enumerate() {
        let fact = new_partition(draft.image(), new.id, index, replicas);
        draft.write(fact);
    }
    for (key, value) in configs {
        let (kind, name) = Resource::topic(&new.name).to_record();
        debug_assert_eq!(kind, ResourceKind::Topic);
        let record = ConfigRecord {
            kind: kind.into(),
            name,
            key: key.to_owned(),
            value: Some(value),
        };
        draft.write(Fact::Config(record));
    }
    let topic = draft
        .image()
        .topic_by_id(new.id)
        .expect("it was written above");
    Topic::clone(topic)
}
