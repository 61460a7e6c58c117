//! The log of one partition: append, read, flush, roll, close.
//!
//! Writers take the writer lock. Readers take none of it: they see the log up to the offsets that
//! are published after the bytes are written, and read with positioned reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use foz_canary::{Canary, sings};
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::active_segment::ActiveSegment;
use crate::config::{FlushInterval, LogConfig};
use crate::error::{OpenError, StorageContext};
use crate::file_handles::FileHandles;
use crate::index::IndexBuilder;
use crate::leader_epochs::{EpochStart, LeaderEpochs};
use crate::names::TopicPartition;
use crate::partition_metadata;
use crate::producer_state::Producers;
use crate::recovery::{self, Finding, OpenState, Recovered};
use crate::segment::Segment;
use crate::stability::Stability;
use crate::unchecked::Unchecked;
use crate::unstable_transactions::UnstableTransactions;
use crate::verifications::Verifications;

mod append;
mod check;
mod compact;
mod damage;
mod earlier_batches;
mod flush;
mod follow;
mod marks;
mod moving;
#[cfg(test)]
mod new_log;
mod offsets;
mod read;
mod shorten;
mod transactions;
mod truncate;

pub use append::{AppendOrigin, Appended};
pub use check::Checked;
pub(crate) use compact::ClosedSegments;
pub use follow::AppendedByFollower;
pub(crate) use moving::MoveStage;
pub use offsets::TimestampAndOffset;
pub use transactions::ActiveProducer;
pub(crate) use truncate::{Change, Cut};

/// One partition's log. Share it as `Arc<PartitionLog>`; every method takes `&self`.
#[derive(Debug)]
pub struct PartitionLog {
    partition: TopicPartition,
    topic_id: Uuid,
    directory: PathBuf,
    handles: Arc<FileHandles>,
    config: RwLock<Arc<LogConfig>>,
    /// Never empty. New ones come under the writer lock; old ones go under the one for flushing.
    segments: RwLock<BTreeMap<i64, Arc<Segment>>>,
    writer: Mutex<Writer>,
    epochs: RwLock<LeaderEpochs>,
    epochs_changed: AtomicBool,
    log_start_offset: AtomicI64,
    /// The start is known to be at least here after any crash.
    durable_log_start_offset: AtomicI64,
    log_end_offset: AtomicI64,
    high_watermark: AtomicI64,
    stability: Stability,
    flushed_offset: AtomicI64,
    /// Where the log ended when it was opened: up to here it is flushed in the background, should the opening have left that.
    opened_end_offset: AtomicI64,
    /// What a start after a crash has not checked yet.
    unchecked: Unchecked,
    /// From here on the log is not what was written; `NO_DAMAGE` where nobody has found any.
    damaged_from: AtomicI64,
    /// Up to here the log was compacted; a cut lowers it.
    compacted_offset: AtomicI64,
    /// A pass is at work.
    compacting: Mutex<()>,
    /// Held by who makes an index of aborted transactions anew. Whether that has failed: it is not tried again.
    rebuilding_index: Mutex<bool>,
    /// Taken before the writer lock: who appends never waits for a flush.
    flushing: Mutex<()>,
    /// Of what was cut since a copy that moves was last told: see [`Self::take_lowest_cut`].
    lowest_cut: AtomicI64,
    /// A [`MoveStage`].
    move_stage: AtomicU8,
    /// Grows when what is in the log begins to change and when it has changed: odd in between.
    changes: AtomicU64,
    /// Files were created or removed since the directory was flushed.
    directory_changed: AtomicBool,
    /// Something is not as a clean stop would leave it.
    changed: AtomicBool,
    /// The directory itself is new.
    parent_changed: AtomicBool,
    usability: AtomicU8,
    flush_interval: RwLock<FlushInterval>,
    /// The flusher has it in its queue.
    pub(crate) flush_queued: AtomicBool,
    /// And among those that were just opened.
    pub(crate) opened_flush_queued: AtomicBool,
    /// And in the backlog: see [`Self::has_backlog`].
    pub(crate) backlog_flush_queued: AtomicBool,
    /// When the flusher is to look at it, by the flusher's clock; `NO_FLUSH_DUE` where nothing is
    /// scheduled.
    pub(crate) flush_due_ms: AtomicU64,
}

