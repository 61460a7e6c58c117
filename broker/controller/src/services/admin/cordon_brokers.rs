use std::collections::BTreeSet;

use foz_api::v1::{CordonBrokersRequest, CordonBrokersResponse};
use foz_metadata::rules;
use tonic::Status;

use crate::services::calls::Calls;

pub(super) async fn cordon_brokers(
    calls: &Calls,
    request: CordonBrokersRequest,
) -> Result<CordonBrokersResponse, Status> {
    let CordonBrokersRequest {
        node_ids,
        cordoned,
        operator_epoch,
    } = request;
    let node_ids: BTreeSet<i32> = node_ids.into_iter().collect();
    calls
        .change(move |image| rules::cordon(image, &node_ids, cordoned, operator_epoch))
        .await?;
    Ok(CordonBrokersResponse {})
}
