//! One data directory: all its partitions, their checkpoints, and the mark of a clean stop.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::checkpoint::{
    CHECKED_OFFSET_FILE, COMPACTED_OFFSET_FILE, HIGH_WATERMARK_FILE, LOG_START_OFFSET_FILE,
    Offsets, RECOVERY_POINT_FILE, write_offsets,
};
use crate::clean_shutdown::{self, CleanShutdown};
use crate::config::LogConfig;
use crate::error::{OpenError, StorageContext, StorageError};
use crate::file_handles::FileHandles;
use crate::log_move::FutureLog;
use crate::names::TopicPartition;
use crate::partition_log::PartitionLog;
use crate::recovery::{Finding, OpenState, PageCache};

use burying::{Burials, Buried, What};
use close::each_log;
use deletion::Deleted;

mod burying;
mod close;
mod creation;
mod cutting;
mod deletion;
mod finish_moves;
pub(crate) mod futures;
mod listing;
mod moved;
mod open;
mod start_offsets;
mod swap;
mod unburying;

#[cfg(test)]
pub(crate) use finish_moves::finish_moves_in_steps;
pub use finish_moves::{FinishedMoves, finish_moves};
pub use unburying::Unburied;

/// Whoever has it open holds a lock on its `.lock` file, as Kafka does.
#[derive(Debug)]
pub struct LogDirectory {
    path: PathBuf,
    handles: Arc<FileHandles>,
    logs: RwLock<HashMap<TopicPartition, Arc<PartitionLog>>>,
    /// Copies of logs of other data directories that are to be moved here.
    futures: RwLock<HashMap<TopicPartition, Arc<FutureLog>>>,
    /// Partitions that could not be opened, with what the checkpoints say about them: that must not
    /// be forgotten, or the next start would take damage for a torn tail.
    offline: RwLock<HashMap<TopicPartition, Offline>>,
    written: Mutex<Checkpoints>,
    /// Partitions without a directory, with what the checkpoints say about them: see
    /// [`Self::forget_lost`].
    missing: RwLock<HashMap<TopicPartition, OpenState>>,
    /// [`OpenReport::unknown`], as long as nobody who counts on them has heard of it: the next start is to find the same.
    unknown: RwLock<HashSet<TopicPartition>>,
    deleted: Mutex<Deleted>,
    /// Partitions that are being made.
    creating: Mutex<HashSet<TopicPartition>>,
    /// Held by who gives a deleted partition's directory its new name.
    renaming: Mutex<()>,
    /// Held by who removes files of deleted partitions.
    removing: Mutex<()>,
    /// Of deleted topics, on their way to be buried.
    burials: Mutex<Burials>,
    /// Where the logs of deleted topics are, by topic id and partition.
    buried: Mutex<BTreeMap<(Uuid, i32), Buried>>,
    /// Those of them that are being opened again.
    coming_back: Mutex<BTreeSet<(Uuid, i32)>>,
    _lock: File,
}

/// A log that could not be opened.
#[derive(Debug, Clone, Copy)]
struct Offline {
    state: OpenState,
    /// Where its files told.
    topic_id: Option<Uuid>,
}

/// The checkpoint files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Checkpoints {
    recovery_points: Offsets,
    /// Of logs that a start has not checked as far as they are flushed.
    checked_offsets: Offsets,
    log_start_offsets: Offsets,
    high_watermarks: Offsets,
    compacted_offsets: Offsets,
    /// Of everything that was gathered for these: see [`LogDirectory::fingerprint`].
    fingerprint: Option<u64>,
}

/// How far opening has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenProgress {
    /// Partitions done, those that failed included.
    pub opened: usize,
    /// Partitions in the directory.
    pub total: usize,
}

/// What was found when a data directory was opened.
#[derive(Debug, Default)]
pub struct OpenReport {
    /// The mark, if it was stopped in good order.
    pub clean_shutdown: Option<CleanShutdown>,
    /// What was not as a clean stop leaves it.
    pub findings: Vec<(TopicPartition, Finding)>,
    /// Partitions that cannot be served. Their files are left as they are.
    pub offline: Vec<OfflinePartition>,
    /// Rests of creations and checkpoints: removed.
    pub removed: Vec<PathBuf>,
    /// Rests of deletions: [`LogDirectory::remove_deleted`] goes on with them.
    pub being_deleted: Vec<PathBuf>,
    /// Partitions that have less than they had at the last checkpoint, for another reason than a deletion
    /// or a reset. After a loss of the page cache that is to be expected of what was not flushed.
    pub lost: Vec<LostData>,
    /// Partitions of which the checkpoints of a clean stop do not speak: somebody has put them there since, and nobody knows
    /// whether they hold all that they held.
    pub unknown: Vec<TopicPartition>,
    /// Directories that are not partitions: left alone.
    pub ignored: Vec<PathBuf>,
}

