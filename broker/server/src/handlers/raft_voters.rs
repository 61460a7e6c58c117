//! AddRaftVoter (80) and RemoveRaftVoter (81), KIP-853: which controllers vote, by the active one's rules.

use std::time::Duration;

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::{self as api};
use foz_protocol::error::ErrorCode;
use foz_quorum::KafkaUuid;
use kafka_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, RemoveRaftVoterRequest, RemoveRaftVoterResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::text;
use crate::admin::{self, Failed};
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// For removals, which have no timeout of their own; this is Kafka's `default.api.timeout.ms`.
const TIMEOUT_MS: i32 = 60_000;
/// How often is looked whether a controller has joined.
const LOOK: Duration = Duration::from_millis(200);

/// Answered when the controller votes. It joins by itself, and one that was removed under a new directory id: so the one in
/// the request, and the listeners, say nothing.
pub(crate) async fn add(
    context: RequestContext,
    request: AddRaftVoterRequest,
) -> AddRaftVoterResponse {
    let (code, message) = as_answer(added(&context, &request).await);
    AddRaftVoterResponse::default()
        .with_error_code(code)
        .with_error_message(message)
}

pub(crate) async fn remove(
    context: RequestContext,
    request: RemoveRaftVoterRequest,
) -> RemoveRaftVoterResponse {
    let (code, message) = as_answer(removed(&context, &request).await);
    RemoveRaftVoterResponse::default()
        .with_error_code(code)
        .with_error_message(message)
}

fn as_answer(outcome: Result<(), Failed>) -> (i16, Option<StrBytes>) {
    match outcome {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(failed) => (failed.error.code(), Some(text(failed.message))),
    }
}

async fn added(context: &RequestContext, request: &AddRaftVoterRequest) -> Result<(), Failed> {
    check_cluster(context, request.cluster_id.as_deref())?;
    let node_id = request.voter_id;
    check_voter_id(node_id)?;
    let deadline = Instant::now() + admin::limit(request.timeout_ms);
    let quorum = admin::quorum(&context.broker).await?;
    if let Some(voter) = quorum.voters.iter().find(|it| it.node_id == node_id) {
        return Err(failed(
            ErrorCode::DuplicateVoter,
            format!(
                "controller {node_id} votes already, with the directory {}",
                uuid(&voter.directory_id)
            ),
        ));
    }
    loop {
        // It holds until another controller becomes active.
        let asked = api::AddVoterRequest {
            node_id,
            operator_epoch: 0,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let add = |channel| async move { AdminClient::new(channel).add_voter(asked).await };
        admin::call(&context.broker.controllers, left, add).await?;
        let quorum = admin::quorum(&context.broker).await?;
        if quorum.voters.iter().any(|it| it.node_id == node_id) {
            return Ok(());
        }
        if Instant::now() + LOOK >= deadline {
            return Err(failed(
                ErrorCode::RequestTimedOut,
                format!("controller {node_id} may join, and has not yet: is it running?"),
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn removed(context: &RequestContext, request: &RemoveRaftVoterRequest) -> Result<(), Failed> {
    check_cluster(context, request.cluster_id.as_deref())?;
    check_voter_id(request.voter_id)?;
    let asked = api::RemoveVoterRequest {
        node_id: request.voter_id,
        operator_epoch: 0,
        directory_id: request.voter_directory_id.as_bytes().to_vec(),
    };
    let limit = admin::limit(TIMEOUT_MS);
    let answer = admin::call(&context.broker.controllers, limit, |channel| {
        let asked = asked.clone();
        async move { AdminClient::new(channel).remove_voter(asked).await }
    })
    .await?;
    match admin::outcome(answer.outcome) {
        (0, _) => Ok(()),
        (code, message) => Err(failed(code.into(), message.unwrap_or_default())),
    }
}

fn check_cluster(context: &RequestContext, named: Option<&str>) -> Result<(), Failed> {
    if !context.allows(Operation::Alter, &Resource::Cluster) {
        let message = "not allowed to change who votes".to_owned();
        return Err(failed(ErrorCode::ClusterAuthorizationFailed, message));
    }
    let image = context.broker.image();
    match named {
        Some(named) if named != image.cluster_id() => Err(failed(
            ErrorCode::InconsistentClusterId,
            format!("this is cluster {}, not {named}", image.cluster_id()),
        )),
        _ => Ok(()),
    }
}

fn check_voter_id(node_id: i32) -> Result<(), Failed> {
    if node_id < 0 {
        let message = format!("voter id {node_id}: the node id of a controller is right");
        return Err(failed(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

/// As Kafka's tools show it.
fn uuid(bytes: &[u8]) -> String {
    KafkaUuid::from_slice(bytes).map_or_else(String::new, |id| id.to_string())
}

fn failed(error: ErrorCode, message: String) -> Failed {
    Failed { error, message }
}
