//! A step of a move: the copy follows its log.

use crate::error::{AppendError, OpenError, ReadError};
use crate::log_directory::LogDirectory;
use crate::partition_log::{MoveStage, PartitionLog};
use crate::replicated::FollowedLeader;

use super::alignment::{Alignment, Span, align, common_end};
use super::{LogMove, MoveError, Seen};

/// What a log holds is what its copy holds: where compaction has left a gap, the log is right.
const EVERY_GAP_IS_RIGHT: FollowedLeader = FollowedLeader {
    epoch: i32::MAX,
    high_watermark: i64::MAX,
};

const WHY_GIVEN_UP: &str = "given up as a copy";

/// What became of batches that were read.
pub(crate) enum AppendedToCopy {
    Whole,
    /// The log was cut meanwhile: they are to be read again.
    Outdated,
    /// The copy is empty, and is to begin here: the log starts within a batch (DeleteRecords).
    BeginsAt(i64),
}

impl LogMove {
    /// What [`super::MoveProgress::next`] goes by.
    ///
    /// # Errors
    /// [`MoveError`].
    pub fn seen(&self, has_room: bool) -> Result<Seen, MoveError> {
        let (source, copy) = (&self.source, &self.future.log);
        let missing_bytes = source.bytes_from(copy.log_end_offset());
        let unflushed_bytes = copy.bytes_from(copy.flushed_offset());
        let is_gone = |side: &PartitionLog| side.is_deleted().then(|| side.partition().to_string());
        if let Some(partition) = is_gone(source).or_else(|| is_gone(copy)) {
            return Err(MoveError::Over(partition, "deleted or given up"));
        }
        // What was begun anew without room takes no records before the next checkpoint.
        let waits = copy.waits_for_checkpoint();
        let waits_for_checkpoint = waits || source.waits_for_checkpoint();
        let is_cut = source.is_cut() || align(None, span(source), span(copy)) != Alignment::GoOn;
        let seen = Seen {
            is_cut: is_cut && !waits,
            is_unchecked: copy.has_unchecked_batches() && !waits,
            missing_bytes: missing_bytes.map_err(MoveError::Source)?,
            unflushed_bytes: unflushed_bytes.map_err(|error| MoveError::Copy(error.into()))?,
            is_compacted: source.is_being_compacted(),
            has_room: has_room && !waits_for_checkpoint,
            waits_for_checkpoint,
        };
        if waits_for_checkpoint || !seen.has_room && seen.missing_bytes > 0 {
            self.rest();
        }
        Ok(seen)
    }

    /// Its end may be far away: compaction does not wait for it.
    pub fn rest(&self) {
        self.source.set_move_stage(MoveStage::Copying);
    }

    /// Copies what comes next, at most `max_bytes` unless one batch is larger. `target` is the directory that the copy is
    /// in. Returns how many bytes that were; 0 also where the log was cut meanwhile, or the copy waits for a checkpoint. Blocks.
    ///
    /// # Errors
    /// [`MoveError`].
    pub fn copy(
        &self,
        target: &LogDirectory,
        max_bytes: usize,
        now_ms: i64,
    ) -> Result<usize, MoveError> {
        let (source, copy) = (&self.source, &self.future.log);
        if copy.waits_for_checkpoint() {
            return Ok(0);
        }
        copy.set_config(source.config());
        self.follow_cuts(target, now_ms)?;
        let bytes = self.read(max_bytes)?;
        match self.append(&bytes, now_ms)? {
            AppendedToCopy::Whole => {}
            AppendedToCopy::Outdated => return Ok(0),
            AppendedToCopy::BeginsAt(offset) => {
                (target.reset(copy, offset, now_ms)).map_err(|error| self.copy_failed(error))?;
                if !matches!(self.append(&bytes, now_ms)?, AppendedToCopy::Whole) {
                    return Ok(0);
                }
            }
        }
        self.follow_marks();
        let removed = copy.remove_segments_before_start(now_ms);
        removed.map_err(|error| self.copy_failed(error.into()))?;
        Ok(bytes.len())
    }

