//! What a log does for the copy that is to take its place in another data directory (`log_move.rs`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::truncate::Change;
use super::{CHANGE_FAILED, DELETED, FLUSH_FAILED, NO_FLUSH_DUE, PartitionLog, USABLE, Writer};
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::unchecked::Unchecked;

/// Of [`PartitionLog::lowest_cut`]: nothing was.
pub(super) const NOT_CUT: i64 = i64::MAX;
/// And everything was.
pub(super) const BEGUN_ANEW: i64 = -1;

/// How far a move of this log to another data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MoveStage {
    None,
    /// It is being copied: compaction keeps tombstones and markers, for the copy may have what they are about.
    Copying,
    /// It is about to be exchanged: no compaction begins.
    Ending,
}

impl PartitionLog {
    pub(crate) fn move_stage(&self) -> MoveStage {
        match self.move_stage.load(Ordering::Acquire) {
            it if it == MoveStage::Ending as u8 => MoveStage::Ending,
            it if it == MoveStage::Copying as u8 => MoveStage::Copying,
            _ => MoveStage::None,
        }
    }

    pub(crate) fn set_move_stage(&self, stage: MoveStage) {
        self.move_stage.store(stage as u8, Ordering::Release);
    }

    /// From no stage to [`MoveStage::Copying`]; `false` where it is being moved already.
    pub(crate) fn claim_for_move(&self) -> bool {
        let (none, copying) = (MoveStage::None as u8, MoveStage::Copying as u8);
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let claimed = (self.move_stage).compare_exchange(none, copying, order.0, order.1);
        claimed.is_ok()
    }

    pub(crate) fn is_being_compacted(&self) -> bool {
        self.compacting.is_locked()
    }

    /// `None` while a pass is at work.
    pub(crate) fn keep_compaction_out(&self) -> Option<MutexGuard<'_, ()>> {
        self.compacting.try_lock()
    }

    /// Nothing from `end_offset` on is what it was.
    pub(crate) fn was_cut(&self, end_offset: i64) {
        self.lowest_cut.fetch_min(end_offset, Ordering::AcqRel);
    }

    /// Where the log ended at the lowest since the last call, below 0 where it was begun anew; `None` where it was not cut.
    /// To be asked before the log is read: what is read later was there after that cut.
    pub(crate) fn take_lowest_cut(&self) -> Option<i64> {
        let lowest = self.lowest_cut.swap(NOT_CUT, Ordering::AcqRel);
        (lowest != NOT_CUT).then_some(lowest)
    }

    /// [`Self::take_lowest_cut`] has something to tell.
    pub(crate) fn is_cut(&self) -> bool {
        self.lowest_cut.load(Ordering::Acquire) != NOT_CUT
    }

    /// Bytes from `offset` on, or a few more: as near as the index tells.
    pub(crate) fn bytes_from(&self, offset: i64) -> Result<u64, StorageError> {
        if offset >= self.log_end_offset() {
            return Ok(0);
        }
        let segments = self.segments_from(offset);
        let mut bytes: u64 = segments.iter().map(|segment| segment.size()).sum();
        if let Some(first) = segments.first() {
            bytes -= first.position_near(offset)?.min(first.size());
        }
        Ok(bytes)
    }

    /// As of the log that it is a copy of: up to here it was compacted when it was copied.
    pub(crate) fn raise_compacted_offset(&self, offset: i64) {
        let bounded = offset.min(self.log_end_offset());
        self.compacted_offset.fetch_max(bounded, Ordering::AcqRel);
    }

    /// Segments before the start go, and none for another reason: a copy has what its log has, and is not judged by itself.
    pub(crate) fn remove_segments_before_start(&self, now_ms: i64) -> Result<(), StorageError> {
        let is_due = {
            let segments = self.segments.read();
            let second = segments.keys().nth(1);
            second.is_some_and(|base_offset| *base_offset <= self.log_start_offset())
        };
        if !is_due {
            return Ok(());
        }
        let _flushing = self.flushing.lock();
        let keeps_all = LogConfig {
            cleanup_delete: false,
            ..LogConfig::clone(&self.config())
        };
        let expired = self.expired_segments(&keeps_all, now_ms)?;
        self.remove_segments(&expired)
    }

    /// The same log once `directory` is the name of its directory. This one is out of service from now on.
    pub(crate) fn renamed(&self, directory: PathBuf) -> Self {
        let _flushing = self.flushing.lock();
        let writer = self.writer.lock();
        self.usability.store(DELETED, Ordering::Release);
        let renamed = self.segments.read();
        let renamed = renamed.iter().map(|(base_offset, segment)| {
            let segment = segment.renamed(&self.handles, &directory);
            (*base_offset, Arc::new(segment))
        });
        let segments: std::collections::BTreeMap<_, _> = renamed.collect();
        let (_, last) = segments.last_key_value().expect("a log has a segment");
        let active = writer.active.renamed(Arc::clone(last));
        let offset = |of: &AtomicI64| AtomicI64::new(of.load(Ordering::Acquire));
        let flag = |of: &AtomicBool| AtomicBool::new(of.load(Ordering::Acquire));
        Self {
            partition: self.partition.clone(),
            topic_id: self.topic_id,
            directory,
            handles: Arc::clone(&self.handles),
            config: RwLock::new(self.config()),
            segments: RwLock::new(segments),
            writer: Mutex::new(Writer {
                active,
                producers: writer.producers.clone(),
                verifications: writer.verifications.clone(),
                leads_since_ms: writer.leads_since_ms,
            }),
            epochs: RwLock::new(self.epochs.read().clone()),
            epochs_changed: flag(&self.epochs_changed),
            log_start_offset: offset(&self.log_start_offset),
            durable_log_start_offset: offset(&self.durable_log_start_offset),
            log_end_offset: offset(&self.log_end_offset),
            high_watermark: offset(&self.high_watermark),
            stability: self.stability.copy_of(),
            flushed_offset: offset(&self.flushed_offset),
            opened_end_offset: offset(&self.opened_end_offset),
            unchecked: Unchecked::new(self.unchecked.range()),
            damaged_from: offset(&self.damaged_from),
            compacted_offset: offset(&self.compacted_offset),
            compacting: Mutex::new(()),
            rebuilding_index: Mutex::new(false),
            flushing: Mutex::new(()),
            lowest_cut: AtomicI64::new(NOT_CUT),
            move_stage: AtomicU8::new(MoveStage::None as u8),
            changes: AtomicU64::new(0),
            directory_changed: flag(&self.directory_changed),
            changed: flag(&self.changed),
            parent_changed: flag(&self.parent_changed),
            usability: AtomicU8::new(USABLE),
            flush_interval: RwLock::new(self.flush_interval()),
            flush_queued: AtomicBool::new(false),
            opened_flush_queued: AtomicBool::new(false),
            backlog_flush_queued: AtomicBool::new(false),
            flush_due_ms: AtomicU64::new(NO_FLUSH_DUE),
        }
    }

    /// It is neither what the files say nor what is decided: only a start finds out.
    pub(crate) fn stop_after(&self, error: &StorageError) {
        let stopped = match error.is_failed_flush() {
            true => FLUSH_FAILED,
            false => CHANGE_FAILED,
        };
        self.replace_usability(USABLE, stopped);
    }
}

