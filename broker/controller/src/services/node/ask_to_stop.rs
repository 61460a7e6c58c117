use foz_api::v1::{AskToStopRequest, AskToStopResponse};
use foz_metadata::rules::{AcquireRestart, Answer, Unavailable, acquire_restart};
use tokio::time::Instant;
use tonic::Status;

use crate::active::{ALL_ASKED_TO_END, ASKED_TO_END};
use crate::services::calls::Calls;
use crate::{convert, quorum_health};

/// A controller was asked to end. The answer takes as long as it takes to know which other controllers are there.
pub(crate) async fn ask_to_stop(
    calls: &Calls,
    request: AskToStopRequest,
) -> Result<AskToStopResponse, Status> {
    let AskToStopRequest {
        node_id,
        incarnation,
        insist,
    } = request;
    let incarnation = convert::id("incarnation", &incarnation)?;
    calls.check_active().await?;
    let shared = calls.shared.clone();
    let (quorum, active) = (shared.quorum.clone(), shared.config.node_id);
    if !quorum.voters().iter().any(|it| it.node_id == node_id) {
        return Err(Status::not_found(format!(
            "node {node_id} is no voter of the metadata quorum"
        )));
    }
    let asking = &shared.controllers_asking;
    asking.send_modify(|wishes| wishes.asks(node_id, 0, Instant::now()));
    let health = move || quorum_health::of(&quorum.status().borrow(), active);
    let image = shared.metadata.image();
    let grant = image.grant(node_id);
    // An operator restarts this one, and has no need that brokers go first: it may be the only controller.
    let is_operators = grant.is_some_and(|grant| grant.operator_epoch != 0);
    if grant.is_none() && !insist {
        let mut news_of_asking = asking.subscribe();
        let everybody = news_of_asking
            .wait_for(|wishes| quorum_health::are_all_asking(&health(), wishes, Instant::now()));
        tokio::select! {
            _ = everybody => {}
            () = quorum_health::wait_for_news(&shared.quorum, shared.election_timeout) => {}
        }
    }
    let now = Instant::now();
    asking.send_modify(|wishes| wishes.asks(node_id, 0, now));
    let all_are_asking =
        !is_operators && quorum_health::are_all_asking(&health(), &asking.borrow(), now);
    let reason = if all_are_asking {
        ALL_ASKED_TO_END
    } else {
        ASKED_TO_END
    };
    let request = AcquireRestart {
        node_id,
        incarnation,
        reason: reason.to_owned(),
        operator_epoch: 0,
        unavailable: Unavailable::Allow,
        insist: insist || all_are_asking,
    };
    let (answer, _) = calls
        .run(move |image| {
            let mut request = request;
            // An operator names the pod, of which the process knows nothing.
            if let Some(grant) = image.grant(node_id) {
                request.incarnation = grant.incarnation;
            }
            acquire_restart(image, &request, &health())
        })
        .await?;
    let denied = match answer {
        Answer::Granted {
            grant_epoch,
            unprotected,
        } => {
            tracing::info!(
                node_id,
                grant_epoch,
                reason,
                insist,
                ?unprotected,
                "a controller may stop"
            );
            String::new()
        }
        Answer::Denied { message, .. } => message,
    };
    Ok(AskToStopResponse {
        denied,
        all_are_asking,
    })
}
