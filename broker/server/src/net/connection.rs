//! One connection: frames in, answers out in the order of the requests.
//!
//! The reader starts each request; a produce is appended at that moment, in order, so that several can
//! wait for their flush at once. The writer awaits the started requests one after the other and writes
//! the answers. A frame that is no request closes the connection, as Kafka does.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use foz_protocol::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::budget::Reserved;
use crate::broker::Broker;
use crate::dispatch::{Answer, Begun, Pending, ReadOn, start};
use crate::request::{Client, Listener};

/// Requests of one connection that were started and not yet answered. Kafka's clients send at most
/// five at a time by default (`max.in.flight.requests.per.connection`).
const IN_FLIGHT_MAX: usize = 32;
/// A frame that was begun must go on: it holds memory.
const FRAME_STALL_MAX: Duration = Duration::from_secs(30);
/// A client that does not read its answers holds memory too. It gets this long for any answer, and
/// longer for a large one, as long as it reads at [`SLOWEST_READER_BYTES_PER_SECOND`].
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// 1 Mbit/s: a client behind a slower link than that asks for less at a time (`fetch.max.bytes`).
const SLOWEST_READER_BYTES_PER_SECOND: u32 = 128 * 1024;
/// Memory is taken as bytes arrive, not as a size promises them.
const READ_STEP_BYTES: usize = 64 * 1024;

struct Started {
    pending: Pending,
    /// Bytes of the request, until it is answered.
    reserved: Reserved,
    /// The connection is not idle while this lives.
    _in_flight: Arc<()>,
}

/// Serves until the client closes, a frame is no request, or `stop`.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    number: u64,
    broker: Arc<Broker>,
    listener: Listener,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "no TCP_NODELAY");
    }
    let (reader, writer) = stream.into_split();
    let (started, queue) = mpsc::channel(IN_FLIGHT_MAX);
    // Ends long polls: the client is gone, or the broker is stopping.
    let gone = CancellationToken::new();
    let client = Arc::new(Client::anonymous(peer, listener, number, gone.clone()));
    let read = async {
        let end = read_requests(reader, &client, &broker, started, stop).await;
        match end {
            Ok(()) => debug!(%peer, "connection closed"),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                broker.metrics.invalid_requests.inc();
                info!(%peer, %error, "connection closed: not a valid request");
            }
            Err(error) => debug!(%peer, %error, "connection lost"),
        }
        gone.cancel();
        // What was started is answered still: the writer ends when its queue is empty.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        written = write_answers(writer, queue) => {
            if let Err(error) = written {
                debug!(%peer, %error, "answers not taken");
            }
        }
        () = read => {}
    }
}

async fn read_requests(
    mut reader: OwnedReadHalf,
    client: &Arc<Client>,
    broker: &Arc<Broker>,
    started: mpsc::Sender<Started>,
    stop: CancellationToken,
) -> io::Result<()> {
    let in_flight = Arc::new(());
    let idle_max = broker.connection_idle_max;
    loop {
        let mut size = [0; frame::LENGTH_BYTES];
        let begun = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            begun = read_begin(&mut reader, &mut size, &in_flight, idle_max) => begun?,
        };
        if begun == 0 {
            return Ok(());
        }
        in_time(reader.read_exact(&mut size[begun..])).await?;
        let size = frame::frame_length(size, broker.request_bytes_max)
            .map_err(|error| invalid(error.to_string()))?;
        let budget = &broker.budgets(client.listener).requests;
        let reserved = budget.reserve(size).await;
        let body = in_time(read_body(&mut reader, size)).await?;
        broker.metrics.bytes_in.inc_by(size as u64 + 4);
        client.requests_begun.send_modify(|count| *count += 1);
        let begun = start(broker, client, &body).map_err(|error| invalid(error.to_string()))?;
        let pending = match begun {
            Begun::Now(pending) => pending,
            // What waits for its turn was not begun: its client asks somebody else.
            Begun::First(first) => tokio::select! {
                biased;
                ReadOn(pending) = first => pending,
                () = stop.cancelled() => return Ok(()),
            },
        };
        let request = Started {
            pending,
            reserved,
            _in_flight: Arc::clone(&in_flight),
        };
        if started.send(request).await.is_err() {
            return Ok(());
        }
    }
}

/// The first bytes of a request; none when the client has closed. A connection on which nothing is
/// asked and nothing is to be answered is closed after `idle_max`, or between once and twice that
/// after the last answer.
async fn read_begin(
    reader: &mut OwnedReadHalf,
    size: &mut [u8],
    in_flight: &Arc<()>,
    idle_max: Option<Duration>,
) -> io::Result<usize> {
    let Some(idle_max) = idle_max else {
        return reader.read(size).await;
    };
    loop {
        match tokio::time::timeout(idle_max, reader.read(size)).await {
            Ok(begun) => return begun,
            Err(_) if Arc::strong_count(in_flight) > 1 => {}
            Err(_) => {
                let reason = "idle for connections.max.idle.ms";
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
        }
    }
}

async fn in_time<T>(reading: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(FRAME_STALL_MAX, reading)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "a frame was begun and not ended"))?
}

async fn read_body(reader: &mut OwnedReadHalf, size: usize) -> io::Result<Bytes> {
    let mut body = BytesMut::with_capacity(size.min(READ_STEP_BYTES));
    while body.len() < size {
        let missing = size - body.len();
        if body.capacity() == body.len() {
            body.reserve(missing.min(body.len().max(READ_STEP_BYTES)));
        }
        let read = (&mut *reader)
            .take(missing as u64)
            .read_buf(&mut body)
            .await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body.freeze())
}

async fn write_answers(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Started>,
) -> io::Result<()> {
    while let Some(Started {
        pending,
        reserved,
        _in_flight,
    }) = queue.recv().await
    {
        match pending.await {
            Answer::Reply { segments, held } => {
                let limit = write_time_max(segments.iter().map(Bytes::len).sum());
                tokio::time::timeout(limit, write_vectored(&mut writer, segments))
                    .await
                    .map_err(|_| {
                        io::Error::new(io::ErrorKind::TimedOut, "the client does not read")
                    })??;
                drop(held);
            }
            Answer::Nothing => {}
            Answer::Close => return Ok(()),
        }
        drop(reserved);
    }
    Ok(())
}

fn write_time_max(bytes: usize) -> Duration {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    WRITE_STALL_MAX + Duration::from_secs(u64::from(bytes / SLOWEST_READER_BYTES_PER_SECOND))
}

async fn write_vectored(writer: &mut OwnedWriteHalf, mut segments: Vec<Bytes>) -> io::Result<()> {
    const SLICES_MAX: usize = 64;
    let mut first = 0;
    while first < segments.len() {
        if segments[first].is_empty() {
            first += 1;
            continue;
        }
        let slices: Vec<IoSlice<'_>> = segments[first..]
            .iter()
            .take(SLICES_MAX)
            .map(|segment| IoSlice::new(segment))
            .collect();
        let mut written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while written > 0 {
            let taken = written.min(segments[first].len());
            segments[first].advance(taken);
            written -= taken;
            if segments[first].is_empty() {
                segments[first] = Bytes::new();
                first += 1;
            }
        }
    }
    Ok(())
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_gets_its_large_answers() {
        assert_eq!(write_time_max(100), WRITE_STALL_MAX);
        let ten_mbit_per_second = 55 * 1024 * 1024 / 1_250_000;
        assert!(write_time_max(55 << 20) > Duration::from_secs(ten_mbit_per_second));
        assert!(write_time_max(usize::MAX) > write_time_max(55 << 20));
    }
}
