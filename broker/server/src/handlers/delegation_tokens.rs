//! CreateDelegationToken (38), RenewDelegationToken (39), ExpireDelegationToken (40) and DescribeDelegationToken (41),
//! KIP-48. A token stands for somebody who has authenticated: on a plaintext listener Kafka takes no such request.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, DescribeDelegationTokenRequest,
    DescribeDelegationTokenResponse, ExpireDelegationTokenRequest, ExpireDelegationTokenResponse,
    RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::text;
use crate::request::RequestContext;

/// Stands for a time where there is none.
const NO_TIMESTAMP: i64 = -1;
/// Earlier versions do not tell who asked.
const REQUESTER_FROM: i16 = 3;

pub(crate) async fn create(
    context: RequestContext,
    request: CreateDelegationTokenRequest,
) -> CreateDelegationTokenResponse {
    let (requester_type, requester_name) = context.client.principal.parts();
    let (requester_type, requester_name) = (text(requester_type), text(requester_name));
    let given = |name: &StrBytes| !name.is_empty();
    let owner = match request.owner_principal_name.filter(given) {
        Some(name) => (request.owner_principal_type.unwrap_or_default(), name),
        None => (requester_type.clone(), requester_name.clone()),
    };
    let response = CreateDelegationTokenResponse::default()
        .with_error_code(refusal())
        .with_principal_type(owner.0)
        .with_principal_name(owner.1)
        .with_issue_timestamp_ms(NO_TIMESTAMP)
        .with_expiry_timestamp_ms(NO_TIMESTAMP)
        .with_max_timestamp_ms(NO_TIMESTAMP);
    if context.version < REQUESTER_FROM {
        return response;
    }
    response
        .with_token_requester_principal_type(requester_type)
        .with_token_requester_principal_name(requester_name)
}

pub(crate) async fn renew(
    _: RequestContext,
    _: RenewDelegationTokenRequest,
) -> RenewDelegationTokenResponse {
    RenewDelegationTokenResponse::default()
        .with_error_code(refusal())
        .with_expiry_timestamp_ms(NO_TIMESTAMP)
}

pub(crate) async fn expire(
    _: RequestContext,
    _: ExpireDelegationTokenRequest,
) -> ExpireDelegationTokenResponse {
    ExpireDelegationTokenResponse::default()
        .with_error_code(refusal())
        .with_expiry_timestamp_ms(NO_TIMESTAMP)
}

pub(crate) async fn describe(
    _: RequestContext,
    _: DescribeDelegationTokenRequest,
) -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse::default().with_error_code(refusal())
}

fn refusal() -> i16 {
    ErrorCode::DelegationTokenRequestNotAllowed.code()
}
