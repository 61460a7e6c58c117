//! DeleteTopics (20): passed on to the active controller.

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::{self as api, TopicRef};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use uuid::Uuid;

use super::text;
use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let (unclear, clear): (Vec<Wanted>, Vec<Wanted>) = wanted(&request)
        .into_iter()
        .partition(|topic| topic.name.is_some() != topic.id.is_nil());
    let (allowed, refused): (Vec<Wanted>, Vec<Wanted>) = clear
        .into_iter()
        .partition(|topic| may_delete(&context, topic));
    let unclear = unclear.iter().map(|topic| {
        let message = "a topic is named by either its name or its id, not by both or neither";
        result(
            topic,
            ErrorCode::InvalidRequest.code(),
            Some(message.to_owned()),
        )
    });
    let refused = refused
        .iter()
        .map(|topic| result(topic, ErrorCode::TopicAuthorizationFailed.code(), None));
    let mut responses: Vec<DeletableTopicResult> = unclear.chain(refused).collect();
    if !allowed.is_empty() {
        responses.extend(delete(&context, request.timeout_ms, &allowed).await);
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

struct Wanted {
    name: Option<String>,
    id: Uuid,
}

/// Names up to version 5, names or ids from version 6.
fn wanted(request: &DeleteTopicsRequest) -> Vec<Wanted> {
    let by_name = request.topic_names.iter().map(|name| Wanted {
        name: Some(name.to_string()),
        id: Uuid::nil(),
    });
    let by_either = request.topics.iter().map(|topic| Wanted {
        name: topic.name.as_ref().map(|name| name.to_string()),
        id: topic.topic_id,
    });
    by_name.chain(by_either).collect()
}

fn may_delete(context: &RequestContext, topic: &Wanted) -> bool {
    let image = context.broker.image();
    let by_id = || {
        image
            .topic_by_id(topic.id)
            .map(|topic| topic.name.to_string())
    };
    // What does not exist is found missing by the controller.
    topic
        .name
        .clone()
        .or_else(by_id)
        .is_none_or(|name| context.allows(Operation::Delete, &Resource::Topic(&name)))
}

async fn delete(
    context: &RequestContext,
    timeout_ms: i32,
    topics: &[Wanted],
) -> Vec<DeletableTopicResult> {
    let refs = topics
        .iter()
        .map(|topic| TopicRef {
            name: topic.name.clone().unwrap_or_default(),
            id: if topic.id.is_nil() {
                Vec::new()
            } else {
                topic.id.as_bytes().to_vec()
            },
        })
        .collect();
    let message = api::DeleteTopicsRequest {
        topics: refs,
        operator_epoch: 0,
    };
    let answer = admin::change(&context.broker, timeout_ms, |channel| {
        let message = message.clone();
        async move { AdminClient::new(channel).delete_topics(message).await }
    })
    .await;
    match answer {
        Ok(answer) => topics
            .iter()
            .zip(answer.results)
            .map(|(topic, deleted)| {
                let (code, message) = admin::outcome(deleted.outcome);
                let known = Wanted {
                    name: Some(deleted.name)
                        .filter(|name| !name.is_empty())
                        .or(topic.name.clone()),
                    id: Uuid::from_slice(&deleted.id).unwrap_or(topic.id),
                };
                result(&known, code, message)
            })
            .collect(),
        Err(error) => topics
            .iter()
            .map(|topic| result(topic, error.error.code(), Some(error.message.clone())))
            .collect(),
    }
}

fn result(topic: &Wanted, code: i16, message: Option<String>) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(topic.name.as_ref().map(|name| TopicName(text(name))))
        .with_topic_id(topic.id)
        .with_error_code(code)
        .with_error_message(message.map(text))
}
