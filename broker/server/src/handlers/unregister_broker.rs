//! UnregisterBroker (64, KIP-631): passed on to the active controller.

use foz_api::v1::UnregisterBrokerRequest as Unregistration;
use foz_api::v1::admin_client::AdminClient;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::text;
use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// The request has no timeout of its own; this is Kafka's `default.api.timeout.ms`.
const TIMEOUT_MS: i32 = 60_000;

pub(crate) async fn handle(
    context: RequestContext,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let response = UnregisterBrokerResponse::default();
    if !context.allows(Operation::Alter, &Resource::Cluster) {
        return response.with_error_code(ErrorCode::ClusterAuthorizationFailed.code());
    }
    let message = Unregistration {
        node_id: request.broker_id.0,
        operator_epoch: 0,
    };
    let answer = admin::change(&context.broker, TIMEOUT_MS, |channel| async move {
        AdminClient::new(channel).unregister_broker(message).await
    })
    .await;
    let (code, message) = match answer {
        Ok(answer) => admin::outcome(answer.outcome),
        Err(failed) => (failed.error.code(), Some(failed.message)),
    };
    response
        .with_error_code(code)
        .with_error_message(message.map(text))
}
