//! The metadata for an observer: a snapshot when it needs one, then every batch.
//!
//! The observer pulls from the history that all share, so a slow one costs no buffer; one that falls
//! behind what is kept is cut off, and comes again.

use std::sync::Arc;

use bytes::Bytes;
use foz_api::v1::metadata_frame::{Batch, Frame, Snapshot};
use foz_api::v1::{MetadataFrame, WatchMetadataRequest};
use foz_metadata::Image;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::convert;
use crate::history::CommittedBatch;
use crate::services::calls::{AnswerStream, Calls};

/// Frames that wait for the connection.
const FRAMES_MAX: usize = 16;
const SNAPSHOT_PART_BYTES_MAX: usize = 1 << 20;
/// Taken from the history at a time.
const BATCHES_AT_A_TIME: usize = 64;

type Sender = mpsc::Sender<Result<MetadataFrame, Status>>;

pub(super) async fn watch_metadata(
    calls: &Arc<Calls>,
    request: WatchMetadataRequest,
) -> Result<AnswerStream<MetadataFrame>, Status> {
    let incarnation = convert::id("incarnation", &request.incarnation)?;
    calls.check_active().await?;
    let newest = calls.shared.metadata.image().offset();
    if request.from_offset < -1 {
        return Err(Status::invalid_argument(format!(
            "from_offset {} must be -1 for none, or the offset of an image",
            request.from_offset
        )));
    }
    if request.from_offset > newest {
        return Err(Status::out_of_range(format!(
            "from_offset {} is after {newest}, the newest offset of cluster {}: the observer's image is of another history",
            request.from_offset,
            calls.shared.metadata.image().cluster_id()
        )));
    }
    let (sender, frames) = mpsc::channel(FRAMES_MAX);
    let calls = calls.clone();
    calls.observing(request.node_id, incarnation);
    tokio::spawn(async move {
        let status = tokio::select! {
            status = watch(&calls, &sender, request.from_offset) => status,
            () = sender.closed() => None,
            status = calls.until_not_active() => Some(status),
        };
        if let Some(status) = status {
            // An error: the observer has gone.
            let _ = sender.send(Err(status)).await;
        }
        calls.stopped_observing(request.node_id, incarnation).await;
    });
    Ok(Box::pin(ReceiverStream::new(frames)))
}

/// Ends with what to tell the observer, if it is still there.
async fn watch(calls: &Calls, sender: &Sender, from_offset: i64) -> Option<Status> {
    let metadata = &calls.shared.metadata;
    let mut newest = metadata.offset();
    let mut at = from_offset;
    if at < 0 || metadata.batches_after(at, 1).is_none() {
        let image = metadata.image();
        at = image.offset();
        send_snapshot(sender, image).await?;
    }
    loop {
        newest.mark_unchanged();
        let Some(batches) = metadata.batches_after(at, BATCHES_AT_A_TIME) else {
            return Some(Status::aborted(format!(
                "the observer at offset {at} fell too far behind; watch again from there"
            )));
        };
        if batches.is_empty() {
            newest.changed().await.ok()?;
        }
        for CommittedBatch { offset, records } in batches {
            let batch = Batch {
                offset,
                records: records.into(),
            };
            send(sender, Frame::Batch(batch)).await?;
            at = offset;
        }
    }
}

async fn send_snapshot(sender: &Sender, image: Arc<Image>) -> Option<()> {
    let offset = image.offset();
    // Some milliseconds for a big cluster: not on a thread that others wait for.
    let bytes = tokio::task::spawn_blocking(move || Bytes::from(image.encode()))
        .await
        .ok()?;
    let mut parts = bytes.chunks(SNAPSHOT_PART_BYTES_MAX).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        let snapshot = Snapshot {
            offset,
            part: part.to_vec(),
            last,
        };
        send(sender, Frame::Snapshot(snapshot)).await?;
    }
    if bytes.is_empty() {
        let snapshot = Snapshot {
            offset,
            part: Vec::new(),
            last: true,
        };
        send(sender, Frame::Snapshot(snapshot)).await?;
    }
    Some(())
}

/// `None`: the observer has gone.
async fn send(sender: &Sender, frame: Frame) -> Option<()> {
    sender
        .send(Ok(MetadataFrame { frame: Some(frame) }))
        .await
        .ok()
}
