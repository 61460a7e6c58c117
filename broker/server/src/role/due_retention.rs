//! Retention that does not wait for its next round: records were deleted on request, or a topic keeps less by now.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Broker;

/// What comes in numbers is gathered: each round may write a checkpoint.
const GATHERING: Duration = Duration::from_millis(5);
/// Followers come again with each fetch while it fails.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Until `stop`.
pub(super) async fn keep_due_retention(broker: Arc<Broker>, stop: CancellationToken) {
    let due = broker.partitions.due_retention();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = due.added() => {}
        }
        tokio::time::sleep(GATHERING).await;
        let (broker, taken) = (Arc::clone(&broker), due.take());
        let applied = tokio::task::spawn_blocking(move || {
            broker.partitions.apply_due_retention(&broker, &taken)
        });
        match applied.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(%error, "where logs start is not written; it is tried again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PAUSE_AFTER_FAILURE) => {}
                }
            }
            Err(error) => warn!(%error, "retention failed"),
        }
    }
}
