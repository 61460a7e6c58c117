//! Making the topic.

use foz_api::v1::create_topics_request::NewTopic;
use foz_api::v1::create_topics_response::Result as CreateResult;
use foz_api::v1::list_deleted_topics_response::DeletedTopic;

use crate::conditions::Finding;
use crate::error::ReconcileError;
use crate::events::Notice;
use crate::quorum::view::{TopicView, topic_view};
use crate::topic::execute::restore::could_be_restored;
use crate::topic::execute::{Executed, outcome_of, reason_of};
use crate::topic::reconcile::Pass;
use crate::topic::topic_id::{topic_id, topic_ids};
use crate::topic::validate::ValidatedTopic;

/// Makes it, under an id that tells that it is this object's, should the answer be lost.
pub(super) async fn create(
    pass: &Pass<'_>,
    topic: &ValidatedTopic,
    again: bool,
    replication_factor: i32,
    executed: &mut Executed,
) -> Result<bool, ReconcileError> {
    let deleted = pass.quorum()?.deleted_topics(&topic.name).await?;
    let made = call(pass, topic, replication_factor, &deleted).await?;
    let (code, message) = outcome_of(made.outcome);
    if code != 0 {
        // That it exists may be about an earlier attempt: then the stream will tell of it.
        executed
            .outcome
            .failed
            .push(Finding::new(reason_of(code), message));
        return Ok(false);
    }
    let made = made.topic.map(topic_view);
    let partitions = made.as_ref().map_or(0, |made| made.partitions);
    executed.notices.extend(could_be_restored(&deleted));
    let note = format!("topic {}, partitions: {partitions}", topic.name);
    executed.notices.push(if again {
        // It is empty now: whoever deleted it deleted its records.
        let note = format!("{note}; it had been deleted by other means, with its records");
        Notice::warning("TopicRecreated", note)
    } else {
        Notice::done("TopicCreated", note)
    });
    executed.outcome.topic_id = made.as_ref().map(TopicView::id_text);
    executed.outcome.managed = Some(topic.config.keys().cloned().collect());
    executed.outcome.topic = made;
    Ok(true)
}

async fn call(
    pass: &Pass<'_>,
    topic: &ValidatedTopic,
    replication_factor: i32,
    deleted: &[DeletedTopic],
) -> Result<CreateResult, ReconcileError> {
    let before = pass.previous.topic_id.as_deref();
    let is_free = |id: &Vec<u8>| deleted.iter().all(|it| it.id != *id);
    let free = topic_ids(&pass.uid, before).find(is_free);
    let new = NewTopic {
        name: topic.name.clone(),
        partitions: topic.partitions.unwrap_or(-1),
        replication_factor,
        config: topic.config.clone().into_iter().collect(),
        id: free.unwrap_or_else(|| topic_id(&pass.uid, before)),
        ..NewTopic::default()
    };
    Ok(pass.quorum()?.create_topic(new).await?)
}
