//! The group APIs: checked here against ACLs and topics, decided by the coordinator.

use foz_groups::{Request, Response};
use foz_protocol::error::ErrorCode;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::authorized_operations;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// A handler that asks the coordinator about one group, after the ACL of that group.
macro_rules! ask_for_group {
    ($name:ident, $request:ident, $response:ident, $variant:ident, $operation:ident) => {
        pub(crate) async fn $name(context: RequestContext, request: $request) -> $response {
            let group = request.group_id.to_string();
            let allowed = context.allows(Operation::$operation, &Resource::Group(&group));
            match ask(&context, Request::$variant(request), allowed).await {
                Response::$variant(response) => response,
                other => unreachable!("the coordinator answered {other:?}"),
            }
        }
    };
}

/// KIP-559: from here on a protocol that nobody has chosen yet is null.
const NO_PROTOCOL_IS_NULL_FROM: i16 = 7;

pub(crate) async fn join_group(
    context: RequestContext,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let version = context.version;
    let response = joined_group(context, request).await;
    let is_chosen = response.protocol_name.as_ref();
    if version >= NO_PROTOCOL_IS_NULL_FROM && is_chosen.is_some_and(|name| name.is_empty()) {
        return response.with_protocol_name(None);
    }
    response
}

ask_for_group!(
    joined_group,
    JoinGroupRequest,
    JoinGroupResponse,
    JoinGroup,
    Read
);
ask_for_group!(
    sync_group,
    SyncGroupRequest,
    SyncGroupResponse,
    SyncGroup,
    Read
);
ask_for_group!(
    heartbeat,
    HeartbeatRequest,
    HeartbeatResponse,
    Heartbeat,
    Read
);
ask_for_group!(
    leave_group,
    LeaveGroupRequest,
    LeaveGroupResponse,
    LeaveGroup,
    Read
);

/// A handler of a request that may name many groups; those that the client may not see are refused
/// together with the rest, so that no answer tells which of them exist.
macro_rules! ask_for_groups {
    ($name:ident, $request:ident, $response:ident, $variant:ident, $operation:ident, $groups:expr) => {
        pub(crate) async fn $name(context: RequestContext, request: $request) -> $response {
            let groups: Vec<String> = $groups(&request);
            let allowed = groups
                .iter()
                .all(|group| context.allows(Operation::$operation, &Resource::Group(group)));
            match ask(&context, Request::$variant(request), allowed).await {
                Response::$variant(response) => response,
                other => unreachable!("the coordinator answered {other:?}"),
            }
        }
    };
}

/// What the caller may do to a group is known here, not to the coordinator.
pub(crate) async fn describe_groups(
    context: RequestContext,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let asked = request.include_authorized_operations;
    let mut response = described_groups(context.clone(), request).await;
    for group in &mut response.groups {
        let is_described = group.error_code == ErrorCode::None.code();
        let resource = Resource::Group(&group.group_id);
        group.authorized_operations =
            authorized_operations::bits(&context, &resource, asked && is_described);
    }
    response
}

ask_for_groups!(
    described_groups,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    DescribeGroups,
    Describe,
    |request: &DescribeGroupsRequest| request.groups.iter().map(|id| id.to_string()).collect()
);
ask_for_groups!(
    delete_groups,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
    DeleteGroups,
    Delete,
    |request: &DeleteGroupsRequest| request
        .groups_names
        .iter()
        .map(|id| id.to_string())
        .collect()
);
ask_for_groups!(
    offset_fetch,
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetFetch,
    Describe,
    |request: &OffsetFetchRequest| {
        let single = (!request.group_id.is_empty()).then(|| request.group_id.to_string());
        request
            .groups
            .iter()
            .map(|group| group.group_id.to_string())
            .chain(single)
            .collect()
    }
);

