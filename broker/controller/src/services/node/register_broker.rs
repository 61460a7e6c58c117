use foz_api::v1::{RegisterBrokerRequest, RegisterBrokerResponse};
use foz_metadata::rules::RegisterBroker;
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn register_broker(
    calls: &Calls,
    request: RegisterBrokerRequest,
) -> Result<RegisterBrokerResponse, Status> {
    let directory_ids = request
        .directory_ids
        .iter()
        .map(|id| convert::id("directory_ids", id));
    let request = RegisterBroker {
        node_id: request.node_id,
        incarnation: convert::id("incarnation", &request.incarnation)?,
        directory_ids: directory_ids.collect::<Result<_, _>>()?,
        cluster_id: request.cluster_id,
        host: request.host,
        port: request.port,
        rack: request.rack,
        version: request.version,
        foz_version_max: request.foz_version_max.max(1),
        replication_host: request.replication_host,
        replication_port: request.replication_port,
        disk_epoch: request.disk_epoch,
        log_intact: request.log_intact,
    };
    let (broker_epoch, metadata_offset) = calls.register(request).await?;
    let lease_ms = calls.shared.config.lease.as_millis();
    Ok(RegisterBrokerResponse {
        broker_epoch,
        cluster_id: calls.shared.metadata.image().cluster_id().to_owned(),
        // Of the image in which the registration is committed. It may be later than the epoch, when the same
        // process asks again.
        metadata_offset,
        lease_ms: i32::try_from(lease_ms).unwrap_or(i32::MAX),
    })
}
