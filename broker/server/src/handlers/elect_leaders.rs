//! ElectLeaders (43, KIP-183, KIP-460): passed on to the active controller. Where no partitions are named,
//! all that need an election have one, and only those are answered.

use std::collections::BTreeMap;

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::elect_leaders_request::PartitionRef;
use foz_api::v1::{self as api};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};

use super::text;
use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// Version 0 has no place for an error of the whole request.
const ERROR_CODE_FROM: i16 = 1;

pub(crate) async fn handle(
    context: RequestContext,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    if !context.allows(Operation::Alter, &Resource::Cluster) {
        let error = ErrorCode::ClusterAuthorizationFailed;
        return failed(&context, &request, error, None);
    }
    let Ok(kind) = api::ElectionKind::try_from(i32::from(request.election_type)) else {
        let message = format!(
            "election type {} must be 0 (preferred) or 1 (unclean)",
            request.election_type
        );
        let error = ErrorCode::InvalidRequest;
        return failed(&context, &request, error, Some(&message));
    };
    let message = api::ElectLeadersRequest {
        kind: kind.into(),
        partitions: named(&request)
            .map(|(topic, index)| PartitionRef {
                topic: topic.to_string(),
                index,
            })
            .collect(),
        all_partitions: request.topic_partitions.is_none(),
        operator_epoch: 0,
    };
    let answer = admin::change(&context.broker, request.timeout_ms, |channel| {
        let message = message.clone();
        async move { AdminClient::new(channel).elect_leaders(message).await }
    })
    .await;
    match answer {
        Ok(answer) => by_topic(answer.results.into_iter().map(|result| {
            let (code, message) = admin::outcome(result.outcome);
            (result.topic, partition_result(result.index, code, message))
        })),
        Err(error) => failed(&context, &request, error.error, Some(&error.message)),
    }
}

/// The whole request failed: also every partition that it names, since version 0 has nothing else.
fn failed(
    context: &RequestContext,
    request: &ElectLeadersRequest,
    error: ErrorCode,
    message: Option<&str>,
) -> ElectLeadersResponse {
    let response = by_topic(named(request).map(|(topic, index)| {
        let message = message.map(ToOwned::to_owned);
        let result = partition_result(index, error.code(), message);
        (topic.to_string(), result)
    }));
    if context.version >= ERROR_CODE_FROM {
        response.with_error_code(error.code())
    } else {
        response
    }
}

fn named(request: &ElectLeadersRequest) -> impl Iterator<Item = (&TopicName, i32)> {
    let topics = request.topic_partitions.iter().flatten();
    topics.flat_map(|topic| {
        let indexes = topic.partitions.iter();
        indexes.map(|index| (&topic.topic, *index))
    })
}

fn by_topic(results: impl Iterator<Item = (String, PartitionResult)>) -> ElectLeadersResponse {
    let mut topics: BTreeMap<String, Vec<PartitionResult>> = BTreeMap::new();
    for (topic, result) in results {
        topics.entry(topic).or_default().push(result);
    }
    let topics = topics.into_iter().map(|(topic, results)| {
        ReplicaElectionResult::default()
            .with_topic(TopicName(text(topic)))
            .with_partition_result(results)
    });
    ElectLeadersResponse::default().with_replica_election_results(topics.collect())
}

fn partition_result(index: i32, code: i16, message: Option<String>) -> PartitionResult {
    PartitionResult::default()
        .with_partition_id(index)
        .with_error_code(code)
        .with_error_message(message.map(text))
}
