//! `PurgeDeletedTopics`: deleted topics are given up before their time. Each succeeds or fails on its own.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::draft::Draft;
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::image::{DeletedTopic, Image};
use crate::record::{Fact, PurgeDeletedTopicRecord, id_bytes};

/// A request to purge deleted topics.
#[derive(Debug, Clone)]
pub struct PurgeDeletedTopics {
    /// In the order in which they are answered; a name stands for all that had it.
    pub topics: Vec<DeletedTopicRef>,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
}

/// Deleted topics, by name or by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeletedTopicRef {
    /// Several may have had it.
    Name(String),
    /// One of them.
    Id(Uuid),
}

/// What was purged for one of a request's topics, or why nothing was.
pub type Purged = Result<Vec<Arc<DeletedTopic>>, Refusal>;

/// Decides a request; the results, what was purged, are in its order. One that is named twice is purged once.
pub fn purge_deleted_topics(image: &Image, request: &PurgeDeletedTopics) -> Decided<Vec<Purged>> {
    check_operator_epoch(image, request.operator_epoch)?;
    let found = request.topics.iter().map(|topic| {
        let found = find(image, topic)?;
        Ok(found.into_iter().cloned().collect())
    });
    let results: Vec<Purged> = found.collect();
    let purged = results.iter().flatten().flatten();
    let ids: BTreeSet<Uuid> = purged.map(|deleted| deleted.topic.id).collect();
    let mut draft = Draft::new(image);
    for id in ids {
        purge(&mut draft, id);
    }
    Ok(draft.decide(results))
}

pub(super) fn purge(draft: &mut Draft, id: Uuid) {
    draft.write(Fact::PurgeDeletedTopic(PurgeDeletedTopicRecord {
        topic_id: id_bytes(id),
    }));
}

/// One at least, the newest deletion first.
pub(super) fn find<'a>(
    image: &'a Image,
    wanted: &DeletedTopicRef,
) -> Result<Vec<&'a Arc<DeletedTopic>>, Refusal> {
    match wanted {
        DeletedTopicRef::Name(name) => {
            let topics = image.deleted_topics();
            let mut found: Vec<_> = topics.filter(|it| *it.topic.name == **name).collect();
            found.sort_by_key(|it| Reverse((it.deleted_at_ms, it.topic.id)));
            if found.is_empty() {
                return Err(Refusal::new(
                    ErrorCode::UnknownTopicOrPartition,
                    format!("there is no deleted topic {name:?}"),
                ));
            }
            Ok(found)
        }
        DeletedTopicRef::Id(id) => match image.deleted_topic(*id) {
            Some(found) => Ok(vec![found]),
            None => Err(Refusal::new(
                ErrorCode::UnknownTopicId,
                unknown_id(image, *id),
            )),
        },
    }
}

fn unknown_id(image: &Image, id: Uuid) -> String {
    match image.topic_by_id(id) {
        Some(topic) => format!("topic {:?} with id {id} is not deleted", topic.name),
        None => format!("there is no deleted topic with id {id}"),
    }
}
