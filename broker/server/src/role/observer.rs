//! Follows the metadata: a snapshot, then each committed batch, into the broker's image.

use std::sync::Arc;
use std::time::Duration;

use foz_api::ActiveController;
use foz_api::v1::metadata_frame::{Frame, Snapshot};
use foz_api::v1::node_client::NodeClient;
use foz_api::v1::{MetadataFrame, WatchMetadataRequest};
use foz_metadata::Image;
use foz_metadata::record::Batch;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::{info, warn};
use uuid::Uuid;

use super::image_applier::{ImageApplier, ReplaceError};

/// Asks for a snapshot of the newest image.
const SNAPSHOT: i64 = -1;
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Which process observes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observer {
    pub(crate) node_id: i32,
    /// The first that it registers as.
    pub(crate) incarnation: Uuid,
}

/// Runs until `stop`. A stream that breaks is opened again from the offset that was reached.
pub(crate) async fn follow(
    controllers: Arc<ActiveController>,
    observer: Observer,
    mut applier: ImageApplier,
    failed: mpsc::Sender<String>,
    stop: CancellationToken,
) {
    let mut from_offset = SNAPSHOT;
    let mut registered = applier.registered();
    // The same is said once, however often it is tried.
    let mut said = (String::new(), -1);
    loop {
        from_offset = match follow_once(
            &controllers,
            observer,
            from_offset,
            &mut applier,
            &mut registered,
            &stop,
        )
        .await
        {
            End::Stopped => return,
            End::Broken(reason) => {
                let offset = applier.offset();
                let says = (reason, offset);
                if says != said {
                    info!(
                        reason = says.0,
                        offset, "metadata stream ended; opening it again"
                    );
                    said = says;
                }
                resume_from(offset)
            }
            End::DoesNotFollow(reason) => {
                warn!(
                    reason,
                    "metadata does not follow what is here; asking for a snapshot"
                );
                SNAPSHOT
            }
            End::OtherCluster(error) => {
                let _ = failed.send(error.to_string()).await;
                return;
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
}

/// Nothing was reached at offset 0. To follow from there would be to live through the whole past of the
/// cluster again, in which this broker's topics are not made yet.
fn resume_from(reached: i64) -> i64 {
    if reached == 0 { SNAPSHOT } else { reached }
}

enum End {
    Stopped,
    Broken(String),
    DoesNotFollow(String),
    OtherCluster(ReplaceError),
}

async fn follow_once(
    controllers: &ActiveController,
    observer: Observer,
    from_offset: i64,
    applier: &mut ImageApplier,
    registered: &mut watch::Receiver<i64>,
    stop: &CancellationToken,
) -> End {
    let request = WatchMetadataRequest {
        node_id: observer.node_id,
        from_offset,
        incarnation: observer.incarnation.as_bytes().to_vec(),
    };
    let opening = controllers.call(async |channel| {
        Ok(NodeClient::new(channel)
            .watch_metadata(request.clone())
            .await?
            .into_inner())
    });
    let opened = tokio::select! {
        () = stop.cancelled() => return End::Stopped,
        opened = opening => opened,
    };
    let mut frames: Streaming<MetadataFrame> = match opened {
        Ok(frames) => frames,
        Err(error) => return End::Broken(error.to_string()),
    };
    let mut snapshot = Vec::new();
    loop {
        // A change that was begun is carried out: the logs must not be closed in the middle of it.
        let next = tokio::select! {
            () = stop.cancelled() => return End::Stopped,
            // An error: the broker holds the sender.
            Ok(()) = registered.changed() => {
                applier.begin().await;
                continue;
            }
            next = frames.next() => next,
        };
        let frame = match next {
            Some(Ok(frame)) => frame.frame,
            Some(Err(status)) => return End::Broken(status.message().to_owned()),
            None => return End::Broken("the controller closed the stream".to_owned()),
        };
        let taken = match frame {
            Some(Frame::Snapshot(part)) => take_snapshot(&mut snapshot, &part, applier).await,
            Some(Frame::Batch(batch)) => take_batch(&batch.records, applier).await,
            // A later version's frame that this one does not know.
            None => Ok(()),
        };
        if let Err(end) = taken {
            return end;
        }
    }
}

async fn take_snapshot(
    collected: &mut Vec<u8>,
    part: &Snapshot,
    applier: &mut ImageApplier,
) -> Result<(), End> {
    collected.extend_from_slice(&part.part);
    if part.last {
        let bytes = std::mem::take(collected);
        let image = Image::decode(&bytes).map_err(does_not_follow)?;
        applier
            .replace(Arc::new(image))
            .await
            .map_err(|error| match error {
                ReplaceError::OtherCluster { .. } => End::OtherCluster(error),
                ReplaceError::Older { .. } => End::Broken(error.to_string()),
            })?;
    }
    Ok(())
}

async fn take_batch(bytes: &[u8], applier: &mut ImageApplier) -> Result<(), End> {
    let batch = Batch::decode_from(bytes).map_err(does_not_follow)?;
    applier.apply(&batch).await.map_err(does_not_follow)
}

fn does_not_follow(reason: impl std::error::Error) -> End {
    End::DoesNotFollow(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_has_no_image_begins_with_the_newest() {
        assert_eq!(resume_from(0), SNAPSHOT);
        assert_eq!(resume_from(7), 7);
    }
}
