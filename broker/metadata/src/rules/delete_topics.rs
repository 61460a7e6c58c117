//! `DeleteTopics`: each topic of the request succeeds or fails on its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::draft::Draft;
use super::named_once::NamedOnce;
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::config::Resolver;
use crate::image::{Image, Topic};
use crate::record::{Fact, RemoveTopicRecord, id_bytes};

/// A request to delete topics.
#[derive(Debug, Clone)]
pub struct DeleteTopics {
    /// In the order in which they are answered.
    pub topics: Vec<TopicRef>,
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

/// Decides a request; the results, the topics as they were, are in its order.
pub fn delete_topics(
    image: &Image,
    properties: &BTreeMap<String, String>,
    request: &DeleteTopics,
) -> Decided<Vec<Result<Arc<Topic>, Refusal>>> {
    check_operator_epoch(image, request.operator_epoch)?;
    let enabled = Resolver::new(image, -1, properties)
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
            draft.write(Fact::RemoveTopic(RemoveTopicRecord {
                topic_id: id_bytes(topic.id),
            }));
            Ok(topic)
        })
        .collect();
    Ok(draft.decide(results))
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
