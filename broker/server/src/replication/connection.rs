//! A connection to the replication listener of another broker: requests, answered in order.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use foz_protocol::frame;
use foz_records::Message;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::broker::Broker;

const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Beyond what the other one may wait for.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// `replica.fetch.response.max.bytes` and one batch beyond it.
const RESPONSE_BYTES_MAX: usize = 1 << 30;

/// Cancelled or failed in the middle of a request, it is of no use any more.
#[derive(Debug)]
pub(crate) struct NodeConnection {
    stream: TcpStream,
    client_id: String,
    correlation_id: i32,
    /// What is not answered yet, the first one first.
    asked: VecDeque<Asked>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl NodeConnection {
    async fn open(host: &str, port: u16, client_id: &str) -> io::Result<Self> {
        let connecting = TcpStream::connect((host, port));
        let stream = tokio::time::timeout(CONNECT_MAX, connecting)
            .await
            .map_err(|_| timed_out("not connected in time"))??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            client_id: client_id.to_owned(),
            correlation_id: 0,
            asked: VecDeque::new(),
        })
    }

    /// To the broker as the metadata has it now.
    pub(crate) async fn open_to(
        broker: &Broker,
        node_id: i32,
        client_id: &str,
    ) -> io::Result<Self> {
        let image = broker.image();
        let node = image.broker(node_id);
        let node = node.ok_or_else(|| io::Error::other("it is not registered"))?;
        if node.replication_port == 0 {
            return Err(io::Error::other("it has no listener for replication"));
        }
        let (host, port) = (&node.replication_host, node.replication_port);
        Self::open(host, port, client_id)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("{host}:{port}: {error}")))
    }

    /// Asks, and waits for the answer, which may take `wait_max`.
    pub(crate) async fn call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        wait_max: Duration,
    ) -> io::Result<R::Response> {
        self.send(version, request).await?;
        self.answer_begins(wait_max).await?;
        self.receive::<R>().await
    }

    /// As [`call`](Self::call), for an API of which `kafka-protocol` lacks that version.
    pub(crate) async fn call_record<Response: Message>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &impl Message,
        wait_max: Duration,
    ) -> io::Result<Response> {
        let correlation_id = self.next_correlation_id();
        let body = request.encode(version).map_err(io::Error::other)?;
        let asked = Asked {
            api,
            version,
            correlation_id,
        };
        let frame = frame::request_of(api, version, correlation_id, &self.client_id, &body);
        self.write(asked, &frame).await?;
        self.answer_begins(wait_max).await?;
        let (version, body) = self.receive_body(api as i16).await?;
        Response::decode(version, &body).map_err(invalid)
    }

    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<()> {
        let correlation_id = self.next_correlation_id();
        let encoded = frame::encode_request(version, correlation_id, &self.client_id, request);
        let api = ApiKey::try_from(R::KEY).map_err(|()| invalid("an API without a key"))?;
        let asked = Asked {
            api,
            version,
            correlation_id,
        };
        self.write(asked, &encoded.map_err(io::Error::other)?).await
    }

    /// Waits until the answer begins. May be cancelled.
    pub(crate) async fn answer_begins(&self, wait_max: Duration) -> io::Result<()> {
        tokio::time::timeout(wait_max + ANSWER_MAX, self.peek())
            .await
            .map_err(|_| timed_out("not answered in time"))?
    }

    /// The answer to what was sent first and not answered yet.
    pub(crate) async fn receive<R: Request>(&mut self) -> io::Result<R::Response> {
        let (version, body) = self.receive_body(R::KEY).await?;
        frame::decode_response(version, body).map_err(invalid)
    }

    async fn receive_body(&mut self, key: i16) -> io::Result<(i16, Bytes)> {
        let asked = self.asked.pop_front().filter(|it| it.api as i16 == key);
        let asked = asked.ok_or_else(|| invalid("nothing of that kind was asked"))?;
        let answer = tokio::time::timeout(ANSWER_MAX, self.read_frame())
            .await
            .map_err(|_| timed_out("not answered in time"))??;
        let (correlation_id, body) =
            frame::parse_response(asked.api, asked.version, &answer).map_err(invalid)?;
        if correlation_id != asked.correlation_id {
            return Err(invalid("an answer to another request"));
        }
        Ok((asked.version, body))
    }

    fn next_correlation_id(&mut self) -> i32 {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        self.correlation_id
    }

    async fn write(&mut self, asked: Asked, frame: &[u8]) -> io::Result<()> {
        self.asked.push_back(asked);
        tokio::time::timeout(ANSWER_MAX, self.stream.write_all(frame))
            .await
            .map_err(|_| timed_out("not taken in time"))?
    }

    async fn peek(&self) -> io::Result<()> {
        // Readiness alone may be left over from the answer before.
        self.stream.peek(&mut [0]).await.map(drop)
    }

    async fn read_frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; frame::LENGTH_BYTES];
        self.stream.read_exact(&mut length).await?;
        let length = frame::frame_length(length, RESPONSE_BYTES_MAX).map_err(invalid)?;
        let mut body = BytesMut::new();
        while body.len() < length {
            let missing = (length - body.len()) as u64;
            body.reserve((length - body.len()).min(1 << 20));
            if (&mut self.stream).take(missing).read_buf(&mut body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(body.freeze())
    }
}

fn timed_out(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
