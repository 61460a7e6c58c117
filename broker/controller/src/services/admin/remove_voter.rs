use std::time::Duration;

use foz_api::v1;
use foz_metadata::Image;
use foz_metadata::rules::{Decided, Decision, ErrorCode, check_operator_epoch};
use foz_quorum::ChangeVotersError;
use tonic::Status;

use crate::quorum_health;
use crate::services::calls::Calls;

/// The change itself is a commit away. It waits for another one that is under way, as when a controller joins.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn remove_voter(
    calls: &Calls,
    request: v1::RemoveVoterRequest,
) -> Result<v1::RemoveVoterResponse, Status> {
    let v1::RemoveVoterRequest {
        node_id,
        operator_epoch,
    } = request;
    calls.run(move |image| may(image, operator_epoch)).await?;
    let quorum = &calls.shared.quorum;
    let members = quorum.status().borrow().members.clone();
    if members.iter().any(|it| it.member.node_id == node_id) {
        quorum_health::wait_for_news(quorum, calls.shared.election_timeout).await;
    }
    let removal = tokio::time::timeout(TIMEOUT, quorum.remove_voter(node_id)).await;
    let outcome = match removal {
        Ok(Ok(())) => {
            tracing::info!(node_id, "is no member of the quorum");
            v1::Outcome::default()
        }
        Ok(Err(ChangeVotersError::IsLeader { .. })) => {
            return Err(calls.hand_over_to_another().await);
        }
        Ok(Err(ChangeVotersError::Refused(message))) => v1::Outcome {
            kafka_code: ErrorCode::InvalidRequest.kafka_code().into(),
            message,
        },
        Ok(Err(error)) => return Err(calls.voters_not_changed(&error)),
        Err(_) => {
            return Err(Status::unavailable(
                "another change of the voters takes long; this one may take effect or not",
            ));
        }
    };
    Ok(v1::RemoveVoterResponse {
        outcome: Some(outcome),
    })
}

/// In its turn with all other commands, so that an operator that does not count any more changes nothing.
pub(super) fn may(image: &Image, operator_epoch: i64) -> Decided<()> {
    check_operator_epoch(image, operator_epoch)?;
    Ok(Decision {
        records: Vec::new(),
        answer: (),
    })
}
