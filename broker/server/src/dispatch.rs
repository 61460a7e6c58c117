//! From the bytes of a request to the handler of its API.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use foz_protocol::frame::{self, BodyError, FrameError};
use foz_records::Message;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request as RequestMessage};
use tracing::debug;

use crate::broker::Broker;
use crate::handlers;
use crate::net::budget::Reserved;
use crate::request::{Client, Listener, RequestContext};

/// What brokers ask each other.
const BETWEEN_NODES: [ApiKey; 4] = [
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::AddPartitionsToTxn,
    ApiKey::WriteTxnMarkers,
];

/// A request that was started; its answer.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A request that was begun.
pub(crate) enum Begun {
    Now(Pending),
    /// The next request of the connection begins only after this: records keep their order.
    First(Pin<Box<dyn Future<Output = ReadOn> + Send>>),
}

/// The request as it goes on, and its connection may, too.
pub(crate) struct ReadOn(pub(crate) Pending);

/// What goes back to the client.
pub(crate) enum Answer {
    /// A whole frame, in pieces; `held` is the memory they take, until they are written.
    Reply {
        segments: Vec<Bytes>,
        held: Option<Reserved>,
    },
    /// The client asked for no answer (acks=0).
    Nothing,
    /// The connection cannot go on.
    Close,
}

/// Why a frame is no request; the connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotARequest {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{api:?} version {version}: {reason}")]
    Body {
        api: ApiKey,
        version: i16,
        reason: BodyError,
    },
    #[error("{api:?}: the replication listener is for what brokers ask each other")]
    NotBetweenNodes { api: ApiKey },
}

/// Starts the request in `frame` (without its length).
pub(crate) fn start(
    broker: &Arc<Broker>,
    client: &Arc<Client>,
    frame: &Bytes,
) -> Result<Begun, NotARequest> {
    let (header, body) = match frame::Request::parse(frame)? {
        frame::Request::Known { header, body } => (header, body),
        frame::Request::UnsupportedApiVersions { .. }
            if client.listener == Listener::Replication =>
        {
            let api = ApiKey::ApiVersions;
            return Err(NotARequest::NotBetweenNodes { api });
        }
        frame::Request::UnsupportedApiVersions { correlation_id } => {
            let segments = vec![frame::encode_unsupported_api_versions(correlation_id)];
            return Ok(Begun::Now(Box::pin(async {
                Answer::Reply {
                    segments,
                    held: None,
                }
            })));
        }
    };
    let api = header.api.key;
    let context = RequestContext {
        broker: Arc::clone(broker),
        client: Arc::clone(client),
        client_id: header
            .client_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        version: header.version,
    };
    debug!(
        ?api,
        version = header.version,
        client_id = context.client_id,
        "request"
    );
    let call = Call {
        api,
        context,
        correlation_id: header.correlation_id,
        body,
    };
    let began = Instant::now();
    let measured = measured(Arc::clone(broker), api, began);
    if api == ApiKey::Produce && client.listener == Listener::Clients {
        return Ok(match handlers::produce::start(call)? {
            Begun::Now(pending) => Begun::Now(measured(pending)),
            Begun::First(first) => Begun::First(Box::pin(async move {
                let ReadOn(pending) = first.await;
                ReadOn(measured(pending))
            })),
        });
    }
    Ok(Begun::Now(measured(route(call)?)))
}

