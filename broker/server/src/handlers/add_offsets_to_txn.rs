//! AddOffsetsToTxn (25): offsets that a group commits take part in a transaction, as records do.

use foz_groups::partition_for;
use foz_transactions::{Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::transactions;
use crate::authorizer::{Operation, Resource};
use crate::internal_topics::CONSUMER_OFFSETS;
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: AddOffsetsToTxnRequest,
) -> Option<AddOffsetsToTxnResponse> {
    let mut refusal = transactions::refusal(&context, &request.transactional_id);
    let group = Resource::Group(&request.group_id);
    if refusal.is_none() && !context.allows(Operation::Read, &group) {
        refusal = Some(ResponseError::GroupAuthorizationFailed);
    }
    let mut offsets_partition = 0;
    if refusal.is_none() {
        // Its producer asks for the coordinator of the group only after this.
        if context.broker.image().topic(CONSUMER_OFFSETS).is_none() {
            context.broker.create_consumer_offsets().await;
        }
        match context.broker.image().topic(CONSUMER_OFFSETS) {
            Some(topic) => {
                let count = topic.partitions.len() as i32;
                offsets_partition = partition_for(&request.group_id, count);
            }
            None => refusal = Some(ResponseError::CoordinatorNotAvailable),
        }
    }
    let request = Request::AddOffsetsToTxn {
        request,
        offsets_partition,
    };
    match transactions::ask_or_refuse(&context, request, refusal).await? {
        Response::AddOffsetsToTxn(response) => Some(response),
        other => unreachable!("the coordinator answered {other:?}"),
    }
}
