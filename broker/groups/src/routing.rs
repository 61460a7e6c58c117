use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ConsumerGroupDescribeResponse, DeleteGroupsResponse, DescribeGroupsResponse,
    ListGroupsResponse, OffsetFetchResponse,
};

use crate::partition::partition_for;
use crate::request::Request;
use crate::response::Response;

/// Where a part of a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// To the coordinator of this partition of `__consumer_offsets`.
    Partition(i32),
    /// To every coordinator of this broker (ListGroups); those that are not there count for nothing.
    Every,
}

/// Cuts a request into the parts that belong to one coordinator each. Only DescribeGroups,
/// ConsumerGroupDescribe, DeleteGroups and OffsetFetch of version 8 on can give more than one, or, when they name no group,
/// none.
pub fn split(request: Request, api_version: i16, partition_count: i32) -> Vec<(Route, Request)> {
    let of = |group_id: &str| Route::Partition(partition_for(group_id, partition_count));
    match request {
        Request::ListGroups(_) => vec![(Route::Every, request)],
        Request::JoinGroup(ref part) => vec![(of(&part.group_id), request)],
        Request::SyncGroup(ref part) => vec![(of(&part.group_id), request)],
        Request::Heartbeat(ref part) => vec![(of(&part.group_id), request)],
        Request::LeaveGroup(ref part) => vec![(of(&part.group_id), request)],
        Request::OffsetCommit(ref part) => vec![(of(&part.group_id), request)],
        Request::OffsetDelete(ref part) => vec![(of(&part.group_id), request)],
        Request::ConsumerGroupHeartbeat(ref part) => vec![(of(&part.group_id), request)],
        Request::TxnOffsetCommit(ref part) => vec![(of(&part.group_id), request)],
        Request::CompleteTransaction(part) => {
            vec![(Route::Partition(part.offsets_partition), request)]
        }
        Request::OffsetFetch(ref part) if api_version < 8 => vec![(of(&part.group_id), request)],
        Request::OffsetFetch(mut whole) => {
            let groups = by_route(std::mem::take(&mut whole.groups), |group| {
                of(&group.group_id)
            });
            let part = |groups| Request::OffsetFetch(whole.clone().with_groups(groups));
            parts(groups, part)
        }
        Request::DescribeGroups(mut whole) => {
            let groups = by_route(std::mem::take(&mut whole.groups), |group_id| of(group_id));
            let part = |groups| Request::DescribeGroups(whole.clone().with_groups(groups));
            parts(groups, part)
        }
        Request::ConsumerGroupDescribe(mut whole) => {
            let group_ids = std::mem::take(&mut whole.group_ids);
            let groups = by_route(group_ids, |group_id| of(group_id));
            let part =
                |groups| Request::ConsumerGroupDescribe(whole.clone().with_group_ids(groups));
            parts(groups, part)
        }
        Request::DeleteGroups(mut whole) => {
            let names = std::mem::take(&mut whole.groups_names);
            let groups = by_route(names, |group_id| of(group_id));
            let part = |groups| Request::DeleteGroups(whole.clone().with_groups_names(groups));
            parts(groups, part)
        }
    }
}

/// Puts the answers to the parts of one request together again. Without any, because no group was
/// named or this broker coordinates none, it is `empty`: see [`Request::empty_response`].
///
/// # Panics
/// When the answers are not of one kind.
pub fn merge(responses: Vec<Response>, empty: Response) -> Response {
    let merged = responses
        .into_iter()
        .filter(|response| !has_no_groups_to_list(response))
        .reduce(|whole, part| match (whole, part) {
            (Response::OffsetFetch(whole), Response::OffsetFetch(part)) => {
                let groups = [whole.groups, part.groups].concat();
                Response::OffsetFetch(OffsetFetchResponse::default().with_groups(groups))
            }
            (Response::DescribeGroups(whole), Response::DescribeGroups(part)) => {
                let groups = [whole.groups, part.groups].concat();
                Response::DescribeGroups(DescribeGroupsResponse::default().with_groups(groups))
            }
            (Response::ConsumerGroupDescribe(whole), Response::ConsumerGroupDescribe(part)) => {
                let groups = [whole.groups, part.groups].concat();
                let response = ConsumerGroupDescribeResponse::default();
                Response::ConsumerGroupDescribe(response.with_groups(groups))
            }
            (Response::DeleteGroups(whole), Response::DeleteGroups(part)) => {
                let results = [whole.results, part.results].concat();
                Response::DeleteGroups(DeleteGroupsResponse::default().with_results(results))
            }
            (Response::ListGroups(whole), Response::ListGroups(part)) => {
                let error_code = if whole.error_code == 0 {
                    part.error_code
                } else {
                    whole.error_code
                };
                let groups = [whole.groups, part.groups].concat();
                let response = ListGroupsResponse::default().with_groups(groups);
                Response::ListGroups(response.with_error_code(error_code))
            }
            (whole, part) => panic!("{part:?} is no part of the answer {whole:?}"),
        });
    merged.unwrap_or(empty)
}

/// As in Kafka, a partition that is coordinated elsewhere by now, or could not be loaded, adds nothing to a
/// list.
fn has_no_groups_to_list(response: &Response) -> bool {
    let not_coordinator = ResponseError::NotCoordinator.code();
    matches!(response, Response::ListGroups(part) if part.error_code == not_coordinator)
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
    routes
        .into_iter()
        .map(|(route, items)| (route, part(items)))
        .collect()
}
