//! Sends Raft's messages to the other members. Nothing here ever blocks the quorum's thread: a queue
//! that is full drops, and Raft sends again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::command::Command;
use crate::config::QuorumConfig;
use crate::membership::{Membership, member_to_wire};
use crate::status::Member;
use crate::wire;
use crate::wire::quorum_client::QuorumClient;

/// One frame of either stream: the largest proposal, and room for what goes with it.
pub(crate) const FRAME_BYTES_MAX: usize = 8 << 20;

/// More than there are controllers; they come from other controllers, and are few.
const MET_MAX: usize = 16;
/// Messages waiting for one member.
const QUEUE_MESSAGES_MAX: usize = 256;
/// A frame is closed when it has this many bytes; its last message may take it further.
const FRAME_BYTES_TARGET: usize = 1 << 20;
const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A connection whose other end vanished without a word is given up after twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Short: whether a connection is refused tells a process that ended from a connection that broke.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// As long as this a member that has ended may look alive, and one that came back may hear nothing.
const BACKOFF_MAX: Duration = Duration::from_millis(200);
/// A stream that lasted so long was a good one, also when there was nothing to say: followers speak to each
/// other only when they elect.
const LASTED: Duration = Duration::from_secs(1);

/// The streams to all other members.
#[derive(Debug)]
pub(crate) struct Transport {
    runtime: Handle,
    config: Arc<QuorumConfig>,
    cluster_id: String,
    me: Member,
    commands: mpsc::UnboundedSender<Command>,
    peers: HashMap<u64, Peer>,
    /// Members that spoke to this one and are not in the membership it knows.
    met: HashMap<u64, Member>,
}

#[derive(Debug)]
struct Peer {
    address: String,
    /// The stream's task ends when this is dropped.
    queue: mpsc::Sender<Bytes>,
    /// Tells the stream's task to connect without further delay.
    hurry: Arc<Notify>,
}

/// One direction of one pair.
struct Stream {
    address: String,
    header: wire::MessageHeader,
    queue: mpsc::Receiver<Bytes>,
    hurry: Arc<Notify>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Transport {
    pub(crate) fn new(
        runtime: Handle,
        config: Arc<QuorumConfig>,
        cluster_id: String,
        me: Member,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        let (peers, met) = (HashMap::new(), HashMap::new());
        Self {
            runtime,
            config,
            cluster_id,
            me,
            commands,
            peers,
            met,
        }
    }

    /// Keeps a stream to every other member, and to those that spoke and may be members by now.
    pub(crate) fn follow(&mut self, membership: &Membership) {
        let members = &membership.members;
        self.met
            .retain(|id, _| !members.contains_key(id) && !membership.is_removed(*id));
        self.peers
            .retain(|id, _| members.contains_key(id) || self.met.contains_key(id));
        for member in members.values().chain(self.met.values()) {
            if member.raft_id != self.me.raft_id && !self.peers.contains_key(&member.raft_id) {
                let peer = self.open(member);
                self.peers.insert(member.raft_id, peer);
            }
        }
    }

    /// A member opened a stream to this one, which may not know yet that it is one.
    pub(crate) fn meet(&mut self, member: Member, membership: &Membership) {
        if self.met.len() < MET_MAX {
            self.met.insert(member.raft_id, member);
        }
        self.follow(membership);
    }

    /// A member opened a stream to this one: it is there, and takes the other direction too.
    pub(crate) fn hurry(&self, raft_id: u64) {
        if let Some(peer) = self.peers.get(&raft_id) {
            peer.hurry.notify_one();
        }
    }

    /// Queues a message, or drops it.
    pub(crate) fn send(&self, message: Message) {
        let to = message.to;
        let Some(peer) = self.peers.get(&to) else {
            return;
        };
        if message.get_msg_type() == MessageType::MsgSnapshot {
            return self.send_snapshot(peer.address.clone(), message);
        }
        let Ok(bytes) = message.write_to_bytes() else {
            tracing::error!(to, "a raft message cannot be encoded");
            return;
        };
        match peer.queue.try_send(bytes.into()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                // An error: the thread that would hear of it has ended.
                let _ = self.commands.send(Command::Unreachable(to));
            }
        }
    }

    fn open(&self, member: &Member) -> Peer {
        let configured = self.config.address_of(member.node_id);
        let address = configured.unwrap_or(&member.address).to_owned();
        let (queue, receiver) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let hurry = Arc::new(Notify::new());
        let stream = Stream {
            address: address.clone(),
            header: self.header_to(member.raft_id),
            queue: receiver,
            hurry: Arc::clone(&hurry),
            commands: self.commands.clone(),
        };
        self.runtime.spawn(stream.run());
        Peer {
            address,
            queue,
            hurry,
        }
    }

    fn send_snapshot(&self, address: String, message: Message) {
        let (to, header) = (message.to, self.header_to(message.to));
        let commands = self.commands.clone();
        self.runtime.spawn(async move {
            let sending = send_snapshot(&address, header, message);
            let result = match tokio::time::timeout(SNAPSHOT_TIMEOUT, sending).await {
                Ok(result) => result,
                Err(_) => Err("not taken in time".to_owned()),
            };
            if let Err(reason) = &result {
                tracing::warn!(address, reason, "a snapshot did not arrive");
            }
            // An error: the thread that would hear of it has ended.
            let _ = commands.send(Command::SnapshotSent {
                to,
                arrived: result.is_ok(),
            });
        });
    }

