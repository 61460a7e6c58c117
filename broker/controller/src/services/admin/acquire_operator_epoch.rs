use foz_api::v1::{AcquireOperatorEpochRequest, AcquireOperatorEpochResponse};
use foz_metadata::rules;
use tonic::Status;

use crate::services::calls::Calls;

pub(super) async fn acquire_operator_epoch(
    calls: &Calls,
    request: AcquireOperatorEpochRequest,
) -> Result<AcquireOperatorEpochResponse, Status> {
    let holder = request.holder;
    let rule = move |image: &_| rules::acquire_operator_epoch(image, &holder);
    let (operator_epoch, _) = calls.run(rule).await?;
    Ok(AcquireOperatorEpochResponse { operator_epoch })
}
