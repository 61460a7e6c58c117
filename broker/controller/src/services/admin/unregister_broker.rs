use foz_api::v1::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use foz_metadata::Image;
use foz_metadata::rules::{self, Decided, Decision, ErrorCode, Refusal};
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn unregister_broker(
    calls: &Calls,
    request: UnregisterBrokerRequest,
) -> Result<UnregisterBrokerResponse, Status> {
    let UnregisterBrokerRequest {
        node_id,
        operator_epoch,
    } = request;
    let result = calls
        .change(move |image| unregister(image, node_id, operator_epoch))
        .await?;
    Ok(UnregisterBrokerResponse {
        outcome: Some(convert::outcome(&result)),
    })
}

/// A refusal is an outcome in Kafka's terms, as clients ask for this too; only an operator that does not count any
/// more is refused as with every other call.
fn unregister(image: &Image, node_id: i32, operator_epoch: i64) -> Decided<Result<(), Refusal>> {
    match rules::unregister_broker(image, node_id, operator_epoch) {
        Ok(Decision { records, answer }) => Ok(Decision {
            records,
            answer: Ok(answer),
        }),
        Err(refusal) if refusal.code == ErrorCode::StaleOperatorEpoch => Err(refusal),
        Err(refusal) => Ok(Decision {
            records: Vec::new(),
            answer: Err(refusal),
        }),
    }
}
