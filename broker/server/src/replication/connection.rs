//! A connection to the replication listener of another broker: Fetches, answered in order.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use foz_protocol::frame;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What nodes speak with each other. A newer one only after a feature level says that all can.
const FETCH_VERSION: i16 = 18;
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Beyond what the leader may wait for records.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// `replica.fetch.response.max.bytes` and one batch beyond it.
const RESPONSE_BYTES_MAX: usize = 1 << 30;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    client_id: StrBytes,
    correlation_id: i32,
    /// Of those that are not answered yet, the first one first.
    asked: VecDeque<i32>,
}

impl Connection {
    pub(super) async fn open(host: &str, port: u16, client_id: &str) -> io::Result<Self> {
        let connecting = TcpStream::connect((host, port));
        let stream = tokio::time::timeout(CONNECT_MAX, connecting)
            .await
            .map_err(|_| timed_out("not connected in time"))??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            client_id: StrBytes::from_string(client_id.to_owned()),
            correlation_id: 0,
            asked: VecDeque::new(),
        })
    }

    /// Cancelled or failed, the connection is of no use any more.
    pub(super) async fn send(&mut self, request: &FetchRequest) -> io::Result<()> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = self.encode(request)?;
        self.asked.push_back(self.correlation_id);
        tokio::time::timeout(ANSWER_MAX, self.stream.write_all(&frame))
            .await
            .map_err(|_| timed_out("not taken in time"))?
    }

    /// Waits until the answer begins. May be cancelled.
    pub(super) async fn answer_begins(&self, wait_max: Duration) -> io::Result<()> {
        tokio::time::timeout(wait_max + ANSWER_MAX, self.peek())
            .await
            .map_err(|_| timed_out("not answered in time"))?
    }

    async fn peek(&self) -> io::Result<()> {
        // Readiness alone may be left over from the answer before.
        self.stream.peek(&mut [0]).await.map(drop)
    }

    /// The answer to what was sent first and not answered yet.
    pub(super) async fn receive(&mut self) -> io::Result<FetchResponse> {
        tokio::time::timeout(ANSWER_MAX, self.read_answer())
            .await
            .map_err(|_| timed_out("not answered in time"))?
    }

    fn encode(&self, request: &FetchRequest) -> io::Result<BytesMut> {
        let mut frame = BytesMut::zeroed(frame::LENGTH_BYTES);
        let header_version = ApiKey::Fetch.request_header_version(FETCH_VERSION);
        RequestHeader::default()
            .with_request_api_key(ApiKey::Fetch as i16)
            .with_request_api_version(FETCH_VERSION)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(self.client_id.clone()))
            .encode(&mut frame, header_version)
            .and_then(|()| request.encode(&mut frame, FETCH_VERSION))
            .map_err(io::Error::other)?;
        let length = u32::try_from(frame.len() - frame::LENGTH_BYTES).map_err(io::Error::other)?;
        frame[..frame::LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        Ok(frame)
    }

    async fn read_answer(&mut self) -> io::Result<FetchResponse> {
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
        let mut body: Bytes = body.freeze();
        let header_version = ApiKey::Fetch.response_header_version(FETCH_VERSION);
        let header = ResponseHeader::decode(&mut body, header_version).map_err(invalid)?;
        if self.asked.pop_front() != Some(header.correlation_id) {
            return Err(invalid("an answer to another request"));
        }
        FetchResponse::decode(&mut body, FETCH_VERSION).map_err(invalid)
    }
}

fn timed_out(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
