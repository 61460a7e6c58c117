//! AlterPartitionReassignments (45, KIP-455, KIP-860): passed on to the active controller.

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::alter_partition_reassignments_request::Reassignment;
use foz_api::v1::{self as api, Assignment};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};

use super::text;
use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// A code, and the reason where it is an error.
type Outcome = (i16, Option<String>);

pub(crate) async fn handle(
    context: RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    if !context.allows(Operation::Alter, &Resource::Cluster) {
        let error = ErrorCode::ClusterAuthorizationFailed;
        return failed(&request, error, None);
    }
    let message = api::AlterPartitionReassignmentsRequest {
        partitions: wanted(&request),
        allow_replication_factor_change: request.allow_replication_factor_change,
        operator_epoch: 0,
    };
    let answer = admin::change(&context.broker, request.timeout_ms, |channel| {
        let message = message.clone();
        async move {
            AdminClient::new(channel)
                .alter_partition_reassignments(message)
                .await
        }
    })
    .await;
    match answer {
        Ok(answer) => {
            let mut results = answer.results.into_iter();
            response(&request, || {
                admin::outcome(results.next().and_then(|result| result.outcome))
            })
        }
        Err(error) => failed(&request, error.error, Some(&error.message)),
    }
}

fn wanted(request: &AlterPartitionReassignmentsRequest) -> Vec<Reassignment> {
    let partitions = request.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| Reassignment {
            topic: topic.name.to_string(),
            index: partition.partition_index,
            target: partition.replicas.as_ref().map(|replicas| Assignment {
                replicas: replicas.iter().map(|id| id.0).collect(),
            }),
        })
    });
    partitions.collect()
}

/// The whole request failed: so did, as Kafka says it, every partition in it.
fn failed(
    request: &AlterPartitionReassignmentsRequest,
    error: ErrorCode,
    message: Option<&str>,
) -> AlterPartitionReassignmentsResponse {
    response(request, || (error.code(), message.map(ToOwned::to_owned)))
        .with_error_code(error.code())
        .with_error_message(message.map(text))
}

/// Asks for the outcome of one partition after the other, in the order of the request.
fn response(
    request: &AlterPartitionReassignmentsRequest,
    mut outcome: impl FnMut() -> Outcome,
) -> AlterPartitionReassignmentsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let (code, message) = outcome();
            ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
                .with_error_message(message.map(text))
        });
        ReassignableTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    let responses = topics.collect();
    AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_responses(responses)
}
