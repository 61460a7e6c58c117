use foz_api::v1;
use foz_api::v1::delete_topics_response::Result as TopicResult;
use foz_metadata::rules::{self, DeleteTopics, TopicRef};
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;
use crate::wall_clock::wall_clock_ms;

pub(super) async fn delete_topics(
    calls: &Calls,
    request: v1::DeleteTopicsRequest,
) -> Result<v1::DeleteTopicsResponse, Status> {
    let asked = request.topics.clone();
    let topics = request
        .topics
        .into_iter()
        .map(topic_ref)
        .collect::<Result<_, _>>()?;
    let request = DeleteTopics {
        topics,
        now_ms: wall_clock_ms(),
        operator_epoch: request.operator_epoch,
    };
    let shared = calls.shared.clone();
    let rule = move |image: &_| rules::delete_topics(image, &shared.config.properties, &request);
    let (results, behind) = calls.change_everywhere(rule).await?;
    let results = asked
        .into_iter()
        .zip(results)
        .map(|(asked, result)| {
            let outcome = Some(convert::outcome(&result));
            match result {
                Ok(topic) => TopicResult {
                    outcome,
                    name: topic.name.to_string(),
                    id: topic.id.as_bytes().to_vec(),
                },
                Err(_) => TopicResult {
                    outcome,
                    name: asked.name,
                    id: asked.id,
                },
            }
        })
        .collect();
    Ok(v1::DeleteTopicsResponse { results, behind })
}

fn topic_ref(topic: v1::TopicRef) -> Result<TopicRef, Status> {
    let id = if topic.id.is_empty() {
        None
    } else {
        Some(convert::id("topics.id", &topic.id)?)
    };
    Ok(TopicRef {
        name: topic.name,
        id,
    })
}
