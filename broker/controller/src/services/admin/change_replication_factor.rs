use foz_api::v1;
use foz_api::v1::change_replication_factor_request::Change;
use foz_metadata::rules::{self, ChangeReplicationFactor, ReplicationFactorChange};
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn change_replication_factor(
    calls: &Calls,
    request: v1::ChangeReplicationFactorRequest,
) -> Result<v1::ChangeReplicationFactorResponse, Status> {
    let request = ChangeReplicationFactor {
        topics: request
            .topics
            .into_iter()
            .map(change)
            .collect::<Result<_, _>>()?,
        validate_only: request.validate_only,
        operator_epoch: request.operator_epoch,
    };
    let rule = move |image: &_| rules::change_replication_factor(image, &request);
    let results = calls.change(rule).await?;
    Ok(v1::ChangeReplicationFactorResponse {
        results: results.iter().map(convert::outcome).collect(),
    })
}

fn change(wanted: Change) -> Result<ReplicationFactorChange, Status> {
    let id = if wanted.id.is_empty() {
        None
    } else {
        Some(convert::id("topics.id", &wanted.id)?)
    };
    Ok(ReplicationFactorChange {
        name: wanted.name,
        id,
        replication_factor: wanted.replication_factor,
    })
}
