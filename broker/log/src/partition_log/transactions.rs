//! Transactions as the log sees them: which are open, which were aborted, how far everything is decided.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foz_protocol::batch::BatchHeader;

use super::{PartitionLog, Writer};
use crate::error::{AppendError, ReadError, StorageError};
use crate::transaction_index::AbortedTransaction;
use crate::transaction_marker::TransactionMarker;
use crate::verifications::VerificationGuard;

/// A producer that is remembered (DescribeProducers, KIP-664).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub producer_id: i64,
    /// Its newest epoch.
    pub producer_epoch: i16,
    /// Of its last record; -1 where there is none of this epoch.
    pub last_sequence: i32,
    /// Of its last batch or marker, in ms since 1970.
    pub last_timestamp_ms: i64,
    /// Of the coordinator that ended a transaction of it last; -1 where none did.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub current_transaction_first_offset: Option<i64>,
}

impl PartitionLog {
    /// Everything before is decided: no record there is of a transaction that is open, or whose end not every replica in sync
    /// has. At most the high watermark.
    #[must_use]
    pub fn last_stable_offset(&self) -> i64 {
        // In this order: what is below the high watermark was published before it.
        let high_watermark = self.high_watermark();
        match self.stability.first_unstable_offset() {
            // Of a transaction whose begin was deleted nothing is left before the start.
            Some(first) => high_watermark.min(first.max(self.log_start_offset())),
            None => high_watermark,
        }
    }

    /// Whether [`Self::aborted_in`] may find any from this offset on. Does not block.
    #[must_use]
    pub fn has_aborted_from(&self, offset: i64) -> bool {
        let last = self.stability.last_aborted_offset();
        last.is_some_and(|last| last >= offset)
    }

    /// The aborted transactions that have records, or had some, from `from_offset` to before `to_offset`: at most
    /// [`Self::last_stable_offset`], for what is not decided is not among them. By the offsets of their markers. Blocks: it reads
    /// files, and waits where the log is being cut.
    ///
    /// # Errors
    /// [`ReadError`]. [`ReadError::OffsetOutOfRange`] where retention has taken what lies at `from_offset`: whoever has read it
    /// before cannot tell any more what of it was aborted.
    pub fn aborted_in(
        &self,
        from_offset: i64,
        to_offset: i64,
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        if !self.has_aborted_from(from_offset) {
            return Ok(Vec::new());
        }
        self.between_changes(|| self.find_aborted(from_offset, to_offset))
    }

    fn find_aborted(
        &self,
        from_offset: i64,
        to_offset: i64,
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        self.check_readable()?;
        let with_entries: Vec<_> = {
            let segments = self.segments.read();
            // Segments go from the front: where this one is there, none behind it is missing.
            let Some((floor, _)) = segments.range(..=from_offset).next_back() else {
                return Err(ReadError::OffsetOutOfRange {
                    offset: from_offset,
                    start: *segments.keys().next().expect("a log has a segment"),
                    end: self.log_end_offset(),
                });
            };
            let segments = segments.range(*floor..).map(|(_, segment)| segment);
            let segments = segments.filter(|segment| segment.transaction_index.len() > 0);
            segments.map(Arc::clone).collect()
        };
        let mut found = Vec::new();
        for segment in with_entries {
            let index = &segment.transaction_index;
            match index.collect(from_offset, to_offset, &mut found) {
                Ok(true) => break,
                Ok(false) => {}
                // Retention may have removed the file meanwhile.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                    self.check_readable()?;
                    self.check_range(from_offset, self.log_end_offset())?;
                    return Err(ReadError::TransactionIndex(error));
                }
                Err(error) => return Err(ReadError::TransactionIndex(error)),
            }
        }
        Ok(found)
    }

    /// Before the coordinator is asked whether this partition is part of the transaction of `batch`, which a producer sent:
    /// what the batch is to be appended with afterwards. `None` where it need not be asked. `has_epoch_per_transaction`: the
    /// producer speaks `transaction.version` 2 or later.
    ///
    /// # Errors
    /// [`AppendError::InvalidProducerEpoch`].
    pub fn begin_verification(
        &self,
        batch: &BatchHeader,
        has_epoch_per_transaction: bool,
        now_ms: i64,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let mut writer = self.writer.lock();
        if !writer.producers.needs_verification(batch)? {
            return Ok(None);
        }
        let verifications = &mut writer.verifications;
        let guard = verifications.begin(batch, has_epoch_per_transaction, now_ms);
        Ok(Some(guard))
    }

    /// All that are remembered, by their ids.
    #[must_use]
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        let writer = self.writer.lock();
        let producers = writer.producers.iter();
        let mut active: Vec<_> = producers
            .map(|(id, producer)| ActiveProducer {
                producer_id: *id,
                producer_epoch: producer.epoch,
                last_sequence: producer.batches.back().map_or(-1, |it| it.last_sequence),
                last_timestamp_ms: producer.last_timestamp_ms,
                coordinator_epoch: producer.coordinator_epoch,
                current_transaction_first_offset: producer.current_transaction_first_offset,
            })
            .collect();
        drop(writer);
        active.sort_unstable_by_key(|producer| producer.producer_id);
        active
    }

    /// What the transaction index is to say of a transaction that `marker` aborts, before its batch is written: it counts with
    /// [`Self::marker_is_there`].
    pub(super) fn write_ahead(
        &self,
        writer: &Writer,
        batch: &BatchHeader,
        marker: &TransactionMarker,
    ) -> Result<(), StorageError> {
        let ended = writer.producers.ended_by(batch, marker);
        let Some(aborted) = ended.and_then(|ended| self.stability.aborted(&ended)) else {
            return Ok(());
        };
        let index = &writer.active.segment.transaction_index;
        let is_new = !index.exists();
        let written = index.write_ahead(&aborted);
        if is_new && index.exists() {
            self.directory_changed.store(true, Ordering::Release);
        }
        written
    }

    /// `batch`, which is no marker, is written, and nobody was told of it yet.
    pub(super) fn data_is_there(&self, writer: &mut Writer, batch: &BatchHeader) {
        if batch.is_control() && batch.record_count == 0 {
            writer.producers.record_emptied_marker(batch);
            return;
        }
        writer.verifications.appended(batch);
        if let Some(first_offset) = writer.producers.record(batch) {
            self.stability.began(first_offset);
        }
    }

    /// The batch of `marker` is written, and nobody was told of it yet.
    pub(super) fn marker_is_there(
        &self,
        writer: &mut Writer,
        batch: &BatchHeader,
        marker: &TransactionMarker,
    ) {
        writer.verifications.appended(batch);
        let Some(ended) = writer.producers.record_marker(batch, marker) else {
            return;
        };
        if let Some(aborted) = self.stability.aborted(&ended) {
            writer.active.segment.transaction_index.publish(&aborted);
        }
        self.stability.ended(&ended);
    }
}

