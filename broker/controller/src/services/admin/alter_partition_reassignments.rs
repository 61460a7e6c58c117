use foz_api::v1;
use foz_api::v1::alter_partition_reassignments_response::Result as PartitionResult;
use foz_metadata::rules::{self, AlterPartitionReassignments, Reassignment};
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn alter_partition_reassignments(
    calls: &Calls,
    request: v1::AlterPartitionReassignmentsRequest,
) -> Result<v1::AlterPartitionReassignmentsResponse, Status> {
    let partitions = request.partitions.into_iter();
    let request = AlterPartitionReassignments {
        partitions: partitions
            .map(|wanted| Reassignment {
                topic: wanted.topic,
                index: wanted.index,
                replicas: wanted.target.map(|target| target.replicas),
            })
            .collect(),
        allow_replication_factor_change: request.allow_replication_factor_change,
        operator_epoch: request.operator_epoch,
    };
    let rule = move |image: &_| rules::alter_partition_reassignments(image, &request);
    let results = calls.change(rule).await?;
    let results = results
        .into_iter()
        .map(|(topic, index, result)| PartitionResult {
            topic,
            index,
            outcome: Some(convert::outcome(&result)),
        })
        .collect();
    Ok(v1::AlterPartitionReassignmentsResponse { results })
}
