//! `RestoreTopic`: a topic that was deleted is there again, with its id, its partitions and its configs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::create_topics::check_new_name;
use super::delete_topics::{deletion, purge_beyond_bounds};
use super::draft::Draft;
use super::partition_change::{PartitionChange, TopicSettings};
use super::purge_deleted_topics::{DeletedTopicRef, find};
use super::reassignment::{Reassigned, cancel};
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::config::Resolver;
use crate::image::{DeletedTopic, Image, Partition, Topic};
use crate::record::{Fact, RestoreTopicRecord, id_bytes};

/// A request to bring a topic back.
#[derive(Debug, Clone)]
pub struct RestoreTopic {
    /// By a name, it has to be the only one of that name.
    pub topic: DeletedTopicRef,
    /// `None`: the name that it had.
    pub new_name: Option<String>,
    /// The wall clock.
    pub now_ms: i64,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
}

/// Decides a request; the answer is the topic as it is then. `properties` are those of the controller.
///
/// Nothing was written while it was deleted, so who was in sync is so still, but for brokers that are away or lost
/// something meanwhile: leaders are elected as among brokers that all came back at once. A reassignment that was under way
/// is cancelled.
///
/// An internal topic takes the place of the one that there is, which is deleted: brokers make it anew as soon as it is
/// missed, so nobody could delete it in time.
///
/// Refused where the name is taken otherwise, and where no replica of some partition has its data any more: it would
/// come back empty.
pub fn restore_topic(
    image: &Image,
    properties: &BTreeMap<String, String>,
    request: &RestoreTopic,
) -> Decided<Arc<Topic>> {
    check_operator_epoch(image, request.operator_epoch)?;
    let deleted = find_one(image, &request.topic)?;
    let topic = &deleted.topic;
    let name = request.new_name.as_deref().unwrap_or(&topic.name);
    check_name(image, topic, name)?;
    if let Err(index) = deleted.check_has_data() {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "topic {:?} ({}) cannot be brought back: no broker has the data of partition {index} any more; \
                 those that had it were unregistered, or lost their disks, since it was deleted",
                topic.name, topic.id
            ),
        ));
    }
    let mut draft = Draft::new(image);
    if topic.internal
        && let Some(present) = image.topic(name)
    {
        let resolver = Resolver::new(image, -1, properties);
        let (now_ms, operator_epoch) = (request.now_ms, request.operator_epoch);
        draft.write(deletion(&resolver, present, now_ms, operator_epoch));
    }
    draft.write(Fact::RestoreTopic(RestoreTopicRecord {
        topic_id: id_bytes(topic.id),
        name: name.to_owned(),
    }));
    let restored = draft.image().topic_by_id(topic.id).cloned();
    let restored = restored.expect("it was written above");
    let settings = TopicSettings::of(draft.image(), properties, &restored);
    for (index, partition) in restored.indexed_partitions() {
        let mut changed = PartitionChange::new(settings, index, partition);
        if partition.is_reassigning() {
            changed.reassign(end_of_reassignment(
                partition,
                settings.min_insync_replicas(),
            ));
        }
        for node_id in &partition.isr {
            if !image.can_lead(*node_id) {
                changed.leaves_isr(*node_id);
            }
        }
        // What the leader of then wrote last, nobody may take for what this one writes.
        changed.new_leader_epoch();
        if let Some(record) = changed.end(image) {
            draft.write(Fact::PartitionChange(record));
        }
    }
    purge_beyond_bounds(&mut draft);
    let restored = draft.image().topic_by_id(topic.id).cloned();
    Ok(draft.decide(restored.expect("it was written above")))
}

fn find_one<'a>(
    image: &'a Image,
    wanted: &DeletedTopicRef,
) -> Result<&'a Arc<DeletedTopic>, Refusal> {
    let found = find(image, wanted)?;
    let [first, others @ ..] = &*found else {
        unreachable!("what is found is not empty");
    };
    if others.is_empty() {
        return Ok(first);
    }
    let ids: Vec<_> = found.iter().map(|it| it.topic.id.to_string()).collect();
    Err(Refusal::new(
        ErrorCode::InvalidRequest,
        format!(
            "{} deleted topics have the name {:?}: name one by its id, the newest deletion comes first: {}",
            found.len(),
            first.topic.name,
            ids.join(", ")
        ),
    ))
}

fn check_name(image: &Image, topic: &Topic, name: &str) -> Result<(), Refusal> {
    if topic.internal && *topic.name != *name {
        return Err(Refusal::new(
            ErrorCode::InvalidTopic,
            format!(
                "topic {:?} is internal and can be brought back under its own name only, not as {name:?}",
                topic.name
            ),
        ));
    }
    check_new_name(image, name).or_else(|refusal| match refusal.code {
        ErrorCode::TopicAlreadyExists if topic.internal => Ok(()),
        ErrorCode::TopicAlreadyExists => Err(Refusal::new(
            refusal.code,
            format!(
                "topic {name:?} exists already: give another name for the one with id {} that was deleted, or delete \
                 the one that there is",
                topic.id
            ),
        )),
        _ => Err(refusal),
    })
}

/// Where too few but those that the reassignment brought are sure to have everything, they stay beside the others.
fn end_of_reassignment(partition: &Partition, min_insync_replicas: usize) -> Reassigned {
    cancel(partition, min_insync_replicas, false).unwrap_or_else(|_| Reassigned {
        replicas: partition.replicas.clone(),
        adding: Vec::new(),
        removing: Vec::new(),
    })
}
