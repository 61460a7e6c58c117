use foz_api::v1::purge_deleted_topics_response::Result as TopicResult;
use foz_api::v1::{PurgeDeletedTopicsRequest, PurgeDeletedTopicsResponse};
use foz_metadata::rules::{self, PurgeDeletedTopics};
use tonic::Status;

use super::restore_topic::deleted_topic_ref;
use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn purge_deleted_topics(
    calls: &Calls,
    request: PurgeDeletedTopicsRequest,
) -> Result<PurgeDeletedTopicsResponse, Status> {
    let topics = request.topics.into_iter();
    let request = PurgeDeletedTopics {
        topics: topics
            .map(|topic| deleted_topic_ref("topics", topic))
            .collect::<Result<_, _>>()?,
        operator_epoch: request.operator_epoch,
    };
    let results = calls
        .change(move |image| rules::purge_deleted_topics(image, &request))
        .await?;
    let results = results.into_iter().map(|result| TopicResult {
        outcome: Some(convert::outcome(&result)),
        purged: convert::count(result.map_or(0, |purged| purged.len())),
    });
    Ok(PurgeDeletedTopicsResponse {
        results: results.collect(),
    })
}
