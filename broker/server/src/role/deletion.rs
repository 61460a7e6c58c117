//! Buries the logs of deleted topics, and removes the files of deleted partitions, while everything else goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Broker;
use crate::partition::{DataDirectory, wall_clock_ms};

/// What could not be done is tried again after this time; and it is looked for what is over.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Of one data directory, until `stop`, which also ends a removal that is under way; the next start goes on with it. It begins with what the
/// process before this one left.
pub(super) async fn keep_deleting(
    broker: Arc<Broker>,
    directory: Arc<DataDirectory>,
    stop: CancellationToken,
) {
    loop {
        let (removing, stopping) = (Arc::clone(&broker), stop.clone());
        let here = Arc::clone(&directory);
        let removal = tokio::task::spawn_blocking(move || {
            let proceed = || !stopping.is_cancelled();
            removing.partitions.remove_forgotten(&here, wall_clock_ms());
            removing.partitions.remove_deleted(&here, &proceed)
        });
        if let Err(error) = removal.await {
            warn!(%error, "removing deleted partitions failed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = directory.deletions().notified() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}
