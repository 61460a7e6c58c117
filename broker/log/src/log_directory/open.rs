//! Opening a data directory: partitions in parallel, leftovers removed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use rustix::fs::FlockOperation;
use uuid::Uuid;

use super::burying::{Buried, set_directory_aside};
use super::futures::PARTITION_NAME_FILE;
use super::{
    Checkpoints, Deleted, LogDirectory, LostData, Offline, OfflinePartition, OpenProgress,
    OpenReport,
};
use crate::atomic_file::flush_directory;
use crate::burial_mark::BurialMark;
use crate::checkpoint::{
    CHECKED_OFFSET_FILE, COMPACTED_OFFSET_FILE, HIGH_WATERMARK_FILE, LOG_START_OFFSET_FILE,
    Offsets, RECOVERY_POINT_FILE, read_offsets,
};
use crate::clean_shutdown;
use crate::config::LogConfig;
use crate::error::{OpenError, StorageContext, StorageError};
use crate::file_handles::FileHandles;
use crate::names::{
    DELETE_DIRECTORY_SUFFIX, FUTURE_DIRECTORY_SUFFIX, LOG_SUFFIX, MOVED_DIRECTORY_SUFFIX,
    QUARANTINED_SUFFIX, STRAY_DIRECTORY_SUFFIX, SWAP_SUFFIX, TEMPORARY_SUFFIX, TopicPartition,
    moved_away_stem, numbered_stem, parse_buried_directory_name, parse_numbered_directory_name,
    parse_offset_file, unique_stem,
};
use crate::partition_log::PartitionLog;
use crate::partition_metadata::{self, PARTITION_METADATA_FILE};
use crate::recovery::{Finding, OpenState, PageCache};

use copies::{FoundCopy, add_future, open_copies, set_superseded_copies_aside};

mod copies;

const LOCK_FILE: &str = ".lock";

/// What every opening thread needs.
struct Context<'a> {
    handles: &'a Arc<FileHandles>,
    now_ms: i64,
    config_of: &'a (dyn Fn(&TopicPartition, Uuid) -> LogConfig + Sync),
    clean_shutdown: bool,
    page_cache: PageCache,
    checkpoints: Checkpoints,
    /// Of partitions that were about to be buried, or had just been unburied. They know more than the checkpoints.
    marks: Mutex<HashMap<TopicPartition, BurialMark>>,
}

