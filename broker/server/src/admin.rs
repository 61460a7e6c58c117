//! What brokers ask of the active controller for their clients, and how its refusals look to Kafka.

use std::time::Duration;

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::{DescribeQuorumRequest, DescribeQuorumResponse, Outcome};
use foz_api::{ActiveController, CallError, not_active};
use foz_protocol::error::ErrorCode;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Channel;
use tonic::{Response, Status};
use tracing::warn;

use crate::broker::Broker;

/// The least time an admin request gets, however little the client grants.
const TIMEOUT_MIN: Duration = Duration::from_millis(500);
/// The most, so that no connection is held for ever.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// To find the active controller and ask it for what it knows by itself.
const QUORUM_LIMIT: Duration = Duration::from_secs(5);

/// A request that no controller carried out, or that may or may not have been.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) error: ErrorCode,
    pub(crate) message: String,
}

/// Has the active controller change the metadata, and waits until this broker has seen the change: it
/// never shows a client a state from before what it acknowledged to it.
pub(crate) async fn change<T, F, Fut>(
    broker: &Broker,
    timeout_ms: i32,
    change: F,
) -> Result<T, Failed>
where
    F: FnMut(Channel) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let deadline = Instant::now() + limit(timeout_ms);
    let answer = call(&broker.controllers, deadline - Instant::now(), change).await?;
    let controller = quorum_within(broker, deadline - Instant::now())
        .await
        .map_err(|_| not_seen())?;
    let applied = broker.applied_offset.subscribe();
    seen(applied, controller.metadata_offset, deadline).await?;
    Ok(answer)
}

/// How long a request may take for which the client grants so much.
pub(crate) fn limit(timeout_ms: i32) -> Duration {
    let limit = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    limit.clamp(TIMEOUT_MIN, TIMEOUT_MAX)
}

/// The quorum as its active controller knows it.
pub(crate) async fn quorum(broker: &Broker) -> Result<DescribeQuorumResponse, Failed> {
    quorum_within(broker, QUORUM_LIMIT).await
}

async fn quorum_within(broker: &Broker, limit: Duration) -> Result<DescribeQuorumResponse, Failed> {
    call(&broker.controllers, limit, |channel| async move {
        let request = DescribeQuorumRequest {};
        let answer = AdminClient::new(channel).describe_quorum(request).await?;
        // Every controller answers this.
        let quorum = answer.get_ref();
        if quorum.node_id == quorum.active_node_id {
            Ok(answer)
        } else {
            let active = Some(quorum.active_address.as_str());
            Err(not_active(active.filter(|address| !address.is_empty())))
        }
    })
    .await
}

/// Waits until the metadata of `offset` is applied.
async fn seen(
    mut applied: watch::Receiver<i64>,
    offset: i64,
    deadline: Instant,
) -> Result<(), Failed> {
    let waited = tokio::time::timeout_at(deadline, applied.wait_for(|at| *at >= offset)).await;
    match waited {
        Ok(Ok(_)) => Ok(()),
        _ => Err(not_seen()),
    }
}

/// Kafka's answer to a change that was made and has not reached the brokers in time.
fn not_seen() -> Failed {
    Failed {
        error: ErrorCode::RequestTimedOut,
        message: "the change was made, and this broker has not heard of it yet".to_owned(),
    }
}

/// Calls the active controller, for at most `limit`.
pub(crate) async fn call<T, F, Fut>(
    controllers: &ActiveController,
    limit: Duration,
    mut call: F,
) -> Result<T, Failed>
where
    F: FnMut(Channel) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let asked = controllers.call(|channel| {
        let answer = call(channel);
        async { Ok(answer.await?.into_inner()) }
    });
    let failed = match tokio::time::timeout(limit, asked).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => Failed {
            error: code_of(&error),
            message: error.to_string(),
        },
        Err(_) => Failed {
            error: ErrorCode::RequestTimedOut,
            message: "the metadata quorum did not answer in time".to_owned(),
        },
    };
    warn!(reason = failed.message, "admin request failed");
    Err(failed)
}

/// The outcome of one thing of a request.
pub(crate) fn outcome(outcome: Option<Outcome>) -> (i16, Option<String>) {
    match outcome {
        Some(outcome) if outcome.kafka_code == 0 => (0, None),
        Some(outcome) => (
            i16::try_from(outcome.kafka_code).unwrap_or(-1),
            Some(outcome.message),
        ),
        None => (
            ErrorCode::UnknownServerError.code(),
            Some("the controller did not say how it went".to_owned()),
        ),
    }
}

fn code_of(error: &CallError) -> ErrorCode {
    match error {
        CallError::NoneActive { .. } => ErrorCode::NotController,
        CallError::Answered(status) => match status.code() {
            // Carried out or not: the client must look before it asks again.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                ErrorCode::RequestTimedOut
            }
            // The broker has to register again, which it does by itself.
            Code::Aborted | Code::NotFound => ErrorCode::StaleBrokerEpoch,
            Code::InvalidArgument => ErrorCode::InvalidRequest,
            Code::ResourceExhausted => ErrorCode::ThrottlingQuotaExceeded,
            _ => ErrorCode::UnknownServerError,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_counts_once_this_broker_has_seen_it() {
        let applied = watch::Sender::new(6);
        let deadline = Instant::now() + Duration::from_secs(5);
        let waiting = tokio::spawn(seen(applied.subscribe(), 7, deadline));
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!waiting.is_finished(), "6 is from before the change");
        applied.send_replace(8);
        assert!(waiting.await.unwrap().is_ok());
        let late = seen(applied.subscribe(), 9, deadline).await.unwrap_err();
        assert_eq!(late.error, ErrorCode::RequestTimedOut);
    }
}
