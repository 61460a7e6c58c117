//! What there is when a broker starts.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use foz_log::{
    FileHandles, FlushObserver, Flusher, LogConfig, LogDirectory, OpenReport, PageCache,
    PartitionLog, StorageError, TopicPartition,
};
use parking_lot::Mutex;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Key, Map, Partitions};
use crate::disk_gate::DiskGate;
use crate::fail_stop::FailStop;
use crate::metrics::Metrics;
use crate::partition::offline::Offline;
use crate::partition::{Reports, wall_clock_ms};
use crate::recovery_progress::RecoveryProgress;

/// Files of logs that are open at once. Kafka keeps three for each segment; here they are opened when
/// they are read or written.
const OPEN_FILES_MAX: usize = 4_096;

/// What recovery says of the process before this one.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// It stopped in good order, with this broker epoch.
    pub(crate) stopped_cleanly: Option<i64>,
    /// The logs that were found.
    pub(crate) logs: Vec<Key>,
    /// Those that are damaged, have less than the checkpoints say of them, or are not there.
    pub(crate) in_doubt: Vec<InDoubt>,
}

/// A log that does not have what it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InDoubt {
    pub(crate) name: TopicPartition,
    /// Where it can be told.
    pub(crate) topic_id: Option<Uuid>,
    pub(crate) is_missing: bool,
}

fn in_doubt(directory: &LogDirectory, report: &OpenReport) -> Vec<InDoubt> {
    let damaged = report.offline.iter().map(|log| InDoubt {
        name: log.partition.clone(),
        topic_id: log.topic_id,
        is_missing: false,
    });
    let lost = report.lost.iter().map(|lost| InDoubt {
        name: lost.partition.clone(),
        topic_id: directory.get(&lost.partition).map(|log| log.topic_id()),
        is_missing: lost.found_offset.is_none(),
    });
    damaged.chain(lost).collect()
}

impl Partitions {
    /// Recovers everything in `data_dir`, so many logs at once. Nothing is led until the metadata says so, and nothing is to be
    /// changed before [`LogDirectory::take_mark_away`].
    pub(crate) fn open(
        data_dir: &Path,
        page_cache: PageCache,
        threads: usize,
        metrics: Metrics,
        reports: Reports,
        recovery: &RecoveryProgress,
    ) -> anyhow::Result<Self> {
        let handles = FileHandles::new(OPEN_FILES_MAX);
        let (directory, report) = LogDirectory::open_keeping_mark(
            data_dir,
            page_cache,
            threads,
            &handles,
            wall_clock_ms(),
            &|_, _| until_configured(),
            &|progress| {
                recovery.tell(progress.opened, progress.total);
                if progress.opened % 1_000 == 0 || progress.opened == progress.total {
                    info!(
                        opened = progress.opened,
                        total = progress.total,
                        "recovering logs"
                    );
                }
            },
        )?;
        for (partition, finding) in &report.findings {
            warn!(%partition, ?finding, "found while recovering");
        }
        for offline in &report.offline {
            error!(partition = %offline.partition, error = %offline.error, "log is offline");
        }
        if let Some(failed) = report.offline.iter().find(|it| it.error.is_failed_flush()) {
            // What is in memory is not on the disk: the next start reads that.
            reports.fail_stop.distrust_page_cache();
            bail!("{} cannot be flushed: {}", failed.partition, failed.error);
        }
        for lost in &report.lost {
            warn!(
                partition = %lost.partition,
                known_offset = lost.known_offset,
                found_offset = ?lost.found_offset,
                "has less than it had at the last checkpoint"
            );
        }
        let unchecked = directory.logs().into_iter();
        let unchecked = unchecked.filter(|log| log.has_unchecked_batches()).count();
        if unchecked > 0 {
            info!(
                logs = unchecked,
                "checked while they are in service: a process did not stop in good order, and what it left was not checked since"
            );
        }
        if !report.being_deleted.is_empty() {
            let partitions = report.being_deleted.len();
            info!(
                partitions,
                "files of deleted partitions are still to be removed"
            );
        }
        for path in &report.ignored {
            warn!(path = %path.display(), "not a partition; left alone");
        }
        let recovered = Recovered {
            stopped_cleanly: report.clean_shutdown.map(|mark| mark.broker_epoch),
            logs: directory.listed(),
            in_doubt: in_doubt(&directory, &report),
        };
        let damaged = report.offline.into_iter().map(|log| log.partition);
        let offline = Offline::new(damaged, metrics.offline_log_partitions.clone());
        let held = Map::default();
        let observer = Observer {
            held: Arc::clone(&held),
            fail_stop: reports.fail_stop.clone(),
            disk_gate: Arc::clone(&reports.disk_gate),
        };
        let flusher = Flusher::start(Arc::new(observer)).context("cannot start the flusher")?;
        Ok(Self {
            directory: Arc::new(directory),
            handles,
            flusher: Arc::new(flusher),
            held,
            offline,
            applied: Mutex::default(),
            metrics,
            reports,
            deletions: Arc::default(),
            recovered,
        })
    }
}

/// What a log is opened with: what its topic keeps is known when the metadata is, so until then
/// nothing is deleted.
fn until_configured() -> LogConfig {
    LogConfig {
        cleanup_delete: false,
        retention_ms: None,
        ..LogConfig::default()
    }
}

/// Passes on what the flusher says.
struct Observer {
    held: Map,
    fail_stop: FailStop,
    disk_gate: Arc<DiskGate>,
}

impl FlushObserver for Observer {
    fn flushed(&self, log: &Arc<PartitionLog>, _flushed_offset: i64) {
        let key = (log.topic_id(), log.partition().partition);
        let partition = self.held.read().get(&key).cloned();
        if let Some(partition) = partition {
            partition.flushed();
        }
    }

    fn failed(&self, log: &Arc<PartitionLog>, error: &StorageError) {
        self.fail_stop.flush_failed(log.partition(), error);
    }

    fn short(&self, _: &Arc<PartitionLog>, _: &StorageError) {
        self.disk_gate.refuse();
    }
}
