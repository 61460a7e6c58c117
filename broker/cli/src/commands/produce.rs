//! `foz produce`: arguments, lines or a file become messages.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::count;
use crate::args::ProduceArgs;
use crate::client::{Client, Producer, ProducerConfig, UNKNOWN_TOPIC_GRACE};
use crate::message::Message;

/// Lines that may be read ahead of what has been taken.
const LINES_AHEAD: usize = 4096;
/// What waits is sent when no line came for so long: somebody is typing, or a pipe is slow.
const LINGER: Duration = Duration::from_millis(5);

/// Sends everything and says how many messages were acknowledged.
///
/// # Errors
/// What went wrong, in one sentence; messages before it may have been written.
pub async fn run(client: &Client, args: ProduceArgs) -> anyhow::Result<()> {
    // So that a wrong name is an error even when there is nothing to send.
    client
        .partitions_of(&args.topic, UNKNOWN_TOPIC_GRACE)
        .await?;
    let config = ProducerConfig {
        compression: args.compression,
        delivery_timeout: args.timeout,
        ..ProducerConfig::default()
    };
    let mut producer = Producer::new(client.clone(), config).await?;
    let shape = Shape::of(&args);
    let sent = match send_all(&mut producer, &args, &shape).await {
        // Lines before a bad one are good: they are sent.
        Err(error) => producer
            .flush()
            .await
            .map_err(anyhow::Error::from)
            .and(Err(error)),
        Ok(()) => producer.flush().await.map_err(anyhow::Error::from),
    };
    let written = count(producer.acknowledged(), "message");
    match sent {
        Err(error) if producer.acknowledged() > 0 => {
            return Err(error.context(format!("{written} written to {} before this", args.topic)));
        }
        sent => sent?,
    }
    if !args.quiet {
        eprintln!("{written} to {}", args.topic);
    }
    Ok(())
}

async fn send_all(
    producer: &mut Producer,
    args: &ProduceArgs,
    shape: &Shape,
) -> anyhow::Result<()> {
    if let Some(path) = &args.file {
        let value = read_file(path)?;
        return Ok(producer
            .send(&args.topic, shape.whole(value.into()))
            .await?);
    }
    if !args.messages.is_empty() {
        for (at, text) in args.messages.iter().enumerate() {
            let text = Bytes::copy_from_slice(text.as_bytes());
            let message = shape
                .split(text)
                .with_context(|| format!("message {}", at + 1))?;
            producer.send(&args.topic, message).await?;
        }
        return Ok(());
    }
    let mut lines = read_lines();
    let mut number = 0u64;
    loop {
        let line = match timeout(LINGER, lines.recv()).await {
            Ok(line) => line,
            Err(_) => {
                producer.flush().await?;
                lines.recv().await
            }
        };
        let Some(line) = line else { return Ok(()) };
        number += 1;
        let line = line.context("reading standard input")?;
        let message = shape
            .split(line.into())
            .with_context(|| format!("line {number}"))?;
        producer.send(&args.topic, message).await?;
    }
}

/// How text becomes a message.
#[derive(Debug, Default)]
struct Shape {
    key: Option<Bytes>,
    key_separator: Option<Vec<u8>>,
    null: Option<Vec<u8>>,
    partition: Option<i32>,
    headers: Vec<(String, Option<Bytes>)>,
}

impl Shape {
    fn of(args: &ProduceArgs) -> Self {
        let headers = args.header.iter();
        Self {
            key: args.key.clone().map(Bytes::from),
            key_separator: args.key_separator.clone().map(String::into_bytes),
            null: args.null.clone().map(String::into_bytes),
            partition: args.partition,
            headers: headers
                .map(|(name, value)| (name.clone(), Some(Bytes::from(value.clone()))))
                .collect(),
        }
    }

    /// All of `value` is the value.
    fn whole(&self, value: Bytes) -> Message {
        Message {
            key: self.key.clone(),
            value: Some(value),
            headers: self.headers.clone(),
            timestamp_ms: None,
            partition: self.partition,
        }
    }

    /// `text` is a value, or a key, the separator and a value.
    fn split(&self, text: Bytes) -> anyhow::Result<Message> {
        let (key, value) = match &self.key_separator {
            None => (self.key.clone(), text),
            Some(separator) => {
                let found = text
                    .windows(separator.len())
                    .position(|it| it == separator.as_slice());
                let at = found.with_context(|| {
                    let separator = String::from_utf8_lossy(separator);
                    format!("there is no key separator {separator:?} in it")
                })?;
                (Some(text.slice(..at)), text.slice(at + separator.len()..))
            }
        };
        let or_null = |bytes: Bytes| match &self.null {
            Some(null) if *null == bytes => None,
            _ => Some(bytes),
        };
        let key = key.and_then(or_null);
        Ok(Message {
            key,
            value: or_null(value),
            ..self.whole(Bytes::new())
        })
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut value = Vec::new();
        io::stdin()
            .lock()
            .read_to_end(&mut value)
            .context("reading standard input")?;
        return Ok(value);
    }
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Lines of standard input without their ends. A thread of its own reads them, because standard
/// input cannot be read without blocking.
fn read_lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = match input.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => Ok(without_line_end(line)),
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

fn without_line_end(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(separator: Option<&str>, null: Option<&str>) -> Shape {
        Shape {
            key_separator: separator.map(|text| text.as_bytes().to_vec()),
            null: null.map(|text| text.as_bytes().to_vec()),
            ..Shape::default()
        }
    }

    fn split(shape: &Shape, text: &'static str) -> (Option<Bytes>, Option<Bytes>) {
        let message = shape.split(Bytes::from_static(text.as_bytes())).unwrap();
        (message.key, message.value)
    }

    fn some(text: &'static str) -> Option<Bytes> {
        Some(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn the_first_separator_parts_key_and_value() {
        let shape = shape(Some("::"), None);
        assert_eq!(split(&shape, "a::b::c"), (some("a"), some("b::c")));
        assert_eq!(split(&shape, "::"), (some(""), some("")));
        let error = shape
            .split(Bytes::from_static(b"a:b"))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "there is no key separator \"::\" in it");
        assert!(shape.split(Bytes::new()).is_err());
    }

    #[test]
    fn nulls_are_asked_for() {
        assert_eq!(split(&shape(Some(":"), Some("-")), "-:-"), (None, None));
        assert_eq!(split(&shape(None, Some("")), ""), (None, None));
        assert_eq!(split(&shape(None, None), ""), (None, some("")));
    }

    #[test]
    fn line_ends_are_taken_off_once() {
        for (line, value) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a", "a"),
            ("a\r", "a\r"),
            ("\n", ""),
            ("a\r\r\n", "a\r"),
        ] {
            assert_eq!(without_line_end(line.as_bytes().to_vec()), value.as_bytes());
        }
    }
}
