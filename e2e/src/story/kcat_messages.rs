//! Messages of every kind by kcat, which is librdkafka, the library below most clients that are not
//! Java.
//!
//! A message is a function of its number, as in `e2e/java/Messages.java`. They come in [`RUNS`] runs of
//! kcat, one after the other and each to one partition, so that every offset of every partition is
//! known beforehand.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::world::{World, replicated_topic_manifest};

const TOPIC: &str = "kcat-messages";
const PARTITIONS: usize = 3;
const RUNS: usize = 10;
const MESSAGES_OF_RUN: usize = 1_000;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// No value has a tilde: this bit of it is set in no byte.
const NO_TILDE: u64 = !0x1010_1010_1010_1010;
const KEY_DELIMITER: &str = "~key~";
const MESSAGE_DELIMITER: &str = "~end~";
/// Lengths first, so that whatever the bytes are they can be told apart.
const FORMAT: &str = "%p %o %K %S %h\n%k%s";

const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn ten_thousand(world: &World) -> Result<()> {
    // Told again on the same cluster, the messages are there and must be what they were.
    if world.get(&format!("topic.foz.dev/{TOPIC}")).is_err() {
        world.apply(&replicated_topic_manifest(TOPIC, PARTITIONS as u32, ""))?;
        world.await_ready(&format!("topic.foz.dev/{TOPIC}"))?;
        for run in 0..RUNS {
            produce(world, run).with_context(|| format!("run {run} of kcat"))?;
        }
    }
    verify(world)
}

/// Consumes them from the beginning: each once, unchanged, in order.
pub(super) fn verify(world: &World) -> Result<()> {
    let consume = [
        "-C",
        "-t",
        TOPIC,
        "-o",
        "beginning",
        "-e",
        "-q",
        "-f",
        FORMAT,
    ];
    let output = world.kcat()?.args(consume).limit(LIMIT).run()?;
    check(&output.stdout)
}

fn produce(world: &World, run: usize) -> Result<()> {
    let partition = partition(run).to_string();
    let kcat = world
        .kcat()?
        .args(["-P", "-t", TOPIC, "-p", &partition])
        .args(["-K", KEY_DELIMITER, "-D", MESSAGE_DELIMITER])
        .args(["-z", codec(run), "-X", "enable.idempotence=true"])
        // librdkafka's own default lies below Kafka's.
        .args(["-X", "message.max.bytes=1048588"])
        .args(["-H", &format!("run={run}"), "-H", "empty=", "-H", "null"])
        .args(has_nulls(run).then_some("-Z"));
    kcat.stdin(input(run)).limit(LIMIT).run().map(drop)
}

fn codec(run: usize) -> &'static str {
    CODECS[run / 2]
}

/// In every other run, what is empty is null.
fn has_nulls(run: usize) -> bool {
    run % 2 == 1
}

/// Each partition gets batches of several codecs.
fn partition(run: usize) -> usize {
    run % PARTITIONS
}

/// As `%h` of [`FORMAT`] prints them.
fn headers(run: usize) -> String {
    format!("run={run},empty=,null=NULL")
}

