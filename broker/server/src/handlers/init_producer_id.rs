//! InitProducerId (22): a number for an idempotent producer, or number and epoch of a transactional one, whose
//! predecessors are fenced.

use foz_protocol::error::ErrorCode;
use foz_transactions::{Request, Response};
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::transactions;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// No producer id, and no epoch.
const NONE: i64 = -1;

pub(crate) async fn handle(
    context: RequestContext,
    request: InitProducerIdRequest,
) -> Option<InitProducerIdResponse> {
    let Some(transactional_id) = &request.transactional_id else {
        return Some(idempotent(context, request).await);
    };
    let refusal = transactions::refusal(&context, transactional_id);
    let request = Request::InitProducerId(request);
    match transactions::ask_or_refuse(&context, request, refusal).await? {
        Response::InitProducerId(response) => Some(response),
        other => unreachable!("the coordinator answered {other:?}"),
    }
}

async fn idempotent(
    context: RequestContext,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let failed = |error: ErrorCode| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    if !context.allows(Operation::IdempotentWrite, &Resource::Cluster) {
        return failed(ErrorCode::ClusterAuthorizationFailed);
    }
    // Either both, of a producer that wants a newer epoch, or none (KIP-360). One without transactions gets
    // another number in any case, as from Kafka.
    let names_id = request.producer_id.0 != NONE;
    let names_epoch = i64::from(request.producer_epoch) != NONE;
    if names_id != names_epoch {
        return failed(ErrorCode::InvalidRequest);
    }
    match context.broker.producer_ids.next(&context.broker).await {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        // Retriable: the client asks again.
        Err(failure) => failed(match failure.error {
            ErrorCode::UnknownServerError => ErrorCode::UnknownServerError,
            _ => ErrorCode::CoordinatorLoadInProgress,
        }),
    }
}
