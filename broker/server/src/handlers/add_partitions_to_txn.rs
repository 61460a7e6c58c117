//! AddPartitionsToTxn (24): partitions that take part in a transaction. Up to version 3 a producer asks, from version 4 on
//! a broker, for the transactions of several.

use foz_metadata::Image;
use foz_transactions::{Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use super::transactions;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// From this version on brokers ask.
const OF_BROKERS_FROM: i16 = 4;

pub(crate) async fn handle(
    context: RequestContext,
    request: AddPartitionsToTxnRequest,
) -> Option<AddPartitionsToTxnResponse> {
    if context.version >= OF_BROKERS_FROM {
        handle_brokers(&context, request).await
    } else {
        handle_clients(&context, request).await
    }
}

async fn handle_brokers(
    context: &RequestContext,
    mut request: AddPartitionsToTxnRequest,
) -> Option<AddPartitionsToTxnResponse> {
    if !context.allows(Operation::ClusterAction, &Resource::Cluster) {
        let error_code = ResponseError::ClusterAuthorizationFailed.code();
        return Some(AddPartitionsToTxnResponse::default().with_error_code(error_code));
    }
    let image = context.broker.image();
    let mut refused = Vec::new();
    request.transactions.retain(|transaction| {
        let topics = refused_topics(&image, &transaction.topics, |_| true);
        let is_refused = topics.is_some();
        refused.extend(topics.map(|topics| result_of(transaction, topics)));
        !is_refused
    });
    let mut response = ask(context, request).await?;
    response.results_by_transaction.extend(refused);
    Some(response)
}

async fn handle_clients(
    context: &RequestContext,
    request: AddPartitionsToTxnRequest,
) -> Option<AddPartitionsToTxnResponse> {
    let id = request.v3_and_below_transactional_id.as_str();
    if let Some(error) = transactions::refusal(context, id) {
        let request = Request::AddPartitionsToTxn(request);
        return Some(answered(request.error_response(context.version, error)));
    }
    let image = context.broker.image();
    let may_write = |topic: &str| {
        // Committed offsets come by AddOffsetsToTxn.
        let is_internal = image.topic(topic).is_some_and(|topic| topic.internal);
        !is_internal && context.allows(Operation::Write, &Resource::Topic(topic))
    };
    match refused_topics(&image, &request.v3_and_below_topics, may_write) {
        Some(topics) => {
            let response = AddPartitionsToTxnResponse::default();
            Some(response.with_results_by_topic_v3_and_below(topics))
        }
        None => ask(context, request).await,
    }
}

async fn ask(
    context: &RequestContext,
    request: AddPartitionsToTxnRequest,
) -> Option<AddPartitionsToTxnResponse> {
    let request = Request::AddPartitionsToTxn(request);
    Some(answered(transactions::ask(context, request).await?))
}

fn answered(response: Response) -> AddPartitionsToTxnResponse {
    match response {
        Response::AddPartitionsToTxn(response) => response,
        other => unreachable!("the coordinator answered {other:?}"),
    }
}

/// All or none: where one partition cannot be added, none is even tried.
fn refused_topics(
    image: &Image,
    topics: &[AddPartitionsToTxnTopic],
    may_write: impl Fn(&str) -> bool,
) -> Option<Vec<AddPartitionsToTxnTopicResult>> {
    let error_of = |topic: &AddPartitionsToTxnTopic, partition: i32| {
        if !may_write(&topic.name) {
            return Some(ResponseError::TopicAuthorizationFailed);
        }
        let is_there = image.partition(&topic.name, partition).is_some();
        (!is_there).then_some(ResponseError::UnknownTopicOrPartition)
    };
    let mut is_refused = false;
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|&partition| {
            let error = error_of(topic, partition);
            is_refused |= error.is_some();
            let error = error.unwrap_or(ResponseError::OperationNotAttempted);
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(partition)
                .with_partition_error_code(error.code())
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    let results = results.collect();
    is_refused.then_some(results)
}

fn result_of(
    transaction: &AddPartitionsToTxnTransaction,
    topics: Vec<AddPartitionsToTxnTopicResult>,
) -> AddPartitionsToTxnResult {
    AddPartitionsToTxnResult::default()
        .with_transactional_id(transaction.transactional_id.clone())
        .with_topic_results(topics)
}
