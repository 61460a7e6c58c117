use std::sync::Arc;

use foz_api::v1;
use foz_api::v1::create_topics_response::Result as TopicResult;
use foz_metadata::Image;
use foz_metadata::image::Topic;
use foz_metadata::rules::{self, CreateTopics, NewTopic, Refusal};
use tonic::Status;
use uuid::Uuid;

use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn create_topics(
    calls: &Calls,
    request: v1::CreateTopicsRequest,
) -> Result<v1::CreateTopicsResponse, Status> {
    let validate_only = request.validate_only;
    let request = Arc::new(CreateTopics {
        topics: request
            .topics
            .into_iter()
            .map(new_topic)
            .collect::<Result<_, _>>()?,
        validate_only,
        operator_epoch: request.operator_epoch,
        seed: Uuid::new_v4().as_u64_pair().0,
    });
    let shared = calls.shared.clone();
    let asked = request.clone();
    let rule = move |image: &_| rules::create_topics(image, &shared.config.properties, &asked);
    let results = calls.change(rule).await?;
    let results = request
        .topics
        .iter()
        .zip(results)
        .map(|(new, result)| topic_result(new, result, validate_only))
        .collect();
    Ok(v1::CreateTopicsResponse { results })
}

fn new_topic(topic: v1::create_topics_request::NewTopic) -> Result<NewTopic, Status> {
    let id = if topic.id.is_empty() {
        new_topic_id()
    } else {
        convert::id("topics.id", &topic.id)?
    };
    Ok(NewTopic {
        name: topic.name,
        id,
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        assignments: convert::assignments(topic.assignments),
        config: topic.config,
        internal: topic.internal,
    })
}

/// Kafka's tools take an argument that begins with `-` for an option, so Kafka makes no ids whose
/// base64url text does.
fn new_topic_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if id.as_bytes()[0] >> 2 != 62 {
            return id;
        }
    }
}

fn topic_result(
    new: &NewTopic,
    result: Result<Topic, Refusal>,
    validate_only: bool,
) -> TopicResult {
    let outcome = Some(convert::outcome(&result));
    let topic = result.ok().map(|topic| {
        let mut topic = convert::topic(&Image::default(), &topic);
        topic.config = new.config.clone();
        if validate_only {
            topic.id.clear();
        }
        topic
    });
    TopicResult { outcome, topic }
}
