//! One request and its answer, over a connection of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use foz_protocol::frame::{LENGTH_BYTES, frame_length};

/// Enough for a hundred APIs, or for a few brokers and partitions.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The answer without its length; the request has its own in front. Nothing may be silent for longer than `limit`.
///
/// # Errors
/// Nobody listens, or answers in time; or the answer is too large.
pub(super) fn exchange(address: &str, request: &[u8], limit: Duration) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(request)?;
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; frame_length(length, ANSWER_BYTES_MAX)?];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
