use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumerGroup;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatResponse, DeleteGroupsResponse,
    DescribeGroupsResponse, GroupId, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse,
    ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupResponse, TopicName, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::group::GroupState;
use crate::request::Request;

/// The response to a [`Request`] of the same name, fit for the request's version.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Response {
    JoinGroup(JoinGroupResponse),
    SyncGroup(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    DescribeGroups(DescribeGroupsResponse),
    ListGroups(ListGroupsResponse),
    DeleteGroups(DeleteGroupsResponse),
    OffsetDelete(OffsetDeleteResponse),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
    ConsumerGroupDescribe(ConsumerGroupDescribeResponse),
    TxnOffsetCommit(TxnOffsetCommitResponse),
    CompleteTransaction(Result<(), ResponseError>),
}

/// From this version on producers know COORDINATOR_LOAD_IN_PROGRESS (KAFKA-7296).
const LOADING_KNOWN_FROM: i16 = 2;

impl Request {
    /// The answer that says nothing: what a broker answers that coordinates none of the groups.
    pub fn empty_response(&self) -> Response {
        match self {
            Self::JoinGroup(_) => Response::JoinGroup(Default::default()),
            Self::SyncGroup(_) => Response::SyncGroup(Default::default()),
            Self::Heartbeat(_) => Response::Heartbeat(Default::default()),
            Self::LeaveGroup(_) => Response::LeaveGroup(Default::default()),
            Self::OffsetCommit(_) => Response::OffsetCommit(Default::default()),
            Self::OffsetFetch(_) => Response::OffsetFetch(Default::default()),
            Self::DescribeGroups(_) => Response::DescribeGroups(Default::default()),
            Self::ListGroups(_) => Response::ListGroups(Default::default()),
            Self::DeleteGroups(_) => Response::DeleteGroups(Default::default()),
            Self::OffsetDelete(_) => Response::OffsetDelete(Default::default()),
            Self::ConsumerGroupHeartbeat(_) => Response::ConsumerGroupHeartbeat(Default::default()),
            Self::ConsumerGroupDescribe(_) => Response::ConsumerGroupDescribe(Default::default()),
            Self::TxnOffsetCommit(_) => Response::TxnOffsetCommit(Default::default()),
            Self::CompleteTransaction(_) => Response::CompleteTransaction(Ok(())),
        }
    }

    /// The answer that refuses the whole request: for a caller that does not reach a coordinator
    /// (NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS, an authorization error ...).
    pub fn error_response(&self, api_version: i16, error: ResponseError) -> Response {
        let error_code = error.code();
        match self {
            Self::JoinGroup(request) => Response::JoinGroup(
                JoinGroupResponse::default()
                    .with_member_id(request.member_id.clone())
                    .with_error_code(error_code),
            ),
            Self::SyncGroup(_) => {
                Response::SyncGroup(SyncGroupResponse::default().with_error_code(error_code))
            }
            Self::Heartbeat(_) => {
                // A member whose coordinator is loading is not to rejoin for that.
                let loading = error == ResponseError::CoordinatorLoadInProgress;
                let error_code = if loading { 0 } else { error_code };
                Response::Heartbeat(HeartbeatResponse::default().with_error_code(error_code))
            }
            Self::LeaveGroup(_) => {
                Response::LeaveGroup(LeaveGroupResponse::default().with_error_code(error_code))
            }
            Self::OffsetCommit(request) => {
                Response::OffsetCommit(failed_offset_commit(request, error))
            }
            Self::OffsetFetch(request) => {
                Response::OffsetFetch(failed_offset_fetch(request, api_version, error))
            }
            Self::DescribeGroups(request) => {
                let failed = |group_id: &GroupId| {
                    DescribedGroup::default()
                        .with_group_id(group_id.clone())
                        .with_group_state(StrBytes::from_static_str(""))
                        .with_error_code(error_code)
                };
                let groups = request.groups.iter().map(failed).collect();
                Response::DescribeGroups(DescribeGroupsResponse::default().with_groups(groups))
            }
            Self::ListGroups(_) => {
                Response::ListGroups(ListGroupsResponse::default().with_error_code(error_code))
            }
            Self::DeleteGroups(request) => {
                let failed = |group_id: &GroupId| {
                    DeletableGroupResult::default()
                        .with_group_id(group_id.clone())
                        .with_error_code(error_code)
                };
                let results = request.groups_names.iter().map(failed).collect();
                Response::DeleteGroups(DeleteGroupsResponse::default().with_results(results))
            }
            Self::OffsetDelete(_) => {
                Response::OffsetDelete(OffsetDeleteResponse::default().with_error_code(error_code))
            }
            Self::ConsumerGroupHeartbeat(_) => failed_consumer_heartbeat(error),
            Self::ConsumerGroupDescribe(request) => {
                let groups = request.group_ids.iter();
                let groups = groups.map(|group_id| failed_consumer_group(group_id, error));
                let response = ConsumerGroupDescribeResponse::default();
                Response::ConsumerGroupDescribe(response.with_groups(groups.collect()))
            }
            Self::TxnOffsetCommit(request) => {
                let response = failed_txn_offset_commit(request, api_version, error);
                Response::TxnOffsetCommit(response)
            }
            Self::CompleteTransaction(_) => Response::CompleteTransaction(Err(error)),
        }
    }
}

