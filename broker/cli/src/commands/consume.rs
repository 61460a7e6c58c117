//! `foz consume`: messages of one topic on standard output.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use foz_protocol::fetch::IsolationLevel;
use tokio::time::Instant;

use super::count;
use crate::args::{ConsumeArgs, Isolation, Output, Start};
use crate::client::{
    Client, ClientError, Consumer, ConsumerConfig, GroupMember, Membership, OffsetAt, Retry,
    UNKNOWN_TOPIC_GRACE,
};
use crate::format::{Format, to_json};
use crate::message::ReceivedMessage;

/// How long a partition may be without a leader at the start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a member of a group commits what it has printed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How often an endless run looks up from waiting.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Prints until one of the ends that were asked for, or until it is interrupted.
///
/// # Errors
/// What went wrong, in one sentence.
pub async fn run(
    client: &Client,
    args: ConsumeArgs,
    out: &mut (impl Write + Send),
) -> anyhow::Result<()> {
    let mut progress = Progress::default();
    let done = tokio::select! {
        done = print_messages(client, &args, out, &mut progress) => done,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    let left = progress.leave().await;
    done?;
    left?;
    if !args.quiet {
        eprintln!("{} from {}", count(progress.printed, "message"), args.topic);
    }
    Ok(())
}

/// What must be known at the end, however it comes.
#[derive(Debug, Default)]
struct Progress {
    printed: u64,
    /// The next offset of each partition, where it has not been committed.
    to_commit: BTreeMap<i32, i64>,
    group: Option<GroupMember>,
}

impl Progress {
    /// Commits what was printed; `false` when our partitions may belong to somebody else now.
    async fn commit(&mut self) -> Result<bool, ClientError> {
        let Some(group) = &mut self.group else {
            return Ok(true);
        };
        if self.to_commit.is_empty() {
            return Ok(true);
        }
        let membership = group.commit(&self.to_commit).await?;
        self.to_commit.clear();
        Ok(membership == Membership::Kept)
    }

    /// Heartbeats, and commits before a rebalance; `false` when it is time to join again.
    async fn keep_place(&mut self) -> Result<bool, ClientError> {
        let Some(group) = &mut self.group else {
            return Ok(true);
        };
        match group.heartbeat().await? {
            Membership::Kept => Ok(true),
            Membership::Rebalancing => self.commit().await.map(|_| false),
            Membership::Lost => {
                // Others may have read on already: what is not committed comes again.
                self.to_commit.clear();
                Ok(false)
            }
        }
    }

    async fn leave(&mut self) -> Result<(), ClientError> {
        self.commit().await?;
        match self.group.take() {
            Some(group) => group.leave().await,
            None => Ok(()),
        }
    }
}

async fn print_messages(
    client: &Client,
    args: &ConsumeArgs,
    out: &mut impl Write,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let config = ConsumerConfig {
        isolation_level: match args.isolation {
            Isolation::ReadUncommitted => IsolationLevel::ReadUncommitted,
            Isolation::ReadCommitted => IsolationLevel::ReadCommitted,
        },
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(client, config);
    progress.group = args
        .group
        .as_ref()
        .map(|group| GroupMember::new(client, group, &args.topic));
    assign(client, args, &mut consumer, progress).await?;
    let print = Printer::of(args);
    let limit = args.max_messages.unwrap_or(u64::MAX);
    let mut quiet_since = Instant::now();
    let mut next_commit = Instant::now() + COMMIT_INTERVAL;
    while progress.printed < limit && !(args.exit_at_end && consumer.is_at_end()) {
        let idle_end = args.timeout.map(|timeout| quiet_since + timeout);
        if idle_end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        let mut is_member = progress.keep_place().await?;
        if is_member && Instant::now() >= next_commit {
            is_member = progress.commit().await?;
            next_commit = Instant::now() + COMMIT_INTERVAL;
        }
        if !is_member {
            assign(client, args, &mut consumer, progress).await?;
        }
        let deadline = Instant::now() + LOOK_UP;
        let polled = consumer
            .poll(idle_end.map_or(deadline, |end| end.min(deadline)))
            .await?;
        for (topic, partition, from, to) in polled.jumped {
            eprintln!("offset {from} of {topic}-{partition} is not there; going on at {to}");
        }
        for message in &polled.messages {
            if progress.printed == limit {
                break;
            }
            print.message(message, out)?;
            progress.printed += 1;
            progress
                .to_commit
                .insert(message.partition, message.offset + 1);
        }
        if !polled.messages.is_empty() {
            out.flush()?;
            quiet_since = Instant::now();
        }
    }
    Ok(())
}

/// Gives the consumer its partitions: those of the group, or those of the command line.
async fn assign(
    client: &Client,
    args: &ConsumeArgs,
    consumer: &mut Consumer,
    progress: &mut Progress,
) -> Result<(), ClientError> {
    let start = match args.offset {
        Some(start) => start,
        None if args.from_beginning => Start::Beginning,
        None => Start::End,
    };
    let topic = &args.topic;
    // First the question whether it exists, so that a typing error is answered at once.
    let all = client.partitions_of(topic, UNKNOWN_TOPIC_GRACE).await?;
    consumer.unassign_all();
    let Some(group) = &mut progress.group else {
        let partitions = chosen(topic, all, &args.partition)?;
        for (partition, offset) in start_offsets(client, args, &partitions, start).await? {
            consumer.assign(topic, partition, offset);
        }
        return Ok(());
    };
    let partitions = group.join(PATIENCE).await?;
    if partitions.is_empty() {
        eprintln!("the other members of the group have all partitions of {topic}; waiting");
    }
    let committed = group.committed(&partitions).await?;
    let without: Vec<i32> = partitions
        .iter()
        .copied()
        .filter(|it| !committed.contains_key(it))
        .collect();
    let begun = start_offsets(client, args, &without, start).await?;
    for (partition, offset) in committed.into_iter().chain(begun) {
        consumer.assign(topic, partition, offset);
    }
    Ok(())
}

enum Printer {
    Format(Format),
    Json,
}

impl Printer {
    fn of(args: &ConsumeArgs) -> Self {
        match (&args.format, args.output) {
            (Some(format), _) => Self::Format(format.clone()),
            (None, Output::Text) => Self::Format(Format::values()),
            (None, Output::Json) => Self::Json,
        }
    }

    fn message(&self, message: &ReceivedMessage, out: &mut impl Write) -> std::io::Result<()> {
        match self {
            Self::Format(format) => format.write(message, out),
            Self::Json => writeln!(out, "{}", to_json(message)),
        }
    }
}

/// The partitions of the command line, all when it names none.
fn chosen(topic: &str, all: Vec<i32>, only: &[i32]) -> Result<Vec<i32>, ClientError> {
    match only.iter().find(|partition| !all.contains(partition)) {
        Some(missing) => Err(ClientError::Invalid(format!(
            "topic {topic} has no partition {missing}: it has {}, 0 to {}",
            all.len(),
            all.len() - 1
        ))),
        None if only.is_empty() => Ok(all),
        None => Ok(only.to_vec()),
    }
}

async fn start_offsets(
    client: &Client,
    args: &ConsumeArgs,
    partitions: &[i32],
    start: Start,
) -> Result<BTreeMap<i32, i64>, ClientError> {
    let topic = &args.topic;
    let end = match args.isolation {
        Isolation::ReadUncommitted => OffsetAt::Latest,
        Isolation::ReadCommitted => OffsetAt::LatestStable,
    };
    let offsets = async |at| {
        Retry::within(PATIENCE)
            .run(async || {
                let offsets = client.offsets(topic, partitions, at).await;
                if offsets.as_ref().is_err_and(ClientError::is_retriable) {
                    // A failure shows in the next try.
                    let _ = client.refresh(Some(&[topic.as_str()])).await;
                }
                offsets
            })
            .await
    };
    match start {
        Start::Beginning => offsets(OffsetAt::Earliest).await,
        Start::End => offsets(end).await,
        Start::Timestamp(ms) => offsets(OffsetAt::Timestamp(ms)).await,
        Start::Offset(offset) => {
            let latest = offsets(OffsetAt::Latest).await?;
            match latest.iter().find(|(_, end)| **end < offset) {
                Some((partition, end)) => Err(ClientError::Invalid(format!(
                    "offset {offset} lies behind the end of {topic}-{partition}, whose next offset \
                     is {end}"
                ))),
                None => Ok(partitions.iter().map(|&it| (it, offset)).collect()),
            }
        }
        Start::Last(number) => {
            let earliest = offsets(OffsetAt::Earliest).await?;
            let latest = offsets(end).await?;
            let last = |(partition, end): (i32, i64)| {
                let first = earliest.get(&partition).copied().unwrap_or(0);
                (partition, end.saturating_sub(number).max(first))
            };
            Ok(latest.into_iter().map(last).collect())
        }
    }
}
