//! What does not wait for its next round: records were deleted on request, or a topic keeps less by now.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Broker;
use crate::partition::{DataDirectory, DuePartitions};

/// What comes in numbers is gathered: each round may write a checkpoint.
const GATHERING: Duration = Duration::from_millis(5);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Makes durable where logs of one data directory start, until `stop`. Whoever deletes records waits for it, but not for the removal of files.
pub(super) async fn keep_due_starts(
    broker: Arc<Broker>,
    directory: Arc<DataDirectory>,
    stop: CancellationToken,
) {
    let due = directory.due_starts();
    while is_added(due, &stop).await {
        let (broker, taken) = (Arc::clone(&broker), due.take());
        let here = Arc::clone(&directory);
        let written = tokio::task::spawn_blocking(move || {
            broker.partitions.write_due_starts(&broker, &here, &taken)
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(%error, "where logs start is not written; it is tried again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PAUSE_AFTER_FAILURE) => {}
                }
            }
            Err(error) => warn!(%error, "writing where logs start failed"),
        }
    }
}

/// Removes what is not to be kept any more in one data directory, until `stop`.
pub(super) async fn keep_due_retention(
    broker: Arc<Broker>,
    directory: Arc<DataDirectory>,
    stop: CancellationToken,
) {
    let due = directory.due_retention();
    while is_added(due, &stop).await {
        let (broker, taken, stopping) = (Arc::clone(&broker), due.take(), stop.clone());
        let applied = tokio::task::spawn_blocking(move || {
            let proceed = || !stopping.is_cancelled();
            broker.partitions.apply_due_retention(&taken, &proceed);
        });
        if let Err(error) = applied.await {
            warn!(%error, "retention failed");
        }
    }
}

/// Waits until something is due. False: it is time to stop.
async fn is_added(due: &DuePartitions, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => return false,
        () = due.added() => {}
    }
    tokio::time::sleep(GATHERING).await;
    true
}
