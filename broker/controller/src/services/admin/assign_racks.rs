use foz_api::v1::{AssignRacksRequest, AssignRacksResponse};
use foz_metadata::rules;
use tonic::Status;

use crate::services::calls::Calls;

pub(super) async fn assign_racks(
    calls: &Calls,
    request: AssignRacksRequest,
) -> Result<AssignRacksResponse, Status> {
    let AssignRacksRequest {
        racks,
        operator_epoch,
    } = request;
    calls
        .change(move |image| rules::assign_racks(image, &racks, operator_epoch))
        .await?;
    Ok(AssignRacksResponse {})
}