/// The markers among batches, by their places.
pub(super) struct Markers {
    by_place: BTreeMap<usize, TransactionMarker>,
}

impl Markers {
    /// `headers` are of the batches in `bytes`. What nobody can say the meaning of is none.
    pub(super) fn read(headers: &[BatchHeader], bytes: &[u8]) -> Self {
        let (mut by_place, mut rest) = (BTreeMap::new(), bytes);
        if !headers.iter().any(BatchHeader::is_control) {
            return Self { by_place };
        }
        for (place, header) in headers.iter().enumerate() {
            let (batch, after) = rest.split_at(header.total_length());
            rest = after;
            if header.is_control()
                && header.has_producer_id()
                && let Ok(Some(marker)) = TransactionMarker::read(header, batch)
            {
                by_place.insert(place, marker);
            }
        }
        Self { by_place }
    }

    pub(super) fn at(&self, place: usize) -> Option<&TransactionMarker> {
        self.by_place.get(&place)
    }

    /// How many of the `count` batches from `from` on are written at once: what a marker aborts is written down right before
    /// that marker is, so it is the only one.
    pub(super) fn written_together(&self, from: usize, count: usize) -> usize {
        let aborts = |(_, marker): &(&usize, &TransactionMarker)| !marker.is_commit;
        match self.by_place.range(from..).find(aborts) {
            Some((place, _)) if *place == from => 1,
            Some((place, _)) => place - from,
            None => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::partition_log::new_log::new_log;

    /// The marker was not written, for want of room, and the log stops before it comes again.
    #[test]
    fn what_was_written_ahead_of_nothing_is_not_left_behind() {
        let data = tempfile::tempdir().unwrap();
        let log = new_log(data.path());
        let entry = AbortedTransaction {
            producer_id: 1,
            first_offset: 0,
            marker_offset: 1,
            last_stable_offset: 2,
        };
        let segment = Arc::clone(&log.writer.lock().active.segment);
        segment.transaction_index.write_ahead(&entry).unwrap();
        let path = log.directory().join("00000000000000000000.txnindex");
        assert_eq!(fs::metadata(&path).unwrap().len(), 34);
        log.close().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn an_abort_is_written_by_itself() {
        let marker = |is_commit| TransactionMarker {
            producer_id: 1,
            producer_epoch: 0,
            coordinator_epoch: 0,
            is_commit,
        };
        let by_place = [(1, marker(true)), (3, marker(false)), (4, marker(false))];
        let markers = Markers {
            by_place: by_place.into(),
        };
        for (from, expected) in [(0, 3), (1, 2), (3, 1), (4, 1), (5, 4)] {
            assert_eq!(markers.written_together(from, 9 - from), expected, "{from}");
        }
    }
}
