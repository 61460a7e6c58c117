use foz_api::v1;
use foz_metadata::rules::{self, DeletedTopicRef, RestoreTopic};
use tonic::Status;

use super::as_outcome::as_outcome;
use crate::convert;
use crate::services::calls::Calls;
use crate::wall_clock::wall_clock_ms;

pub(super) async fn restore_topic(
    calls: &Calls,
    request: v1::RestoreTopicRequest,
) -> Result<v1::RestoreTopicResponse, Status> {
    let topic = request
        .topic
        .ok_or_else(|| Status::invalid_argument("topic must be set"))?;
    let request = RestoreTopic {
        topic: deleted_topic_ref("topic", topic)?,
        new_name: Some(request.new_name).filter(|name| !name.is_empty()),
        now_ms: wall_clock_ms(),
        operator_epoch: request.operator_epoch,
    };
    let shared = calls.shared.clone();
    let rule = move |image: &_| {
        as_outcome(rules::restore_topic(
            image,
            &shared.config.properties,
            &request,
        ))
    };
    let result = calls.change(rule).await?;
    let outcome = Some(convert::outcome(&result));
    // With the configs that it has now.
    let image = calls.shared.metadata.image();
    let topic = result.ok().map(|topic| convert::topic(&image, &topic));
    Ok(v1::RestoreTopicResponse { outcome, topic })
}

/// `field` is for the error. An id wins over a name.
pub(super) fn deleted_topic_ref(
    field: &str,
    topic: v1::TopicRef,
) -> Result<DeletedTopicRef, Status> {
    if !topic.id.is_empty() {
        return convert::id(&format!("{field}.id"), &topic.id).map(DeletedTopicRef::Id);
    }
    if topic.name.is_empty() {
        return Err(Status::invalid_argument(format!(
            "{field} must have a name or an id"
        )));
    }
    Ok(DeletedTopicRef::Name(topic.name))
}
