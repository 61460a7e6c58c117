//! What writers feel while a replica that was away catches up.
//!
//! Three brokers, and a producer that writes at a steady rate all the while. One broker is stopped, gigabytes
//! are written to the other two, what that left to be written to the disk is written, and the broker is
//! started again. It has caught up when every partition has three replicas in sync.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;

use crate::Tools;
use crate::cluster::Cluster;
use crate::latencies::Latencies;
use crate::promise::Promise;
use crate::report::Product;
use crate::steady_load::{Load, RECORD_BYTES, SteadyLoad, now_ms};
use crate::workload::{BULK, Production, create_topic};

const TOPIC: &str = "catch-up";

/// The one that is stopped.
const BROKER: usize = 2;

/// Written before anything is measured, for JVMs to warm up.
const WARM_UP_MEBIBYTES: u64 = 256;

/// Left alone after each disturbance that is not the one to be measured.
const SETTLE: Duration = Duration::from_secs(10);

/// How long the phases last that end by the clock.
const PHASE: Duration = Duration::from_secs(30);

/// A broker that has not been missed by then, or has not caught up, has failed.
const IN_SYNC_LIMIT: Duration = Duration::from_secs(900);

/// Runs it for one product; returns the report.
///
/// # Errors
/// A broker or a client fails; with the ends of the brokers' logs.
pub(crate) async fn run(
    tools: &Tools,
    product: Product,
    gibibytes: u64,
    rate: u32,
) -> anyhow::Result<String> {
    eprintln!("{}: three brokers start", product.name());
    let promise = Promise::Replicated;
    let course = Cluster::live(tools, product, promise, "", async |cluster, folder| {
        course(tools, cluster, folder, gibibytes, rate).await
    });
    Ok(course.await?.report(product, rate))
}

/// What happened.
#[derive(Debug)]
struct Course {
    /// What the broker missed.
    behind_bytes: u64,
    caught_up_ms: u64,
    /// Processor time of all brokers while it caught up.
    processor: Duration,
    phases: Vec<Phase>,
}

#[derive(Debug)]
struct Phase {
    name: &'static str,
    duration_ms: u64,
    latencies: Latencies,
}

async fn course(
    tools: &Tools,
    cluster: &mut Cluster,
    folder: &Path,
    gibibytes: u64,
    rate: u32,
) -> anyhow::Result<Course> {
    let all = cluster.replicas();
    create_topic(&tools.java, cluster, TOPIC).await?;
    let mut load = SteadyLoad::start(&tools.java, cluster, folder, TOPIC, Load { rate, keys: 0 })?;
    load.in_sync(all, IN_SYNC_LIMIT).await?;
    write(tools, cluster, WARM_UP_MEBIBYTES).await?;
    settle().await?;
    eprintln!("        all in sync");
    let (before_from, before_to) = (now_ms(), pass(PHASE).await);

    eprintln!("        one broker stops, and {gibibytes} GiB are written");
    cluster.broker(BROKER).stop().await?;
    let away_from = load.in_sync(all - 1, IN_SYNC_LIMIT).await?;
    write(tools, cluster, gibibytes << 10).await?;
    settle().await?;
    let (alone_from, alone_to) = (now_ms(), pass(PHASE).await);

    eprintln!("        it starts again");
    let processor_before = cluster.processor_time()?;
    let back_from = now_ms();
    cluster.broker(BROKER).spawn_again()?;
    let back_to = load.in_sync(all, IN_SYNC_LIMIT).await?;
    let processor = cluster.processor_time()?;
    eprintln!("        all in sync again");
    let after_to = pass(PHASE).await;

    let written = load.written()?;
    let phase = |name, from_ms, to_ms| -> anyhow::Result<Phase> {
        let latencies = Latencies::between(&written, from_ms, to_ms);
        Ok(Phase {
            name,
            duration_ms: to_ms - from_ms,
            latencies: latencies.with_context(|| format!("nothing was written: {name}"))?,
        })
    };
    let missed = Latencies::between(&written, away_from, back_from);
    Ok(Course {
        behind_bytes: (gibibytes << 30) + missed.map_or(0, |it| it.records as u64) * RECORD_BYTES,
        caught_up_ms: back_to - back_from,
        processor: processor.saturating_sub(processor_before),
        phases: vec![
            phase("all in sync", before_from, before_to)?,
            phase("one broker stopped", alone_from, alone_to)?,
            phase("it catches up", back_from, back_to)?,
            phase("all in sync again", back_to, after_to)?,
        ],
    })
}

async fn write(tools: &Tools, cluster: &Cluster, mebibytes: u64) -> anyhow::Result<()> {
    let production = Production {
        topic: TOPIC,
        records: (mebibytes << 20) / RECORD_BYTES,
        record_bytes: RECORD_BYTES,
        properties: BULK,
    };
    let produced = production.run(&tools.java, cluster).await?;
    eprintln!("        written at {} MiB/s", produced.mebibytes_per_second);
    Ok(())
}

/// What is measured next is not to pay for what was written to the page cache before.
pub(crate) async fn settle() -> anyhow::Result<()> {
    tokio::task::spawn_blocking(rustix::fs::sync).await?;
    sleep(SETTLE).await;
    Ok(())
}

/// Returns when that is over, since 1970.
async fn pass(duration: Duration) -> u64 {
    sleep(duration).await;
    now_ms()
}

impl Course {
    fn report(&self, product: Product, rate: u32) -> String {
        let gibibytes = self.behind_bytes as f64 / f64::from(1 << 30);
        let seconds = self.caught_up_ms as f64 / 1000.0;
        let mut text = format!(
            "\n{}: a broker that is {gibibytes:.1} GiB behind, and {rate} records/s of 1 KiB meanwhile\n\
             in sync again after {seconds:.1} s, {:.0} MiB/s, {:.1} CPU seconds of all brokers\n\
             {:<22}{:>9}{}{:>14}\n",
            product.name(),
            gibibytes * 1024.0 / seconds,
            self.processor.as_secs_f64(),
            "",
            "seconds",
            Latencies::heading(),
            "p99 / first"
        );
        let first = self.phases.first().map(|it| it.latencies.p99_ms);
        for phase in &self.phases {
            let ratio = first.map_or(f64::NAN, |first| phase.latencies.p99_ms / first);
            let _ = writeln!(
                text,
                "{:<22}{:>9.1}{}{ratio:>14.2}",
                phase.name,
                phase.duration_ms as f64 / 1000.0,
                phase.latencies.row(),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_compares_each_phase_with_the_first() {
        let phase = |name, p99_ms| Phase {
            name,
            duration_ms: 30_000,
            latencies: Latencies {
                records: 60_000,
                p50_ms: 4.0,
                p99_ms,
                max_ms: 99.0,
            },
        };
        let course = Course {
            behind_bytes: 5 << 30,
            caught_up_ms: 20_000,
            processor: Duration::from_secs(12),
            phases: vec![phase("before", 8.0), phase("meanwhile", 20.0)],
        };
        let report = course.report(Product::Foz, 2000);
        assert!(report.contains("5.0 GiB behind"), "{report}");
        assert!(
            report.contains("after 20.0 s, 256 MiB/s, 12.0 CPU"),
            "{report}"
        );
        let last = |start: &str| {
            let line = report.lines().find(|line| line.starts_with(start));
            line.and_then(|line| line.split_whitespace().last())
        };
        assert_eq!(last("before"), Some("1.00"));
        assert_eq!(last("meanwhile"), Some("2.50"));
    }
}
