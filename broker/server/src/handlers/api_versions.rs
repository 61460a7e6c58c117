//! ApiVersions (18): what this broker speaks, to clients that do not know yet.

use foz_protocol::apis;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use crate::request::RequestContext;

pub(crate) async fn handle(_: RequestContext, _: ApiVersionsRequest) -> ApiVersionsResponse {
    apis::api_versions_response(ErrorCode::None)
}
