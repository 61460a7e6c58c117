//! What a controller answers to the other controllers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tonic::{Request, Response, Status, Streaming};

use crate::command::{Command, INBOUND_KIB_MAX, kib};
use crate::formation::PeerView;
use crate::joining::JoinAnswer;
use crate::membership::member_from_wire;
use crate::transport::FRAME_BYTES_MAX;
use crate::wire;
use crate::wire::quorum_server::{Quorum as QuorumCalls, QuorumServer};

/// The tonic service to mount: [`crate::Quorum::service`].
pub type QuorumService = QuorumServer<Service>;

/// A snapshot larger than this is refused.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// Answers the calls; see [`QuorumService`].
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
}

/// What the service shares with the task that forms the quorum.
#[derive(Debug)]
pub(crate) struct Shared {
    /// This controller, as it tells others.
    pub(crate) me: watch::Sender<PeerView>,
    /// Set when Raft runs.
    pub(crate) running: watch::Sender<Option<Running>>,
    /// What formed peers said when they asked.
    pub(crate) heard: Mutex<BTreeMap<i32, PeerView>>,
    pub(crate) heard_more: Notify,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) inbound: Arc<Semaphore>,
}

/// The identity under which Raft runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) cluster_id: String,
    pub(crate) raft_id: u64,
}

/// The Raft ids at the ends of a stream.
#[derive(Debug, Clone, Copy)]
struct Pair {
    from: u64,
    to: u64,
}

impl Shared {
    pub(crate) fn new(me: PeerView, commands: mpsc::UnboundedSender<Command>) -> Arc<Self> {
        Arc::new(Self {
            me: watch::Sender::new(me),
            running: watch::Sender::new(None),
            heard: Mutex::default(),
            heard_more: Notify::new(),
            commands,
            inbound: Arc::new(Semaphore::new(INBOUND_KIB_MAX)),
        })
    }

    pub(crate) fn service(self: &Arc<Self>) -> QuorumService {
        QuorumServer::new(Service {
            shared: Arc::clone(self),
        })
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX)
    }

    fn running(&self) -> Result<Running, Status> {
        let running = self.running.borrow().clone();
        running.ok_or_else(|| Status::unavailable("this controller has not found its quorum yet"))
    }

    /// Who may speak to whom.
    fn check(&self, header: Option<wire::MessageHeader>) -> Result<Pair, Status> {
        let running = self.running()?;
        let header =
            header.ok_or_else(|| Status::invalid_argument("the first frame has no header"))?;
        if header.cluster_id != running.cluster_id {
            return Err(Status::failed_precondition(format!(
                "this controller belongs to cluster {}, the message is of cluster {}",
                running.cluster_id, header.cluster_id
            )));
        }
        if header.to_raft_id != running.raft_id {
            return Err(Status::not_found(format!(
                "raft id {:016x} is not here; this controller is {:016x}",
                header.to_raft_id, running.raft_id
            )));
        }
        let from = header.from.and_then(member_from_wire);
        let from = from.ok_or_else(|| Status::invalid_argument("from: malformed or absent"))?;
        let pair = Pair {
            from: from.raft_id,
            to: running.raft_id,
        };
        self.commands
            .send(Command::Met(from))
            .map_err(|_| Status::unavailable("this controller is stopping"))?;
        Ok(pair)
    }

    /// Hands a message to the quorum's thread; waits while too much is in front of it.
    async fn deliver(&self, message: Message, bytes: usize) -> Result<(), Status> {
        let permits = kib(bytes).min(u32::try_from(INBOUND_KIB_MAX).unwrap_or(u32::MAX));
        let stopped = || Status::unavailable("this controller is stopping");
        let permit = Arc::clone(&self.inbound).acquire_many_owned(permits).await;
        let command = Command::Message(Box::new(message), permit.map_err(|_| stopped())?);
        self.commands.send(command).map_err(|_| stopped())
    }
}