fn route(call: Call) -> Result<Pending, NotARequest> {
    let is_between_nodes = call.context.client.listener == Listener::Replication;
    if is_between_nodes && !BETWEEN_NODES.contains(&call.api) {
        return Err(NotARequest::NotBetweenNodes { api: call.api });
    }
    match call.api {
        ApiKey::Fetch => handlers::fetch::start(call),
        ApiKey::ApiVersions => call.answer(handlers::api_versions::handle),
        ApiKey::Metadata => call.answer(handlers::metadata::handle),
        ApiKey::ListOffsets => call.answer_record(handlers::list_offsets::handle),
        ApiKey::OffsetForLeaderEpoch => call.answer(handlers::offset_for_leader_epoch::handle),
        ApiKey::CreateTopics => call.answer(handlers::create_topics::handle),
        ApiKey::DeleteTopics => call.answer(handlers::delete_topics::handle),
        ApiKey::DeleteRecords => call.answer(handlers::delete_records::handle),
        ApiKey::CreatePartitions => call.answer(handlers::create_partitions::handle),
        ApiKey::DescribeTopicPartitions => call.answer(handlers::describe_topic_partitions::handle),
        ApiKey::DescribeConfigs => call.answer(handlers::describe_configs::handle),
        ApiKey::AlterReplicaLogDirs => call.answer(handlers::alter_replica_log_dirs::handle),
        ApiKey::DescribeLogDirs => call.answer_record(handlers::describe_log_dirs::handle),
        ApiKey::ElectLeaders => call.answer(handlers::elect_leaders::handle),
        ApiKey::AlterPartitionReassignments => {
            call.answer(handlers::alter_partition_reassignments::handle)
        }
        ApiKey::ListPartitionReassignments => {
            call.answer(handlers::list_partition_reassignments::handle)
        }
        ApiKey::AlterConfigs => call.answer(handlers::alter_configs::handle),
        ApiKey::IncrementalAlterConfigs => call.answer(handlers::incremental_alter_configs::handle),
        ApiKey::ListConfigResources => call.answer(handlers::list_config_resources::handle),
        ApiKey::UnregisterBroker => call.answer(handlers::unregister_broker::handle),
        ApiKey::DescribeQuorum => call.answer(handlers::describe_quorum::handle),
        ApiKey::AddRaftVoter => call.answer(handlers::raft_voters::add),
        ApiKey::RemoveRaftVoter => call.answer(handlers::raft_voters::remove),
        ApiKey::UpdateFeatures => call.answer(handlers::update_features::handle),
        ApiKey::DescribeCluster => call.answer(handlers::describe_cluster::handle),
        ApiKey::InitProducerId => call.answer_or_close(handlers::init_producer_id::handle),
        ApiKey::AddPartitionsToTxn => call.answer_or_close(handlers::add_partitions_to_txn::handle),
        ApiKey::AddOffsetsToTxn => call.answer_or_close(handlers::add_offsets_to_txn::handle),
        ApiKey::EndTxn => call.answer_or_close(handlers::end_txn::handle),
        ApiKey::DescribeTransactions => {
            call.answer_or_close(handlers::describe_transactions::handle)
        }
        ApiKey::ListTransactions => call.answer_or_close(handlers::list_transactions::handle),
        ApiKey::TxnOffsetCommit => call.answer(handlers::txn_offset_commit::handle),
        ApiKey::WriteTxnMarkers => call.answer_record(handlers::write_txn_markers::handle),
        ApiKey::DescribeProducers => call.answer(handlers::describe_producers::handle),
        ApiKey::DescribeAcls => call.answer(handlers::acls::describe),
        ApiKey::CreateAcls => call.answer(handlers::acls::create),
        ApiKey::DeleteAcls => call.answer(handlers::acls::delete),
        ApiKey::DescribeClientQuotas => call.answer(handlers::client_quotas::describe),
        ApiKey::AlterClientQuotas => call.answer(handlers::client_quotas::alter),
        ApiKey::DescribeUserScramCredentials => {
            call.answer(handlers::user_scram_credentials::describe)
        }
        ApiKey::AlterUserScramCredentials => call.answer(handlers::user_scram_credentials::alter),
        ApiKey::CreateDelegationToken => call.answer(handlers::delegation_tokens::create),
        ApiKey::RenewDelegationToken => call.answer(handlers::delegation_tokens::renew),
        ApiKey::ExpireDelegationToken => call.answer(handlers::delegation_tokens::expire),
        ApiKey::DescribeDelegationToken => call.answer(handlers::delegation_tokens::describe),
        ApiKey::FindCoordinator => call.answer(handlers::find_coordinator::handle),
        ApiKey::JoinGroup => call.answer(handlers::groups::join_group),
        ApiKey::SyncGroup => call.answer(handlers::groups::sync_group),
        ApiKey::Heartbeat => call.answer(handlers::groups::heartbeat),
        ApiKey::LeaveGroup => call.answer(handlers::groups::leave_group),
        ApiKey::OffsetCommit => call.answer(handlers::groups::offset_commit),
        ApiKey::OffsetFetch => call.answer(handlers::groups::offset_fetch),
        ApiKey::DescribeGroups => call.answer(handlers::groups::describe_groups),
        ApiKey::ListGroups => call.answer(handlers::groups::list_groups),
        ApiKey::ConsumerGroupHeartbeat => {
            call.answer(handlers::consumer_groups::consumer_group_heartbeat)
        }
        ApiKey::ConsumerGroupDescribe => {
            call.answer(handlers::consumer_groups::consumer_group_describe)
        }
        ApiKey::DeleteGroups => call.answer(handlers::groups::delete_groups),
        ApiKey::OffsetDelete => call.answer(handlers::groups::offset_delete),
        other => Err(FrameError::UnknownApi {
            key: other as i16,
            version: call.context.version,
        }
        .into()),
    }
}