/// A partition that does not have all that it had, as it is now served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostData {
    /// Which partition.
    pub partition: TopicPartition,
    /// Everything below was flushed, or committed (the high watermark).
    pub known_offset: i64,
    /// Where it ends; `None` when there is no directory of it, or an empty one that was removed.
    pub found_offset: Option<i64>,
    /// Some of what is missing was on the disk: no loss of the page cache explains it.
    pub was_on_disk: bool,
}

/// A partition whose files are there but cannot be used.
#[derive(Debug)]
pub struct OfflinePartition {
    /// Which partition.
    pub partition: TopicPartition,
    /// Its topic's id where that could be read.
    pub topic_id: Option<Uuid>,
    /// Why.
    pub error: OpenError,
}

impl LogDirectory {
    /// Opens every partition below `path` with `threads` threads and takes the mark of the last
    /// clean stop away. What is not as it was is damage or the tail that a crash tore, which depends on
    /// `page_cache`.
    ///
    /// `config_of` gives the configuration of a partition of a topic with this id; `progress` is
    /// called from those threads after each partition.
    ///
    /// # Errors
    /// [`OpenError::InUse`], [`OpenError::Malformed`] for a checkpoint, [`OpenError::Storage`].
    /// A partition that cannot be opened is no error: it is in [`OpenReport::offline`].
    pub fn open(
        path: &Path,
        page_cache: PageCache,
        threads: usize,
        handles: &Arc<FileHandles>,
        now_ms: i64,
        config_of: &(dyn Fn(&TopicPartition, Uuid) -> LogConfig + Sync),
        progress: &(dyn Fn(OpenProgress) + Sync),
    ) -> Result<(Self, OpenReport), OpenError> {
        let opened = Self::open_keeping_mark(
            path, page_cache, threads, handles, now_ms, config_of, progress,
        )?;
        opened.0.take_mark_away()?;
        Ok(opened)
    }

