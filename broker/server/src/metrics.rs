//! The broker's metrics, all in one table; names follow Kafka's exporters where the meaning is the same.

use std::path::Path;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use crate::coordinator::Counts;
use crate::disk_room::DiskRoom;
use crate::transactions::Figures;

/// 0.1 ms to 10 s.
const DURATION_BUCKETS: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What the broker counts.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) connections: IntGauge,
    pub(crate) invalid_requests: IntCounter,
    pub(crate) bytes_in: IntCounter,
    pub(crate) produced_bytes: IntCounter,
    pub(crate) produced_batches: IntCounter,
    pub(crate) fetched_bytes: IntCounter,
    pub(crate) leader_partitions: IntGauge,
    pub(crate) offline_log_partitions: IntGauge,
    pub(crate) damaged_logs: IntGauge,
    pub(crate) unchecked_logs: IntGauge,
    pub(crate) log_directories: IntGauge,
    pub(crate) offline_log_directories: IntGauge,
    pub(crate) log_moves: IntGauge,
    pub(crate) log_moved_bytes: IntCounter,
    disk_total_bytes: IntGaugeVec,
    disk_available_bytes: IntGaugeVec,
    disk_refusing_writes: IntGaugeVec,
    pub(crate) group_coordinators: Counts,
    pub(crate) transactions: Figures,
    pub(crate) metadata_offset: IntGauge,
    pub(crate) lease_alive: IntGauge,
    pub(crate) under_replicated: IntGauge,
    pub(crate) under_min_isr: IntGauge,
    pub(crate) isr_changes: IntCounter,
    pub(crate) compaction_failures: IntCounter,
    pub(crate) compaction_failing: IntGauge,
    pub(crate) compaction_due_bytes: IntGauge,
    compaction_passes: IntCounter,
    compaction_read_bytes: IntCounter,
    compaction_written_bytes: IntCounter,
    compaction_freed_bytes: IntCounter,
    requests: HistogramVec,
}

impl Metrics {
    /// Registers all; fails only when a name is taken.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let by_directory = |name: &str, help: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &["directory"])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let requests = HistogramVec::new(
            HistogramOpts::from(Opts::new(
                "kafka_network_request_duration_seconds",
                "Time from the last byte of a request to its answer, by API.",
            ))
            .buckets(DURATION_BUCKETS.to_vec()),
            &["request"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self {
            connections: gauge("kafka_server_connection_count", "Open client connections.")?,
            invalid_requests: counter(
                "foz_invalid_requests_total",
                "Connections closed because a frame was no valid request.",
            )?,
            bytes_in: counter(
                "kafka_network_request_bytes_total",
                "Bytes of requests read.",
            )?,
            produced_bytes: counter(
                "kafka_server_brokertopicmetrics_bytesin_total",
                "Bytes of record batches appended for clients.",
            )?,
            produced_batches: counter(
                "foz_produced_batches_total",
                "Record batches appended for clients.",
            )?,
            fetched_bytes: counter(
                "kafka_server_brokertopicmetrics_bytesout_total",
                "Bytes of record batches sent to consumers.",
            )?,
            leader_partitions: gauge(
                "kafka_server_replicamanager_leadercount",
                "Partitions that this broker leads.",
            )?,
            offline_log_partitions: gauge(
                "foz_offline_logs",
                "Partitions whose log cannot be used here.",
            )?,
            damaged_logs: gauge(
                "foz_damaged_logs",
                "Partitions in service with damage in their log here that is not mended yet.",
            )?,
            unchecked_logs: gauge(
                "foz_unchecked_logs",
                "Partitions whose log is still to be checked after a crash, or is damaged where it is to be checked.",
            )?,
            log_directories: gauge(
                "foz_log_directories",
                "Data directories of this broker that are in use.",
            )?,
            offline_log_directories: gauge(
                "foz_offline_log_directories",
                "Data directories of this broker that cannot be used, or have failed.",
            )?,
            log_moves: gauge(
                "foz_log_moves",
                "Partitions whose log is to move to another data directory of this broker.",
            )?,
            log_moved_bytes: counter(
                "foz_log_moved_bytes_total",
                "Bytes of record batches copied from one data directory to another.",
            )?,
            disk_total_bytes: by_directory(
                "foz_disk_total_bytes",
                "Size of the disk with a data directory.",
            )?,
            disk_available_bytes: by_directory(
                "foz_disk_available_bytes",
                "What is free of it for who is not root.",
            )?,
            disk_refusing_writes: by_directory(
                "foz_disk_refusing_writes",
                "1 while the disk has no room and clients' records are refused.",
            )?,
            group_coordinators: Counts::register(registry)?,
            transactions: Figures::register(registry)?,
            metadata_offset: gauge(
                "foz_broker_metadata_offset",
                "Offset of the metadata that this broker has applied.",
            )?,
            lease_alive: gauge(
                "foz_broker_lease_alive",
                "1 while the metadata quorum counts this broker as alive.",
            )?,
            under_replicated: gauge(
                "kafka_server_replicamanager_underreplicatedpartitions",
                "Partitions led here with fewer replicas in sync than there are.",
            )?,
            under_min_isr: gauge(
                "kafka_server_replicamanager_underminisrpartitioncount",
                "Partitions led here with fewer replicas in sync than min.insync.replicas.",
            )?,
            isr_changes: counter(
                "foz_isr_changes_total",
                "Changes of the replicas in sync that this broker asked for and got.",
            )?,
            compaction_failures: counter(
                "foz_compaction_failures_total",
                "Passes of compaction that failed.",
            )?,
            compaction_failing: gauge(
                "foz_compaction_failing_partitions",
                "Partitions whose last pass of compaction failed.",
            )?,
            compaction_due_bytes: gauge(
                "foz_compaction_due_bytes",
                "Bytes that were never compacted, of logs that are to be compacted now.",
            )?,
            compaction_passes: counter(
                "foz_compaction_passes_total",
                "Passes of compaction that came to their end.",
            )?,
            compaction_read_bytes: counter(
                "foz_compaction_read_bytes_total",
                "Bytes of segments read by compaction.",
            )?,
            compaction_written_bytes: counter(
                "foz_compaction_written_bytes_total",
                "Bytes of segments written by compaction.",
            )?,
            compaction_freed_bytes: counter(
                "foz_compaction_freed_bytes_total",
                "Bytes of segments that compaction made unnecessary.",
            )?,
            requests,
        })
    }

    /// What the disk of a data directory says of itself.
    pub(crate) fn disk(&self, directory: &Path, room: DiskRoom, is_refusing_writes: bool) {
        let directory = directory.display().to_string();
        let set = |gauges: &IntGaugeVec, value| {
            gauges.with_label_values(&[&directory]).set(value);
        };
        set(&self.disk_total_bytes, room.bytes_total);
        set(&self.disk_available_bytes, room.bytes_free);
        set(&self.disk_refusing_writes, i64::from(is_refusing_writes));
    }

    /// Counts one pass over a log.
    pub(crate) fn compacted(&self, pass: foz_log::Compacted) {
        self.compaction_passes.inc();
        self.compaction_read_bytes.inc_by(pass.read_bytes);
        self.compaction_written_bytes.inc_by(pass.written_bytes);
        let freed_bytes = pass.bytes_before.saturating_sub(pass.bytes_after);
        self.compaction_freed_bytes.inc_by(freed_bytes);
    }

    /// Counts one request and how long it took.
    pub(crate) fn answered(&self, api: ApiKey, took: Duration) {
        self.requests
            .with_label_values(&[&format!("{api:?}")])
            .observe(took.as_secs_f64());
    }
}
