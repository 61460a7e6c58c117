//! What there is when a broker starts.

use std::sync::Arc;

use anyhow::{Context, bail};
use foz_log::{
    FileHandles, FinishedMoves, FlushObserver, Flusher, FoundDirectory, LogConfig, LogDirectory,
    OpenError, OpenReport, PageCache, PartitionLog, StorageError, TopicPartition, finish_moves,
    reconcile,
};
use parking_lot::{Mutex, RwLock};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Map, Partitions, WeakMap, for_each_at_once};
use crate::directory_failure::DirectoryFailure;
use crate::disk_gate::DiskGate;
use crate::identity::{OfflineDirectory, is_of_disk};
use crate::metrics::Metrics;
use crate::partition::data_directory::Found;
use crate::partition::offline::Offline;
use crate::partition::{
    DataDirectories, DataDirectory, LogMoves, Opening, Openings, Reports, wall_clock_ms,
};
use crate::recovery_progress::RecoveryProgress;

/// Files of logs that are open at once. Kafka keeps three for each segment; here they are opened when
/// they are read or written.
const OPEN_FILES_MAX: usize = 4_096;

/// A log that does not have what it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InDoubt {
    pub(crate) name: TopicPartition,
    /// Where it can be told.
    pub(crate) topic_id: Option<Uuid>,
    pub(crate) is_missing: bool,
}

fn in_doubt(directory: &LogDirectory, report: &OpenReport) -> impl Iterator<Item = InDoubt> {
    let damaged = report.offline.iter().map(|log| InDoubt {
        name: log.partition.clone(),
        topic_id: log.topic_id,
        is_missing: false,
    });
    let lost = report.lost.iter().map(|lost| InDoubt {
        name: lost.partition.clone(),
        topic_id: directory.get(&lost.partition).map(|log| log.topic_id()),
        // A log of which nothing had reached the disk goes with a power failure, in all replicas at once perhaps.
        is_missing: lost.found_offset.is_none() && lost.was_on_disk,
    });
    let unknown = report.unknown.iter().map(|name| InDoubt {
        name: name.clone(),
        topic_id: directory.get(name).map(|log| log.topic_id()),
        is_missing: false,
    });
    damaged.chain(lost).chain(unknown)
}

impl Partitions {
    /// Recovers everything in `directories`, all of these at once, so many logs of each at once. Nothing is led until the
    /// metadata says so, and nothing is to be changed before [`LogDirectory::take_mark_away`].
    pub(crate) fn open(
        directories: Openings,
        threads: usize,
        metrics: Metrics,
        reports: Reports,
        recovery: &RecoveryProgress,
    ) -> anyhow::Result<Self> {
        let Openings {
            usable: mut directories,
            mut offline,
        } = directories;
        let moves = finish_decided_moves(&mut directories, &mut offline)?;
        let handles = FileHandles::new(OPEN_FILES_MAX);
        let numbered: Vec<_> = directories.iter().enumerate().collect();
        let opened = for_each_at_once(&numbered, |(at, opening)| {
            let progress = |opened, total| recovery.tell(*at, opened, total);
            open_directory(opening, threads, &handles, &progress)
        });
        let (directories, mut opened) = without_failed(directories, opened, &mut offline)?;
        hold_together(&directories, &mut opened)?;
        let mut set_aside: Vec<_> = set_aside_by(&moves).collect();
        let mut damaged = Vec::new();
        let held = Map::default();
        let mut all = Vec::new();
        for (opening, (logs, report)) in directories.into_iter().zip(opened) {
            damaged.extend(report.offline.iter().map(|log| log.partition.clone()));
            let found = Found {
                disk_epoch: opening.claimed.disk_epoch,
                has_all_written: has_all_written(&opening, &report),
                in_doubt: in_doubt(&logs, &report)
                    .chain(set_aside.drain(..))
                    .collect(),
                logs: Mutex::new(logs.listed()),
            };
            let observer = Observer {
                held: Arc::downgrade(&held),
                failure: opening.failure.clone(),
                disk_gate: Arc::clone(&opening.disk_gate),
            };
            let flusher = Flusher::start(Arc::new(observer)).context("cannot start the flusher")?;
            flusher.hold_backlog();
            all.push(Arc::new(DataDirectory::new(opening, logs, flusher, found)));
        }
        let directories = DataDirectories::new(all, offline);
        let moves = LogMoves::new(metrics.log_moves.clone());
        let offline = Offline::new(damaged.into_iter(), metrics.offline_log_partitions.clone());
        Ok(Self {
            directories,
            handles,
            held,
            offline,
            moves,
            listing: RwLock::default(),
            applied: Mutex::default(),
            metrics,
            reports,
        })
    }
}

