use std::collections::BTreeSet;

use foz_api::v1;
use foz_metadata::rules::{self, ReportOfflineReplicas};
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;

/// Of one request: far from what the quorum takes as one entry.
const PARTITIONS_MAX: usize = 10_000;

/// It is on the way of a failover: the answer waits for the commit, not for brokers to apply it.
pub(super) async fn report_offline_replicas(
    calls: &Calls,
    request: v1::ReportOfflineReplicasRequest,
) -> Result<v1::ReportOfflineReplicasResponse, Status> {
    let topics = &request.replicas;
    let count: usize = topics.iter().map(|topic| topic.indexes.len()).sum();
    if count > PARTITIONS_MAX {
        return Err(Status::invalid_argument(format!(
            "replicas has {count} partitions, and at most {PARTITIONS_MAX} are possible; tell the rest by another request"
        )));
    }
    let mut replicas = BTreeSet::new();
    for topic in topics {
        let topic_id = convert::id("replicas.topic_id", &topic.topic_id)?;
        replicas.extend(topic.indexes.iter().map(|index| (topic_id, *index)));
    }
    let request = ReportOfflineReplicas {
        node_id: request.node_id,
        broker_epoch: request.broker_epoch,
        replicas,
    };
    let rule = move |image: &_| rules::report_offline_replicas(image, &request);
    let ((), metadata_offset) = calls.run(rule).await?;
    Ok(v1::ReportOfflineReplicasResponse { metadata_offset })
}
