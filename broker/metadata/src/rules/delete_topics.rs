//! `DeleteTopics`: each topic of the request succeeds or fails on its own.
//!
//! What is deleted can be brought back for `foz.delete.grace.ms`, see [`restore_topic`](super::restore_topic).

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::draft::Draft;
use super::named_once::NamedOnce;
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::config::Resolver;
use crate::image::{Image, Topic};
use crate::record::{
    DeleteTopicRecord, Fact, PurgeDeletedTopicRecord, RemoveTopicRecord, id_bytes,
};

/// How many deleted topics are kept; the oldest are purged. A snapshot of the metadata has all of them.
pub const DELETED_TOPICS_MAX: usize = 10_000;
/// How many partitions they may have together, likewise. A broker that registers with another disk changes each of which
/// it had a replica, and all that in one batch of the metadata.
pub const DELETED_PARTITIONS_MAX: usize = 10_000;
/// Where a value cannot be read, which no request can set: nothing is removed at once because of it.
const GRACE_MS: i64 = 24 * 3_600_000;

/// A request to delete topics.
#[derive(Debug, Clone)]
pub struct DeleteTopics {
    /// In the order in which they are answered.
    pub topics: Vec<TopicRef>,
    /// The wall clock.
    pub now_ms: i64,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
}

/// A topic by name, by id, or by both, which then must belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRef {
    /// Empty when only the id counts.
    pub name: String,
    /// Wins over the name.
    pub id: Option<Uuid>,
}

/// Decides a request; the results, the topics as they were, are in its order. `properties` are those of the controller,
/// for defaults that nobody set by a request.
pub fn delete_topics(
    image: &Image,
    properties: &BTreeMap<String, String>,
    request: &DeleteTopics,
) -> Decided<Vec<Result<Arc<Topic>, Refusal>>> {
    check_operator_epoch(image, request.operator_epoch)?;
    let resolver = Resolver::new(image, -1, properties);
    let enabled = resolver
        .broker("delete.topic.enable")
        .is_none_or(|found| found.is_true());
    let found: Vec<_> = request
        .topics
        .iter()
        .map(|topic| find(image, topic))
        .collect();
    let named = NamedOnce::of(found.iter().flatten().map(|topic| topic.id));
    let mut draft = Draft::new(image);
    let results = found
        .into_iter()
        .map(|found| {
            let topic = found?;
            named.check(&topic.id, format_args!("topic {:?}", topic.name))?;
            if !enabled {
                return Err(Refusal::new(
                    ErrorCode::TopicDeletionDisabled,
                    "topics cannot be deleted: delete.topic.enable is false",
                ));
            }
            let (now_ms, operator_epoch) = (request.now_ms, request.operator_epoch);
            draft.write(deletion(&resolver, &topic, now_ms, operator_epoch));
            Ok(topic)
        })
        .collect();
    purge_beyond_bounds(&mut draft);
    Ok(draft.decide(results))
}

/// By its grace.
pub(super) fn deletion(
    resolver: &Resolver<'_>,
    topic: &Topic,
    now_ms: i64,
    operator_epoch: i64,
) -> Fact {
    let topic_id = id_bytes(topic.id);
    match grace_ms(resolver, topic) {
        0 => Fact::RemoveTopic(RemoveTopicRecord { topic_id }),
        grace_ms => Fact::DeleteTopic(DeleteTopicRecord {
            topic_id,
            deleted_at_ms: now_ms,
            grace_ends_at_ms: now_ms.saturating_add(grace_ms),
            operator_epoch,
        }),
    }
}

/// 0 where it is not to be brought back.
fn grace_ms(resolver: &Resolver<'_>, topic: &Topic) -> i64 {
    if topic.partitions.len() > DELETED_PARTITIONS_MAX {
        return 0;
    }
    resolver
        .topic(&topic.name, "foz.delete.grace.ms")
        .and_then(|found| found.as_i64())
        .unwrap_or(GRACE_MS)
        .max(0)
}

pub(super) fn purge_beyond_bounds(draft: &mut Draft) {
    let image = draft.image().clone();
    let mut topics = image.deleted_topic_count();
    if topics <= DELETED_TOPICS_MAX && image.deleted_partition_count() <= DELETED_PARTITIONS_MAX {
        return;
    }
    let mut partitions = image.deleted_partition_count();
    for oldest in image.deleted_topics_oldest_first() {
        if topics <= DELETED_TOPICS_MAX && partitions <= DELETED_PARTITIONS_MAX {
            return;
        }
        topics -= 1;
        partitions -= oldest.topic.partitions.len();
        draft.write(Fact::PurgeDeletedTopic(PurgeDeletedTopicRecord {
            topic_id: id_bytes(oldest.topic.id),
        }));
    }
}

fn find(image: &Image, wanted: &TopicRef) -> Result<Arc<Topic>, Refusal> {
    let TopicRef { name, id } = wanted;
    match id {
        None => image.topic(name).cloned().ok_or_else(|| {
            Refusal::new(
                ErrorCode::UnknownTopicOrPartition,
                format!("there is no topic {name:?}"),
            )
        }),
        Some(id) => match image.topic_by_id(*id) {
            Some(topic) if name.is_empty() || *topic.name == **name => Ok(topic.clone()),
            Some(topic) => Err(Refusal::new(
                ErrorCode::UnknownTopicId,
                format!(
                    "topic id {id} belongs to topic {:?}, not to {name:?}",
                    topic.name
                ),
            )),
            None => Err(Refusal::new(
                ErrorCode::UnknownTopicId,
                format!("there is no topic with id {id}"),
            )),
        },
    }
}
