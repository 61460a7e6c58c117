//! DescribeAcls (29), CreateAcls (30) and DeleteAcls (31): there are none, as in a Kafka without an authorizer. Tools and
//! consoles take SECURITY_DISABLED for that.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsRequest, DescribeAclsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

pub(crate) async fn describe(
    context: RequestContext,
    _: DescribeAclsRequest,
) -> DescribeAclsResponse {
    let disabled = "No Authorizer is configured on the broker";
    let (code, message) = refusal(&context, Operation::Describe, disabled);
    DescribeAclsResponse::default()
        .with_error_code(code)
        .with_error_message(message)
}

pub(crate) async fn create(
    context: RequestContext,
    request: CreateAclsRequest,
) -> CreateAclsResponse {
    let (code, message) = refusal(&context, Operation::Alter, NO_AUTHORIZER);
    let result = AclCreationResult::default()
        .with_error_code(code)
        .with_error_message(message);
    CreateAclsResponse::default().with_results(vec![result; request.creations.len()])
}

pub(crate) async fn delete(
    context: RequestContext,
    request: DeleteAclsRequest,
) -> DeleteAclsResponse {
    let (code, message) = refusal(&context, Operation::Alter, NO_AUTHORIZER);
    let result = DeleteAclsFilterResult::default()
        .with_error_code(code)
        .with_error_message(message);
    DeleteAclsResponse::default().with_filter_results(vec![result; request.filters.len()])
}

const NO_AUTHORIZER: &str = "No Authorizer is configured.";

fn refusal(
    context: &RequestContext,
    operation: Operation,
    disabled: &'static str,
) -> (i16, Option<StrBytes>) {
    if context.allows(operation, &Resource::Cluster) {
        (ErrorCode::SecurityDisabled.code(), Some(text(disabled)))
    } else {
        (ErrorCode::ClusterAuthorizationFailed.code(), None)
    }
}
