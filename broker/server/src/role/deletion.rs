//! Removes the files of deleted partitions, while everything else goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Broker;

/// What could not be removed is tried again after this time.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Until `stop`, which also ends a removal that is under way; the next start goes on with it. It begins with what the
/// process before this one left.
pub(super) async fn keep_deleting(broker: Arc<Broker>, stop: CancellationToken) {
    let deletions = broker.partitions.deletions();
    loop {
        let (removing, stopping) = (Arc::clone(&broker), stop.clone());
        let removal = tokio::task::spawn_blocking(move || {
            let proceed = || !stopping.is_cancelled();
            removing.partitions.remove_deleted(&proceed)
        });
        let is_done = removal.await.unwrap_or_else(|error| {
            warn!(%error, "removing deleted partitions failed");
            false
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = deletions.notified() => {}
            () = tokio::time::sleep(RETRY_INTERVAL), if !is_done => {}
        }
    }
}
