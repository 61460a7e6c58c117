//! CreatePartitions (37): passed on to the active controller. Every topic asked for is answered.

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::create_partitions_request::Increase;
use foz_api::v1::{self as api, Assignment};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};

use super::text;
use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let (allowed, refused): (Vec<_>, Vec<_>) = request
        .topics
        .iter()
        .partition(|topic| context.allows(Operation::Alter, &Resource::Topic(&topic.name)));
    let mut results: Vec<CreatePartitionsTopicResult> = refused
        .iter()
        .map(|topic| {
            result(
                &topic.name,
                ErrorCode::TopicAuthorizationFailed.code(),
                None,
            )
        })
        .collect();
    if !allowed.is_empty() {
        results.extend(increase(&context, &request, &allowed).await);
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn increase(
    context: &RequestContext,
    request: &CreatePartitionsRequest,
    topics: &[&CreatePartitionsTopic],
) -> Vec<CreatePartitionsTopicResult> {
    let increases = topics
        .iter()
        .map(|topic| Increase {
            name: topic.name.to_string(),
            count: topic.count,
            assignments: topic
                .assignments
                .iter()
                .flatten()
                .map(|assignment| Assignment {
                    replicas: assignment.broker_ids.iter().map(|id| id.0).collect(),
                })
                .collect(),
        })
        .collect();
    let message = api::CreatePartitionsRequest {
        topics: increases,
        validate_only: request.validate_only,
        operator_epoch: 0,
    };
    let answer = admin::change(&context.broker, request.timeout_ms, |channel| {
        let message = message.clone();
        async move { AdminClient::new(channel).create_partitions(message).await }
    })
    .await;
    match answer {
        Ok(answer) => topics
            .iter()
            .zip(answer.results)
            .map(|(topic, outcome)| {
                let (code, message) = admin::outcome(Some(outcome));
                result(&topic.name, code, message)
            })
            .collect(),
        Err(error) => topics
            .iter()
            .map(|topic| result(&topic.name, error.error.code(), Some(error.message.clone())))
            .collect(),
    }
}

fn result(name: &str, code: i16, message: Option<String>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult::default()
        .with_name(TopicName(text(name)))
        .with_error_code(code)
        .with_error_message(message.map(text))
}