    fn header_to(&self, to_raft_id: u64) -> wire::MessageHeader {
        let cluster_id = self.cluster_id.clone();
        wire::MessageHeader {
            cluster_id,
            from: Some(member_to_wire(&self.me)),
            to_raft_id,
        }
    }
}

/// A channel to a controller, not connected yet.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    Ok(endpoint
        .map_err(|error| format!("{address} is not host:port: {error}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE))
}

pub(crate) fn client(channel: Channel) -> QuorumClient<Channel> {
    QuorumClient::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX)
}

async fn connect(address: &str) -> Result<QuorumClient<Channel>, Broken> {
    let channel = endpoint(address)?.connect().await;
    Ok(client(channel.map_err(|error| Broken {
        reason: error_chain(&error),
        is_refused: is_refused(&error),
    })?))
}

/// Why there is no stream.
#[derive(Debug)]
struct Broken {
    reason: String,
    /// Nothing listens at the address.
    is_refused: bool,
}

impl From<String> for Broken {
    fn from(reason: String) -> Self {
        Self {
            reason,
            is_refused: false,
        }
    }
}

impl Stream {
    /// Until the queue's other end is dropped.
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut last_reason = String::new();
        loop {
            let mut worked = false;
            let began = Instant::now();
            let Err(broken) = self.connected(&mut worked).await else {
                return;
            };
            if worked || began.elapsed() >= LASTED {
                backoff = BACKOFF_MIN;
            }
            if broken.reason != last_reason {
                let reason = &broken.reason;
                tracing::info!(address = self.address, reason, "no stream to a controller");
                last_reason.clone_from(reason);
            }
            self.tell(Command::Unreachable(self.header.to_raft_id));
            if broken.is_refused {
                self.tell(Command::Refused(self.header.to_raft_id));
            }
            // What waited is out of date by the time there is a connection again.
            while self.queue.try_recv().is_ok() {}
            if self.queue.is_closed() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
                () = self.hurry.notified() => backoff = BACKOFF_MIN,
            }
        }
    }

    fn tell(&self, command: Command) {
        // An error: the thread that would hear of it has ended.
        let _ = self.commands.send(command);
    }

    /// One connection. `Ok` when the queue's other end was dropped.
    async fn connected(&mut self, worked: &mut bool) -> Result<(), Broken> {
        let mut client = connect(&self.address).await?;
        self.tell(Command::Connected(self.header.to_raft_id));
        let (frames, outgoing) = mpsc::channel(4);
        let header = wire::MessageFrame {
            header: Some(self.header.clone()),
            messages: vec![],
        };
        frames.try_send(header).map_err(|error| error.to_string())?;
        let call = client.messages(ReceiverStream::new(outgoing));
        tokio::pin!(call);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                ended = &mut call => return Err(ended_reason(ended).into()),
                count = self.queue.recv_many(&mut batch, QUEUE_MESSAGES_MAX) => if count == 0 {
                    return Ok(());
                },
            }
            for frame in frames_of(&mut batch) {
                tokio::select! {
                    ended = &mut call => return Err(ended_reason(ended).into()),
                    sent = frames.send(frame) => if sent.is_err() {
                        return Err("the stream was closed".to_owned().into());
                    },
                }
                *worked = true;
            }
        }
    }
}

/// The other system said so, by itself; what lies between stays silent, or says something else.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Puts messages together, so that many small ones cost one frame.
fn frames_of(messages: &mut Vec<Bytes>) -> Vec<wire::MessageFrame> {
    let mut frames = Vec::new();
    let (mut frame, mut bytes) = (wire::MessageFrame::default(), 0);
    for message in messages.drain(..) {
        bytes += message.len();
        frame.messages.push(message);
        if bytes >= FRAME_BYTES_TARGET {
            frames.push(std::mem::take(&mut frame));
            bytes = 0;
        }
    }
    if !frame.messages.is_empty() {
        frames.push(frame);
    }
    frames
}

async fn send_snapshot(
    address: &str,
    header: wire::MessageHeader,
    mut message: Message,
) -> Result<(), String> {
    let mut data = std::mem::take(&mut message.mut_snapshot().data);
    let first = wire::SnapshotFrame {
        header: Some(header),
        message: message
            .write_to_bytes()
            .map_err(|error| error.to_string())?
            .into(),
        data_bytes: data.len() as u64,
        data_crc32c: crc32c::crc32c(&data),
        data: Bytes::new(),
    };
    let client = connect(address).await;
    let mut client = client.map_err(|broken| broken.reason)?;
    let chunks = std::iter::from_fn(move || {
        let chunk = data.split_to(data.len().min(SNAPSHOT_CHUNK_BYTES));
        let frame = wire::SnapshotFrame {
            data: chunk,
            ..Default::default()
        };
        (!frame.data.is_empty()).then_some(frame)
    });
    let frames = tokio_stream::iter(std::iter::once(first).chain(chunks));
    let accepted = client.snapshot(frames).await;
    accepted.map(drop).map_err(|status| status_reason(&status))
}

fn ended_reason(ended: Result<tonic::Response<wire::MessagesClosed>, Status>) -> String {
    match ended {
        Ok(_) => "the stream was closed".to_owned(),
        Err(status) => status_reason(&status),
    }
}

pub(crate) fn status_reason(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
