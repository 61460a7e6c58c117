//! What is asked of a broker: each workload is one run of one of Kafka's perf tools.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::cluster::Cluster;
use crate::java::Java;
use crate::perf_output::{self, Produced};
use crate::report::Measurement;

/// A tool that has not ended by then has failed.
const TOOL_LIMIT: Duration = Duration::from_secs(600);

/// Brokers of which not enough have met by then have failed.
const MEET_LIMIT: Duration = Duration::from_secs(60);

/// Of every topic.
pub(crate) const PARTITIONS: i32 = 6;

/// Large batches, for gigabytes to be there soon.
pub(crate) const BULK: &[&str] = &["batch.size=131072", "linger.ms=10"];

/// One row group of the report.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    topic: &'static str,
    record_bytes: u64,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// Makes the topic and fills it; the properties are the producer's.
    Produce(&'static [&'static str]),
    /// Reads a topic that a workload before this one has filled.
    Consume,
}

/// Run before the others and not reported: a JVM gets faster while it warms up, and a broker that runs
/// for weeks is warm.
pub(crate) const WARM_UP: &[Workload] = &[
    Workload {
        name: "warm up",
        topic: "warm-up",
        record_bytes: 1024,
        work: Work::Produce(&[]),
    },
    Workload {
        name: "warm up",
        topic: "warm-up",
        record_bytes: 1024,
        work: Work::Consume,
    },
];

/// In this order: what is consumed must have been produced.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "produce 1 KiB, client's defaults",
        topic: "kibibyte",
        record_bytes: 1024,
        work: Work::Produce(&[]),
    },
    Workload {
        name: "produce 100 B, 256 KiB batches, lz4",
        topic: "small-lz4",
        record_bytes: 100,
        work: Work::Produce(&["batch.size=262144", "linger.ms=5", "compression.type=lz4"]),
    },
    Workload {
        name: "consume 1 KiB",
        topic: "kibibyte",
        record_bytes: 1024,
        work: Work::Consume,
    },
];

impl Workload {
    /// Runs it against `cluster` with `megabytes` MiB of records.
    ///
    /// # Errors
    /// The tool fails, or did less than it was asked to.
    pub(crate) async fn run(
        &self,
        java: &Java,
        cluster: &Cluster,
        megabytes: u64,
    ) -> anyhow::Result<Measurement> {
        let records = (megabytes << 20) / self.record_bytes;
        if let Work::Produce(_) = self.work {
            create_topic(java, cluster, self.topic).await?;
        }
        let before = cluster.processor_time()?;
        let (done, mebibytes_per_second, latency_p99_ms) = match self.work {
            Work::Produce(properties) => {
                let produced = Production {
                    topic: self.topic,
                    records,
                    record_bytes: self.record_bytes,
                    properties,
                };
                let produced = produced.run(java, cluster).await?;
                (
                    produced.records,
                    produced.mebibytes_per_second,
                    Some(produced.latency_p99_ms),
                )
            }
            Work::Consume => {
                let command = self.consumer(java, cluster, records);
                let consumed = perf_output::consumed(&output_of(command).await?)?;
                (consumed.records, consumed.mebibytes_per_second, None)
            }
        };
        let used = cluster.processor_time()?.saturating_sub(before);
        ensure!(
            done >= records,
            "{}: {done} of {records} records went through",
            self.name
        );
        let gibibytes = (done * self.record_bytes) as f64 / f64::from(1 << 30);
        Ok(Measurement {
            workload: self.name,
            mebibytes_per_second,
            latency_p99_ms,
            processor_seconds_per_gibibyte: used.as_secs_f64() / gibibytes,
        })
    }

    fn consumer(&self, java: &Java, cluster: &Cluster, records: u64) -> Command {
        let mut command = java.command(&["-Xmx512M"], "org.apache.kafka.tools.ConsumerPerformance");
        command
            .args(["--bootstrap-server", &cluster.bootstrap()])
            .args(["--topic", self.topic])
            .args(["--num-records", &records.to_string()]);
        command
    }
}

/// One run of `kafka-producer-perf-test` into a topic that is there, as fast as it goes.
#[derive(Debug)]
pub(crate) struct Production<'a> {
    pub(crate) topic: &'a str,
    pub(crate) records: u64,
    pub(crate) record_bytes: u64,
    /// The producer's, above `acks=all` and the client's defaults; idempotence is one of these.
    pub(crate) properties: &'a [&'a str],
}

impl Production<'_> {
    /// # Errors
    /// The tool fails.
    pub(crate) async fn run(&self, java: &Java, cluster: &Cluster) -> anyhow::Result<Produced> {
        let mut command = java.command(&["-Xmx512M"], "org.apache.kafka.tools.ProducerPerformance");
        command
            .args(["--topic", self.topic, "--throughput", "-1"])
            .args(["--num-records", &self.records.to_string()])
            .args(["--record-size", &self.record_bytes.to_string()])
            .arg("--command-property")
            .arg(format!("bootstrap.servers={}", cluster.bootstrap()))
            .arg("acks=all")
            .args(self.properties);
        perf_output::produced(&output_of(command).await?)
    }
}

/// Makes a topic with a replica on each broker, of which two must be in sync where there are as many.
///
/// # Errors
/// The tool fails, for longer than brokers take to find each other.
pub(crate) async fn create_topic(
    java: &Java,
    cluster: &Cluster,
    topic: &str,
) -> anyhow::Result<()> {
    let replicas = cluster.replicas();
    let limit = Instant::now() + MEET_LIMIT;
    loop {
        let mut command = java.command(&[], "org.apache.kafka.tools.TopicCommand");
        command
            .args(["--bootstrap-server", &cluster.bootstrap()])
            .args(["--create", "--if-not-exists", "--topic", topic])
            .args(["--partitions", &PARTITIONS.to_string()])
            .args(["--replication-factor", &replicas.to_string()])
            .arg("--config")
            .arg(format!("min.insync.replicas={}", replicas.min(2)));
        match output_of(command).await {
            Err(error) if Instant::now() > limit => return Err(error),
            // A broker that listens need not have been counted in yet.
            Err(_) => {}
            Ok(_) => return Ok(()),
        }
    }
}

async fn output_of(mut command: Command) -> anyhow::Result<String> {
    command.stdin(Stdio::null());
    let output = timeout(TOOL_LIMIT, command.output())
        .await
        .with_context(|| format!("{command:?} took more than {} s", TOOL_LIMIT.as_secs()))??;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{command:?} failed:\n{stdout}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(stdout)
}
