//! foz-bench: Apache Kafka and Foz in turn under Kafka's own clients, and the ratios between them.
//!
//! Figures of one machine on one day say little; the ratio of two products in one run says much. So:
//! - Each runs alone, from empty directories, on loopback, beside the same clients.
//! - The order is Kafka, Foz, Foz, Kafka: a machine that slows down or warms up on the way slows or
//!   warms both.
//! - The comparison is made once for each [`promise::Promise`], so that nobody wins by promising less:
//!   what is acknowledged from the page cache is compared with the same, what is flushed with the same,
//!   what three brokers have with the same.
//! - Each is warmed up before it is measured.
//! - Every figure is the median over the rounds.
//!
//! `foz-bench catch-up` asks another question: what writers feel while a replica that was away catches up.
//! `foz-bench many-partitions` tells what partitions cost that nobody uses, and `foz-bench committed-offsets` how long groups
//! wait for the next coordinator when theirs has died.
//!
//! Start reading at [`side_by_side::run`], then [`workload`]; for the others at [`catch_up::run`] and
//! [`many_partitions::run`].

mod after_kill;
mod catch_up;
mod cleaning;
mod cluster;
mod committed_offsets;
mod foz;
mod java;
mod kafka;
mod latencies;
mod many_partitions;
mod perf_output;
mod promise;
mod report;
mod server;
mod side_by_side;
mod steady_load;
mod usage;
mod workload;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use crate::cluster::Cluster;
use crate::committed_offsets::Size;
use crate::java::Java;
use crate::promise::Promise;
use crate::report::Product;

/// Runs Apache Kafka and Foz in turn with Kafka's perf tools and prints the ratios.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    shared: Shared,
    /// MiB of records that each workload produces.
    #[arg(long, default_value_t = 512)]
    megabytes: u64,
    /// How often Kafka, Foz, Foz, Kafka is run through.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// What an acknowledgement promises; both of one broker in turn when it is not given.
    #[arg(long, value_enum, alias = "promise")]
    only: Option<Promise>,
}

#[derive(Debug, Subcommand)]
enum Other {
    /// Stops one of three brokers, writes, starts it again, and says what writers feel while it catches up.
    CatchUp {
        #[command(flatten)]
        shared: Shared,
        /// How far the broker falls behind.
        #[arg(long, default_value_t = 5)]
        gibibytes: u64,
        /// Records of 1 KiB that are written in each second all the while.
        #[arg(long, default_value_t = 2000)]
        rate: u32,
        /// Whose brokers; Kafka's and then Foz's when it is not given.
        #[arg(long, value_enum)]
        subject: Option<Product>,
    },
    /// Kills a broker with gigabytes in its logs, starts it again, and says how long its clients wait.
    AfterKill {
        #[command(flatten)]
        shared: Shared,
        /// In its logs.
        #[arg(long, default_value_t = 5)]
        gibibytes: u64,
        /// Whose broker; Kafka's and then Foz's when it is not given.
        #[arg(long, value_enum)]
        subject: Option<Product>,
    },
    /// Says what writers feel while what they wrote is removed by retention, or compacted.
    Cleaning {
        #[command(flatten)]
        shared: Shared,
        /// Records of 1 KiB that are written in each second all the while.
        #[arg(long, default_value_t = 20_000)]
        rate: u32,
        /// Whose broker; Kafka's and then Foz's when it is not given.
        #[arg(long, value_enum)]
        subject: Option<Product>,
    },
    /// Makes many partitions that nobody uses, and says what they cost. Takes neither Java nor Kafka unless
    /// that is asked for.
    ManyPartitions {
        #[command(flatten)]
        shared: Shared,
        /// Whose broker.
        #[arg(long, value_enum, default_value = "foz")]
        subject: Product,
        /// All topics together.
        #[arg(long, default_value_t = 10_000)]
        partitions: usize,
        #[arg(long, default_value_t = 1)]
        topics: usize,
    },
    /// Kills a coordinator of groups with many committed offsets, and says how long the groups wait for the next one. Takes
    /// neither Java nor Kafka unless that is asked for.
    CommittedOffsets {
        #[command(flatten)]
        shared: Shared,
        /// Whose brokers.
        #[arg(long, value_enum, default_value = "foz")]
        subject: Product,
        #[command(flatten)]
        size: Size,
    },
}