pub(crate) async fn list_groups(
    context: RequestContext,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let everything = context.allows(Operation::Describe, &Resource::Cluster);
    let mut response = match ask(&context, Request::ListGroups(request), true).await {
        Response::ListGroups(response) => response,
        other => unreachable!("the coordinator answered {other:?}"),
    };
    response.groups.retain(|group| {
        everything || context.allows(Operation::Describe, &Resource::Group(&group.group_id))
    });
    response
}

/// Offsets for topics or partitions that do not exist, or that the client may not read, are refused
/// here; the rest goes to the coordinator.
pub(crate) async fn offset_commit(
    context: RequestContext,
    mut request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let mut refused: Vec<OffsetCommitResponseTopic> = Vec::new();
    for topic in &mut request.topics {
        let answers = refuse_commits(&context, topic);
        if !answers.is_empty() {
            refused.push(
                OffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(answers),
            );
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    if request.topics.is_empty() && !refused.is_empty() {
        return OffsetCommitResponse::default().with_topics(refused);
    }
    let allowed = context.allows(Operation::Read, &Resource::Group(&request.group_id));
    let response = match ask(&context, Request::OffsetCommit(request), allowed).await {
        Response::OffsetCommit(response) => response,
        other => unreachable!("the coordinator answered {other:?}"),
    };
    merge_commits(response, refused)
}

pub(crate) async fn offset_delete(
    context: RequestContext,
    mut request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let mut refused: Vec<OffsetDeleteResponseTopic> = Vec::new();
    for topic in &mut request.topics {
        let mut answers = Vec::new();
        topic.partitions.retain(|partition| {
            let error = partition_error(&context, &topic.name, partition.partition_index);
            answers.extend(error.map(|error| {
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(error.code())
            }));
            error.is_none()
        });
        if !answers.is_empty() {
            refused.push(
                OffsetDeleteResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(answers),
            );
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    let allowed = context.allows(Operation::Delete, &Resource::Group(&request.group_id));
    let mut response = match ask(&context, Request::OffsetDelete(request), allowed).await {
        Response::OffsetDelete(response) => response,
        other => unreachable!("the coordinator answered {other:?}"),
    };
    // An error of the whole request, such as an unknown group, stands alone.
    if response.error_code == ErrorCode::None.code() {
        merge_deletions(&mut response, refused);
    }
    response
}

pub(super) async fn ask(context: &RequestContext, request: Request, allowed: bool) -> Response {
    if allowed {
        context.broker.coordinators.ask(context, request).await
    } else {
        request.error_response(context.version, ResponseError::GroupAuthorizationFailed)
    }
}

fn refuse_commits(
    context: &RequestContext,
    topic: &mut OffsetCommitRequestTopic,
) -> Vec<OffsetCommitResponsePartition> {
    let mut answers = Vec::new();
    topic.partitions.retain(|partition| {
        let error = partition_error(context, &topic.name, partition.partition_index);
        answers.extend(error.map(|error| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error.code())
        }));
        error.is_none()
    });
    answers
}

pub(super) fn partition_error(
    context: &RequestContext,
    topic: &str,
    index: i32,
) -> Option<ErrorCode> {
    if !context.allows(Operation::Read, &Resource::Topic(topic)) {
        return Some(ErrorCode::TopicAuthorizationFailed);
    }
    match context.broker.image().partition(topic, index) {
        Some(_) => None,
        None => Some(ErrorCode::UnknownTopicOrPartition),
    }
}

/// A topic of which some partitions were refused is named once.
fn merge_commits(
    mut response: OffsetCommitResponse,
    refused: Vec<OffsetCommitResponseTopic>,
) -> OffsetCommitResponse {
    for topic in refused {
        match response
            .topics
            .iter_mut()
            .find(|answered| answered.name == topic.name)
        {
            Some(answered) => answered.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
    response
}

/// As [`merge_commits`]: of two entries for one topic Java's client keeps the first alone.
fn merge_deletions(response: &mut OffsetDeleteResponse, refused: Vec<OffsetDeleteResponseTopic>) {
    for topic in refused {
        match response
            .topics
            .iter_mut()
            .find(|answered| answered.name == topic.name)
        {
            Some(answered) => answered.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
}
