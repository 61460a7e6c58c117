use foz_api::v1;
use foz_metadata::rules::{self, CreatePartitions, Increase};
use tonic::Status;
use uuid::Uuid;

use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn create_partitions(
    calls: &Calls,
    request: v1::CreatePartitionsRequest,
) -> Result<v1::CreatePartitionsResponse, Status> {
    let increase = |topic: v1::create_partitions_request::Increase| Increase {
        name: topic.name,
        count: topic.count,
        assignments: convert::assignments(topic.assignments),
    };
    let request = CreatePartitions {
        topics: request.topics.into_iter().map(increase).collect(),
        validate_only: request.validate_only,
        operator_epoch: request.operator_epoch,
        seed: Uuid::new_v4().as_u64_pair().0,
    };
    let results = calls
        .change(move |image| rules::create_partitions(image, &request))
        .await?;
    Ok(v1::CreatePartitionsResponse {
        results: results.iter().map(convert::outcome).collect(),
    })
}
