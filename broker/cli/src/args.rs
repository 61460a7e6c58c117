//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use foz_protocol::codec::Compression;

use crate::client::DELETE_ALL;
use crate::duration;
use crate::format::Format;

/// Produce, consume and manage topics of a Foz (or any Kafka) cluster.
#[derive(Debug, Parser)]
#[command(
    name = "foz",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  foz topics create orders --partitions 3
  foz produce orders 'first message' 'second message'
  foz produce orders --key-separator : < lines.txt
  foz consume orders --from-beginning -n 2
  foz topics describe orders"
)]
pub struct Cli {
    /// Brokers to ask first, HOST:PORT, separated by commas.
    #[arg(
        short,
        long,
        global = true,
        env = "FOZ_BOOTSTRAP",
        default_value = "localhost:9092",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = address
    )]
    pub bootstrap: Vec<String>,

    /// Controllers to ask first, HOST:PORT of their gRPC listener, separated by commas: for what Kafka's protocol
    /// has no words for.
    #[arg(
        long,
        global = true,
        env = "FOZ_CONTROLLERS",
        default_value = "localhost:9093",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = address
    )]
    pub controllers: Vec<String>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List, create, describe, change and delete topics.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Send messages: the arguments, or the lines of standard input.
    Produce(ProduceArgs),
    /// Print messages.
    Consume(ConsumeArgs),
}

/// How to print what a command found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// `foz topics ...`
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// All topics.
    List {
        /// Show the brokers' own topics too.
        #[arg(long)]
        internal: bool,
        /// Table or JSON.
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
    /// Make a topic.
    Create(CreateArgs),
    /// Partitions, leaders, replicas, offsets and configuration of topics.
    Describe {
        /// Their names.
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// Show every configuration, not only those set on the topic.
        #[arg(long)]
        all_configs: bool,
        /// Table or JSON.
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
    /// Delete topics and their data.
    Delete {
        /// Their names.
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// Succeed when a topic does not exist.
        #[arg(long)]
        if_exists: bool,
    },
    /// Delete the oldest records of partitions; every record before an offset goes.
    DeleteRecords {
        /// Its name.
        #[arg(value_name = "TOPIC")]
        topic: String,
        /// Partition and offset of the first record that stays; end deletes all that consumers see.
        #[arg(required = true, value_name = "PARTITION:OFFSET", value_parser = partition_offset)]
        before: Vec<(i32, i64)>,
    },
    /// Raise the number of partitions, change configurations.
    Alter(AlterArgs),
    /// Topics that were deleted and can be brought back; the controllers are asked.
    Deleted {
        /// Table or JSON.
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
    /// Bring a deleted topic back with its messages; the controllers are asked.
    Restore {
        /// Its name, or its id where several of that name were deleted.
        #[arg(value_name = "TOPIC|ID")]
        topic: String,
        /// Another name for it, where its own is taken.
        #[arg(long = "as", value_name = "NAME")]
        new_name: Option<String>,
    },
    /// Give deleted topics up before their time: their messages are removed for good; the controllers are asked.
    Purge {
        /// Their names, each for all deleted topics that had it, or their ids.
        #[arg(required = true, value_name = "TOPIC|ID")]
        topics: Vec<String>,
    },
}

impl TopicsCommand {
    /// Kafka's protocol has no words for it: it goes to the controllers, not to a broker.
    #[must_use]
    pub fn asks_controllers(&self) -> bool {
        matches!(
            self,
            Self::Deleted { .. } | Self::Restore { .. } | Self::Purge { .. }
        )
    }
}

/// `foz topics create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name.
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// How many partitions; the cluster's num.partitions when left out.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// How many replicas; the cluster's default.replication.factor when left out.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,
    /// A configuration by Kafka's name, such as retention.ms=3600000; may be repeated.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    pub config: Vec<(String, String)>,
    /// Succeed when the topic exists already.
    #[arg(long)]
    pub if_not_exists: bool,
}

/// `foz topics alter`
#[derive(Debug, Args)]
#[command(group(
    ArgGroup::new("changes").required(true).multiple(true).args(["partitions", "config", "delete_config"])
))]
pub struct AlterArgs {
    /// Its name.
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// How many partitions there shall be; the number can only grow.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// Set a configuration; may be repeated.
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = key_value)]
    pub config: Vec<(String, String)>,
    /// Set a configuration back to its default; may be repeated.
    #[arg(long, value_name = "KEY")]
    pub delete_config: Vec<String>,
}

