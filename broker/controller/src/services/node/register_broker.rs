use foz_api::v1;
use foz_api::v1::{RegisterBrokerRequest, RegisterBrokerResponse};
use foz_metadata::rules::{DataDirectory, LogInDoubt, RegisterBroker};
use tonic::Status;
use tracing::info;

use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn register_broker(
    calls: &Calls,
    request: RegisterBrokerRequest,
) -> Result<RegisterBrokerResponse, Status> {
    let directories = request.directories.iter().map(directory);
    let in_doubt = request.in_doubt.into_iter().map(log_in_doubt);
    let request = RegisterBroker {
        node_id: request.node_id,
        incarnation: convert::id("incarnation", &request.incarnation)?,
        directories: directories.collect::<Result<_, _>>()?,
        offline_directories: request.offline_directories,
        in_doubt: in_doubt.collect::<Result<_, _>>()?,
        cluster_id: request.cluster_id,
        host: request.host,
        port: request.port,
        rack: request.rack,
        version: request.version,
        features: convert::features(&request.features),
        replication_host: request.replication_host,
        replication_port: request.replication_port,
    };
    let node_id = request.node_id;
    let (registered, metadata_offset) = calls.register(request).await?;
    let (broker_epoch, older_directories) = match registered {
        Ok(broker_epoch) => (broker_epoch, Vec::new()),
        Err(refusal) => {
            info!(
                node_id,
                reason = refusal.message,
                "a broker is not registered with all of its directories"
            );
            (-1, refusal.older_directories)
        }
    };
    let lease_ms = calls.shared.config.lease.as_millis();
    Ok(RegisterBrokerResponse {
        broker_epoch,
        cluster_id: calls.shared.metadata.image().cluster_id().to_owned(),
        // Of the image in which the registration is committed. It may be later than the epoch, when the same
        // process asks again.
        metadata_offset,
        lease_ms: i32::try_from(lease_ms).unwrap_or(i32::MAX),
        older_directories: older_directories
            .iter()
            .map(|id| id.as_bytes().to_vec())
            .collect(),
    })
}

fn directory(directory: &v1::DataDirectory) -> Result<DataDirectory, Status> {
    let mut logs = Vec::new();
    for topic in &directory.logs {
        let topic_id = convert::id("directories.logs.topic_id", &topic.topic_id)?;
        logs.extend(topic.indexes.iter().map(|index| (topic_id, *index)));
    }
    Ok(DataDirectory {
        id: convert::id("directories.id", &directory.id)?,
        disk_epoch: directory.disk_epoch,
        intact: directory.intact,
        logs,
    })
}

fn log_in_doubt(log: v1::LogInDoubt) -> Result<LogInDoubt, Status> {
    let topic_id = match &log.topic_id[..] {
        [] => None,
        id => Some(convert::id("in_doubt.topic_id", id)?),
    };
    Ok(LogInDoubt {
        topic_id,
        topic: log.topic,
        index: log.index,
        missing: log.missing,
    })
}