impl Change<'_> {
    pub(crate) fn log(&self) -> &PartitionLog {
        self.log
    }

    /// `copy` has every batch of this log, and becomes the same in all else: leader epochs, also those that wrote nothing
    /// (KAFKA-15608), producers, also those of which no batch is left, their open transactions, the high watermark. Not flushed yet.
    pub(crate) fn pass_on_to(&self, copy: &PartitionLog) -> Result<(), StorageError> {
        let log = self.log;
        copy.set_config(log.config());
        copy.set_flush_interval(log.flush_interval());
        copy.set_high_watermark(log.high_watermark());
        let _flushing = copy.flushing.lock();
        let mut writer = copy.writer.lock();
        writer.producers = self.writer.producers.clone();
        writer.verifications = self.writer.verifications.clone();
        copy.stability.become_as(&log.stability);
        writer.leads_since_ms = self.writer.leads_since_ms;
        *copy.epochs.write() = log.epochs.read().clone();
        copy.changed.store(true, Ordering::Release);
        copy.epochs_changed.store(true, Ordering::Release);
        copy.write_changed_epochs()?;
        copy.directory_changed.store(true, Ordering::Release);
        Ok(())
    }

    /// Readers who do not find a file from now on wait until this is over, and look again.
    pub(crate) fn hold_readers(&self) {
        self.begin();
    }

    /// After [`Self::hold_readers`], where nothing has happened.
    pub(crate) fn let_readers_go_on(&self) {
        self.log.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// After [`Self::hold_readers`]: the log is out of service, another one has taken its place, and everything is flushed
    /// there. Who asks this one afterwards is to hear that, too.
    pub(crate) fn retire(self) {
        let end = self.log.log_end_offset();
        self.log.flushed_offset.fetch_max(end, Ordering::AcqRel);
        self.log.usability.store(DELETED, Ordering::Release);
        self.let_readers_go_on();
    }
}