#[derive(Debug, PartialEq, Eq)]
struct Message {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// The message of this number, the first of a run being 0.
fn message(run: usize, number: usize) -> Message {
    let seed = run * MESSAGES_OF_RUN + number;
    let value = value(seed, size(number));
    // kcat takes no notice of a message without a byte, not even one that ends a key.
    let key = match number % 3 {
        0 if !value.is_empty() => None,
        2 => Some(format!("key-{seed}").into_bytes()),
        _ => Some(Vec::new()),
    };
    let null_if_empty = |bytes: &Vec<u8>| !(has_nulls(run) && bytes.is_empty());
    Message {
        key: key.filter(null_if_empty),
        value: Some(value).filter(null_if_empty),
    }
}

fn size(number: usize) -> usize {
    match number {
        _ if number % 500 == 1 => 1_000_000,
        _ if number % 50 == 1 => 20_000,
        _ if number.is_multiple_of(7) => 0,
        _ => number,
    }
}

/// Half of the values of each size can be compressed, and half cannot.
fn value(seed: usize, size: usize) -> Vec<u8> {
    let compressible = (seed / 500).is_multiple_of(2);
    // Marsaglia's xorshift64, whose state must not be 0.
    let mut state = seed as u64 + 1;
    let mut bytes = Vec::with_capacity(size + size_of::<u64>());
    while bytes.len() < size {
        if !compressible || bytes.is_empty() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        bytes.extend_from_slice(&(state & NO_TILDE).to_be_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A run's messages as kcat reads them.
fn input(run: usize) -> Vec<u8> {
    let mut input = Vec::new();
    for number in 0..MESSAGES_OF_RUN {
        let message = message(run, number);
        let value = message.value.unwrap_or_default();
        match message.key {
            // With -Z an empty key is a null one.
            None if !value.is_empty() => {}
            key => {
                input.extend(key.unwrap_or_default());
                input.extend(KEY_DELIMITER.as_bytes());
            }
        }
        input.extend(value);
        input.extend(MESSAGE_DELIMITER.as_bytes());
    }
    input
}

/// Whether kcat's output in [`FORMAT`] is every message of every run.
fn check(mut output: &[u8]) -> Result<()> {
    let mut next_offsets = [0; PARTITIONS];
    while !output.is_empty() {
        let received = Received::take(&mut output)?;
        let next_offset = next_offsets
            .get_mut(received.partition)
            .with_context(|| format!("a message of partition {}", received.partition))?;
        let place = format!("partition {} offset {next_offset}", received.partition);
        ensure!(
            received.offset == *next_offset,
            "{place} is missing: offset {} came",
            received.offset
        );
        let runs: Vec<usize> = (0..RUNS)
            .filter(|run| partition(*run) == received.partition)
            .collect();
        let run = *runs
            .get(received.offset / MESSAGES_OF_RUN)
            .with_context(|| format!("{place} is more than was produced"))?;
        let number = received.offset % MESSAGES_OF_RUN;
        let expected = message(run, number);
        let what = format!("{place}, message {number} of run {run},");
        ensure!(
            received.headers == headers(run),
            "{what} has the headers {}",
            received.headers
        );
        ensure!(
            received.message.key == expected.key,
            "{what} has the key {:?}, not {:?}",
            received.message.key,
            expected.key
        );
        // Up to a megabyte: not shown.
        ensure!(
            received.message.value == expected.value,
            "{what} has another value, of {:?} bytes, not {:?}",
            received.message.value.map(|it| it.len()),
            expected.value.map(|it| it.len())
        );
        *next_offset += 1;
    }
    let came: usize = next_offsets.iter().sum();
    ensure!(
        came == RUNS * MESSAGES_OF_RUN,
        "{came} messages came: to offsets {next_offsets:?}"
    );
    Ok(())
}

struct Received {
    partition: usize,
    offset: usize,
    headers: String,
    message: Message,
}

impl Received {
    /// Takes the first message off kcat's output.
    fn take(output: &mut &[u8]) -> Result<Received> {
        let line_length = output.iter().position(|it| *it == b'\n');
        let line = take(
            output,
            line_length.context("kcat's last line does not end")?,
        )?;
        let line = String::from_utf8_lossy(line);
        take(output, 1)?;
        let parse = || -> Option<(usize, usize, i64, i64, String)> {
            let mut words = line.splitn(5, ' ');
            let partition = words.next()?.parse().ok()?;
            let offset = words.next()?.parse().ok()?;
            let key_length = words.next()?.parse().ok()?;
            let value_length = words.next()?.parse().ok()?;
            let headers = words.next()?.to_owned();
            Some((partition, offset, key_length, value_length, headers))
        };
        let (partition, offset, key_length, value_length, headers) =
            parse().with_context(|| format!("kcat wrote the line {line:?}"))?;
        let mut bytes = |length: i64| -> Result<Option<Vec<u8>>> {
            match usize::try_from(length) {
                Ok(length) => Ok(Some(take(output, length)?.to_vec())),
                // -1 is null.
                Err(_) => Ok(None),
            }
        };
        let message = Message {
            key: bytes(key_length)?,
            value: bytes(value_length)?,
        };
        Ok(Received {
            partition,
            offset,
            headers,
            message,
        })
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8]> {
    let (taken, rest) = bytes
        .split_at_checked(count)
        .with_context(|| format!("kcat's output ends {count} bytes before the message's end"))?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What kcat writes when all is well.
    fn output() -> Vec<u8> {
        let mut output = Vec::new();
        let mut next_offsets = [0; PARTITIONS];
        for run in 0..RUNS {
            for number in 0..MESSAGES_OF_RUN {
                let Message { key, value } = message(run, number);
                let length = |it: &Option<Vec<u8>>| it.as_ref().map_or(-1, |it| it.len() as i64);
                let offset = &mut next_offsets[partition(run)];
                let line = format!(
                    "{} {offset} {} {} {}\n",
                    partition(run),
                    length(&key),
                    length(&value),
                    headers(run)
                );
                *offset += 1;
                output.extend(line.into_bytes());
                output.extend(key.unwrap_or_default());
                output.extend(value.unwrap_or_default());
            }
        }
        output
    }

    #[test]
    fn what_was_produced_passes_and_one_byte_more_or_less_or_other_does_not() {
        let mut output = output();
        check(&output).unwrap();
        assert!(check(&output[..output.len() - 1]).is_err());
        output.push(b'x');
        assert!(check(&output).is_err());
        output.pop();
        for index in [output.len() / 20, output.len() - 1] {
            output[index] ^= 1;
            assert!(check(&output).is_err());
            output[index] ^= 1;
        }
    }

    #[test]
    fn there_are_messages_of_every_kind() {
        let of = |run: usize| (0..MESSAGES_OF_RUN).map(move |number| message(run, number));
        let has = |run, wanted: fn(&Message) -> bool| of(run).any(|it| wanted(&it));
        let empty = Some(Vec::new());
        assert_eq!(message(0, 7).value, empty);
        assert_eq!(message(0, 7).key, empty);
        assert!(has(0, |it| it.key.is_none()) && !has(0, |it| it.value.is_none()));
        assert!(has(1, |it| it.key.is_none()) && has(1, |it| it.value.is_none()));
        let largest = of(0).filter_map(|it| it.value).map(|it| it.len()).max();
        assert_eq!(largest, Some(1_000_000));
    }

    #[test]
    fn kcat_can_tell_the_messages_of_a_run_apart() {
        for run in 0..2 {
            let keys = (0..MESSAGES_OF_RUN)
                .map(|number| message(run, number))
                .filter(|it| it.key.is_some() || it.value.is_none())
                .count();
            let tildes = input(run).into_iter().filter(|it| *it == b'~').count();
            assert_eq!(tildes, 2 * (MESSAGES_OF_RUN + keys));
        }
    }
}