/// What lies in the data directory.
#[derive(Default)]
struct Contents {
    partitions: Vec<(TopicPartition, PathBuf)>,
    /// With their suffixes, what the directories of partitions were called that were deleted or set aside.
    moved_away: HashSet<(String, &'static str)>,
    buried: BTreeMap<(Uuid, i32), Buried>,
    /// Copies of logs that are to be moved here.
    futures: BTreeMap<TopicPartition, FoundCopy>,
}

/// A partition that is open, or why it is not.
type Opened = (
    TopicPartition,
    PathBuf,
    Result<(PartitionLog, Vec<Finding>), OfflinePartition>,
);

pub(super) fn open(
    path: &Path,
    page_cache: PageCache,
    threads: usize,
    handles: &Arc<FileHandles>,
    now_ms: i64,
    config_of: &(dyn Fn(&TopicPartition, Uuid) -> LogConfig + Sync),
    progress: &(dyn Fn(OpenProgress) + Sync),
) -> Result<(LogDirectory, OpenReport), OpenError> {
    fs::create_dir_all(path).at("create", path)?;
    let lock = lock(path)?;
    let mut report = OpenReport::default();
    let Contents {
        partitions,
        moved_away,
        mut buried,
        mut futures,
    } = tidy(path, &mut report)?;
    if !moved_away.is_empty() {
        // The process before may have ended between a renaming and its flush: a log is made elsewhere now, and a power failure
        // would bring this one back beside it.
        flush_directory(path)?;
    }
    set_superseded_copies_aside(path, &mut futures, &partitions)?;
    let checkpoints = Checkpoints {
        recovery_points: read_offsets(&path.join(RECOVERY_POINT_FILE))?,
        checked_offsets: read_offsets(&path.join(CHECKED_OFFSET_FILE))?,
        log_start_offsets: read_offsets(&path.join(LOG_START_OFFSET_FILE))?,
        high_watermarks: read_offsets(&path.join(HIGH_WATERMARK_FILE))?,
        compacted_offsets: read_compacted_offsets(&path.join(COMPACTED_OFFSET_FILE))?,
        fingerprint: None,
    };
    report.clean_shutdown = clean_shutdown::read(path)?;
    let context = Context {
        handles,
        now_ms,
        config_of,
        clean_shutdown: report.clean_shutdown.is_some(),
        page_cache,
        checkpoints,
        marks: Mutex::default(),
    };
    let opened = open_all(partitions, threads, &context, progress);
    let mut logs = HashMap::with_capacity(opened.len());
    let mut offline = HashMap::new();
    for (partition, _, result) in opened {
        match result {
            Ok((log, findings)) => {
                report.lost.extend(context.lost_by(&log, &findings));
                report
                    .findings
                    .extend(findings.into_iter().map(|f| (partition.clone(), f)));
                logs.insert(partition, Arc::new(log));
            }
            // Nothing is wrong with it. Cut off and fetched again it would be a copy less, so the next start is to have
            // room for it.
            Err(failed) if failed.error.is_shortage() => return Err(failed.error),
            Err(failed) => {
                let kept = Offline {
                    state: context.state_of(&partition),
                    topic_id: failed.topic_id,
                };
                offline.insert(partition, kept);
                report.offline.push(failed);
            }
        }
    }
    if context.clean_shutdown {
        let known = &context.checkpoints.recovery_points;
        let unknown = logs.keys().filter(|it| !known.contains_key(*it));
        report.unknown = unknown.cloned().collect();
    }
    let copies = open_copies(path, futures, threads, &context, &mut report)?;
    let is_missing = |partition: &&TopicPartition| {
        !logs.contains_key(*partition)
            && !offline.contains_key(*partition)
            && !copies.opened.contains_key(*partition)
            && !copies.unusable.contains_key(*partition)
    };
    let missing = context.known_partitions().into_iter().filter(is_missing);
    let missing: Vec<LostData> = missing
        .filter_map(|partition| context.missing(partition, &moved_away))
        .collect();
    let states = missing.iter().map(|lost| {
        let state = context.state_of(&lost.partition);
        (lost.partition.clone(), state)
    });
    let states: HashMap<_, _> = states.collect();
    report.lost.extend(missing);
    let checkpoints = context.checkpoints;
    set_superseded_aside(path, &mut buried, &logs)?;
    let directory = LogDirectory {
        path: path.to_path_buf(),
        handles: Arc::clone(handles),
        logs: RwLock::new(logs),
        futures: RwLock::new(copies.opened),
        offline: RwLock::new(offline),
        written: Mutex::new(checkpoints),
        missing: RwLock::new(states),
        unknown: RwLock::new(report.unknown.iter().cloned().collect()),
        deleted: Mutex::new(Deleted::found(&report.being_deleted)),
        creating: Mutex::default(),
        renaming: Mutex::default(),
        removing: Mutex::default(),
        burials: Mutex::default(),
        buried: Mutex::new(buried),
        coming_back: Mutex::default(),
        _lock: lock,
    };
    let is_as_it_was_left = report.offline.is_empty()
        && report.lost.is_empty()
        && copies.unusable.is_empty()
        && (directory.logs_and_copies().iter()).all(|log| !log.has_changed());
    if !is_as_it_was_left {
        clean_shutdown::take_away(path)?;
    }
    settle(&directory, copies.is_shorter, &report)?;
    for (partition, topic_id) in copies.unusable {
        directory.copy_anew(&partition, topic_id, config_of, now_ms)?;
    }
    Ok((directory, report))
}

/// The next start must not take what is gone now for damage done since, and the marks of resets and burials go when the
/// checkpoints speak of what there is now. Without room both are done with the first checkpoint that finds some.
fn settle(
    directory: &LogDirectory,
    is_copy_shorter: bool,
    report: &OpenReport,
) -> Result<(), StorageError> {
    let mut logs = directory.logs_and_copies().into_iter();
    let is_marked = logs.any(|log| log.waits_for_checkpoint());
    let is_shorter = report.lost.iter().any(|lost| lost.found_offset.is_some());
    if !is_marked && !is_shorter && !is_copy_shorter {
        return Ok(());
    }
    // What it vouches for is not what there is with the marks gone.
    clean_shutdown::take_away(&directory.path)?;
    match directory.checkpoint() {
        Err(error) if error.is_shortage() => {
            tracing::warn!(%error, "no room for checkpoints: they are written later");
            Ok(())
        }
        written => written,
    }
}

pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = path.join(LOCK_FILE);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .at("open", &lock_path)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(path.to_path_buf())),
        Err(error) => Err(error).at("lock", &lock_path)?,
    }
}

