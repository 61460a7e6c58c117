//! FindCoordinator (10): which broker coordinates a group: the leader of its partition of
//! `__consumer_offsets`. The topic is made when the first group asks.

use foz_groups::partition_for;
use foz_metadata::image::NO_LEADER;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::internal_topics::CONSUMER_OFFSETS;
use crate::request::RequestContext;

const KEY_TYPE_GROUP: i8 = 0;
/// Before this version a request holds one key and the answer is not a list.
const BATCHED_FROM: i16 = 4;

pub(crate) async fn handle(
    context: RequestContext,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    // Once, however many groups are asked for.
    if asks_for_a_group(&context, &request)
        && context.broker.image().topic(CONSUMER_OFFSETS).is_none()
    {
        context.broker.create_consumer_offsets().await;
    }
    if context.version < BATCHED_FROM {
        let found = find(&context, request.key_type, request.key.as_str());
        return FindCoordinatorResponse::default()
            .with_error_code(found.error_code)
            .with_error_message(found.error_message)
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port);
    }
    let coordinators = request
        .coordinator_keys
        .iter()
        .map(|key| find(&context, request.key_type, key.as_str()))
        .collect();
    FindCoordinatorResponse::default().with_coordinators(coordinators)
}

fn asks_for_a_group(context: &RequestContext, request: &FindCoordinatorRequest) -> bool {
    let keys = request.coordinator_keys.iter().chain([&request.key]);
    request.key_type == KEY_TYPE_GROUP
        && keys
            .filter(|key| !key.is_empty())
            .any(|key| context.allows(Operation::Describe, &Resource::Group(key)))
}

fn find(context: &RequestContext, key_type: i8, key: &str) -> Coordinator {
    let failed = |error: ErrorCode, message: &str| {
        Coordinator::default()
            .with_key(text(key))
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
    };
    if key_type != KEY_TYPE_GROUP {
        let message =
            "this version coordinates consumer groups only, not transactions or share groups";
        return failed(ErrorCode::InvalidRequest, message);
    }
    if key.is_empty() {
        return failed(
            ErrorCode::InvalidGroupId,
            "the group id is empty: give the group a name",
        );
    }
    if !context.allows(Operation::Describe, &Resource::Group(key)) {
        return failed(
            ErrorCode::GroupAuthorizationFailed,
            "not allowed to see this group",
        );
    }
    let image = context.broker.image();
    let not_available = || {
        failed(
            ErrorCode::CoordinatorNotAvailable,
            "no broker leads the group's partition now",
        )
    };
    let Some(topic) = image.topic(CONSUMER_OFFSETS) else {
        return not_available();
    };
    let index = partition_for(key, topic.partitions.len() as i32);
    let leader = topic
        .partition(index)
        .map_or(NO_LEADER, |partition| partition.leader);
    match image.broker(leader).filter(|broker| !broker.fenced) {
        Some(broker) => Coordinator::default()
            .with_key(text(key))
            .with_node_id(BrokerId(broker.node_id))
            .with_host(text(&broker.host))
            .with_port(i32::from(broker.port)),
        None => not_available(),
    }
}
