//! The walk over a log that was not stopped in good order.

use std::sync::Arc;

use foz_canary::{Canary, sings};

use super::indexes::Indexes;
use super::written::{is_zeroed, may_be_unfinished};
use super::{Contents, Finding, ProducerWalk, Recovery, has_hollow, newest_snapshot};
use crate::atomic_file::flush_directory;
use crate::batch_scanner::{CHECK_CHUNK_BYTES, ScanError};
use crate::error::{OpenError, StorageContext, StorageError};
use crate::index::IndexBuilder;
use crate::leader_epochs::LeaderEpochs;
use crate::quarantine;
use crate::segment::Segment;
use crate::transaction_index::AbortedTransaction;

/// How far a walk has come.
struct Walk {
    next_offset: i64,
    /// Where the last batch ends whose records nobody looked at.
    unchecked_to: i64,
    producers: ProducerWalk,
    active_index: IndexBuilder,
    walked: Vec<Arc<Segment>>,
    /// A file was made whose loss nobody would notice.
    has_new_file: bool,
}

/// Where a segment stops being whole batches.
struct Torn {
    position: u64,
    reason: String,
    /// A write that was under way when the process died may have left it so.
    may_be_unfinished: bool,
}

impl Recovery<'_> {
    pub(super) fn walk(&mut self, mut segments: Vec<Arc<Segment>>) -> Result<Contents, OpenError> {
        let floor = |offset| {
            let begun = segments.partition_point(|s| s.base_offset <= offset);
            // The rest of a failed roll has nothing of what was flushed: that is before it.
            let with_records = segments[..begun].iter().rposition(|s| s.size() > 0);
            with_records.unwrap_or(0)
        };
        // One less where a segment begins right at the recovery point: the indexes of the one before
        // are flushed after its log.
        let unchecked = match self.state.keep_damaged {
            // Where there is one damage there may be more.
            true => 0,
            false => floor(self.state.recovery_point - 1),
        };
        // The next flush of the log begins with this segment.
        let flushed_to = segments[unchecked].base_offset;
        let snapshots = self.snapshots.iter().copied();
        let snapshot = newest_snapshot(
            self.directory,
            snapshots,
            segments[unchecked].base_offset,
            &mut self.findings,
        )?;
        let producers = ProducerWalk::new(snapshot);
        self.rebuild_transaction_indexes(&segments, producers.from)?;
        let from = if self.epochs_known && !has_hollow(&segments) {
            unchecked.min(floor(producers.from))
        } else {
            0
        };
        // What is walked tells its epochs itself. The file may still speak of what was truncated.
        let epochs_on_disk = self.epochs.clone();
        self.epochs.truncate_from_end(segments[from].base_offset);
        let mut walk = Walk {
            next_offset: segments[from].base_offset,
            unchecked_to: 0,
            producers,
            active_index: IndexBuilder::default(),
            walked: Vec::new(),
            has_new_file: false,
        };
        let mut at = from;
        while at < segments.len() {
            let segment = Arc::clone(&segments[at]);
            if segment.base_offset < walk.next_offset && segment.size() == 0 {
                // A roll created it and failed; the log went on in the segment before. Nobody is to flush it.
                segment.remove_files()?;
                segments.remove(at);
                continue;
            }
            if segment.base_offset < walk.next_offset {
                self.cut_off_overlap(&segments[at - 1], &segments[at..], walk.next_offset)?;
                segments.truncate(at);
                break;
            }
            let mut torn = self.walk_segment(&segment, &segments[at + 1..], &mut walk)?;
            if torn.is_none()
                && let Some(next) = segments.get(at + 1)
            {
                torn = self.hole_before(next, &segment, &walk);
            }
            if let Some(torn) = &torn {
                self.check_is_tail(&segment, torn, walk.next_offset)?;
            }
            walk.walked.push(Arc::clone(&segment));
            if let Some(torn) = torn {
                self.cut_off(&segment, &segments[at + 1..], &torn, walk.next_offset)?;
                segments.truncate(at + 1);
                break;
            }
            at += 1;
        }
        self.check_nothing_is_missing(&segments, walk.next_offset)?;
        let last = segments.last().map(|last| last.base_offset);
        self.flush_what_was_walked(&walk, flushed_to, last, &epochs_on_disk)?;
        Ok(Contents {
            is_clean: false,
            segments,
            active_index: walk.active_index,
            producers: walk.producers.producers,
            transactions: walk.producers.transactions,
            log_end_offset: walk.next_offset,
            unchecked_to: walk.unchecked_to,
        })
    }

    /// A crash of the process alone leaves in the page cache what is not on disk yet. Of that, what lies from `flushed_to` on may be
    /// left to the next flush of the log: until that is done every recovery walks it again.
    fn flush_what_was_walked(
        &mut self,
        walk: &Walk,
        flushed_to: i64,
        last: Option<i64>,
        epochs_on_disk: &LeaderEpochs,
    ) -> Result<(), OpenError> {
        self.is_unflushed = self.state.is_flushed_later();
        let is_left = |segment: &Segment| self.is_unflushed && segment.base_offset >= flushed_to;
        let mut walked = walk.walked.iter();
        if walked.all(|segment| is_left(segment)) {
            return Ok(());
        }
        for segment in walk.walked.iter().filter(|segment| !is_left(segment)) {
            if self.findings.is_empty() && segment.is_empty_file()? {
                // There is nothing in it, as in most of thousands of partitions.
                continue;
            }
            segment.flush()?;
            if Some(segment.base_offset) != last {
                segment.flush_indexes()?;
            }
        }
        if walk.has_new_file {
            flush_directory(self.directory)?;
        }
        if walk.walked.len() > 1 && self.epochs != *epochs_on_disk {
            // The next recovery may begin behind the batches that told of them.
            match self.epochs.write(self.directory) {
                // Until it is written what recovery found is not said to be flushed.
                Err(error) if error.is_shortage() => self.is_unflushed = true,
                written => {
                    written?;
                    flush_directory(self.directory)?;
                }
            }
        }
        Ok(())
    }

    /// Compaction leaves gaps between segments, but only where everything was flushed. And it leaves no
    /// empty segment.
    fn hole_before(&self, next: &Segment, segment: &Segment, walk: &Walk) -> Option<Torn> {
        let was_flushed = walk.next_offset < self.state.recovery_point;
        let is_hole = next.base_offset > walk.next_offset && (!was_flushed || segment.size() == 0);
        is_hole.then(|| Torn {
            position: segment.size(),
            reason: format!(
                "it ends at offset {}, and the next segment begins at {}",
                walk.next_offset, next.base_offset
            ),
            may_be_unfinished: false,
        })
    }

    fn walk_segment(
        &mut self,
        segment: &Segment,
        later: &[Arc<Segment>],
        walk: &mut Walk,
    ) -> Result<Option<Torn>, OpenError> {
        walk.next_offset = segment.base_offset;
        if !self.state.is_all_written_there() {
            segment.drop_page_cache();
        }
        // Where records follow in a later segment, this one had been written to its end.
        let is_last = later.iter().all(|segment| segment.size() == 0);
        let mut indexes = Indexes::default();
        let aborted = &segment.transaction_index;
        let had_file = aborted.exists();
        aborted.keep_before(walk.producers.from)?;
        let mut ended = Vec::new();
        let mut torn = self.walk_batches(segment, is_last, walk, &mut indexes, &mut ended)?;
        if let Some(torn) = &mut torn {
            torn.may_be_unfinished = is_last
                && may_be_unfinished(&*segment.file()?, torn.position)
                    .at("read", segment.path())?;
            // Before anything is changed on disk.
            self.check_is_tail(segment, torn, walk.next_offset)?;
            segment.set_size(torn.position);
        }
        indexes.store(segment, later.is_empty() || torn.is_some())?;
        aborted.go_on_with(&ended, self.state.is_all_written_there())?;
        walk.has_new_file |= aborted.exists() && !had_file;
        walk.active_index = indexes.builder;
        Ok(torn)
    }

    fn walk_batches(
        &mut self,
        segment: &Segment,
        is_last: bool,
        walk: &mut Walk,
        indexes: &mut Indexes,
        ended: &mut Vec<AbortedTransaction>,
    ) -> Result<Option<Torn>, OpenError> {
        // Only headers matter in most of a segment; the position where checks begin is not known before.
        let mut scanner = segment.scan(0, segment.base_offset)?;
        let mut ahead = None;
        // The batch before, where nobody looked at its records, and the offset that it should begin with.
        let mut unchecked = None;
        loop {
            let scanned = match ahead.take().unwrap_or_else(|| scanner.next()) {
                Ok(None) => return Ok(None),
                Ok(Some(batch)) => batch,
                Err(ScanError::Bad { .. }) if sings(Canary::TornTailKept) => return Ok(None),
                Err(error) => return torn_or_failed(error, segment).map(Some),
            };
            let header = scanned.header;
            let is_checked_first = self.state.is_checked_first(header.last_offset());
            let mut is_checked = is_checked_first;
            if !is_checked_first && is_last && !self.state.is_flushed(header.last_offset()) {
                let next = ahead.insert(scanner.next());
                is_checked = !matches!(next, Ok(Some(_)));
            }
            if is_checked {
                if is_checked_first {
                    scanner.set_chunk_bytes(CHECK_CHUNK_BYTES);
                }
                if let Err(error) = scanner.check_crc(&scanned) {
                    return torn_or_failed(error, segment).map(Some);
                }
            }
            // The CRC does not cover the base offset.
            let farthest = segment.base_offset.saturating_add(i64::from(i32::MAX));
            if header.base_offset < walk.next_offset
                || header.last_offset_delta < 0
                || header.last_offset() > farthest
            {
                // Which of the two is wrong?
                if let Some((before, offset)) = &unchecked
                    && let Err(error) = scanner.check_crc(before)
                {
                    walk.next_offset = *offset;
                    return torn_or_failed(error, segment).map(Some);
                }
                let reason = format!(
                    "the batch covers offsets {}..={}, {} or more comes next",
                    header.base_offset,
                    header.last_offset(),
                    walk.next_offset
                );
                return Ok(Some(Torn {
                    position: scanned.position,
                    reason,
                    may_be_unfinished: false,
                }));
            }
            match walk.producers.add(&mut scanner, &scanned) {
                Ok(aborted) => ended.extend(aborted),
                Err(error) => return torn_or_failed(error, segment).map(Some),
            }
            unchecked = (!is_checked).then_some((scanned, walk.next_offset));
            walk.next_offset = header.next_offset();
            if !is_checked {
                walk.unchecked_to = walk.next_offset;
            }
            self.epochs
                .assign(header.partition_leader_epoch, header.base_offset);
            indexes.add(&header, scanned.position, self.index_interval_bytes);
        }
    }

    /// Segments that begin before the one in front of them ends.
    fn cut_off_overlap(
        &mut self,
        last: &Segment,
        later: &[Arc<Segment>],
        log_end_offset: i64,
    ) -> Result<(), OpenError> {
        let base_offset = later[0].base_offset;
        let reason = format!("the next segment begins at offset {base_offset}");
        let torn = Torn {
            position: last.size(),
            reason,
            may_be_unfinished: false,
        };
        self.check_is_tail(last, &torn, log_end_offset)?;
        self.cut_off(last, later, &torn, log_end_offset)
    }

    fn cut_off(
        &mut self,
        segment: &Segment,
        later: &[Arc<Segment>],
        torn: &Torn,
        log_end_offset: i64,
    ) -> Result<(), OpenError> {
        let file = segment.file()?;
        let length = file.metadata().at("read", segment.path())?.len();
        let later_bytes: u64 = later.iter().map(|segment| segment.size()).sum();
        let zeroed = is_zeroed(&file, torn.position, length).at("read", segment.path())?;
        // Only where damage may be cut off at all.
        let damaged_before = self.damaged_before(torn, log_end_offset);
        let kept = match damaged_before.is_some() {
            true => quarantine::keep(segment, later)?,
            false => Vec::new(),
        };
        // The last one first: what a crash leaves has no hole.
        for segment in later.iter().rev() {
            segment.remove_files()?;
        }
        if !later.is_empty() {
            // If they came back they would follow what is appended now.
            flush_directory(self.directory)?;
        }
        if zeroed && later_bytes == 0 && damaged_before.is_none() {
            // Allocated ahead, and as useful as before.
            return Ok(());
        }
        segment.trim()?;
        let file = segment.path().to_path_buf();
        let (position, reason) = (torn.position, torn.reason.clone());
        self.findings.push(match damaged_before {
            Some(recovery_offset) => Finding::Quarantined {
                file,
                position,
                log_end_offset,
                reason,
                recovery_offset,
                kept,
            },
            None => Finding::TailTruncated {
                file,
                position,
                bytes: length - torn.position + later_bytes,
                log_end_offset,
                reason,
            },
        });
        Ok(())
    }

    /// `None` where a crash may have torn what follows `log_end_offset`. Otherwise the offset below which
    /// everything had been there.
    fn damaged_before(&self, torn: &Torn, log_end_offset: i64) -> Option<i64> {
        let known = self.state.known_offset();
        if log_end_offset < known {
            Some(known)
        } else if self.state.is_all_written_there() && !torn.may_be_unfinished {
            // There was a record.
            Some(log_end_offset + 1)
        } else {
            None
        }
    }

    fn check_is_tail(
        &self,
        segment: &Segment,
        torn: &Torn,
        log_end_offset: i64,
    ) -> Result<(), OpenError> {
        match self.damaged_before(torn, log_end_offset) {
            Some(recovery_offset) if !self.state.keep_damaged => Err(OpenError::Corrupt {
                file: segment.path().to_path_buf(),
                position: torn.position,
                reason: torn.reason.clone(),
                recovery_offset,
            }),
            _ => Ok(()),
        }
    }

    fn check_nothing_is_missing(
        &mut self,
        segments: &[Arc<Segment>],
        log_end_offset: i64,
    ) -> Result<(), OpenError> {
        let recovery_offset = self.state.known_offset();
        let Some(last) = segments.last().filter(|_| log_end_offset < recovery_offset) else {
            return Ok(());
        };
        let file = last.path().to_path_buf();
        let position = last.size();
        let reason = format!("the log ends at offset {log_end_offset}");
        if !self.state.keep_damaged {
            return Err(OpenError::Corrupt {
                file,
                position,
                reason,
                recovery_offset,
            });
        }
        let is_quarantined = |finding: &Finding| matches!(finding, Finding::Quarantined { .. });
        if !self.findings.iter().any(is_quarantined) {
            self.findings.push(Finding::Quarantined {
                file,
                position,
                log_end_offset,
                reason,
                recovery_offset,
                kept: Vec::new(),
            });
        }
        Ok(())
    }
}

fn torn_or_failed(error: ScanError, segment: &Segment) -> Result<Torn, OpenError> {
    match error {
        ScanError::Bad {
            position, error, ..
        } => Ok(Torn {
            position,
            reason: error.to_string(),
            may_be_unfinished: false,
        }),
        ScanError::Io(source) => {
            let path = segment.path().to_path_buf();
            Err(StorageError {
                action: "read",
                path,
                source,
            }
            .into())
        }
    }
}
