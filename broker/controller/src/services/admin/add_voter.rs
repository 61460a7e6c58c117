use foz_api::v1;
use tonic::Status;

use super::remove_voter::may;
use crate::services::calls::Calls;

pub(super) async fn add_voter(
    calls: &Calls,
    request: v1::AddVoterRequest,
) -> Result<v1::AddVoterResponse, Status> {
    let v1::AddVoterRequest {
        node_id,
        operator_epoch,
    } = request;
    calls.run(move |image| may(image, operator_epoch)).await?;
    let added = calls.shared.quorum.add_voter(node_id).await;
    added.map_err(|error| calls.voters_not_changed(&error))?;
    Ok(v1::AddVoterResponse {})
}