#[derive(Debug)]
struct Writer {
    active: ActiveSegment,
    producers: Producers,
    verifications: Verifications,
    /// When the newest leader epoch was taken on here, in ms since 1970; `None`: before this start, or never.
    leads_since_ms: Option<i64>,
}

/// Of [`PartitionLog::flush_due_ms`].
pub(crate) const NO_FLUSH_DUE: u64 = u64::MAX;

/// Of [`PartitionLog::damaged_from`].
const NO_DAMAGE: i64 = i64::MAX;

const USABLE: u8 = 0;
const CLOSED: u8 = 1;
const DELETED: u8 = 2;
const FLUSH_FAILED: u8 = 3;
/// A truncation, a reset, a compaction or a move stopped half-way: only a start finds out what there is.
const CHANGE_FAILED: u8 = 4;

/// There was no room for what a clean stop leaves behind. Nothing is lost: the next start recovers the log.
const CLOSED_SHORT: u8 = 5;
/// It was begun anew, or opened by the mark of a burial, and the checkpoints do not say so yet: see
/// [`PartitionLog::remove_marks`].
const WAITS_FOR_CHECKPOINT: u8 = 6;

const FLUSH_FAILED_TEXT: &str = "stopped, because a flush failed";
const CHANGE_FAILED_TEXT: &str =
    "stopped, because a truncation, a reset, a compaction or a move failed";

impl PartitionLog {
    /// A new, empty log in a directory of its own below `data_directory`.
    ///
    /// # Errors
    /// [`OpenError::Exists`] when the directory is there already, [`OpenError::Storage`].
    pub(crate) fn create(
        data_directory: &Path,
        partition: TopicPartition,
        topic_id: Uuid,
        config: Arc<LogConfig>,
        handles: &Arc<FileHandles>,
        now_ms: i64,
    ) -> Result<Self, OpenError> {
        let directory = data_directory.join(partition.to_string());
        Self::create_in(directory, partition, topic_id, config, handles, now_ms)
    }