impl Response {
    /// The answer for when the append that this response waited for has failed.
    pub(crate) fn into_failed(mut self, error: ResponseError) -> Self {
        let error_code = error.code();
        match &mut self {
            Self::JoinGroup(response) => response.error_code = error_code,
            Self::SyncGroup(response) => response.error_code = error_code,
            Self::Heartbeat(response) => response.error_code = error_code,
            Self::ListGroups(response) => response.error_code = error_code,
            Self::LeaveGroup(response) => {
                response.error_code = error_code;
                response.members.clear();
            }
            Self::OffsetDelete(response) => {
                response.error_code = error_code;
                response.topics.clear();
            }
            Self::OffsetCommit(response) => {
                for partition in response.topics.iter_mut().flat_map(|t| &mut t.partitions) {
                    partition.error_code = error_code;
                }
            }
            Self::TxnOffsetCommit(response) => {
                for partition in response.topics.iter_mut().flat_map(|t| &mut t.partitions) {
                    partition.error_code = error_code;
                }
            }
            Self::CompleteTransaction(outcome) => *outcome = Err(error),
            Self::DeleteGroups(response) => {
                for result in &mut response.results {
                    result.error_code = error_code;
                }
            }
            Self::DescribeGroups(response) => {
                for group in &mut response.groups {
                    group.error_code = error_code;
                }
            }
            Self::ConsumerGroupHeartbeat(_) => return failed_consumer_heartbeat(error),
            Self::ConsumerGroupDescribe(response) => {
                for group in &mut response.groups {
                    *group = failed_consumer_group(&group.group_id, error);
                }
            }
            Self::OffsetFetch(response) => {
                response.error_code = error_code;
                for group in &mut response.groups {
                    group.error_code = error_code;
                    group.topics.clear();
                }
            }
        }
        self
    }
}

pub(crate) fn wire(string: &str) -> StrBytes {
    StrBytes::from_string(string.to_owned())
}

pub(crate) fn wire_group_id(group_id: &str) -> GroupId {
    GroupId(wire(group_id))
}

pub(crate) fn wire_topic_name(topic: &str) -> TopicName {
    TopicName(wire(topic))
}

/// Up to version 2 there is one member and its error is the response's.
pub(crate) fn leave_response(api_version: i16, members: Vec<MemberResponse>) -> Response {
    let response = LeaveGroupResponse::default();
    Response::LeaveGroup(if api_version >= 3 {
        response.with_members(members)
    } else {
        response.with_error_code(members.first().map_or(0, |member| member.error_code))
    })
}

/// How a group that does not exist is described: Dead, and from version 6 an error (KIP-1043).
pub(crate) fn describe_missing(api_version: i16, group_id: &str) -> DescribedGroup {
    let described = DescribedGroup::default()
        .with_group_id(wire_group_id(group_id))
        .with_group_state(StrBytes::from_static_str(GroupState::Dead.name()));
    if api_version < 6 {
        return described;
    }
    described
        .with_error_code(ResponseError::GroupIdNotFound.code())
        .with_error_message(Some(wire(&format!("Group {group_id} not found."))))
}

fn failed_consumer_heartbeat(error: ResponseError) -> Response {
    let response = ConsumerGroupHeartbeatResponse::default();
    Response::ConsumerGroupHeartbeat(response.with_error_code(error.code()))
}

fn failed_consumer_group(group_id: &GroupId, error: ResponseError) -> DescribedConsumerGroup {
    DescribedConsumerGroup::default()
        .with_group_id(group_id.clone())
        .with_error_code(error.code())
}

fn failed_offset_commit(
    request: &OffsetCommitRequest,
    error: ResponseError,
) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error.code())
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn failed_txn_offset_commit(
    request: &TxnOffsetCommitRequest,
    api_version: i16,
    error: ResponseError,
) -> TxnOffsetCommitResponse {
    let error = match error {
        ResponseError::CoordinatorLoadInProgress if api_version < LOADING_KNOWN_FROM => {
            ResponseError::CoordinatorNotAvailable
        }
        other => other,
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(error.code())
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

fn failed_offset_fetch(
    request: &OffsetFetchRequest,
    api_version: i16,
    error: ResponseError,
) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default();
    if api_version >= 8 {
        let groups = request.groups.iter().map(|group| {
            OffsetFetchResponseGroup::default()
                .with_group_id(group.group_id.clone())
                .with_error_code(error.code())
        });
        return response.with_groups(groups.collect());
    }
    if api_version >= 2 {
        return response.with_error_code(error.code());
    }
    // Version 1 has no place for an error but the partitions.
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(-1)
                .with_metadata(Some(StrBytes::default()))
                .with_error_code(error.code())
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    response.with_topics(topics.collect())
}
