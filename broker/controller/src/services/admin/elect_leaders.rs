use foz_api::v1;
use foz_api::v1::elect_leaders_response::Result as PartitionResult;
use foz_metadata::rules::{self, ElectLeaders, ElectionKind};
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn elect_leaders(
    calls: &Calls,
    request: v1::ElectLeadersRequest,
) -> Result<v1::ElectLeadersResponse, Status> {
    let kind = match v1::ElectionKind::try_from(request.kind) {
        Ok(v1::ElectionKind::Preferred) => ElectionKind::Preferred,
        Ok(v1::ElectionKind::Unclean) => ElectionKind::Unclean,
        Err(_) => {
            return Err(Status::invalid_argument(format!(
                "kind {} must be 0 (preferred) or 1 (unclean)",
                request.kind
            )));
        }
    };
    if request.all_partitions && !request.partitions.is_empty() {
        return Err(Status::invalid_argument(
            "partitions must be empty when all_partitions is true",
        ));
    }
    let named = request.partitions.into_iter();
    let named = named.map(|partition| (partition.topic, partition.index));
    let request = ElectLeaders {
        kind,
        partitions: (!request.all_partitions).then(|| named.collect()),
        operator_epoch: request.operator_epoch,
    };
    let rule = move |image: &_| rules::elect_leaders(image, &request);
    let results = calls.change(rule).await?;
    let results = results
        .into_iter()
        .map(|(topic, index, result)| PartitionResult {
            topic,
            index,
            outcome: Some(convert::outcome(&result)),
        })
        .collect();
    Ok(v1::ElectLeadersResponse { results })
}