/// Removes what interrupted creations and checkpoints left, and lists the partitions and what deletions left.
fn tidy(path: &Path, report: &mut OpenReport) -> Result<Contents, StorageError> {
    let mut contents = Contents::default();
    for entry in fs::read_dir(path).at("list", path)? {
        let entry = entry.at("list", path)?;
        let (name, entry_path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        if !entry.file_type().at("read", &entry_path)?.is_dir() {
            if is_checkpoint_leftover(&name) {
                fs::remove_file(&entry_path).at("remove", &entry_path)?;
                report.removed.push(entry_path);
            }
            continue;
        }
        for suffix in [DELETE_DIRECTORY_SUFFIX, STRAY_DIRECTORY_SUFFIX] {
            if let Some(stem) = moved_away_stem(&name, suffix) {
                contents.moved_away.insert((stem.to_owned(), suffix));
            }
        }
        if let Some(key) = parse_buried_directory_name(&name) {
            add_buried(path, &mut contents.buried, key, entry_path)?;
            continue;
        }
        if parse_numbered_directory_name(&name, FUTURE_DIRECTORY_SUFFIX).is_some() {
            add_future(path, &mut contents, entry_path, report)?;
            continue;
        }
        if let Some((stem, _)) = parse_numbered_directory_name(&name, MOVED_DIRECTORY_SUFFIX) {
            // What becomes of it is not for this directory alone to say: `finish_moves`.
            let moved = (stem.to_string(), MOVED_DIRECTORY_SUFFIX);
            contents.moved_away.insert(moved);
            continue;
        }
        match TopicPartition::from_directory_name(&name) {
            _ if moved_away_stem(&name, DELETE_DIRECTORY_SUFFIX).is_some() => {
                report.being_deleted.push(entry_path);
            }
            Some(_) if is_unfinished(&entry_path)? => {
                fs::remove_dir_all(&entry_path).at("remove", &entry_path)?;
                report.removed.push(entry_path);
            }
            Some(partition) => contents.partitions.push((partition, entry_path)),
            None => report.ignored.push(entry_path),
        }
    }
    Ok(contents)
}

/// Nobody knows which of two of the same partition is the newer: the second one that is found is left to people.
fn add_buried(
    data: &Path,
    buried: &mut BTreeMap<(Uuid, i32), Buried>,
    key: (Uuid, i32),
    path: PathBuf,
) -> Result<(), StorageError> {
    if buried.contains_key(&key) {
        let aside = set_directory_aside(data, key, &path)?;
        tracing::error!(
            ?path,
            ?aside,
            "log set aside: there is another buried log of this partition"
        );
        return Ok(());
    }
    let mark = BurialMark::read(&path).ok().flatten();
    let grace_ends_at_ms = mark.map(|mark| mark.grace_ends_at_ms);
    let found = Buried {
        path,
        grace_ends_at_ms,
    };
    buried.insert(key, found);
    Ok(())
}

/// Of which there is one in service: that has what was written since.
fn set_superseded_aside(
    data: &Path,
    buried: &mut BTreeMap<(Uuid, i32), Buried>,
    logs: &HashMap<TopicPartition, Arc<PartitionLog>>,
) -> Result<(), StorageError> {
    for log in logs.values() {
        let key = (log.topic_id(), log.partition().partition);
        if let Some(Buried { path, .. }) = buried.remove(&key) {
            let aside = set_directory_aside(data, key, &path)?;
            tracing::error!(
                ?path,
                ?aside,
                "log set aside: its partition is there as well"
            );
        }
    }
    Ok(())
}

/// Nothing is lost without it but time: everything counts as never compacted.
fn read_compacted_offsets(path: &Path) -> Result<Offsets, OpenError> {
    match read_offsets(path) {
        Err(error @ OpenError::Malformed { .. }) => {
            tracing::warn!(%error, "all logs are compacted from their begin on");
            Ok(Offsets::new())
        }
        read => read,
    }
}

fn is_checkpoint_leftover(name: &str) -> bool {
    name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(|name| {
        [
            RECOVERY_POINT_FILE,
            CHECKED_OFFSET_FILE,
            LOG_START_OFFSET_FILE,
            HIGH_WATERMARK_FILE,
            COMPACTED_OFFSET_FILE,
            clean_shutdown::CLEAN_SHUTDOWN_FILE,
        ]
        .contains(&name)
    })
}

/// A creation that a crash interrupted: no (whole) `partition.metadata` yet, and nothing was written.
pub(super) fn is_unfinished(directory: &Path) -> Result<bool, StorageError> {
    match partition_metadata::read(directory) {
        Ok(Some(_)) => return Ok(false),
        Ok(None) | Err(OpenError::Malformed { .. }) => {}
        Err(OpenError::Storage(error)) => return Err(error),
        Err(_) => return Ok(false),
    }
    holds_no_records(directory)
}

/// There is nothing but files of a log, and none of them has a record.
pub(super) fn holds_no_records(directory: &Path) -> Result<bool, StorageError> {
    for entry in fs::read_dir(directory).at("list", directory)? {
        let entry = entry.at("list", directory)?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| {
            parse_offset_file(name).is_some()
                || name == PARTITION_METADATA_FILE
                || name == PARTITION_NAME_FILE
                || name.ends_with(TEMPORARY_SUFFIX)
        });
        let name = name.to_string_lossy();
        let is_log = [LOG_SUFFIX, QUARANTINED_SUFFIX, SWAP_SUFFIX]
            .iter()
            .any(|suffix| name.ends_with(suffix));
        if !ours || (is_log && entry.metadata().at("read", directory)?.len() > 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn open_all(
    partitions: Vec<(TopicPartition, PathBuf)>,
    threads: usize,
    context: &Context<'_>,
    progress: &(dyn Fn(OpenProgress) + Sync),
) -> Vec<Opened> {
    let total = partitions.len();
    let opened = AtomicUsize::new(0);
    let left = Mutex::new(partitions.into_iter());
    let results = Mutex::new(Vec::with_capacity(total));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, total.max(1)) {
            scope.spawn(|| {
                loop {
                    let Some((partition, directory)) = left.lock().next() else {
                        break;
                    };
                    let result = context.open_one(&partition, &directory);
                    results.lock().push((partition, directory, result));
                    let opened = opened.fetch_add(1, Ordering::AcqRel) + 1;
                    progress(OpenProgress { opened, total });
                }
            });
        }
    });
    results.into_inner()
}

