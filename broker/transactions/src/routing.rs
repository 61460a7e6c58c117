use std::collections::BTreeMap;

use kafka_protocol::messages::{
    AddPartitionsToTxnResponse, DescribeTransactionsResponse, ListTransactionsResponse,
};

use crate::request::Request;
use crate::response::Response;

/// Where a part of a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// To the coordinator of this partition of `__transaction_state`.
    Partition(i32),
    /// To every coordinator of this broker (ListTransactions); those that are not there count for nothing.
    Every,
}

/// Cuts a request into the parts that belong to one coordinator each. Only DescribeTransactions and
/// AddPartitionsToTxn of version 4 on can give more than one, or, when they name no id, none.
/// `partition_for` finds the partition of a transactional id.
pub fn split(
    request: Request,
    api_version: i16,
    partition_for: impl Fn(&str) -> i32,
) -> Vec<(Route, Request)> {
    let of = |id: &str| Route::Partition(partition_for(id));
    match request {
        Request::ListTransactions(_) => vec![(Route::Every, request)],
        Request::InitProducerId(ref part) => {
            let id = part.transactional_id.as_ref().map_or("", |id| id.as_str());
            vec![(of(id), request)]
        }
        Request::AddOffsetsToTxn {
            request: ref part, ..
        } => vec![(of(&part.transactional_id), request)],
        Request::EndTxn(ref part) => vec![(of(&part.transactional_id), request)],
        Request::AddPartitionsToTxn(ref part) if api_version < 4 => {
            vec![(of(&part.v3_and_below_transactional_id), request)]
        }
        Request::AddPartitionsToTxn(mut whole) => {
            let transactions = std::mem::take(&mut whole.transactions);
            let routes = by_route(transactions, |part| of(&part.transactional_id));
            let part = |part| Request::AddPartitionsToTxn(whole.clone().with_transactions(part));
            parts(routes, part)
        }
        Request::DescribeTransactions(mut whole) => {
            let ids = std::mem::take(&mut whole.transactional_ids);
            let routes = by_route(ids, |id| of(id));
            let part =
                |part| Request::DescribeTransactions(whole.clone().with_transactional_ids(part));
            parts(routes, part)
        }
    }
}

/// Puts the answers to the parts of one request together again. Without any, because no id was named or this
/// broker coordinates none, it is `empty`: see [`Request::empty_response`].
///
/// # Panics
/// When the answers are not of one kind.
pub fn merge(responses: Vec<Response>, empty: Response) -> Response {
    let merged = responses
        .into_iter()
        .reduce(|whole, part| match (whole, part) {
            (Response::AddPartitionsToTxn(whole), Response::AddPartitionsToTxn(part)) => {
                let results = [whole.results_by_transaction, part.results_by_transaction].concat();
                let response = AddPartitionsToTxnResponse::default();
                Response::AddPartitionsToTxn(response.with_results_by_transaction(results))
            }
            (Response::DescribeTransactions(whole), Response::DescribeTransactions(part)) => {
                let states = [whole.transaction_states, part.transaction_states].concat();
                let response = DescribeTransactionsResponse::default();
                Response::DescribeTransactions(response.with_transaction_states(states))
            }
            (Response::ListTransactions(whole), Response::ListTransactions(part)) => {
                let first_error = [whole.error_code, part.error_code];
                let first_error = first_error.into_iter().find(|code| *code != 0);
                if let Some(error_code) = first_error {
                    // Part of a list is no list.
                    let response = ListTransactionsResponse::default();
                    return Response::ListTransactions(response.with_error_code(error_code));
                }
                let states = [whole.transaction_states.clone(), part.transaction_states].concat();
                Response::ListTransactions(whole.with_transaction_states(states))
            }
            (whole, part) => panic!("{part:?} is no part of the answer {whole:?}"),
        });
    merged.unwrap_or(empty)
}

fn by_route<T>(items: Vec<T>, route: impl Fn(&T) -> Route) -> BTreeMap<Route, Vec<T>> {
    let mut routes: BTreeMap<Route, Vec<T>> = BTreeMap::new();
    for item in items {
        routes.entry(route(&item)).or_default().push(item);
    }
    routes
}

fn parts<T>(
    routes: BTreeMap<Route, Vec<T>>,
    part: impl Fn(Vec<T>) -> Request,
) -> Vec<(Route, Request)> {
    let parts = routes
        .into_iter()
        .map(|(route, items)| (route, part(items)));
    parts.collect()
}