    /// The same in a directory of another name.
    pub(crate) fn create_in(
        directory: PathBuf,
        partition: TopicPartition,
        topic_id: Uuid,
        config: Arc<LogConfig>,
        handles: &Arc<FileHandles>,
        now_ms: i64,
    ) -> Result<Self, OpenError> {
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(OpenError::Exists(directory));
            }
            other => other.at("create", &directory)?,
        }
        let segment = Segment::create(handles, &directory, 0)?;
        // Last: a directory without it is the rest of a creation that did not finish.
        partition_metadata::write(&directory, topic_id)?;
        let recovered = Recovered {
            segments: BTreeMap::from([(0, Arc::new(segment))]),
            active_index: IndexBuilder::default(),
            producers: Producers::default(),
            transactions: UnstableTransactions::default(),
            epochs: LeaderEpochs::default(),
            epochs_changed: false,
            flushed_offset: 0,
            unchecked: 0..0,
            is_clean: false,
            log_start_offset: 0,
            durable_log_start_offset: 0,
            log_end_offset: 0,
            findings: Vec::new(),
        };
        let log = Self::assemble(
            partition, topic_id, directory, handles, config, recovered, now_ms,
        )?;
        log.directory_changed.store(true, Ordering::Release);
        Ok(log)
    }

    /// The log in an existing directory `topic-N`.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`] when flushed data is damaged or missing: the partition is offline,
    /// its files are left as they are. [`OpenError::Malformed`], [`OpenError::Storage`].
    pub(crate) fn open(
        directory: &Path,
        partition: TopicPartition,
        topic_id: Uuid,
        config: Arc<LogConfig>,
        handles: &Arc<FileHandles>,
        state: OpenState,
        now_ms: i64,
    ) -> Result<(Self, Vec<Finding>), OpenError> {
        let mut recovered = recovery::open(directory, handles, state, config.index_interval_bytes)?;
        recovered
            .producers
            .expire(now_ms, config.producer_id_expiration_ms);
        let findings = std::mem::take(&mut recovered.findings);
        let directory = directory.to_path_buf();
        let log = Self::assemble(
            partition, topic_id, directory, handles, config, recovered, now_ms,
        )?;
        log.set_high_watermark(state.high_watermark);
        let compacted_offset = state.compacted_offset.min(log.log_end_offset());
        log.compacted_offset
            .store(compacted_offset, Ordering::Release);
        Ok((log, findings))
    }

    fn assemble(
        partition: TopicPartition,
        topic_id: Uuid,
        directory: PathBuf,
        handles: &Arc<FileHandles>,
        config: Arc<LogConfig>,
        recovered: Recovered,
        now_ms: i64,
    ) -> Result<Self, OpenError> {
        let (_, last) = recovered
            .segments
            .last_key_value()
            .expect("a log has a segment");
        let first_base_offset = *recovered.segments.keys().next().unwrap_or(&0);
        let first = last.first_batch().map_err(|error| OpenError::Malformed {
            file: last.path().to_path_buf(),
            reason: error.to_string(),
        })?;
        let active = ActiveSegment::new(
            Arc::clone(last),
            recovered.active_index,
            first.as_ref(),
            now_ms,
            last.file_length()?,
        );
        let (start, end) = (recovered.log_start_offset, recovered.log_end_offset);
        // The process before may have made the files, or the directory, and flushed neither.
        let flushed_offset = recovered.flushed_offset;
        let is_unflushed = flushed_offset < end;
        let is_never_flushed = flushed_offset <= first_base_offset;
        let indexes = recovered.segments.values().map(|it| &it.transaction_index);
        let last_aborted_offset = indexes.filter_map(|it| it.last_marker_offset()).max();
        Ok(Self {
            partition,
            topic_id,
            directory,
            handles: Arc::clone(handles),
            config: RwLock::new(config),
            writer: Mutex::new(Writer {
                active,
                producers: if sings(Canary::ProducerStateLostOnRestart) {
                    Producers::default()
                } else {
                    recovered.producers
                },
                verifications: Verifications::default(),
                leads_since_ms: None,
            }),
            segments: RwLock::new(recovered.segments),
            epochs: RwLock::new(recovered.epochs),
            epochs_changed: AtomicBool::new(recovered.epochs_changed),
            log_start_offset: AtomicI64::new(start),
            durable_log_start_offset: AtomicI64::new(recovered.durable_log_start_offset),
            log_end_offset: AtomicI64::new(end),
            high_watermark: AtomicI64::new(start),
            stability: Stability::new(recovered.transactions, last_aborted_offset),
            flushed_offset: AtomicI64::new(flushed_offset),
            opened_end_offset: AtomicI64::new(end),
            unchecked: Unchecked::new(recovered.unchecked),
            damaged_from: AtomicI64::new(NO_DAMAGE),
            compacted_offset: AtomicI64::new(0),
            compacting: Mutex::new(()),
            rebuilding_index: Mutex::new(false),
            flushing: Mutex::new(()),
            lowest_cut: AtomicI64::new(moving::NOT_CUT),
            move_stage: AtomicU8::new(MoveStage::None as u8),
            changes: AtomicU64::new(0),
            directory_changed: AtomicBool::new(is_unflushed),
            changed: AtomicBool::new(!recovered.is_clean),
            parent_changed: AtomicBool::new(!recovered.is_clean && is_never_flushed),
            usability: AtomicU8::new(USABLE),
            flush_interval: RwLock::default(),
            flush_queued: AtomicBool::new(false),
            opened_flush_queued: AtomicBool::new(false),
            backlog_flush_queued: AtomicBool::new(false),
            flush_due_ms: AtomicU64::new(NO_FLUSH_DUE),
        })
    }

    /// Which partition.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The topic's id.
    #[must_use]
    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// Where its files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.config.read())
    }

    /// Takes effect with the next call of any method. One `Arc` for all partitions of a topic takes the least memory.
    pub fn set_config(&self, config: impl Into<Arc<LogConfig>>) {
        *self.config.write() = config.into();
    }

    /// How long what was appended may stay unflushed; what it was opened with is the default.
    #[must_use]
    pub fn flush_interval(&self) -> FlushInterval {
        *self.flush_interval.read()
    }

    /// Takes effect with the next call of [`crate::Flusher::appended`].
    pub fn set_flush_interval(&self, interval: FlushInterval) {
        *self.flush_interval.write() = interval;
    }

    /// Records that a power failure could take.
    #[must_use]
    pub fn unflushed_records(&self) -> i64 {
        self.log_end_offset()
            .saturating_sub(self.flushed_offset())
            .max(0)
    }

    /// First offset that can be read.
    #[must_use]
    pub fn log_start_offset(&self) -> i64 {
        self.log_start_offset.load(Ordering::Acquire)
    }

    /// Offset that the next record gets.
    #[must_use]
    pub fn log_end_offset(&self) -> i64 {
        self.log_end_offset.load(Ordering::Acquire)
    }

    /// Everything below is on disk.
    #[must_use]
    pub fn flushed_offset(&self) -> i64 {
        self.flushed_offset.load(Ordering::Acquire)
    }

    /// What the leader last said with [`Self::set_high_watermark`], or the last checkpoint.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Remembers the high watermark for checkpoints and as the limit of retention. Returns it as it
    /// is now: never above the end of the log, never lower than before.
    pub fn set_high_watermark(&self, offset: i64) -> i64 {
        let bounded = offset.min(self.log_end_offset());
        let before = self.high_watermark.fetch_max(bounded, Ordering::AcqRel);
        let high_watermark = before.max(bounded);
        self.stability.high_watermark_is(high_watermark);
        high_watermark
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments
            .read()
            .values()
            .map(|segment| segment.size())
            .sum()
    }

    /// How many segments.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.read().len()
    }

    /// Producers remembered.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.writer.lock().producers.len()
    }

    /// The newest leader epoch that this log knows.
    #[must_use]
    pub fn latest_leader_epoch(&self) -> Option<EpochStart> {
        self.epochs.read().latest()
    }

    /// Whether [`Self::flush`] failed once.
    #[must_use]
    pub fn has_failed_flush(&self) -> bool {
        self.usability.load(Ordering::Acquire) == FLUSH_FAILED
    }

    /// It is out of service for good.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.usability.load(Ordering::Acquire) == DELETED
    }

    /// Whether it had to stop: a flush, a truncation, a reset, a compaction or a move failed, or a close had no room. The next
    /// start recovers it.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let usability = self.usability.load(Ordering::Acquire);
        [FLUSH_FAILED, CHANGE_FAILED, CLOSED_SHORT].contains(&usability)
    }

    /// Something is not as a clean stop would leave it.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    pub(crate) fn first_base_offset(&self) -> i64 {
        self.first_segment().base_offset
    }

    /// It takes records.
    pub(crate) fn is_usable(&self) -> bool {
        self.check_usable().is_ok()
    }

    /// It takes records, or will with the next checkpoint.
    pub(crate) fn is_alive(&self) -> bool {
        let usability = self.usability.load(Ordering::Acquire);
        [USABLE, WAITS_FOR_CHECKPOINT].contains(&usability)
    }

    fn check_usable(&self) -> Result<(), &'static str> {
        match self.usability.load(Ordering::Acquire) {
            USABLE => Ok(()),
            CLOSED | CLOSED_SHORT => Err("closed"),
            WAITS_FOR_CHECKPOINT => {
                Err("begun anew or brought back, and waits for the checkpoints")
            }
            DELETED => Err("deleted"),
            FLUSH_FAILED => Err(FLUSH_FAILED_TEXT),
            _ => Err(CHANGE_FAILED_TEXT),
        }
    }

    /// Nobody finds anything from `offset` on.
    fn publish_end(&self, offset: i64) {
        self.high_watermark.fetch_min(offset, Ordering::AcqRel);
        self.log_end_offset.store(offset, Ordering::Release);
        self.flushed_offset.fetch_min(offset, Ordering::AcqRel);
        self.opened_end_offset.fetch_min(offset, Ordering::AcqRel);
        self.unchecked.cut_at(offset);
        self.cut_damage_at(offset);
        self.compacted_offset.fetch_min(offset, Ordering::AcqRel);
    }

    fn first_segment(&self) -> Arc<Segment> {
        let segments = self.segments.read();
        Arc::clone(segments.values().next().expect("a log has a segment"))
    }
}
