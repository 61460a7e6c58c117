//! What writers feel while what they wrote is removed by retention, or compacted.
//!
//! One broker and a producer that writes records with keys at a steady rate all the while. The topic is left alone,
//! keeps only its newest segments, is compacted without a pause, and is left alone again.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use foz_cli::client::{Client, ClientConfig, ConfigChange, OffsetAt};
use tokio::time::sleep;

use crate::Tools;
use crate::cluster::Cluster;
use crate::latencies::Latencies;
use crate::promise::Promise;
use crate::report::Product;
use crate::steady_load::{Load, SteadyLoad, now_ms};
use crate::workload::{PARTITIONS, create_topic};

const TOPIC: &str = "cleaning";
/// So many keys are written over and over.
const KEYS: u32 = 100_000;
/// A JVM has its compiler done by then.
const WARM_UP: Duration = Duration::from_secs(20);
/// What a change of configs begins with is not measured.
const SETTLE: Duration = Duration::from_secs(10);
const PHASE: Duration = Duration::from_secs(45);
/// Rounds follow each other at once, in both products. Segments are as small in each phase: more of them are made and flushed.
const PROPERTIES: &str =
    "log.retention.check.interval.ms=1000\nlog.cleaner.backoff.ms=100\nlog.segment.bytes=4194304\n";

/// What a phase demands of the topic.
const PHASES: [(&str, &[(&str, &str)]); 4] = [
    ("left alone", LEFT_ALONE),
    (
        "retention",
        &[
            ("cleanup.policy", "delete"),
            ("retention.bytes", "16777216"),
        ],
    ),
    (
        "compaction",
        &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
        ],
    ),
    ("left alone again", LEFT_ALONE),
];
const LEFT_ALONE: &[(&str, &str)] = &[("cleanup.policy", "delete"), ("retention.bytes", "-1")];

/// Runs it for one product; returns the report.
///
/// # Errors
/// The broker or a client fails; with the end of the broker's log.
pub(crate) async fn run(tools: &Tools, product: Product, rate: u32) -> anyhow::Result<String> {
    eprintln!("{}: one broker starts", product.name());
    let promise = Promise::PageCache;
    let phases = Cluster::live(
        tools,
        product,
        promise,
        PROPERTIES,
        async |cluster, folder| course(tools, cluster, folder, rate).await,
    );
    Ok(report(product, rate, &phases.await?))
}

#[derive(Debug)]
struct Phase {
    name: &'static str,
    latencies: Latencies,
    /// Of the broker.
    cores: f64,
    /// Of the logs, in the end.
    bytes: u64,
}

async fn course(
    tools: &Tools,
    cluster: &mut Cluster,
    folder: &Path,
    rate: u32,
) -> anyhow::Result<Vec<Phase>> {
    create_topic(&tools.java, cluster, TOPIC).await?;
    let client = Client::connect(ClientConfig::new([cluster.bootstrap()])).await?;
    client.refresh(Some(&[TOPIC])).await?;
    let load = Load { rate, keys: KEYS };
    let mut load = SteadyLoad::start(&tools.java, cluster, folder, TOPIC, load)?;
    sleep(WARM_UP).await;
    let mut phases = Vec::new();
    for (name, configs) in PHASES {
        eprintln!("        {name}");
        let changes: Vec<_> = (configs.iter())
            .map(|(key, value)| ConfigChange::Set((*key).to_owned(), (*value).to_owned()))
            .collect();
        client.alter_topic_configs(TOPIC, &changes).await?;
        sleep(SETTLE).await;
        let (processor, from_ms) = (cluster.processor_time()?, now_ms());
        sleep(PHASE).await;
        let (processor, to_ms) = (
            cluster.processor_time()?.saturating_sub(processor),
            now_ms(),
        );
        let latencies = Latencies::between(&load.written()?, from_ms, to_ms);
        phases.push(Phase {
            name,
            latencies: latencies.with_context(|| format!("nothing was written: {name}"))?,
            cores: processor.as_secs_f64() / PHASE.as_secs_f64(),
            bytes: log_bytes(folder)?,
        });
        if name == "retention" {
            was_removed(&client).await?;
        }
    }
    Ok(phases)
}

/// A figure of a broker that did not remove anything would say nothing.
async fn was_removed(client: &Client) -> anyhow::Result<()> {
    let partitions: Vec<i32> = (0..PARTITIONS).collect();
    let starts = client
        .offsets(TOPIC, &partitions, OffsetAt::Earliest)
        .await?;
    let stood_still: Vec<_> = starts.iter().filter(|(_, start)| **start == 0).collect();
    ensure!(
        stood_still.is_empty(),
        "retention removed nothing of {stood_still:?}"
    );
    Ok(())
}

fn log_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // What is being removed meanwhile counts no more.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() {
            bytes += log_bytes(&entry.path()).unwrap_or(0);
        } else if entry.path().extension().is_some_and(|it| it == "log") {
            bytes += metadata.len();
        }
    }
    Ok(bytes)
}

fn report(product: Product, rate: u32, phases: &[Phase]) -> String {
    let mut text = format!(
        "\n{}: {rate} records/s of 1 KiB, {KEYS} keys, {PARTITIONS} partitions\n\
         {:<22}{}{:>8}{:>9}{:>14}\n",
        product.name(),
        "",
        Latencies::heading(),
        "cores",
        "MiB",
        "p99 / alone"
    );
    let alone: Vec<f64> = (phases.iter())
        .filter(|phase| phase.name.starts_with("left alone"))
        .map(|phase| phase.latencies.p99_ms)
        .collect();
    // The machine changes, too: what comes before and after counts alike.
    let alone = alone.iter().sum::<f64>() / alone.len() as f64;
    for phase in phases {
        let _ = writeln!(
            text,
            "{:<22}{}{:>8.2}{:>9}{:>14.2}",
            phase.name,
            phase.latencies.row(),
            phase.cores,
            phase.bytes >> 20,
            phase.latencies.p99_ms / alone,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_compared_with_what_was_before_and_after() {
        let phase = |name, p99_ms| Phase {
            name,
            latencies: Latencies {
                records: 10,
                p50_ms: 1.0,
                p99_ms,
                max_ms: 99.0,
            },
            cores: 0.5,
            bytes: 3 << 20,
        };
        let phases = [
            phase("left alone", 4.0),
            phase("compaction", 9.0),
            phase("left alone again", 8.0),
        ];
        let report = report(Product::Foz, 20_000, &phases);
        let line = report.lines().find(|line| line.starts_with("compaction"));
        let words: Vec<_> = line.unwrap().split_whitespace().collect();
        assert_eq!(
            words[1..],
            ["10", "1.0", "9.0", "99.0", "0.50", "3", "1.50"]
        );
    }
}