/// One request on its way to its handler.
pub(crate) struct Call {
    pub(crate) api: ApiKey,
    pub(crate) context: RequestContext,
    pub(crate) correlation_id: i32,
    pub(crate) body: Bytes,
}

impl Call {
    /// Decodes the body, runs `handle` when it is the request's turn, and encodes what it answers.
    fn answer<Request, Response, Handle, Handling>(
        self,
        handle: Handle,
    ) -> Result<Pending, NotARequest>
    where
        Request: RequestMessage + Send + 'static,
        Response: Encodable + HeaderVersion + Send,
        Handle: FnOnce(RequestContext, Request) -> Handling + Send + 'static,
        Handling: Future<Output = Response> + Send,
    {
        self.answer_or_close(
            move |context, request| async move { Some(handle(context, request).await) },
        )
    }

    /// As [`answer`](Self::answer); without an answer the connection is closed.
    fn answer_or_close<Request, Response, Handle, Handling>(
        self,
        handle: Handle,
    ) -> Result<Pending, NotARequest>
    where
        Request: RequestMessage + Send + 'static,
        Response: Encodable + HeaderVersion + Send,
        Handle: FnOnce(RequestContext, Request) -> Handling + Send + 'static,
        Handling: Future<Output = Option<Response>> + Send,
    {
        let Self {
            api,
            context,
            correlation_id,
            body,
        } = self;
        let version = context.version;
        let request =
            frame::decode_body::<Request>(version, body).map_err(|reason| NotARequest::Body {
                api,
                version,
                reason,
            })?;
        Ok(Box::pin(async move {
            let Some(response) = handle(context, request).await else {
                return Answer::Close;
            };
            match frame::encode_response(version, correlation_id, &response) {
                Ok(frame) => Answer::Reply {
                    segments: vec![frame],
                    held: None,
                },
                Err(error) => not_encoded(api, version, &error),
            }
        }))
    }

    /// As [`answer`](Self::answer), for an API of which `kafka-protocol` lacks the newest version.
    fn answer_record<Request, Response, Handle, Handling>(
        self,
        handle: Handle,
    ) -> Result<Pending, NotARequest>
    where
        Request: Message + Send + 'static,
        Response: Message + Send,
        Handle: FnOnce(RequestContext, Request) -> Handling + Send + 'static,
        Handling: Future<Output = Response> + Send,
    {
        let version = self.context.version;
        let request = Request::decode(version, &self.body)
            .map_err(|reason| self.malformed(BodyError::Message(reason.to_string())))?;
        let Self {
            api,
            context,
            correlation_id,
            body: _,
        } = self;
        Ok(Box::pin(async move {
            let response = handle(context, request).await;
            match response.encode(version) {
                Ok(body) => Answer::Reply {
                    segments: vec![frame::response_of(api, version, correlation_id, &body)],
                    held: None,
                },
                Err(error) => not_encoded(api, version, &error),
            }
        }))
    }

    /// The error for a body that is not the API's.
    pub(crate) fn malformed(&self, reason: impl Into<BodyError>) -> NotARequest {
        let (api, version) = (self.api, self.context.version);
        NotARequest::Body {
            api,
            version,
            reason: reason.into(),
        }
    }
}

/// A handler filled a field that this version cannot carry: a bug of ours, and no reason to fall over.
fn not_encoded(api: ApiKey, version: i16, error: &dyn std::error::Error) -> Answer {
    tracing::error!(?api, version, %error, "the response cannot be encoded");
    Answer::Close
}

fn measured(broker: Arc<Broker>, api: ApiKey, began: Instant) -> impl FnOnce(Pending) -> Pending {
    move |pending| {
        Box::pin(async move {
            let answer = pending.await;
            broker.metrics.answered(api, began.elapsed());
            answer
        })
    }
}