/// What was decided of the moves of the process before this one is carried out before anything is opened.
fn finish_decided_moves(
    directories: &mut Vec<Opening>,
    offline: &mut Vec<OfflineDirectory>,
) -> anyhow::Result<FinishedMoves> {
    let moves = loop {
        let paths = directories.iter();
        let paths = paths.map(|it| it.claimed.identity.data_dir().to_owned());
        let error = match finish_moves(&paths.collect::<Vec<_>>(), offline.is_empty()) {
            Ok(moves) => break moves,
            Err(error) => error,
        };
        let failed = match &error {
            OpenError::Storage(error) if error.is_of_disk() => directories
                .iter()
                .position(|it| error.path.starts_with(it.claimed.identity.data_dir())),
            _ => None,
        };
        let reason = format!("a move to another data directory cannot be finished: {error}");
        match failed {
            Some(at) if directories[at].failure.fail(reason.clone(), true) => {
                let path = directories
                    .remove(at)
                    .claimed
                    .identity
                    .data_dir()
                    .to_owned();
                offline.push(OfflineDirectory { path, reason });
            }
            _ => return Err(error).context("cannot finish what moved to another data directory"),
        }
    };
    for path in &moves.named {
        info!(path = %path.display(), "a log is in another data directory now, as was decided before this start");
    }
    for path in &moves.set_aside {
        warn!(path = %path.display(), "what a move to another data directory has left was set aside, and there is no other log that has held records; remove it when nobody needs it");
    }
    for (topic_id, index) in &moves.waiting {
        warn!(%topic_id, index, "the log that a move to another data directory has left is where nobody can look");
    }
    if !moves.going_on.is_empty() {
        let logs = moves.going_on.len();
        info!(logs, "logs go on to move to other data directories");
    }
    Ok(moves)
}

/// Nothing is left of these where they are looked for.
fn set_aside_by(moves: &FinishedMoves) -> impl Iterator<Item = InDoubt> {
    moves.in_doubt.iter().map(|(topic_id, name)| InDoubt {
        name: name.clone(),
        topic_id: Some(*topic_id),
        is_missing: true,
    })
}

/// DESIGN: a crash of the process is no loss of data while the kernel lives. What the disk itself has lost is told of each
/// log.
fn has_all_written(opening: &Opening, report: &OpenReport) -> bool {
    let claimed = &opening.claimed;
    let stopped_cleanly = report.clean_shutdown.map(|mark| mark.broker_epoch);
    let stopped_cleanly = claimed.disk_epoch >= 0 && stopped_cleanly == Some(claimed.disk_epoch);
    (stopped_cleanly || claimed.page_cache_survived) && !claimed.is_doubted
}

type Opened = (LogDirectory, OpenReport);

/// The disk of a data directory does not do what it is told.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DiskFailed(String);

/// Those that can be used, one of them at least.
fn without_failed(
    directories: Vec<Opening>,
    opened: Vec<anyhow::Result<Opened>>,
    offline: &mut Vec<OfflineDirectory>,
) -> anyhow::Result<(Vec<Opening>, Vec<Opened>)> {
    let mut usable = Vec::new();
    for (opening, opened) in directories.into_iter().zip(opened) {
        match opened {
            Err(error) if error.is::<DiskFailed>() || is_of_disk(&error) => {
                let reason = format!("{error:#}");
                // What is in memory may not be on the disk: the next start reads that.
                if !opening.failure.fail(reason.clone(), true) {
                    return Err(error);
                }
                let path = opening.claimed.identity.data_dir().to_owned();
                offline.push(OfflineDirectory { path, reason });
            }
            opened => usable.push((opening, opened?)),
        }
    }
    Ok(usable.into_iter().unzip())
}