    /// What was cut off the log is cut off the copy, and what begins anew begins anew. [`Self::copy`] does it as well; by
    /// itself it takes no room.
    ///
    /// # Errors
    /// [`MoveError`]; it is done the next time then.
    pub fn follow_cuts(&self, target: &LogDirectory, now_ms: i64) -> Result<(), MoveError> {
        let (source, copy) = (&self.source, &self.future.log);
        if copy.waits_for_checkpoint() {
            return Ok(());
        }
        // Before the log is looked at: what is found then is at least as new.
        let cut = source.take_lowest_cut();
        let (log, copied) = (span(source), span(copy));
        if cut.is_none() && copied.end > log.end && source.is_cut() {
            return Ok(());
        }
        let done = match align(cut, log, copied) {
            Alignment::GoOn => Ok(()),
            Alignment::CutTo(offset) => self.cut_copy(target, offset, now_ms),
            Alignment::BeginAt(offset) => self.begin_anew(target, offset, now_ms),
        };
        if done.is_err()
            && let Some(cut) = cut
        {
            source.was_cut(cut);
        }
        done
    }

    /// Checks what a start after a crash has put off (ADR 0026): the log is deleted for its copy, so that is to be whole.
    /// Where it is not it begins anew. Returns how many bytes were read, at most `max_bytes` and a batch. Blocks.
    ///
    /// # Errors
    /// [`MoveError`].
    pub fn check(
        &self,
        target: &LogDirectory,
        max_bytes: usize,
        now_ms: i64,
    ) -> Result<usize, MoveError> {
        let (source, copy) = (&self.source, &self.future.log);
        match copy.check_next(max_bytes as u64) {
            Ok(checked) => Ok(usize::try_from(checked.bytes).unwrap_or(max_bytes)),
            Err(error @ (ReadError::Corrupt { .. } | ReadError::Malformed { .. })) => {
                tracing::warn!(partition = %copy.partition(), %error, "the copy of a log that moves is begun anew");
                self.begin_anew(target, source.log_start_offset(), now_ms)?;
                Ok(0)
            }
            // It was cut meanwhile.
            Err(ReadError::OffsetOutOfRange { .. }) => Ok(0),
            Err(ReadError::Unusable(partition, why)) => {
                Err(self.copy_failed(OpenError::Unusable(partition, why)))
            }
            Err(ReadError::Storage(error) | ReadError::TransactionIndex(error)) => {
                Err(MoveError::Copy(error.into()))
            }
        }
    }

    /// Makes durable what is copied. Blocks.
    ///
    /// # Errors
    /// [`MoveError::Copy`].
    pub fn flush(&self) -> Result<(), MoveError> {
        let flushed = self.future.log.flush();
        flushed.map_err(|error| self.copy_failed(error.into()))?;
        Ok(())
    }

    /// The copy is one that an earlier process left, and the log may have been cut since, or have lost its end with the
    /// power: epoch by epoch, as a follower finds out what it has in common with its leader.
    pub(crate) fn find_common_end(
        &self,
        target: &LogDirectory,
        now_ms: i64,
    ) -> Result<(), MoveError> {
        let (source, copy) = (&self.source, &self.future.log);
        while let Some(epoch) = copy.latest_epoch() {
            if source.latest_epoch().is_none() {
                return self.begin_anew(target, source.log_start_offset(), now_ms);
            }
            let Some(parts) = source.divergence(epoch, copy.log_end_offset()) else {
                return Ok(());
            };
            let own = copy.end_offset_for_epoch(parts.epoch);
            let end = common_end(parts.epoch, parts.end_offset, own).min(copy.log_end_offset());
            if end <= copy.log_start_offset() {
                return self.begin_anew(target, source.log_start_offset(), now_ms);
            }
            let before = (copy.latest_epoch(), copy.log_end_offset());
            self.cut_copy(target, end, now_ms)?;
            if before == (copy.latest_epoch(), copy.log_end_offset()) {
                // Epochs that contradict each other.
                return self.begin_anew(target, source.log_start_offset(), now_ms);
            }
        }
        Ok(())
    }

    /// From the end of the copy on.
    pub(crate) fn read(&self, max_bytes: usize) -> Result<bytes::Bytes, MoveError> {
        let source = &self.source;
        let from = self.future.log.log_end_offset();
        // Before the read: what is appended during it is not missing from it.
        let end = source.log_end_offset();
        match source.read(from, max_bytes, i64::MAX, true) {
            Ok(bytes) if bytes.is_empty() && from < end && self.is_still_before(from) => {
                Err(MoveError::Damaged {
                    offset: from,
                    reason: "there is no batch before the end of the log".to_owned(),
                })
            }
            Ok(bytes) => Ok(bytes),
            // It was cut, or its start has moved: the next call finds out.
            Err(ReadError::OffsetOutOfRange { .. }) => Ok(bytes::Bytes::new()),
            Err(ReadError::Corrupt { offset, reason, .. }) => {
                Err(MoveError::Damaged { offset, reason })
            }
            // Only who looks into records meets that: there is nothing to be mended.
            Err(ReadError::Malformed { .. }) => Err(MoveError::Over(
                source.partition().to_string(),
                "one that cannot be read",
            )),
            Err(ReadError::Unusable(partition, why)) => Err(MoveError::Over(partition, why)),
            Err(ReadError::Storage(error)) if error.is_of_disk() && error.is_failed_read() => {
                Err(MoveError::Unreadable {
                    offset: from,
                    source: error,
                })
            }
            Err(ReadError::Storage(error) | ReadError::TransactionIndex(error)) => {
                Err(MoveError::Source(error))
            }
        }
    }

