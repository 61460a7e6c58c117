use foz_api::v1::{CancelRebalanceRequest, CancelRebalanceResponse};
use foz_metadata::rules;
use tonic::Status;

use crate::services::calls::Calls;

pub(super) async fn cancel_rebalance(
    calls: &Calls,
    request: CancelRebalanceRequest,
) -> Result<CancelRebalanceResponse, Status> {
    let CancelRebalanceRequest {
        rebalance_id,
        operator_epoch,
    } = request;
    let rule = move |image: &_| rules::cancel_rebalance(image, rebalance_id, operator_epoch);
    let cancelled = calls.change(rule).await?;
    if cancelled {
        tracing::info!(rebalance_id, "a rebalance was cancelled by request");
    }
    Ok(CancelRebalanceResponse { cancelled })
}
