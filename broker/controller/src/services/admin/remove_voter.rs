use std::time::Duration;

use foz_api::v1;
use foz_metadata::Image;
use foz_metadata::rules::{Decided, Decision, ErrorCode, check_operator_epoch};
use foz_quorum::{ChangeVotersError, KafkaUuid, MemberStatus};
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
        directory_id,
    } = request;
    calls.run(move |image| may(image, operator_epoch)).await?;
    let quorum = &calls.shared.quorum;
    let members = quorum.status().borrow().members.clone();
    if let Some(outcome) = votes_with_another(&members, node_id, &directory_id) {
        return Ok(v1::RemoveVoterResponse {
            outcome: Some(outcome),
        });
    }
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

/// The refusal while a node has two volumes in the quorum: what is removed is the node, with both.
fn takes_the_place(members: &[MemberStatus], node_id: i32) -> Option<v1::Outcome> {
    let of_node = members.iter().filter(|it| it.member.node_id == node_id);
    (of_node.count() > 1).then(|| v1::Outcome {
        kafka_code: ErrorCode::InvalidRequest.kafka_code().into(),
        message: format!(
            "controller {node_id} has a new directory, which takes the place of the one before by itself"
        ),
    })
}

/// The refusal where a volume was named that the node does not vote with.
fn votes_with_another(
    members: &[MemberStatus],
    node_id: i32,
    directory_id: &[u8],
) -> Option<v1::Outcome> {
    if directory_id.is_empty() {
        return None;
    }
    let named = |id: &KafkaUuid| id.as_bytes() == directory_id;
    let voters = members.iter().filter(|it| it.is_voter);
    let mut of_node = voters.filter(|it| it.member.node_id == node_id).peekable();
    let message = match of_node.peek() {
        None => format!("controller {node_id} does not vote"),
        Some(voter) => {
            let other = voter.member.directory_id;
            if of_node.any(|it| named(&it.member.directory_id)) {
                return takes_the_place(members, node_id);
            }
            match KafkaUuid::from_slice(directory_id) {
                Some(id) => {
                    format!("controller {node_id} votes with the directory {other}, not with {id}")
                }
                None => format!(
                    "a directory id has 16 bytes, not {}; controller {node_id} votes with {other}",
                    directory_id.len()
                ),
            }
        }
    };
    Some(v1::Outcome {
        kafka_code: ErrorCode::VoterNotFound.kafka_code().into(),
        message,
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