/// `foz produce`
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// Where to.
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Messages; the lines of standard input when there are none.
    #[arg(value_name = "MESSAGE", conflicts_with = "file")]
    pub messages: Vec<String>,
    /// Send one message whose value is this whole file; - is standard input.
    #[arg(long, short, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// The key of every message.
    #[arg(long, short, conflicts_with = "key_separator")]
    pub key: Option<String>,
    /// What stands between key and value in each message.
    #[arg(long, value_name = "TEXT", conflicts_with = "file", value_parser = not_empty)]
    pub key_separator: Option<String>,
    /// A key or value that is exactly this text is sent as null.
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub null: Option<String>,
    /// The partition; chosen by the key, or spread, when left out.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// A header of every message; may be repeated.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = key_value)]
    pub header: Vec<(String, String)>,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, short = 'z', value_name = "CODEC", default_value = "none", value_parser = compression)]
    pub compression: Compression,
    /// How long to try until a message is acknowledged.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Print nothing when all went well.
    #[arg(long, short)]
    pub quiet: bool,
}

/// `foz consume`
#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// Where from.
    #[arg(value_name = "TOPIC")]
    pub topic: String,
    /// Begin with the first message there is; only new ones are printed otherwise.
    #[arg(long, conflicts_with = "offset")]
    pub from_beginning: bool,
    /// Where to begin: beginning, end, an offset, -N for the last N, or @MS for a timestamp.
    #[arg(long, short, value_name = "OFFSET", allow_hyphen_values = true, value_parser = start)]
    pub offset: Option<Start>,
    /// Share the topic with the other members of this consumer group, and go on where the group
    /// stopped; --from-beginning and --offset count where it has not been yet.
    #[arg(long, short, value_name = "NAME", conflicts_with = "partition", value_parser = not_empty)]
    pub group: Option<String>,
    /// Only these partitions, separated by commas.
    #[arg(long, short, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Vec<i32>,
    /// Which messages of transactions are printed: all, or those that were committed, as soon as everything before them is decided.
    #[arg(long, value_enum, default_value_t)]
    pub isolation: Isolation,
    /// Stop after so many messages.
    #[arg(long, short = 'n', value_name = "N")]
    pub max_messages: Option<u64>,
    /// Stop when all messages that are there have been printed.
    #[arg(long, short)]
    pub exit_at_end: bool,
    /// Stop when there was no message for so long.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub timeout: Option<Duration>,
    /// How to print a message: %k key, %v value, %t topic, %p partition, %o offset, %T timestamp,
    /// %h headers, %%; \n \t \r \0 \\ \xHH.
    #[arg(long, short, conflicts_with = "output", value_parser = Format::parse)]
    pub format: Option<Format>,
    /// Values as they are, or JSON with everything, one object on a line.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// Print nothing but messages.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Kafka's `isolation.level`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Isolation {
    /// All messages.
    #[default]
    ReadUncommitted,
    /// Not those that were aborted, or may still be.
    ReadCommitted,
}

/// Where consuming begins in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first message.
    Beginning,
    /// After the last message.
    End,
    /// This offset.
    Offset(i64),
    /// So many before the end.
    Last(i64),
    /// The first message at or after this time in ms.
    Timestamp(i64),
}

