//! Cutting off the end of a log, and beginning it anew. Only [`crate::LogDirectory`] does that: its
//! checkpoints must never claim more than the files hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::moving::BEGUN_ANEW;
use super::{CHANGE_FAILED, PartitionLog, USABLE, Writer};
use crate::active_segment::ActiveSegment;
use crate::atomic_file::{flush_directory, remove_if_exists};
use crate::error::{OpenError, ReadError, StorageError};
use crate::index::IndexBuilder;
use crate::names::{SNAPSHOT_SUFFIX, TRANSACTION_INDEX_SUFFIX, offset_file, parse_offset_file};
use crate::producer_state::Producers;
use crate::quarantine;
use crate::recovery::{Indexes, ProducerWalk, list_snapshots, newest_snapshot};
use crate::reset;
use crate::segment::Segment;
use crate::transaction_index::AbortedTransaction;
use crate::unstable_transactions::UnstableTransactions;

/// The right to change what is already in the log: nothing is appended or flushed meanwhile.
pub(crate) struct Change<'a> {
    pub(super) log: &'a PartitionLog,
    pub(super) writer: MutexGuard<'a, Writer>,
    _flushing: MutexGuard<'a, ()>,
}

/// Where a log is to end.
pub(crate) struct Cut {
    segment: Arc<Segment>,
    position: u64,
    /// The offset that the next record gets.
    pub(crate) end_offset: i64,
    stays: Stays,
}

/// What a walk over all that stays has found.
struct Stays {
    producers: Producers,
    /// Of the segment that is cut.
    indexes: Indexes,
    /// Those whose markers are in it.
    aborted: Vec<AbortedTransaction>,
}

impl PartitionLog {
    pub(crate) fn change(&self) -> Result<Change<'_>, OpenError> {
        self.change_after(self.flushing.lock())
    }

    /// `None` where it is being flushed for longer than that.
    pub(crate) fn change_within(
        &self,
        patience: Duration,
    ) -> Result<Option<Change<'_>>, OpenError> {
        let flushing = self.flushing.try_lock_for(patience);
        let change = flushing.map(|flushing| self.change_after(flushing));
        change.transpose()
    }

    fn change_after<'a>(&'a self, flushing: MutexGuard<'a, ()>) -> Result<Change<'a>, OpenError> {
        let writer = self.writer.lock();
        self.check_usable()
            .map_err(|why| OpenError::Unusable(self.partition.to_string(), why))?;
        Ok(Change {
            log: self,
            writer,
            _flushing: flushing,
        })
    }

    /// Makes an index of aborted transactions anew from the log where it cannot be read: `file` is what
    /// [`ReadError::TransactionIndex`] names. Whether that was needed and nobody else is at it. Blocks; nothing is appended meanwhile.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] where the log itself cannot be read, and others; it is not tried again then.
    pub fn rebuild_transaction_index(&self, file: &Path) -> Result<bool, OpenError> {
        let Some(mut has_failed) = self.rebuilding_index.try_lock().filter(|it| !**it) else {
            return Ok(false);
        };
        let change = self.change()?;
        let name = file.file_name().and_then(|name| name.to_str());
        let segment = match name.and_then(parse_offset_file) {
            Some((base_offset, TRANSACTION_INDEX_SUFFIX)) => {
                self.segments.read().get(&base_offset).map(Arc::clone)
            }
            _ => None,
        };
        let Some(segment) = segment.filter(|it| !it.transaction_index.is_readable()) else {
            // It went, or somebody has made it anew meanwhile.
            return Ok(false);
        };
        let rebuilt = change.rebuild_transaction_index(&segment);
        *has_failed = rebuilt.is_err();
        rebuilt.map(|()| true)
    }

    /// Reads again where the log was cut off or begun anew in the middle of it.
    pub(super) fn undisturbed<T>(
        &self,
        read: impl Fn() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        // In one segment, there is what was there before or what is there afterwards; files follow.
        self.read_again_until(read, |result, is_changing| result.is_ok() || !is_changing)
    }

    /// As [`Self::undisturbed`], for who looks into one segment after the other: in the middle of a change the second one may
    /// still be there when the first one has been cut.
    pub(super) fn between_changes<T>(
        &self,
        read: impl Fn() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.read_again_until(read, |_, is_changing| !is_changing)
    }

    fn read_again_until<T>(
        &self,
        read: impl Fn() -> Result<T, ReadError>,
        counts: impl Fn(&Result<T, ReadError>, bool) -> bool,
    ) -> Result<T, ReadError> {
        loop {
            let before = self.changes.load(Ordering::Acquire);
            let result = read();
            let after = self.changes.load(Ordering::Acquire);
            let is_changing = after % 2 == 1;
            if before == after && counts(&result, is_changing) {
                return result;
            }
            if is_changing {
                drop(self.flushing.lock());
            }
        }
    }
}

