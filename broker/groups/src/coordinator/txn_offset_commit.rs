use std::sync::Arc;

use foz_canary::{Canary, sings};
use foz_records::STRING_BYTES_MAX;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::offset_commit::refuse;
use super::{Coordinator, reply};
use crate::append::Deferred;
use crate::consumer::{CommitApi, CommitRule};
use crate::effect::Effect;
use crate::group::Group;
use crate::now::Now;
use crate::offsets::{OffsetAndMetadata, OffsetChange, OffsetKey};
use crate::request::{Request, RequestContext};
use crate::response::Response;
use crate::transaction::TransactionalProducer;

impl Coordinator {
    /// KIP-447. Unlike an OffsetCommit it keeps no session alive.
    pub(super) fn txn_offset_commit(
        &mut self,
        context: &RequestContext,
        request: TxnOffsetCommitRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let (response, offsets) = match self.commit_in_transaction(&request, now) {
            Ok(committed) => committed,
            Err(error) => {
                let request = Request::TxnOffsetCommit(request);
                let response = request.error_response(context.api_version, error);
                return reply(effects, context, response);
            }
        };
        let response = Response::TxnOffsetCommit(response);
        if offsets.is_empty() {
            return reply(effects, context, response);
        }
        let deferred = Deferred::Reply {
            waiter: context.waiter,
            response,
        };
        let producer = TransactionalProducer {
            id: request.producer_id.0,
            epoch: request.producer_epoch,
        };
        let mut turn = self.parts(now, effects).turn;
        turn.append_pending(producer, offsets, deferred);
    }

    /// Producers know no STALE_MEMBER_EPOCH.
    fn commit_in_transaction(
        &self,
        request: &TxnOffsetCommitRequest,
        now: Now,
    ) -> Result<(TxnOffsetCommitResponse, Vec<OffsetChange>), ResponseError> {
        let told = |error| match error {
            ResponseError::StaleMemberEpoch => ResponseError::IllegalGeneration,
            other => other,
        };
        let rule = self.validate_txn_commit(request).map_err(told)?;
        let group_id: Arc<str> = Arc::from(request.group_id.as_str());
        let mut offsets = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name: Arc<str> = Arc::from(topic.name.as_str());
            let topic_id = self.topics.get(&name).map(|topic| topic.id);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let metadata = partition.committed_metadata.as_deref();
                let refused = refuse(&name, metadata, &self.config);
                partitions.push(
                    TxnOffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(refused.map_or(0, |error| error.code())),
                );
                if refused.is_some() {
                    continue;
                }
                // A topic that is not known was assigned to nobody.
                rule.check(&topic_id.unwrap_or_default(), partition.partition_index)
                    .map_err(told)?;
                let key = OffsetKey {
                    group_id: group_id.clone(),
                    topic: name.clone(),
                    partition: partition.partition_index,
                };
                let value = OffsetAndMetadata::committed(
                    partition.committed_offset,
                    partition.committed_leader_epoch,
                    metadata,
                    now,
                );
                offsets.push(OffsetChange {
                    key,
                    value: Some(value),
                });
            }
            topics.push(
                TxnOffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions),
            );
        }
        let response = TxnOffsetCommitResponse::default().with_topics(topics);
        Ok((response, offsets))
    }

    fn validate_txn_commit(
        &self,
        request: &TxnOffsetCommitRequest,
    ) -> Result<CommitRule<'_>, ResponseError> {
        let group_id = request.group_id.as_str();
        if group_id.is_empty() || group_id.len() > STRING_BYTES_MAX {
            return Err(ResponseError::InvalidGroupId);
        }
        if sings(Canary::FencedMemberCommits) {
            return Ok(CommitRule::Any);
        }
        if let Some(group) = self.consumer_groups.get(group_id) {
            return group.check_commit(
                CommitApi::TxnOffsetCommit,
                &request.member_id,
                request.group_instance_id.as_deref(),
                request.generation_id,
            );
        }
        match self.groups.get(group_id) {
            Some(group) => validate_member(group, request)?,
            // It comes into being with its first offset.
            None if request.generation_id < 0 => {}
            None => return Err(ResponseError::IllegalGeneration),
        }
        Ok(CommitRule::Any)
    }
}

/// Up to version 2 the member is not named, also where the group has some. Whether they are rebalancing does not matter: the
/// transaction is over before another member is told the offset.
fn validate_member(group: &Group, request: &TxnOffsetCommitRequest) -> Result<(), ResponseError> {
    let generation = request.generation_id;
    let instance_id = request.group_instance_id.as_deref();
    if generation < 0 && group.is_empty() {
        return Ok(());
    }
    if generation < 0 && request.member_id.is_empty() && instance_id.is_none() {
        return Ok(());
    }
    group.validate_member(&request.member_id, instance_id)?;
    if generation != group.generation {
        return Err(ResponseError::IllegalGeneration);
    }
    Ok(())
}
