use foz_api::v1;
use foz_api::v1::alter_partitions_response::result::Result as Answered;
use foz_api::v1::alter_partitions_response::{Error, Result as PartitionResult, State};
use foz_metadata::rules::{self, AlterPartitions, IsrChange, PartitionState, Refusal};
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;

/// What one request may change: some hundred bytes each, far from what the quorum takes as one entry.
const PARTITIONS_MAX: usize = 10_000;

/// It is on the way of every failover: the answer waits for the commit, not for brokers to apply it.
pub(super) async fn alter_partitions(
    calls: &Calls,
    request: v1::AlterPartitionsRequest,
) -> Result<v1::AlterPartitionsResponse, Status> {
    let count = request.partitions.len();
    if count > PARTITIONS_MAX {
        return Err(Status::invalid_argument(format!(
            "partitions has {count} items, and at most {PARTITIONS_MAX} are possible; ask for the rest by another request"
        )));
    }
    let request = AlterPartitions {
        broker_id: request.node_id,
        broker_epoch: request.broker_epoch,
        partitions: request
            .partitions
            .into_iter()
            .map(isr_change)
            .collect::<Result<_, _>>()?,
    };
    let rule = move |image: &_| rules::alter_partitions(image, &request);
    let (results, metadata_offset) = calls.run(rule).await?;
    Ok(v1::AlterPartitionsResponse {
        results: results.into_iter().map(result).collect(),
        metadata_offset,
    })
}

fn isr_change(change: v1::IsrChange) -> Result<IsrChange, Status> {
    let members = change.new_isr.into_iter();
    Ok(IsrChange {
        topic_id: convert::id("partitions.topic_id", &change.topic_id)?,
        index: change.index,
        leader_epoch: change.leader_epoch,
        partition_epoch: change.partition_epoch,
        new_isr: members
            .map(|member| (member.node_id, member.broker_epoch))
            .collect(),
    })
}

fn result(result: Result<PartitionState, Refusal>) -> PartitionResult {
    let result = match result {
        Ok(state) => Answered::State(State {
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            isr: state.isr,
            partition_epoch: state.partition_epoch,
        }),
        Err(refusal) => Answered::Error(Error {
            code: i32::from(refusal.code.kafka_code()),
            message: refusal.message,
        }),
    };
    PartitionResult {
        result: Some(result),
    }
}
