use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeTransactionsResponse, EndTxnResponse, InitProducerIdResponse, ListTransactionsResponse,
};

use crate::filter::ListTransactions;
use crate::request::Request;
use crate::transaction::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID};

/// The response to a [`Request`] of the same name, fit for the request's version.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Response {
    InitProducerId(InitProducerIdResponse),
    AddPartitionsToTxn(AddPartitionsToTxnResponse),
    AddOffsetsToTxn(AddOffsetsToTxnResponse),
    EndTxn(EndTxnResponse),
    DescribeTransactions(DescribeTransactionsResponse),
    ListTransactions(ListTransactionsResponse),
}

impl Request {
    /// The answer that says nothing: what a broker answers that coordinates none of the ids.
    pub fn empty_response(&self) -> Response {
        match self {
            Self::InitProducerId(_) => Response::InitProducerId(Default::default()),
            Self::AddPartitionsToTxn(_) => Response::AddPartitionsToTxn(Default::default()),
            Self::AddOffsetsToTxn { .. } => Response::AddOffsetsToTxn(Default::default()),
            Self::EndTxn(_) => Response::EndTxn(Default::default()),
            Self::DescribeTransactions(_) => Response::DescribeTransactions(Default::default()),
            Self::ListTransactions(request) => Response::ListTransactions(list_none(request)),
        }
    }

    /// The answer that refuses the whole request: for a caller that does not reach a coordinator
    /// (NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS, an authorization error ...).
    pub fn error_response(&self, api_version: i16, error: ResponseError) -> Response {
        match self {
            Self::InitProducerId(_) => init_producer_id(api_version, Err(error)),
            Self::AddPartitionsToTxn(request) => {
                let results = transactions(request, api_version)
                    .into_iter()
                    .map(|transaction| {
                        let error = told(error, api_version, 2);
                        let topics = topic_results(&transaction.topics, error);
                        result_of(&transaction, topics)
                    });
                add_partitions(api_version, results.collect())
            }
            Self::AddOffsetsToTxn { .. } => add_offsets(api_version, Err(error)),
            Self::EndTxn(_) => end(api_version, Err(error)),
            Self::DescribeTransactions(request) => {
                let failed = request.transactional_ids.iter().map(|id| {
                    TransactionState::default()
                        .with_transactional_id(id.clone())
                        .with_error_code(error.code())
                });
                let states = failed.collect();
                let response = DescribeTransactionsResponse::default();
                Response::DescribeTransactions(response.with_transaction_states(states))
            }
            Self::ListTransactions(_) => Response::ListTransactions(
                ListTransactionsResponse::default().with_error_code(error.code()),
            ),
        }
    }
}

/// A list of nothing, which still says what is wrong with the request.
pub(crate) fn list_none(request: &ListTransactions) -> ListTransactionsResponse {
    let response = ListTransactionsResponse::default();
    match &request.filter {
        Ok(filter) => response.with_unknown_state_filters(filter.unknown_states.clone()),
        Err(error) => response.with_error_code(error.code()),
    }
}

/// The transactions that a request names: one up to version 3, a list from version 4 on.
pub(crate) fn transactions(
    request: &AddPartitionsToTxnRequest,
    api_version: i16,
) -> Vec<AddPartitionsToTxnTransaction> {
    if api_version >= 4 {
        return request.transactions.clone();
    }
    let only = AddPartitionsToTxnTransaction::default()
        .with_transactional_id(request.v3_and_below_transactional_id.clone())
        .with_producer_id(request.v3_and_below_producer_id)
        .with_producer_epoch(request.v3_and_below_producer_epoch)
        .with_topics(request.v3_and_below_topics.clone());
    vec![only]
}

pub(crate) fn init_producer_id(
    api_version: i16,
    outcome: Result<(i64, i16), ResponseError>,
) -> Response {
    let (producer_id, producer_epoch) = outcome.unwrap_or((NO_PRODUCER_ID, NO_PRODUCER_EPOCH));
    let response = InitProducerIdResponse::default()
        .with_error_code(code(outcome, api_version, 4))
        .with_producer_id(producer_id.into())
        .with_producer_epoch(producer_epoch);
    Response::InitProducerId(response)
}

pub(crate) fn add_offsets(
    api_version: i16,
    outcome: Result<(i64, i16), ResponseError>,
) -> Response {
    let error_code = code(outcome, api_version, 2);
    Response::AddOffsetsToTxn(AddOffsetsToTxnResponse::default().with_error_code(error_code))
}

pub(crate) fn end(api_version: i16, outcome: Result<(i64, i16), ResponseError>) -> Response {
    let mut response = EndTxnResponse::default().with_error_code(code(outcome, api_version, 2));
    if api_version >= 5 {
        let (producer_id, producer_epoch) = outcome.unwrap_or((NO_PRODUCER_ID, NO_PRODUCER_EPOCH));
        response = response
            .with_producer_id(producer_id.into())
            .with_producer_epoch(producer_epoch);
    }
    Response::EndTxn(response)
}

pub(crate) fn add_partitions(
    api_version: i16,
    mut results: Vec<AddPartitionsToTxnResult>,
) -> Response {
    let response = AddPartitionsToTxnResponse::default();
    let response = if api_version >= 4 {
        response.with_results_by_transaction(results)
    } else {
        let only = results.pop().unwrap_or_default();
        response.with_results_by_topic_v3_and_below(only.topic_results)
    };
    Response::AddPartitionsToTxn(response)
}

pub(crate) fn result_of(
    transaction: &AddPartitionsToTxnTransaction,
    topic_results: Vec<AddPartitionsToTxnTopicResult>,
) -> AddPartitionsToTxnResult {
    AddPartitionsToTxnResult::default()
        .with_transactional_id(transaction.transactional_id.clone())
        .with_topic_results(topic_results)
}

/// The same error for every partition; `None` is none.
pub(crate) fn topic_results(
    topics: &[AddPartitionsToTxnTopic],
    error: Option<ResponseError>,
) -> Vec<AddPartitionsToTxnTopicResult> {
    topic_results_by(topics, |_, _| error)
}

pub(crate) fn topic_results_by(
    topics: &[AddPartitionsToTxnTopic],
    error_of: impl Fn(&str, i32) -> Option<ResponseError>,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|&partition| {
            let error = error_of(&topic.name, partition);
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(partition)
                .with_partition_error_code(error.map_or(0, |error| error.code()))
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    results.collect()
}

/// Clients from before KIP-588 do not know PRODUCER_FENCED.
pub(crate) fn told(
    error: ResponseError,
    api_version: i16,
    first_with_producer_fenced: i16,
) -> Option<ResponseError> {
    let is_unknown =
        error == ResponseError::ProducerFenced && api_version < first_with_producer_fenced;
    Some(if is_unknown {
        ResponseError::InvalidProducerEpoch
    } else {
        error
    })
}

fn code<T>(
    outcome: Result<T, ResponseError>,
    api_version: i16,
    first_with_producer_fenced: i16,
) -> i16 {
    let error = outcome.err();
    let error = error.and_then(|error| told(error, api_version, first_with_producer_fenced));
    error.map_or(0, |error| error.code())
}
