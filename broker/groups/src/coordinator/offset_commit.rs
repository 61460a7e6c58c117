use std::sync::Arc;

use foz_records::STRING_BYTES_MAX;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::{Coordinator, Parts, reply};
use crate::append::{Change, Deferred};
use crate::config::GroupConfig;
use crate::consumer::{CommitApi, CommitRule, Topics};
use crate::effect::Effect;
use crate::group::{Group, GroupState};
use crate::now::Now;
use crate::offsets::{OffsetAndMetadata, OffsetChange, OffsetKey};
use crate::record::offset_record;
use crate::request::{Request, RequestContext};
use crate::response::Response;

/// From this version on clients know GROUP_ID_NOT_FOUND (KIP-848).
const GROUP_ID_NOT_FOUND_VERSION: i16 = 9;

/// Longest name a topic can have.
const TOPIC_NAME_BYTES_MAX: usize = 249;

impl Coordinator {
    pub(super) fn offset_commit(
        &mut self,
        context: &RequestContext,
        request: OffsetCommitRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let rule = match self.validate_commit(context.api_version, &request) {
            Ok(rule) => rule,
            Err(error) => {
                let request = Request::OffsetCommit(request);
                let response = request.error_response(context.api_version, error);
                return reply(effects, context, response);
            }
        };
        let (response, changes) = commit(&request, &rule, &self.topics, &self.config, now);
        let Parts {
            groups, mut turn, ..
        } = self.parts(now, effects);
        if let Some(group) = groups.get(request.group_id.as_str()) {
            // A commit is as good as a heartbeat.
            turn.schedule_session(group, &Arc::from(request.member_id.as_str()));
        }
        let response = Response::OffsetCommit(response);
        if changes.is_empty() {
            return reply(effects, context, response);
        }
        let records = changes.iter().map(offset_record).collect();
        let deferred = Deferred::Reply {
            waiter: context.waiter,
            response,
        };
        turn.append(records, Change::Offsets(changes), vec![deferred]);
    }

    fn validate_commit(
        &self,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<CommitRule<'_>, ResponseError> {
        if request.group_id.len() > STRING_BYTES_MAX {
            return Err(ResponseError::InvalidGroupId);
        }
        if let Some(group) = self.consumer_groups.get(request.group_id.as_str()) {
            return group.check_commit(
                CommitApi::OffsetCommit(api_version),
                &request.member_id,
                request.group_instance_id.as_deref(),
                request.generation_id_or_member_epoch,
            );
        }
        let taken = match self.groups.get(request.group_id.as_str()) {
            Some(group) => validate_member_commit(group, request),
            // Without a generation it is a consumer that assigns itself: the group comes into
            // being with its first offset.
            None if request.generation_id_or_member_epoch < 0 => Ok(()),
            None if api_version >= GROUP_ID_NOT_FOUND_VERSION => {
                Err(ResponseError::GroupIdNotFound)
            }
            None => Err(ResponseError::IllegalGeneration),
        };
        taken.map(|()| CommitRule::Any)
    }
}

fn validate_member_commit(
    group: &Group,
    request: &OffsetCommitRequest,
) -> Result<(), ResponseError> {
    let generation = request.generation_id_or_member_epoch;
    let instance_id = request.group_instance_id.as_deref();
    if generation < 0 && group.is_empty() {
        return Ok(());
    }
    if generation < 0 && request.member_id.is_empty() && instance_id.is_none() {
        // One that assigns itself must not disturb a group with members.
        return Err(ResponseError::UnknownMemberId);
    }
    group.validate_member(&request.member_id, instance_id)?;
    if generation != group.generation {
        return Err(ResponseError::IllegalGeneration);
    }
    // While members still join, each may commit what it is about to give up; once the assignment
    // is being made, the partitions may already be another's.
    if group.state == GroupState::CompletingRebalance {
        return Err(ResponseError::RebalanceInProgress);
    }
    Ok(())
}

fn commit(
    request: &OffsetCommitRequest,
    rule: &CommitRule<'_>,
    all_topics: &Topics,
    config: &GroupConfig,
    now: Now,
) -> (OffsetCommitResponse, Vec<OffsetChange>) {
    let group_id: Arc<str> = Arc::from(request.group_id.as_str());
    let retention_ms = Some(request.retention_time_ms).filter(|retention_ms| *retention_ms != -1);
    let expire_timestamp_ms = retention_ms.map(|ms| now.wall_ms.saturating_add(ms));
    let mut changes = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name: Arc<str> = Arc::from(topic.name.as_str());
        let known = || all_topics.get(&name).map(|topic| topic.id);
        let topic_id = Some(topic.topic_id).filter(|id| !id.is_nil());
        let topic_id = topic_id.or_else(known).unwrap_or_default();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let metadata = partition.committed_metadata.as_deref();
            let refused = refuse(&name, metadata, config)
                .or_else(|| rule.check(&topic_id, partition.partition_index).err());
            partitions.push(
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(refused.map_or(0, |error| error.code())),
            );
            if refused.is_some() {
                continue;
            }
            let key = OffsetKey {
                group_id: group_id.clone(),
                topic: name.clone(),
                partition: partition.partition_index,
            };
            let value = OffsetAndMetadata {
                expire_timestamp_ms,
                topic_id: topic.topic_id,
                ..OffsetAndMetadata::committed(
                    partition.committed_offset,
                    partition.committed_leader_epoch,
                    metadata,
                    now,
                )
            };
            changes.push(OffsetChange {
                key,
                value: Some(value),
            });
        }
        topics.push(
            OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions),
        );
    }
    (OffsetCommitResponse::default().with_topics(topics), changes)
}

/// Kafka counts the metadata in UTF-16 units although its config speaks of bytes.
pub(super) fn refuse(
    topic: &str,
    metadata: Option<&str>,
    config: &GroupConfig,
) -> Option<ResponseError> {
    if topic.len() > TOPIC_NAME_BYTES_MAX {
        return Some(ResponseError::UnknownTopicOrPartition);
    }
    let metadata = metadata.unwrap_or("");
    let fits = metadata.len() <= STRING_BYTES_MAX
        && metadata.encode_utf16().count() <= config.offset_metadata_max_bytes;
    (!fits).then_some(ResponseError::OffsetMetadataTooLarge)
}
