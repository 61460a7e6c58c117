use foz_api::v1::{EndRestartRequest, EndRestartResponse};
use foz_metadata::rules;
use tonic::Status;

use crate::services::calls::Calls;

pub(super) async fn end_restart(
    calls: &Calls,
    request: EndRestartRequest,
) -> Result<EndRestartResponse, Status> {
    let EndRestartRequest {
        node_id,
        grant_epoch,
        operator_epoch,
    } = request;
    let rule = move |image: &_| rules::end_restart(image, node_id, grant_epoch, operator_epoch);
    let ended = calls.change_in_parts(rule).await?;
    if ended {
        tracing::info!(node_id, grant_epoch, "a restart grant was ended by request");
    }
    Ok(EndRestartResponse { ended })
}
