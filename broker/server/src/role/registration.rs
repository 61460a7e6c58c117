//! Makes the broker known to the quorum.

use std::time::Duration;

use foz_api::v1::node_client::NodeClient;
use foz_api::v1::{RegisterBrokerRequest, RegisterBrokerResponse};
use foz_api::{ActiveController, CallError};
use tonic::{Code, Status};
use tracing::{info, warn};

const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Why the quorum does not take this broker as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// For good.
    #[error("the metadata quorum refuses this broker: {0}")]
    Altogether(String),
    /// With these of its directories, by their ids.
    #[error("the metadata quorum refuses directories of this broker")]
    With(Vec<Vec<u8>>),
}

/// Registers, waiting as long as it takes for a quorum and for the lease of an older process of this
/// node to end.
///
/// # Errors
/// When the quorum refuses what this broker is: another cluster's volume, say, or one of its directories.
pub(crate) async fn register(
    controllers: &ActiveController,
    request: &RegisterBrokerRequest,
) -> Result<RegisterBrokerResponse, Refused> {
    let mut last_said = String::new();
    loop {
        let answer = controllers
            .call(async |channel| {
                let answer = NodeClient::new(channel)
                    .register_broker(request.clone())
                    .await?;
                Ok(answer.into_inner())
            })
            .await;
        let reason = match answer {
            Ok(answer) if !answer.older_directories.is_empty() => {
                return Err(Refused::With(answer.older_directories));
            }
            Ok(registered) => {
                info!(
                    broker_epoch = registered.broker_epoch,
                    cluster_id = registered.cluster_id,
                    disk_epoch = disk_epoch(request),
                    log_intact = request.directories.iter().all(|it| it.intact),
                    logs_in_doubt = request.in_doubt.len(),
                    "registered"
                );
                return Ok(registered);
            }
            Err(CallError::Answered(status)) if is_refusal(&status) => {
                return Err(Refused::Altogether(status.message().to_owned()));
            }
            Err(error) => error.to_string(),
        };
        if reason != last_said {
            warn!(reason, "not registered yet; trying again");
            last_said = reason;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// `OutOfRange` is said of a request with more logs than fit into one message: no other one is smaller.
fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange)
}

/// The newest of those of its directories.
fn disk_epoch(request: &RegisterBrokerRequest) -> i64 {
    let epochs = request.directories.iter().map(|it| it.disk_epoch);
    epochs.max().unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_into_one_message_is_not_tried_again() {
        for (code, expected) in [
            (Code::InvalidArgument, true),
            (Code::OutOfRange, true),
            (Code::Unavailable, false),
            (Code::AlreadyExists, false),
        ] {
            assert_eq!(is_refusal(&Status::new(code, "?")), expected, "{code:?}");
        }
    }
}
