//! foz-bench: Apache Kafka and Foz in turn under Kafka's own perf tools, and the ratios between them.
//!
//! Figures of one machine on one day say little; the ratio of two brokers in one run says much. So:
//! - Each broker runs alone, from an empty directory, one node, on loopback, beside the same clients.
//! - The order is Kafka, Foz, Foz, Kafka: a machine that slows down or warms up on the way slows or
//!   warms both.
//! - The comparison is made once for each [`promise::Promise`], so that nobody wins by promising less:
//!   what is acknowledged from the page cache is compared with the same, what is flushed with the same.
//! - Each broker is warmed up before it is measured.
//! - Every figure is the median over the rounds.
//!
//! Start reading at [`run`], then [`workload`].

mod foz;
mod java;
mod kafka;
mod perf_output;
mod promise;
mod report;
mod server;
mod usage;
mod workload;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;

use crate::java::Java;
use crate::promise::Promise;
use crate::report::{Measurement, Product, Run};
use crate::server::Server;
use crate::workload::{WARM_UP, WORKLOADS};

/// How long a broker is left alone before its idle memory is read.
const IDLE: Duration = Duration::from_secs(3);

/// Runs Apache Kafka and Foz in turn with Kafka's perf tools and prints the ratios.
#[derive(Debug, Parser)]
struct Arguments {
    /// The broker's binary; when it is not given, a release build is made.
    #[arg(long)]
    foz_broker: Option<PathBuf>,
    /// MiB of records that each workload produces.
    #[arg(long, default_value_t = 512)]
    megabytes: u64,
    /// How often Kafka, Foz, Foz, Kafka is run through.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// What an acknowledgement promises; both when it is not given.
    #[arg(long, value_enum)]
    promise: Option<Promise>,
    /// Holds the brokers' data while they run; on the disk to be measured.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.megabytes == 0 || arguments.rounds == 0 {
        bail!("--megabytes and --rounds must be at least 1");
    }
    let foz_broker = match &arguments.foz_broker {
        Some(path) => path.clone(),
        None => foz::build().await?,
    };
    let foz_broker = foz_broker
        .canonicalize()
        .with_context(|| format!("{} is not there", foz_broker.display()))?;
    let java = Java::prepare().await?;
    for promise in Promise::chosen(arguments.promise) {
        let runs = run(&arguments, &java, &foz_broker, promise).await?;
        print(&report::table(promise, &runs));
    }
    Ok(())
}

/// Kafka, Foz, Foz, Kafka, as many rounds as asked for.
async fn run(
    arguments: &Arguments,
    java: &Java,
    foz_broker: &Path,
    promise: Promise,
) -> anyhow::Result<Vec<Run>> {
    let order = [Product::Kafka, Product::Foz, Product::Foz, Product::Kafka];
    let total = order.len() * arguments.rounds;
    let mut runs = Vec::with_capacity(total);
    for product in order.into_iter().cycle().take(total) {
        eprintln!(
            "[{}/{total}] {} {}",
            runs.len() + 1,
            product.name(),
            promise.sentence(product)
        );
        let folder = fresh_folder(&arguments.folder)?;
        let server = match product {
            Product::Kafka => kafka::start(java, &folder, promise).await?,
            Product::Foz => foz::start(foz_broker, &folder, promise).await?,
        };
        let measured = measure(java, &server, arguments.megabytes).await;
        let log = server.stop().await?;
        runs.push(
            measured
                .with_context(|| format!("{} failed; the end of its log:\n{log}", product.name()))?
                .of(product),
        );
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(runs)
}

/// What one life of a broker showed.
struct Measured {
    idle_memory_bytes: u64,
    loaded_memory_bytes: u64,
    measurements: Vec<Measurement>,
}

impl Measured {
    fn of(self, product: Product) -> Run {
        Run {
            product,
            idle_memory_bytes: self.idle_memory_bytes,
            loaded_memory_bytes: self.loaded_memory_bytes,
            measurements: self.measurements,
        }
    }
}

async fn measure(java: &Java, server: &Server, megabytes: u64) -> anyhow::Result<Measured> {
    tokio::time::sleep(IDLE).await;
    let idle_memory_bytes = usage::memory_bytes(server.pid())?;
    for workload in WARM_UP {
        workload.run(java, server, megabytes.div_ceil(2)).await?;
    }
    let mut measurements = Vec::new();
    for workload in WORKLOADS {
        eprintln!("        {}", workload.name);
        measurements.push(workload.run(java, server, megabytes).await?);
    }
    Ok(Measured {
        idle_memory_bytes,
        loaded_memory_bytes: usage::memory_bytes(server.pid())?,
        measurements,
    })
}

/// An empty folder for one life of a broker. What a run that was killed left there is removed.
fn fresh_folder(parent: &Path) -> anyhow::Result<PathBuf> {
    let folder = parent.join("broker");
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