impl Drop for Change<'_> {
    /// A panic in the middle of it: who reads does not wait for ever.
    fn drop(&mut self) {
        if self.log.changes.load(Ordering::Acquire) % 2 == 1 {
            self.fail(());
            self.log.changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Change<'_> {
    /// Where the log must end so that nothing from `offset` on is left: a batch that holds `offset`
    /// goes as a whole, and a gap before it. `None` when it ends there or before.
    pub(crate) fn cut_at(&self, offset: i64) -> Result<Option<Cut>, OpenError> {
        let Some(offset) = self.first_cut(offset) else {
            return Ok(None);
        };
        let segment = self.segment_to_cut(offset);
        let found = segment.find(offset).and_then(|batch| {
            let position = batch.map_or(segment.size(), |batch| batch.position);
            let first_cut = batch.map_or(offset, |batch| batch.header.base_offset);
            Ok((position, segment.end_before(position, first_cut)?))
        });
        let (position, end_offset) = found.map_err(|error| damaged(offset, error))?;
        self.cut_in(segment, position, end_offset).map(Some)
    }

    /// Like [`Self::cut_at`], but where a damaged batch comes first in the same segment, or one that the disk does not give,
    /// the log must end before it: whoever resumes it walks over all of them. So must it before a damaged marker, wherever that
    /// walk meets it.
    pub(crate) fn cut_at_damage(&self, offset: i64) -> Result<Option<Cut>, OpenError> {
        let Some(mut offset) = self.first_cut(offset) else {
            return Ok(None);
        };
        loop {
            let segment = self.segment_to_cut(offset);
            let (position, end_offset) = segment.sound_end(offset)?;
            match self.cut_in(segment, position, end_offset) {
                Err(OpenError::Damaged {
                    offset: earlier, ..
                }) if earlier < offset => offset = earlier,
                cut => return cut.map(Some),
            }
        }
    }

    /// `None` where nothing is to be cut.
    fn first_cut(&self, offset: i64) -> Option<i64> {
        let is_there = offset < self.log.log_end_offset();
        is_there.then(|| offset.max(self.log.log_start_offset()))
    }

    fn segment_to_cut(&self, offset: i64) -> Arc<Segment> {
        let found = self.log.segment_of(offset);
        found.unwrap_or_else(|| self.log.first_segment())
    }

    /// Batches end at `position` of `segment`.
    fn cut_in(
        &self,
        segment: Arc<Segment>,
        position: u64,
        end_offset: i64,
    ) -> Result<Cut, OpenError> {
        let stays = self.walk_over_what_stays(&segment, position)?;
        Ok(Cut {
            segment,
            position,
            end_offset,
            stays,
        })
    }

    /// Before anything is changed: what cannot be read may be damaged, and is another reason to cut.
    fn walk_over_what_stays(&self, cut: &Segment, position: u64) -> Result<Stays, OpenError> {
        let log = self.log;
        let snapshots = list_snapshots(&log.directory)?.into_iter();
        let mut findings = Vec::new();
        // One in the middle of the segment does not tell which transactions had ended in it.
        let newest = cut.base_offset;
        let found = newest_snapshot(&log.directory, snapshots, newest, &mut findings)?;
        let mut walk = ProducerWalk::new(found);
        let interval_bytes = log.config().index_interval_bytes;
        let (mut indexes, mut aborted) = (Indexes::default(), Vec::new());
        let segments = log.segments_from(walk.from).into_iter();
        for segment in segments.take_while(|it| it.base_offset <= cut.base_offset) {
            let is_cut = segment.base_offset == cut.base_offset;
            let end = if is_cut { position } else { segment.size() };
            let mut scanner = segment.scan_to(end)?;
            let mut offset = segment.base_offset;
            loop {
                let next = scanner.next();
                let next = next.map_err(|error| damaged(offset, segment.read_error(error)))?;
                let Some(batch) = next else {
                    break;
                };
                let is_in_place = segment.check_place(&batch, offset);
                is_in_place.map_err(|error| damaged(offset, error))?;
                offset = batch.header.base_offset;
                let ended = walk.add(&mut scanner, &batch);
                let ended = ended.map_err(|error| damaged(offset, segment.read_error(error)))?;
                if is_cut {
                    aborted.extend(ended);
                    indexes.add(&batch.header, batch.position, interval_bytes);
                }
                offset = batch.header.next_offset();
            }
        }
        Ok(Stays {
            producers: walk.producers,
            indexes,
            aborted,
        })
    }

    /// Keeps copies of what a cut takes away. Nothing is changed yet.
    pub(crate) fn keep_copies(&self, cut: &Cut) -> Result<Vec<PathBuf>, StorageError> {
        let segments = self.log.segments.read();
        let later = segments.range(cut.segment.base_offset + 1..);
        let later: Vec<_> = later.map(|(_, segment)| Arc::clone(segment)).collect();
        drop(segments);
        quarantine::keep(&cut.segment, &later)
    }

    /// The log ends where it should, and it knows no leader that wrote nothing before that: elsewhere
    /// that one's epoch may have begun at another offset (Kafka's `truncateTo` does the same).
    pub(crate) fn forget_leaders_without_records(&self) {
        self.truncate_epochs(self.log.log_end_offset());
    }

    /// Carries out a cut. When it fails the log stops.
    pub(crate) fn cut_off(mut self, cut: Cut, now_ms: i64) -> Result<(), OpenError> {
        let result = self.try_cut_off(cut, now_ms);
        self.end(result)
    }

    fn try_cut_off(&mut self, cut: Cut, now_ms: i64) -> Result<(), OpenError> {
        let log = self.log;
        let Cut {
            segment,
            position,
            end_offset,
            stays,
        } = cut;
        self.begin();
        let later = log.segments.write().split_off(&(segment.base_offset + 1));
        // Before the end, so that a copy that goes further is not taken for one that nobody knows the like of; and after it:
        // whoever takes it finds nothing any more of what was cut.
        log.was_cut(end_offset);
        log.publish_end(end_offset);
        log.was_cut(end_offset);
        segment.set_size(position);
        segment.forget_read_ends();

        // The last one first: what a crash leaves has no hole.
        for segment in later.values().rev() {
            segment.remove_files()?;
        }
        let snapshots = list_snapshots(&log.directory)?;
        for at in snapshots.into_iter().filter(|at| *at > end_offset) {
            remove_if_exists(&offset_file(&log.directory, at, SNAPSHOT_SUFFIX))?;
        }
        if !later.is_empty() {
            // If they came back they would follow what is appended now.
            flush_directory(&log.directory)?;
        }
        segment.trim()?;
        // What is served must not be taken for aborted by what was cut, however far the rest comes.
        segment.transaction_index.become_these(&stays.aborted)?;
        self.truncate_epochs(end_offset);
        self.resume_writer(segment, end_offset, stays, now_ms)
    }

    fn rebuild_transaction_index(self, segment: &Segment) -> Result<(), OpenError> {
        let stays = self.walk_over_what_stays(segment, segment.size())?;
        self.begin();
        match segment.transaction_index.become_these(&stays.aborted) {
            // What cannot be read is no answer, so there is none that is wrong.
            Err(error) if error.is_shortage() => self.end(Ok(())).and(Err(error.into())),
            rebuilt => self.end(rebuilt.map_err(OpenError::from)),
        }
    }

    /// Everything goes, and the log begins anew, empty, at `offset`. `checkpoint` writes what the log
    /// then says to the files of the data directory. When it fails the log stops, and the next start
    /// carries it out; without room for the mark nothing happens, and without room for the checkpoints the log takes no
    /// records until [`PartitionLog::remove_marks`].
    pub(crate) fn reset(
        mut self,
        offset: i64,
        now_ms: i64,
        checkpoint: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<(), OpenError> {
        if let Err(error) = reset::mark(&self.log.directory, offset) {
            if error.is_shortage() {
                // There is no mark: nothing has happened.
                return Err(error.into());
            }
            return Err(self.fail(error).into());
        }
        let result = self.try_reset(offset, now_ms).map_err(OpenError::from);
        self.end(result)?;
        match checkpoint().and_then(|()| reset::remove_mark(&self.log.directory)) {
            Err(error) if error.is_shortage() => {
                tracing::warn!(%error, "a log that was begun anew takes no records until there is room");
                self.log.wait_for_checkpoint();
                Ok(())
            }
            finished => finished.map_err(|error| self.fail(error).into()),
        }
    }

    fn try_reset(&mut self, offset: i64, now_ms: i64) -> Result<(), StorageError> {
        let log = self.log;
        // Nothing is found in between: it looks as if it had been deleted.
        self.begin();
        let segment = Arc::new(reset::carry_out(&log.directory, &log.handles, offset)?);
        {
            let mut segments = log.segments.write();
            segments.clear();
            segments.insert(offset, Arc::clone(&segment));
        }
        *log.epochs.write() = Default::default();
        log.epochs_changed.store(false, Ordering::Release);
        for published in [
            &log.high_watermark,
            &log.flushed_offset,
            &log.opened_end_offset,
            &log.log_start_offset,
            &log.durable_log_start_offset,
            &log.log_end_offset,
        ] {
            published.store(offset, Ordering::Release);
        }
        log.unchecked.cut_at(0);
        log.forget_damage();
        log.was_cut(BEGUN_ANEW);
        log.compacted_offset.fetch_min(offset, Ordering::AcqRel);
        self.writer.producers = Producers::default();
        self.writer.verifications.clear();
        log.stability.cut_to(0, |_| UnstableTransactions::default());
        self.writer.active = ActiveSegment::new(segment, IndexBuilder::default(), None, now_ms, 0);
        log.changed.store(true, Ordering::Release);
        Ok(())
    }

    fn truncate_epochs(&self, end_offset: i64) {
        if self.log.epochs.write().truncate_from_end(end_offset) {
            self.log.epochs_changed.store(true, Ordering::Release);
            self.log.changed.store(true, Ordering::Release);
        }
    }

    fn resume_writer(
        &mut self,
        segment: Arc<Segment>,
        end_offset: i64,
        mut stays: Stays,
        now_ms: i64,
    ) -> Result<(), OpenError> {
        stays.indexes.store(&segment, true)?;
        let first = segment.first_batch().map_err(malformed(&segment))?;
        let allocated = segment.size();
        self.log.stability.cut_to(end_offset, |before| {
            before.after_cut(&stays.producers, end_offset)
        });
        self.writer.producers = stays.producers;
        self.writer.verifications.clear();
        let builder = stays.indexes.builder;
        self.writer.active =
            ActiveSegment::new(segment, builder, first.as_ref(), now_ms, allocated);
        Ok(())
    }

    /// What readers find changes from now on.
    pub(super) fn begin(&self) {
        self.log.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn end<T>(&self, result: Result<T, OpenError>) -> Result<T, OpenError> {
        if result.is_err() {
            // Memory and files may say different things.
            self.fail(());
        }
        self.log.changes.fetch_add(1, Ordering::AcqRel);
        result
    }

    pub(super) fn fail<E>(&self, error: E) -> E {
        let stopped = CHANGE_FAILED;
        let _ = self.log.usability.compare_exchange(
            USABLE,
            stopped,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        error
    }
}

/// What the disk does not give is damaged, too.
fn damaged(offset: i64, reason: ReadError) -> OpenError {
    let offset = match reason {
        ReadError::Storage(error) if !error.is_of_disk() => return OpenError::Storage(error),
        ReadError::Corrupt { offset, .. } => offset,
        _ => offset,
    };
    OpenError::Damaged {
        offset,
        reason: Box::new(reason),
    }
}

fn malformed(segment: &Segment) -> impl Fn(ReadError) -> OpenError {
    let file = segment.path().to_path_buf();
    move |error| OpenError::Malformed {
        file: file.clone(),
        reason: error.to_string(),
    }
}
