use foz_api::v1::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use foz_metadata::rules;
use tonic::Status;

use crate::services::calls::Calls;

pub(super) async fn allocate_producer_ids(
    calls: &Calls,
    request: AllocateProducerIdsRequest,
) -> Result<AllocateProducerIdsResponse, Status> {
    let AllocateProducerIdsRequest {
        node_id,
        broker_epoch,
    } = request;
    let rule = move |image: &_| rules::allocate_producer_ids(image, node_id, broker_epoch);
    let (block, _) = calls.run(rule).await?;
    Ok(AllocateProducerIdsResponse {
        first_id: block.first_id,
        count: block.count,
    })
}
