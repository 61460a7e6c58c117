use foz_api::v1;
use foz_api::v1::acquire_restart_response::{Answer as Answered, Denied, Granted};
use foz_metadata::rules::{self, AcquireRestart, Answer, DeniedReason, Unavailable};
use tonic::Status;

use crate::convert;
use crate::quorum_health;
use crate::services::calls::Calls;

pub(super) async fn acquire_restart(
    calls: &Calls,
    request: v1::AcquireRestartRequest,
) -> Result<v1::AcquireRestartResponse, Status> {
    let request = AcquireRestart {
        node_id: request.node_id,
        incarnation: convert::id("incarnation", &request.incarnation)?,
        reason: request.reason,
        operator_epoch: request.operator_epoch,
        unavailable: if request.allow_unavailable {
            Unavailable::Allow
        } else {
            Unavailable::Deny
        },
        insist: request.insist,
    };
    calls.check_active().await?;
    let (quorum, active) = (calls.shared.quorum.clone(), calls.shared.config.node_id);
    let is_controller = quorum
        .voters()
        .iter()
        .any(|it| it.node_id == request.node_id);
    if is_controller {
        quorum_health::wait_for_news(&quorum, calls.shared.election_timeout).await;
    }
    let asked = request.clone();
    let answer = calls
        .change_in_parts(move |image| {
            // Of the moment of the decision.
            let health = quorum_health::of(&quorum.status().borrow(), active);
            rules::acquire_restart(image, &asked, &health)
        })
        .await?;
    log(&request, &answer);
    Ok(v1::AcquireRestartResponse {
        answer: Some(answered(answer)),
    })
}

fn log(request: &AcquireRestart, answer: &Answer) {
    let AcquireRestart {
        node_id,
        reason,
        insist,
        ..
    } = request;
    match answer {
        Answer::Granted {
            grant_epoch,
            unprotected,
        } => tracing::info!(
            node_id,
            grant_epoch,
            reason,
            insist,
            ?unprotected,
            "a restart is granted"
        ),
        // Whoever is denied asks again and again.
        Answer::Denied { message, .. } => {
            tracing::debug!(node_id, reason, message, "a restart is denied");
        }
    }
}

fn answered(answer: Answer) -> Answered {
    match answer {
        Answer::Granted {
            grant_epoch,
            unprotected,
        } => Answered::Granted(Granted {
            grant_epoch,
            unprotected,
        }),
        Answer::Denied { reason, message } => {
            let reason = match reason {
                DeniedReason::Incarnation => v1::DeniedReason::Incarnation,
                DeniedReason::MinInsync => v1::DeniedReason::MinInsync,
                DeniedReason::AnotherGrant => v1::DeniedReason::AnotherGrant,
                DeniedReason::Unavailable => v1::DeniedReason::Unavailable,
                DeniedReason::Quorum => v1::DeniedReason::Quorum,
            };
            Answered::Denied(Denied {
                reason: reason.into(),
                message,
            })
        }
    }
}