    /// Like [`Self::open`], but the mark of the last clean stop stays while everything is as that stop left
    /// it. So a process that ends before it had anything to write takes nothing from the next one.
    /// [`Self::take_mark_away`] comes before the first change.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_keeping_mark(
        path: &Path,
        page_cache: PageCache,
        threads: usize,
        handles: &Arc<FileHandles>,
        now_ms: i64,
        config_of: &(dyn Fn(&TopicPartition, Uuid) -> LogConfig + Sync),
        progress: &(dyn Fn(OpenProgress) + Sync),
    ) -> Result<(Self, OpenReport), OpenError> {
        open::open(
            path, page_cache, threads, handles, now_ms, config_of, progress,
        )
    }

    /// From now on a stop without a mark is a crash.
    ///
    /// # Errors
    /// [`StorageError`]: nothing may be changed.
    pub fn take_mark_away(&self) -> Result<(), StorageError> {
        clean_shutdown::take_away(&self.path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log of a partition that is here and online.
    #[must_use]
    pub fn get(&self, partition: &TopicPartition) -> Option<Arc<PartitionLog>> {
        self.logs.read().get(partition).cloned()
    }

    /// All logs that are online.
    #[must_use]
    pub fn logs(&self) -> Vec<Arc<PartitionLog>> {
        self.logs.read().values().cloned().collect()
    }

    /// Partitions whose logs are here and cannot be used.
    #[must_use]
    pub fn offline(&self) -> Vec<TopicPartition> {
        self.offline.read().keys().cloned().collect()
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn is_offline(&self, partition: &TopicPartition) -> bool {
        self.offline.read().contains_key(partition)
    }

    /// Opens a partition that is offline because data that had been flushed is damaged: it ends before the
    /// damage, the rest is to be fetched again from another replica. Copies of what is cut off are kept, as
    /// [`Self::quarantine`] does; the findings name them. Everything is checked, so it takes its time.
    ///
    /// # Errors
    /// [`OpenError::Exists`] when it is online; otherwise the partition stays offline.
    pub fn open_quarantined(
        &self,
        partition: &TopicPartition,
        config: impl Into<Arc<LogConfig>>,
        now_ms: i64,
    ) -> Result<(Arc<PartitionLog>, Vec<Finding>), OpenError> {
        let mut written = self.written.lock();
        let directory = self.path.join(partition.to_string());
        if self.logs.read().contains_key(partition) {
            return Err(OpenError::Exists(directory));
        }
        let known = self.offline.read().get(partition).copied();
        let state = OpenState {
            clean_shutdown: false,
            keep_damaged: true,
            ..known.map(|it| it.state).unwrap_or_default()
        };
        let (log, findings) = open::open_partition(
            &directory,
            partition,
            |_| config.into(),
            &self.handles,
            state,
            now_ms,
        )
        .map_err(|(_, error)| error)?;
        let log = Arc::new(log);
        self.logs
            .write()
            .insert(partition.clone(), Arc::clone(&log));
        let offline = self.offline.write().remove(partition);
        // Until then the next start finds the log shorter than it was.
        match self.write_checkpoints(&mut written, None) {
            Ok(()) => {}
            Err(error) if error.is_shortage() => {
                tracing::warn!(%error, "no room for checkpoints: they are written later");
            }
            Err(error) => {
                let back = offline.map(|it| (partition.clone(), it));
                self.offline.write().extend(back);
                self.logs.write().remove(partition);
                return Err(error.into());
            }
        }
        Ok((log, findings))
    }

    /// Whoever counts on the data has heard of [`OpenReport::lost`] and [`OpenReport::unknown`]. Until this is called, each
    /// opening finds the same, so that no crash makes the loss forgotten.
    pub fn forget_lost(&self) {
        self.missing.write().clear();
        self.unknown.write().clear();
    }

    /// Writes the checkpoints, so that recovery after a crash starts there. To be called every few
    /// seconds; writes nothing when nothing changed. Then logs that wait for it, after a reset or a burial, take records.
    ///
    /// # Errors
    /// [`StorageError`]; a log that waits for it may have stopped.
    pub fn checkpoint(&self) -> Result<(), StorageError> {
        let mut written = self.written.lock();
        self.write_what_changed(&mut written)?;
        let mut waiting = self.logs_and_copies();
        waiting.retain(|log| log.waits_for_checkpoint());
        each_log(waiting, PartitionLog::remove_marks)
    }

    /// What is to be on the disk before something else happens does not go by the fingerprint: it goes by the files.
    fn write_what_changed(&self, written: &mut Checkpoints) -> Result<(), StorageError> {
        // Before anything is gathered: what changes meanwhile is seen the next time.
        let fingerprint = self.fingerprint();
        if fingerprint.is_some() && fingerprint == written.fingerprint {
            return Ok(());
        }
        self.write_checkpoints(written, None)?;
        // By them the logs may have gathered something else.
        written.fingerprint = fingerprint.filter(|_| fingerprint == self.fingerprint());
        Ok(())
    }

    fn write_checkpoints(
        &self,
        written: &mut Checkpoints,
        limit: Option<(&TopicPartition, i64)>,
    ) -> Result<(), StorageError> {
        // Of partitions that are not among those gathered now.
        let emptied = std::mem::take(&mut self.deleted.lock().emptied);
        let result = self.write_changed_checkpoints(written, limit);
        if result.is_err() {
            self.deleted.lock().emptied.extend(emptied);
            return result;
        }
        let mut emptied = emptied.into_iter();
        while let Some(path) = emptied.next() {
            if let Err(error) = fs::remove_dir_all(&path).at("remove", &path) {
                let left = [path].into_iter().chain(emptied);
                self.deleted.lock().emptied.extend(left);
                return Err(error);
            }
        }
        Ok(())
    }

    fn write_changed_checkpoints(
        &self,
        written: &mut Checkpoints,
        limit: Option<(&TopicPartition, i64)>,
    ) -> Result<(), StorageError> {
        written.fingerprint = None;
        let starts = self.start_offsets();
        let mut now = self.gather(&written.log_start_offsets);
        if let Some((partition, offset)) = limit {
            for offsets in [
                &mut now.recovery_points,
                &mut now.checked_offsets,
                &mut now.high_watermarks,
                &mut now.compacted_offsets,
            ] {
                offsets
                    .entry(partition.clone())
                    .and_modify(|o| *o = (*o).min(offset));
            }
        }
        // Each as it is written: the next may find no room, and what is cut off meanwhile goes by what is on the disk.
        for (file, written, now) in [
            // Before what is flushed: a log that is not in it counts as checked that far.
            (
                CHECKED_OFFSET_FILE,
                &mut written.checked_offsets,
                now.checked_offsets,
            ),
            (
                RECOVERY_POINT_FILE,
                &mut written.recovery_points,
                now.recovery_points,
            ),
            (
                LOG_START_OFFSET_FILE,
                &mut written.log_start_offsets,
                now.log_start_offsets,
            ),
            (
                HIGH_WATERMARK_FILE,
                &mut written.high_watermarks,
                now.high_watermarks,
            ),
            (
                COMPACTED_OFFSET_FILE,
                &mut written.compacted_offsets,
                now.compacted_offsets,
            ),
        ] {
            if *written != now {
                write_offsets(&self.path.join(file), &now)?;
                *written = now;
            }
        }
        starts.are_durable();
        Ok(())
    }

    /// Of everything that the checkpoints say. Ten thousand logs to which nothing happened take a millisecond, and those lists
    /// of them a hundred times as long. `None`: there is more than logs in service, and that is gathered each time.
    fn fingerprint(&self) -> Option<u64> {
        let has_left = !self.deleted.lock().emptied.is_empty();
        let is_simple = !has_left
            && self.missing.read().is_empty()
            && self.unknown.read().is_empty()
            && self.offline.read().is_empty()
            && self.burials.lock().is_empty();
        let mut hasher = DefaultHasher::new();
        let futures = self.futures.read();
        futures.len().hash(&mut hasher);
        for future in futures.values() {
            future.log.hash_checkpointed(&mut hasher);
        }
        drop(futures);
        let logs = self.logs.read();
        logs.len().hash(&mut hasher);
        for log in logs.values() {
            log.hash_checkpointed(&mut hasher);
        }
        is_simple.then(|| hasher.finish())
    }

    fn gather(&self, written_starts: &Offsets) -> Checkpoints {
        let mut checkpoints = Checkpoints::default();
        // A log that goes from one to the other meanwhile is in one at least.
        let (missing, offline) = (self.missing.read(), self.offline.read());
        let burials = self.burials.lock();
        let offline = offline.iter().map(|(name, it)| (name, &it.state));
        for (partition, state) in missing.iter().chain(offline) {
            checkpoints.add_unopened(partition, state);
        }
        let unmarked = burials.iter().filter(|(_, burial)| !burial.is_marked());
        for (partition, burial) in unmarked {
            match &burial.what {
                What::Log(log) => checkpoints.add_log(log, written_starts),
                What::Offline(state) => checkpoints.add_unopened(partition, state),
            }
        }
        for log in self.logs_and_copies() {
            checkpoints.add_log(&log, written_starts);
        }
        // By these a start knows a log.
        let unknown = self.unknown.read();
        checkpoints
            .recovery_points
            .retain(|it, _| !unknown.contains(it));
        checkpoints
    }

    /// Everything that is written to here. A copy that becomes the log meanwhile is found as one of them at least.
    fn logs_and_copies(&self) -> Vec<Arc<PartitionLog>> {
        let futures = self.futures.read();
        let copies = futures.values().map(|future| Arc::clone(&future.log));
        let mut all: Vec<_> = copies.collect();
        drop(futures);
        all.extend(self.logs());
        all
    }
}

impl Checkpoints {
    fn add_log(&mut self, log: &PartitionLog, written_starts: &Offsets) {
        // In this order: what is not in the first was checked, however much is flushed meanwhile.
        self.add_checked(log.partition(), log.checked_offset());
        self.add_flushed(log.partition(), log.flushed_offset());
        self.add_start(log, written_starts);
        // Whoever opens the log takes it for what must be there.
        let high_watermark = log.high_watermark().min(log.log_end_offset());
        self.high_watermarks
            .insert(log.partition().clone(), high_watermark);
        self.add_compacted(log.partition(), log.compacted_offset());
    }

    fn add_unopened(&mut self, partition: &TopicPartition, state: &OpenState) {
        self.add_checked(partition, state.checked_offset);
        self.add_flushed(partition, state.recovery_point);
        if state.log_start_offset > 0 {
            self.log_start_offsets
                .insert(partition.clone(), state.log_start_offset);
        }
        self.high_watermarks
            .insert(partition.clone(), state.high_watermark);
        self.add_compacted(partition, state.compacted_offset);
    }

    /// Most logs never are.
    fn add_compacted(&mut self, partition: &TopicPartition, offset: i64) {
        if offset > 0 {
            self.compacted_offsets.insert(partition.clone(), offset);
        }
    }

    /// Most are, a few seconds after a start.
    fn add_checked(&mut self, partition: &TopicPartition, checked: Option<i64>) {
        if let Some(checked) = checked {
            self.checked_offsets.insert(partition.clone(), checked);
        }
    }

    fn add_flushed(&mut self, partition: &TopicPartition, flushed: i64) {
        self.recovery_points.insert(partition.clone(), flushed);
    }
}