    /// The log has not been cut in the meantime. In this order: it is shorter before it is said to be cut, and grows again
    /// after that.
    fn is_still_before(&self, from: i64) -> bool {
        from < self.source.log_end_offset() && !self.source.is_cut()
    }

    pub(crate) fn append(&self, bytes: &[u8], now_ms: i64) -> Result<AppendedToCopy, MoveError> {
        let copy = &self.future.log;
        let before = span(copy);
        let Err(error) = copy.append_as_follower(bytes, EVERY_GAP_IS_RIGHT, now_ms) else {
            return Ok(AppendedToCopy::Whole);
        };
        match error {
            AppendError::Storage(error) => Err(self.copy_failed(error.into())),
            AppendError::Unusable(partition, why) => {
                Err(self.copy_failed(OpenError::Unusable(partition, why)))
            }
            _ if self.source.is_cut() => Ok(AppendedToCopy::Outdated),
            AppendError::NotNext { expected, found }
                if before.start == before.end && found < expected =>
            {
                Ok(AppendedToCopy::BeginsAt(found))
            }
            AppendError::CorruptFromLeader { offset, source } => Err(MoveError::Damaged {
                offset: offset.unwrap_or(before.end),
                reason: source.to_string(),
            }),
            // It was told of a leader that wrote nothing ([`crate::partition_log::Change::pass_on_to`]), and its log has
            // forgotten that one since.
            AppendError::StaleLeaderEpoch { .. } if self.forgets_leaders_without_records()? => {
                Ok(AppendedToCopy::Outdated)
            }
            // The log took it, so it is the copy that is not as it should be.
            error => Err(MoveError::Copy(OpenError::Malformed {
                file: copy.directory().to_path_buf(),
                reason: format!("it does not take what follows in its log: {error}"),
            })),
        }
    }

    /// Whether there were any.
    fn forgets_leaders_without_records(&self) -> Result<bool, MoveError> {
        let copy = &self.future.log;
        let before = copy.latest_epoch();
        let change = copy.change().map_err(|error| self.copy_failed(error))?;
        change.forget_leaders_without_records();
        Ok(copy.latest_epoch() != before)
    }

    /// The copy is readable from where the log is, and is known to be committed as far.
    pub(crate) fn follow_marks(&self) {
        let (source, copy) = (&self.source, &self.future.log);
        copy.set_high_watermark(source.high_watermark());
        copy.advance_log_start_offset_to(source.log_start_offset());
        copy.raise_compacted_offset(self.future.compacted_offset());
    }

    pub(crate) fn copy_failed(&self, error: OpenError) -> MoveError {
        match error {
            OpenError::Unusable(partition, _) if self.future.log.is_deleted() => {
                MoveError::Over(partition, WHY_GIVEN_UP)
            }
            error => MoveError::Copy(error),
        }
    }

    fn cut_copy(&self, target: &LogDirectory, offset: i64, now_ms: i64) -> Result<(), MoveError> {
        let compacted = self.future.compacted_offset().min(offset);
        self.future.set_compacted_offset(compacted);
        let cut = target.truncate(&self.future.log, offset, now_ms);
        cut.map_err(|error| self.copy_failed(error))
    }

    fn begin_anew(&self, target: &LogDirectory, offset: i64, now_ms: i64) -> Result<(), MoveError> {
        let compacted = self.source.compacted_offset();
        let begun = target.reset(&self.future.log, offset, now_ms);
        begun.map_err(|error| self.copy_failed(error))?;
        self.future.set_compacted_offset(compacted);
        Ok(())
    }
}

pub(super) fn span(log: &PartitionLog) -> Span {
    Span {
        start: log.log_start_offset(),
        end: log.log_end_offset(),
    }
}