impl Context<'_> {
    fn state_of(&self, partition: &TopicPartition) -> OpenState {
        if let Some(mark) = self.marks.lock().get(partition) {
            return mark.open_state(self.page_cache);
        }
        let at = |offsets: &Offsets| offsets.get(partition).copied().unwrap_or(0);
        OpenState {
            clean_shutdown: self.clean_shutdown,
            page_cache: self.page_cache,
            recovery_point: at(&self.checkpoints.recovery_points),
            checked_offset: self.checkpoints.checked_offsets.get(partition).copied(),
            log_start_offset: at(&self.checkpoints.log_start_offsets),
            high_watermark: at(&self.checkpoints.high_watermarks),
            compacted_offset: at(&self.checkpoints.compacted_offsets),
            keep_damaged: false,
        }
    }

    fn known_partitions(&self) -> BTreeSet<&TopicPartition> {
        let checkpoints = &self.checkpoints;
        let flushed = checkpoints.recovery_points.keys();
        flushed.chain(checkpoints.high_watermarks.keys()).collect()
    }

    fn lost_by(&self, log: &PartitionLog, findings: &[Finding]) -> Option<LostData> {
        let state = self.state_of(log.partition());
        let known_offset = state.recovery_point.max(state.high_watermark);
        let found_offset = log.log_end_offset();
        let lost = found_offset < known_offset && !findings.iter().any(Finding::is_reset);
        lost.then(|| LostData {
            partition: log.partition().clone(),
            known_offset,
            found_offset: Some(found_offset),
            was_on_disk: was_on_disk(&state, found_offset),
        })
    }

    /// A partition of which there is no directory.
    fn missing(
        &self,
        partition: &TopicPartition,
        moved_away: &HashSet<(String, &'static str)>,
    ) -> Option<LostData> {
        let state = self.state_of(partition);
        let known_offset = state.recovery_point.max(state.high_watermark);
        let is_moved_away = [DELETE_DIRECTORY_SUFFIX, STRAY_DIRECTORY_SUFFIX]
            .into_iter()
            .any(|suffix| moved_away.contains(&(unique_stem(partition, suffix), suffix)))
            || moved_away.contains(&(
                numbered_stem(partition, MOVED_DIRECTORY_SUFFIX),
                MOVED_DIRECTORY_SUFFIX,
            ));
        // A new directory that held nothing yet may be gone with the page cache.
        let is_expected = known_offset > 0 || state.is_all_written_there();
        (is_expected && !is_moved_away).then(|| LostData {
            partition: partition.clone(),
            known_offset,
            found_offset: None,
            was_on_disk: was_on_disk(&state, 0),
        })
    }

    fn open_one(
        &self,
        partition: &TopicPartition,
        directory: &Path,
    ) -> Result<(PartitionLog, Vec<Finding>), OfflinePartition> {
        let config = |topic_id| Arc::new((self.config_of)(partition, topic_id));
        match BurialMark::read(directory) {
            Ok(None) => {}
            Ok(Some(mark)) => {
                self.marks.lock().insert(partition.clone(), mark);
            }
            Err(error) => {
                return Err(OfflinePartition {
                    partition: partition.clone(),
                    topic_id: partition_metadata::read(directory).ok().flatten(),
                    error,
                });
            }
        }
        let state = self.state_of(partition);
        open_partition(
            directory,
            partition,
            config,
            self.handles,
            state,
            self.now_ms,
        )
        .map_err(|(topic_id, error)| OfflinePartition {
            partition: partition.clone(),
            topic_id,
            error,
        })
    }
}

