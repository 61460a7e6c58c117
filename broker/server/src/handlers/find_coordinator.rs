//! FindCoordinator (10): which broker coordinates a group or a transactional id: the leader of its partition of an internal
//! topic, which is made when the first one is asked for.

use foz_groups::partition_for;
use foz_metadata::Image;
use foz_metadata::image::NO_LEADER;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::internal_topics::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use crate::request::RequestContext;
use crate::transactions;

/// Before this version a request holds one key and the answer is not a list.
const BATCHED_FROM: i16 = 4;

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Group,
    Transaction,
}

/// The error for a key, and why.
type Refusal = (ErrorCode, &'static str);

pub(crate) async fn handle(
    context: RequestContext,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let kind = Kind::of(request.key_type);
    // Once, however many are asked for.
    if let Ok(kind) = kind
        && asks_for_one(&context, kind, &request)
        && context.broker.image().topic(kind.topic()).is_none()
    {
        match kind {
            Kind::Group => context.broker.create_consumer_offsets().await,
            Kind::Transaction => context.broker.create_transaction_state().await,
        }
    }
    let find = |key: &str| {
        let found = kind.and_then(|kind| find(&context, kind, key));
        found.unwrap_or_else(|refusal| failed(key, refusal))
    };
    if context.version < BATCHED_FROM {
        let found = find(request.key.as_str());
        return FindCoordinatorResponse::default()
            .with_error_code(found.error_code)
            .with_error_message(found.error_message)
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port);
    }
    let keys = request.coordinator_keys.iter();
    let coordinators = keys.map(|key| find(key.as_str())).collect();
    FindCoordinatorResponse::default().with_coordinators(coordinators)
}

impl Kind {
    fn of(key_type: i8) -> Result<Self, Refusal> {
        match key_type {
            0 => Ok(Self::Group),
            1 => Ok(Self::Transaction),
            _ => Err((
                ErrorCode::InvalidRequest,
                "this version coordinates consumer groups and transactions, not share groups",
            )),
        }
    }

    const fn topic(self) -> &'static str {
        match self {
            Self::Group => CONSUMER_OFFSETS,
            Self::Transaction => TRANSACTION_STATE,
        }
    }

    const fn resource(self, key: &str) -> Resource<'_> {
        match self {
            Self::Group => Resource::Group(key),
            Self::Transaction => Resource::TransactionalId(key),
        }
    }

    fn check(self, context: &RequestContext, key: &str) -> Result<(), Refusal> {
        // An empty transactional id is refused by its coordinator, as in Kafka.
        if key.is_empty() && self == Self::Group {
            return Err((
                ErrorCode::InvalidGroupId,
                "the group id is empty: give the group a name",
            ));
        }
        if context.allows(Operation::Describe, &self.resource(key)) {
            return Ok(());
        }
        Err(match self {
            Self::Group => (
                ErrorCode::GroupAuthorizationFailed,
                "not allowed to see this group",
            ),
            Self::Transaction => (
                ErrorCode::TransactionalIdAuthorizationFailed,
                "not allowed to see this transactional id",
            ),
        })
    }
}

fn asks_for_one(context: &RequestContext, kind: Kind, request: &FindCoordinatorRequest) -> bool {
    let keys = match context.version < BATCHED_FROM {
        true => std::slice::from_ref(&request.key),
        false => &request.coordinator_keys,
    };
    are_served(&context.broker.image(), kind)
        && keys
            .iter()
            .filter(|key| !key.is_empty())
            .any(|key| kind.check(context, key.as_str()).is_ok())
}

fn are_served(image: &Image, kind: Kind) -> bool {
    kind == Kind::Group || transactions::are_served(image)
}

fn failed(key: &str, (error, message): Refusal) -> Coordinator {
    Coordinator::default()
        .with_key(text(key))
        .with_node_id(BrokerId(-1))
        .with_port(-1)
        .with_error_code(error.code())
        .with_error_message(Some(text(message)))
}

fn find(context: &RequestContext, kind: Kind, key: &str) -> Result<Coordinator, Refusal> {
    kind.check(context, key)?;
    let image = context.broker.image();
    if !are_served(&image, kind) {
        return Err((
            ErrorCode::CoordinatorNotAvailable,
            "not every node of the cluster knows transactions yet",
        ));
    }
    let not_available = (
        ErrorCode::CoordinatorNotAvailable,
        "no broker leads its partition now",
    );
    let topic = image.topic(kind.topic()).ok_or(not_available)?;
    let index = partition_for(key, topic.partitions.len() as i32);
    let leader = topic
        .partition(index)
        .map_or(NO_LEADER, |partition| partition.leader);
    let broker = image.broker(leader).filter(|broker| !broker.fenced);
    let broker = broker.ok_or(not_available)?;
    Ok(Coordinator::default()
        .with_key(text(key))
        .with_node_id(BrokerId(broker.node_id))
        .with_host(text(&broker.host))
        .with_port(i32::from(broker.port)))
}