fn start(text: &str) -> Result<Start, String> {
    let wrong = || format!("{text:?} is none of beginning, end, an offset, -N, @MS");
    let number = |text: &str| match text.parse::<i64>() {
        Ok(number) if number >= 0 && !text.starts_with(['+', '-']) => Ok(number),
        _ => Err(wrong()),
    };
    match text {
        "beginning" | "earliest" => Ok(Start::Beginning),
        "end" | "latest" => Ok(Start::End),
        _ => match text.split_at_checked(1) {
            Some(("-", rest)) => number(rest).map(Start::Last),
            Some(("@", rest)) => number(rest).map(Start::Timestamp),
            _ => number(text).map(Start::Offset),
        },
    }
}

fn partition_offset(text: &str) -> Result<(i32, i64), String> {
    let parsed = text.split_once(':').and_then(|(partition, offset)| {
        let partition = partition.parse().ok().filter(|it| *it >= 0)?;
        let offset = match offset {
            "end" | "latest" => DELETE_ALL,
            _ => offset.parse().ok().filter(|it| *it >= 0)?,
        };
        Some((partition, offset))
    });
    parsed.ok_or_else(|| format!("{text:?} is not PARTITION:OFFSET, such as 0:1500 or 0:end"))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("it must not be empty".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn compression(text: &str) -> Result<Compression, String> {
    Compression::from_name(text)
        .ok_or_else(|| format!("{text:?} is none of none, gzip, snappy, lz4, zstd"))
}

fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err(format!("{text:?} is not HOST:PORT, such as localhost:9092")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn starts_are_read() {
        for (text, at) in [
            ("beginning", Start::Beginning),
            ("end", Start::End),
            ("0", Start::Offset(0)),
            ("-5", Start::Last(5)),
            ("@1700000000000", Start::Timestamp(1_700_000_000_000)),
        ] {
            assert_eq!(start(text), Ok(at));
        }
        for text in ["", "-", "@", "--1", "+1", "-+1", "1.5", "middle", "@-1"] {
            assert!(
                start(text).unwrap_err().contains("beginning, end"),
                "{text}"
            );
        }
        let cli = parse("foz consume orders --offset -5").unwrap();
        assert!(
            matches!(cli.command, Command::Consume(args) if args.offset == Some(Start::Last(5)))
        );
    }

    #[test]
    fn what_is_wrong_is_refused_before_anything_is_sent() {
        for line in [
            "foz topics create t --partitions 0",
            "foz topics create t --replication-factor -1",
            "foz topics create t --config retention.ms",
            "foz topics create t --config =1",
            "foz topics alter t",
            "foz topics delete-records t",
            "foz topics delete-records t 0",
            "foz topics delete-records t 0:",
            "foz topics delete-records t 0:-1",
            "foz topics delete-records t -1:0",
            "foz topics delete-records t 0:1:2",
            "foz topics delete-records t 0:1.5",
            "foz produce t --compression brotli x",
            "foz produce t --file f x",
            "foz produce t --partition -1 x",
            "foz consume t --format %x",
            "foz consume t --timeout soon",
            "foz consume t --from-beginning --offset 3",
            "foz --bootstrap localhost topics list",
            "foz --bootstrap localhost:99999 topics list",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn records_to_delete_are_named_by_partition() {
        let cli = parse("foz topics delete-records t 0:15 3:0 1:end").unwrap();
        let Command::Topics(TopicsCommand::DeleteRecords { topic, before }) = cli.command else {
            panic!("{cli:?}");
        };
        assert_eq!(
            (topic.as_str(), before),
            ("t", vec![(0, 15), (3, 0), (1, DELETE_ALL)])
        );
    }

    #[test]
    fn bootstrap_stands_before_or_behind_the_command() {
        for line in [
            "foz -b a:1,b:2 topics list",
            "foz topics list --bootstrap a:1,b:2",
        ] {
            assert_eq!(parse(line).unwrap().bootstrap, ["a:1", "b:2"]);
        }
    }
}