#[tonic::async_trait]
impl QuorumCalls for Service {
    async fn hello(
        &self,
        request: Request<wire::PeerState>,
    ) -> Result<Response<wire::PeerState>, Status> {
        let peer = PeerView::from_wire(request.into_inner()).ok_or_else(|| {
            Status::invalid_argument("a directory id is not 16 bytes, or a raft id is 0")
        })?;
        let is_known = self.shared.me.borrow().knows(peer.node_id);
        if is_known && peer.formed().is_some() {
            let mut heard = self.shared.heard.lock();
            if heard.insert(peer.node_id, peer.clone()) != Some(peer) {
                self.shared.heard_more.notify_one();
            }
        }
        let me = self.shared.me.borrow().to_wire();
        Ok(Response::new(me))
    }

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let request = request.into_inner();
        let running = self.shared.running()?;
        if request.cluster_id != running.cluster_id {
            return Err(Status::failed_precondition(format!(
                "this controller belongs to cluster {}, not {}",
                running.cluster_id, request.cluster_id
            )));
        }
        let member = request.member.and_then(member_from_wire);
        let member =
            member.ok_or_else(|| Status::invalid_argument("member: malformed or absent"))?;
        let (answer, receiver) = oneshot::channel();
        let stopped = || Status::unavailable("this controller is stopping");
        let command = Command::Join {
            member,
            configured: request.configured_voters,
            renew: request.renew,
            answer,
        };
        let sent = self.shared.commands.send(command);
        sent.map_err(|_| stopped())?;
        let answer = receiver.await.map_err(|_| stopped())?;
        Ok(Response::new(wire::JoinResponse {
            leader: answer != JoinAnswer::NotLeader,
            renew: answer == JoinAnswer::Renew,
            refused: match answer {
                JoinAnswer::Refused(why) => why,
                _ => String::new(),
            },
        }))
    }

    async fn messages(
        &self,
        request: Request<Streaming<wire::MessageFrame>>,
    ) -> Result<Response<wire::MessagesClosed>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.unwrap_or_default();
        let pair = self.shared.check(first.header)?;
        let _open = OpenStream::new(&self.shared.commands, pair.from);
        while let Some(frame) = frames.message().await? {
            for bytes in frame.messages {
                let message = parse(&bytes, pair)?;
                self.shared.deliver(message, bytes.len()).await?;
            }
        }
        Ok(Response::new(wire::MessagesClosed {}))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotFrame>>,
    ) -> Result<Response<wire::SnapshotAccepted>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.unwrap_or_default();
        let pair = self.shared.check(first.header)?;
        let mut message = parse(&first.message, pair)?;
        if first.data_bytes > SNAPSHOT_BYTES_MAX {
            let text = format!("{} bytes, at most {SNAPSHOT_BYTES_MAX}", first.data_bytes);
            return Err(Status::resource_exhausted(text));
        }
        let mut data = BytesMut::new();
        while let Some(frame) = frames.message().await? {
            if (data.len() + frame.data.len()) as u64 > first.data_bytes {
                return Err(Status::invalid_argument(
                    "more data than the first frame said",
                ));
            }
            data.extend_from_slice(&frame.data);
        }
        if data.len() as u64 != first.data_bytes || crc32c::crc32c(&data) != first.data_crc32c {
            return Err(Status::data_loss("the snapshot arrived damaged"));
        }
        let bytes = data.len();
        message.mut_snapshot().data = data.freeze();
        self.shared.deliver(message, bytes).await?;
        Ok(Response::new(wire::SnapshotAccepted {}))
    }
}

/// Tells of a stream's begin, and of its end when dropped: also when the connection broke under it.
struct OpenStream<'a> {
    commands: &'a mpsc::UnboundedSender<Command>,
    from: u64,
}

impl<'a> OpenStream<'a> {
    fn new(commands: &'a mpsc::UnboundedSender<Command>, from: u64) -> Self {
        // An error: the thread that would hear of it has ended.
        let _ = commands.send(Command::StreamOpened(from));
        Self { commands, from }
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        // An error: the thread that would hear of it has ended.
        let _ = self.commands.send(Command::StreamClosed(self.from));
    }
}

/// Only what members say to each other: proposals and reads are never forwarded, and a member cannot
/// speak for another one.
fn parse(bytes: &Bytes, pair: Pair) -> Result<Message, Status> {
    let message = Message::parse_from_carllerche_bytes(bytes);
    let message = message.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let kind = message.get_msg_type();
    let is_between_members = matches!(
        kind,
        MessageType::MsgAppend
            | MessageType::MsgAppendResponse
            | MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgSnapshot
            | MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgTimeoutNow
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse
    );
    if !is_between_members {
        return Err(Status::invalid_argument(format!(
            "{kind:?} is not sent between controllers"
        )));
    }
    if message.from != pair.from || message.to != pair.to {
        return Err(Status::invalid_argument(
            "a message is not between the two of the header",
        ));
    }
    Ok(message)
}