fn open_directory(
    opening: &Opening,
    threads: usize,
    handles: &Arc<FileHandles>,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> anyhow::Result<Opened> {
    let data_dir = opening.claimed.identity.data_dir();
    let directory = data_dir.display().to_string();
    let page_cache = match opening.claimed.page_cache_survived {
        true => PageCache::Survived,
        false => PageCache::Lost,
    };
    let (logs, report) = LogDirectory::open_keeping_mark(
        data_dir,
        page_cache,
        threads,
        handles,
        wall_clock_ms(),
        &|_, _| until_configured(),
        &|now| {
            progress(now.opened, now.total);
            if now.opened % 1_000 == 0 || now.opened == now.total {
                info!(
                    directory,
                    opened = now.opened,
                    total = now.total,
                    "recovering logs"
                );
            }
        },
    )?;
    for (partition, finding) in &report.findings {
        warn!(%partition, directory, ?finding, "found while recovering");
    }
    for offline in &report.offline {
        error!(partition = %offline.partition, directory, error = %offline.error, "log is offline");
    }
    if let Some(failed) = report.offline.iter().find(|it| it.error.is_failed_flush()) {
        let (partition, error) = (&failed.partition, &failed.error);
        bail!(DiskFailed(format!(
            "{partition} cannot be flushed: {error}"
        )));
    }
    let mut offline = report.offline.iter();
    if let Some(failed) = offline.find(|it| it.error.is_of_disk())
        && !opening.failure.survives_probe()
    {
        let (partition, error) = (&failed.partition, &failed.error);
        bail!(DiskFailed(format!("{partition} cannot be opened: {error}")));
    }
    let unchecked = logs.logs().into_iter();
    let unchecked = unchecked.filter(|log| log.has_unchecked_batches()).count();
    if unchecked > 0 {
        info!(
            logs = unchecked,
            directory,
            "checked while they are in service: after a process that did not stop in good order, a move, or damage that was found"
        );
    }
    if !report.being_deleted.is_empty() {
        let partitions = report.being_deleted.len();
        info!(
            partitions,
            directory, "files of deleted partitions are still to be removed"
        );
    }
    for path in &report.ignored {
        warn!(path = %path.display(), "not a partition; left alone");
    }
    Ok((logs, report))
}

/// What one directory lacks another may have, and no replica may be in service twice.
fn hold_together(directories: &[Opening], opened: &mut [Opened]) -> anyhow::Result<()> {
    let found = directories.iter().zip(&*opened);
    let found = found
        .map(|(opening, (logs, report))| FoundDirectory::of(logs, report, last_in_use(opening)));
    let reconciled = reconcile(&found.collect::<Vec<_>>())?;
    for (at, partition) in &reconciled.superseded {
        let (logs, report) = &mut opened[*at];
        let path = logs.set_aside(partition)?;
        report.offline.retain(|it| it.partition != *partition);
        report.unknown.retain(|it| it != partition);
        report.lost.retain(|it| it.partition != *partition);
        warn!(
            %partition, path = %path.display(),
            "log set aside: its directory was away, and another one has this replica now; remove it when nobody needs it"
        );
    }
    for (at, (topic_id, index)) in &reconciled.superseded_buried {
        let path = opened[*at].0.set_buried_aside(*topic_id, *index)?;
        warn!(
            %topic_id, index, ?path,
            "log of a deleted topic set aside: another directory has this replica; remove it when nobody needs it"
        );
    }
    for (from, to_at, partition) in &reconciled.moved {
        let other = &opened[*to_at].0;
        if let Some(log) = other.get(partition) {
            opened[*from].0.tell_of_moved(&log);
            match other.checkpoint() {
                // The other directory knows as long as nobody has heard of the loss.
                Err(error) if error.is_shortage() => {
                    warn!(%partition, %error, "no room for checkpoints: they are written later");
                }
                written => written?,
            }
        }
        let to = other.path().display();
        info!(%partition, from = %opened[*from].0.path().display(), %to, "its log is in another directory now");
        // Otherwise the end of it may have been missing before it was moved.
        if has_all_written(&directories[*from], &opened[*from].1) {
            let lost = &mut opened[*from].1.lost;
            lost.retain(|it| it.partition != *partition);
            let unknown = &mut opened[*to_at].1.unknown;
            unknown.retain(|it| it != partition);
        }
    }
    for (logs, report) in opened.iter() {
        let directory = logs.path().display();
        for partition in &report.unknown {
            warn!(%partition, %directory, "somebody has put this log here: nobody knows whether it has all that it had");
        }
        for lost in &report.lost {
            warn!(
                partition = %lost.partition,
                %directory,
                known_offset = lost.known_offset,
                found_offset = ?lost.found_offset,
                "has less than it had at the last checkpoint"
            );
        }
    }
    Ok(())
}

/// By the epoch of its registration. One that failed since is older: what it had was made anew in another.
fn last_in_use(opening: &Opening) -> i64 {
    let claimed = &opening.claimed;
    claimed.disk_epoch - i64::from(claimed.is_doubted)
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
    /// Which know the flusher.
    held: WeakMap,
    failure: DirectoryFailure,
    disk_gate: Arc<DiskGate>,
}

impl FlushObserver for Observer {
    fn flushed(&self, log: &Arc<PartitionLog>, _flushed_offset: i64) {
        let key = (log.topic_id(), log.partition().partition);
        let held = self.held.upgrade();
        let partition = held.and_then(|held| held.read().get(&key).cloned());
        if let Some(partition) = partition {
            partition.flushed();
        }
    }

    fn failed(&self, log: &Arc<PartitionLog>, error: &StorageError) {
        self.failure.flush_failed(log.partition(), error);
    }

    fn short(&self, _: &Arc<PartitionLog>, _: &StorageError) {
        self.disk_gate.refuse();
    }
}
