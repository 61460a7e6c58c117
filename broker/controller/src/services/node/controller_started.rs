use foz_api::v1::{ControllerStartedRequest, ControllerStartedResponse};
use foz_metadata::image::CONTROLLER_ID_FIRST;
use foz_metadata::rules::end_restart;
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;

/// What a controller that restarts quickly leaves behind nobody sees from outside: the quorum may not have missed it.
///
/// The grant may also be of this process, if an operator has just acquired it. It ends too: that permits
/// nothing, and the process asks for itself when it is told to end.
pub(crate) async fn controller_started(
    calls: &Calls,
    request: ControllerStartedRequest,
) -> Result<ControllerStartedResponse, Status> {
    let node_id = request.node_id;
    let incarnation = convert::id("incarnation", &request.incarnation)?;
    if node_id < CONTROLLER_ID_FIRST {
        let message = format!("node_id {node_id} is no controller's");
        return Err(Status::invalid_argument(message));
    }
    // First: what follows takes a while, and by its end the process may have been asked to end.
    calls
        .shared
        .controllers_asking
        .send_modify(|wishes| wishes.stays(node_id));
    let (ended, _) = calls
        .run(move |image| {
            let grant = image.grant(node_id);
            let grant = grant.filter(|grant| grant.incarnation != incarnation);
            let grant_epoch = grant.map_or(-1, |grant| grant.epoch);
            end_restart(image, node_id, grant_epoch, 0)
        })
        .await?;
    if ended {
        tracing::info!(
            node_id,
            "a controller has started, and its restart grant ends"
        );
    }
    Ok(ControllerStartedResponse {})
}
