use foz_api::v1::{PartitionCopy, PartitionLoad, ReportLoadRequest, ReportLoadResponse};
use foz_metadata::Image;
use foz_metadata::rules::{ErrorCode, Refusal};
use tonic::Status;
use uuid::Uuid;

use crate::convert;
use crate::rebalance::{CopiedPartition, Disk, LoadedPartition, Report};
use crate::services::calls::Calls;

/// Of either list: far from what one message may have.
const PARTITIONS_MAX: usize = 10_000;

pub(super) async fn report_load(
    calls: &Calls,
    request: ReportLoadRequest,
) -> Result<ReportLoadResponse, Status> {
    for (field, count) in [
        ("partitions", request.partitions.len()),
        ("copies", request.copies.len()),
    ] {
        if count > PARTITIONS_MAX {
            return Err(Status::invalid_argument(format!(
                "{field} has {count} items, and at most {PARTITIONS_MAX} are possible; tell the rest by another request"
            )));
        }
    }
    calls.check_active().await?;
    let term = calls.shared.quorum.leadership().borrow().term;
    let image = calls.shared.metadata.image();
    check_registration(&image, request.node_id, request.broker_epoch)?;
    let partitions = request.partitions.iter().map(loaded);
    let copies = request.copies.iter().map(copied);
    let bytes_total = bytes(request.disk_bytes_total);
    let report = Report {
        node_id: request.node_id,
        partitions: partitions.collect::<Result<_, _>>()?,
        disk: (bytes_total > 0).then(|| Disk {
            bytes_total,
            bytes_free: bytes(request.disk_bytes_free),
            fullest_bytes_total: bytes(request.fullest_disk_bytes_total),
            fullest_bytes_free: bytes(request.fullest_disk_bytes_free),
            roomiest_bytes_total: bytes(request.roomiest_disk_bytes_total),
            roomiest_bytes_free: bytes(request.roomiest_disk_bytes_free),
        }),
        copies: copies.collect::<Result<_, _>>()?,
    };
    calls.shared.loads.lock().report(term, &image, report);
    Ok(ReportLoadResponse {
        term: i64::try_from(term).unwrap_or(i64::MAX),
    })
}

/// As the lease says it.
fn check_registration(image: &Image, node_id: i32, epoch: i64) -> Result<(), Status> {
    let refusal = match image.broker(node_id) {
        Some(broker) if broker.epoch == epoch => return Ok(()),
        Some(broker) => Refusal::new(
            ErrorCode::StaleBrokerEpoch,
            format!(
                "broker {node_id} tells its load with epoch {epoch}, but is registered with epoch {}",
                broker.epoch
            ),
        ),
        None => Refusal::new(
            ErrorCode::BrokerIdNotRegistered,
            format!("broker {node_id} is not registered"),
        ),
    };
    Err(convert::status(&refusal))
}

fn loaded(load: &PartitionLoad) -> Result<((Uuid, i32), LoadedPartition), Status> {
    let topic_id = convert::id("partitions.topic_id", &load.topic_id)?;
    let loaded = LoadedPartition {
        bytes: bytes(load.bytes),
        bytes_in_per_second: bytes(load.bytes_in_per_second),
        bytes_out_per_second: bytes(load.bytes_out_per_second),
    };
    Ok(((topic_id, load.index), loaded))
}

fn copied(copy: &PartitionCopy) -> Result<CopiedPartition, Status> {
    Ok(CopiedPartition {
        topic_id: convert::id("copies.topic_id", &copy.topic_id)?,
        index: copy.index,
        bytes: bytes(copy.bytes),
    })
}

/// Less than nothing is nothing.
fn bytes(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or_default()
}
