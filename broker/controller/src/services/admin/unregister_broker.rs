use foz_api::v1::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use foz_metadata::rules;
use tonic::Status;

use super::as_outcome::as_outcome;
use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn unregister_broker(
    calls: &Calls,
    request: UnregisterBrokerRequest,
) -> Result<UnregisterBrokerResponse, Status> {
    let UnregisterBrokerRequest {
        node_id,
        operator_epoch,
    } = request;
    let result = calls
        .change(move |image| as_outcome(rules::unregister_broker(image, node_id, operator_epoch)))
        .await?;
    Ok(UnregisterBrokerResponse {
        outcome: Some(convert::outcome(&result)),
    })
}