/// Something of what a log that now ends at `end_offset` had before.
fn was_on_disk(known: &OpenState, end_offset: i64) -> bool {
    end_offset < known.recovery_point || known.is_all_written_there()
}

/// With the topic's id where it fails but that could be read.
pub(super) fn open_partition(
    directory: &Path,
    partition: &TopicPartition,
    config: impl FnOnce(Uuid) -> Arc<LogConfig>,
    handles: &Arc<FileHandles>,
    state: OpenState,
    now_ms: i64,
) -> Result<(PartitionLog, Vec<Finding>), (Option<Uuid>, OpenError)> {
    let topic_id = partition_metadata::read(directory)
        .and_then(|topic_id| {
            topic_id.ok_or_else(|| OpenError::Malformed {
                file: directory.join(PARTITION_METADATA_FILE),
                reason: "it is missing, but the directory holds data".to_owned(),
            })
        })
        .map_err(|error| (None, error))?;
    let partition = partition.clone();
    let config = config(topic_id);
    PartitionLog::open(
        directory, partition, topic_id, config, handles, state, now_ms,
    )
    .inspect(|(log, findings)| {
        if findings.iter().any(Finding::is_reset) || BurialMark::exists(directory) {
            log.wait_for_checkpoint();
        }
    })
    .map_err(|error| (Some(topic_id), error))
}