#[derive(Debug, clap::Args)]
struct Shared {
    /// The broker's binary; when it is not given, a release build is made.
    #[arg(long)]
    foz_broker: Option<PathBuf>,
    /// Holds the brokers' data while they run; on the disk to be measured.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

/// What every run takes.
#[derive(Debug)]
struct Tools {
    java: Java,
    foz_broker: PathBuf,
    folder: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.other {
        None => {}
        Some(Other::CatchUp {
            shared,
            gibibytes,
            rate,
            subject,
        }) => {
            if gibibytes == 0 || rate == 0 {
                bail!("--gibibytes and --rate must be at least 1");
            }
            let tools = Tools::prepare(shared).await?;
            for product in subjects(subject) {
                print(&catch_up::run(&tools, product, gibibytes, rate).await?);
            }
            return Ok(());
        }
        Some(Other::AfterKill {
            shared,
            gibibytes,
            subject,
        }) => {
            if gibibytes == 0 {
                bail!("--gibibytes must be at least 1");
            }
            let tools = Tools::prepare(shared).await?;
            for product in subjects(subject) {
                print(&after_kill::run(&tools, product, gibibytes).await?);
            }
            return Ok(());
        }
        Some(Other::Cleaning {
            shared,
            rate,
            subject,
        }) => {
            if rate == 0 {
                bail!("--rate must be at least 1");
            }
            let tools = Tools::prepare(shared).await?;
            for product in subjects(subject) {
                print(&cleaning::run(&tools, product, rate).await?);
            }
            return Ok(());
        }
        Some(Other::ManyPartitions {
            shared,
            subject,
            partitions,
            topics,
        }) => {
            if topics == 0 || partitions < topics {
                bail!("--topics must be at least 1, --partitions at least as many");
            }
            let folder = fresh_folder(&shared.folder)?;
            let promise = match subject {
                Product::Foz => Promise::Flushed,
                Product::Kafka => Promise::PageCache,
            };
            let cluster = shared.cluster(subject, &folder, promise, "").await?;
            let report = many_partitions::run(subject, cluster, &folder, partitions, topics);
            print(&report.await?);
            return Ok(());
        }
        Some(Other::CommittedOffsets {
            shared,
            subject,
            size,
        }) => {
            size.check()?;
            let folder = fresh_folder(&shared.folder)?;
            let properties = size.properties();
            let promise = Promise::Replicated;
            let cluster = shared.cluster(subject, &folder, promise, &properties);
            let cluster = cluster.await?;
            print(&committed_offsets::run(subject, cluster, size).await?);
            return Ok(());
        }
    }
    if arguments.megabytes == 0 || arguments.rounds == 0 {
        bail!("--megabytes and --rounds must be at least 1");
    }
    let tools = Tools::prepare(arguments.shared).await?;
    for promise in Promise::chosen(arguments.only) {
        let runs =
            side_by_side::run(&tools, promise, arguments.megabytes, arguments.rounds).await?;
        print(&report::table(promise, &runs));
    }
    Ok(())
}

/// The one that was asked for, or both.
fn subjects(subject: Option<Product>) -> Vec<Product> {
    subject.map_or_else(|| vec![Product::Kafka, Product::Foz], |one| vec![one])
}

impl Shared {
    /// Java is looked for where it is Kafka's only.
    async fn cluster(
        &self,
        product: Product,
        folder: &Path,
        promise: Promise,
        properties: &str,
    ) -> anyhow::Result<Cluster> {
        let nodes = match product {
            Product::Foz => foz::nodes(&self.broker().await?, folder, promise, properties)?,
            Product::Kafka => {
                let java = Java::prepare().await?;
                kafka::nodes(&java, folder, promise, properties).await?
            }
        };
        Cluster::of(product, nodes).await
    }

    async fn broker(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.foz_broker {
            Some(path) => path.clone(),
            None => foz::build().await?,
        };
        path.canonicalize()
            .with_context(|| format!("{} is not there", path.display()))
    }
}

impl Tools {
    async fn prepare(shared: Shared) -> anyhow::Result<Self> {
        Ok(Self {
            foz_broker: shared.broker().await?,
            java: Java::prepare().await?,
            folder: shared.folder,
        })
    }

    fn fresh_folder(&self) -> anyhow::Result<PathBuf> {
        fresh_folder(&self.folder)
    }
}

/// An empty folder for one life of a cluster. What a run that was killed left there is removed.
fn fresh_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder.join("cluster");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.canonicalize()?)
}

#[allow(clippy::print_stdout, reason = "the report is this program's output")]
fn print(table: &str) {
    println!("{table}");
}
