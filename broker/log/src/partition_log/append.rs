//! Appending as the leader, and rolling segments.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foz_protocol::batch::{self, BatchHeader};
use parking_lot::MutexGuard;

use super::{PartitionLog, Writer};
use crate::active_segment::ActiveSegment;
use crate::config::{LogConfig, TimestampType};
use crate::disk_operations::DiskOperation;
use crate::error::{AppendError, StorageContext, StorageError};
use crate::index::IndexBuilder;
use crate::names::{SNAPSHOT_SUFFIX, offset_file};
use crate::producer_snapshot;
use crate::producer_state::{Circumstances, Sequence};
use crate::segment::Segment;
use crate::transaction_marker::TransactionMarker;
use crate::validate::{in_stored_compression, validate, validate_marker};
use crate::verifications::VerificationGuard;

const NOT_READABLE: &str = "not readable where a batch may be that came again";

/// Who wrote what a leader appends.
///
/// The first batch of a transaction needs the guard that [`PartitionLog::begin_verification`] has given before the
/// coordinator was asked; all others need none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer.
    Client(Option<VerificationGuard>),
    /// A coordinator, for a producer where it is part of a transaction (TxnOffsetCommit): such batches have no sequences.
    Coordinator(Option<VerificationGuard>),
}

impl AppendOrigin {
    fn is_coordinator(self) -> bool {
        matches!(self, Self::Coordinator(_))
    }

    fn guard(self) -> Option<VerificationGuard> {
        let (Self::Client(guard) | Self::Coordinator(guard)) = self;
        guard
    }
}

/// What became of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub first_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The broker's clock in ms where `message.timestamp.type` is `LogAppendTime`, else -1.
    pub log_append_time_ms: i64,
    /// First offset of the log, as a produce response tells it.
    pub log_start_offset: i64,
    /// The batch had been appended before; the offsets are those of then. It may not be flushed yet.
    pub duplicate: bool,
    /// A new segment was begun: [`crate::Flusher::appended`] has the one before flushed.
    pub rolled: bool,
}

impl PartitionLog {
    /// Appends what a producer sent for this partition: one or more whole batches. Their offsets and
    /// leader epoch (and timestamps, where `message.timestamp.type` says so) are set in `batches`, but where
    /// `compression.type` wants them in another codec: others are stored in their place then.
    ///
    /// The bytes are in the page cache afterwards and readers see them; see [`Self::flush`].
    ///
    /// # Errors
    /// [`AppendError`]; then nothing is appended.
    pub fn append_as_leader(
        &self,
        batches: &mut [u8],
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.append_from(AppendOrigin::Client(None), batches, leader_epoch, now_ms)
    }

    /// Like [`Self::append_as_leader`], where it matters who wrote it.
    ///
    /// # Errors
    /// [`AppendError`]; then nothing is appended.
    pub fn append_from(
        &self,
        origin: AppendOrigin,
        batches: &mut [u8],
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let config = self.config();
        let (mut headers, mut rebuilt) =
            validate(batches, origin.is_coordinator(), &config, now_ms)?;
        let batches = rebuilt.as_deref_mut().unwrap_or(batches);
        let mut writer = self.writer_in(leader_epoch)?;
        let writer = &mut *writer;
        if let Some(appended) = self.find_duplicate(writer, &headers, origin, &config, now_ms)? {
            return Ok(appended);
        }
        let placed = Placed {
            batches,
            headers: &mut headers,
            leader_epoch,
        };
        let appended = self.append_at_end(writer, placed, None, &config, now_ms)?;
        for header in &headers {
            self.data_is_there(writer, header);
        }
        self.tell_end(appended.last_offset + 1);
        Ok(appended)
    }

    /// The batches of a producer as they would be stored, where `compression.type` wants another codec: compressing takes long
    /// enough to be done before somebody waits for the append. What is already so is appended as it is.
    ///
    /// # Errors
    /// [`AppendError`], as from [`Self::append_from`].
    pub fn in_stored_compression(
        &self,
        batches: &[u8],
        now_ms: i64,
    ) -> Result<Option<Vec<u8>>, AppendError> {
        in_stored_compression(batches, &self.config(), now_ms)
    }

    /// Ends a transaction on this partition, as its coordinator decided. `transaction_version` is the one that the producer
    /// spoke: from 2 on each transaction has an epoch of its own. The same marker may come again.
    ///
    /// # Errors
    /// [`AppendError::InvalidProducerEpoch`] and [`AppendError::CoordinatorFenced`] for what comes too late, and the others;
    /// then nothing is appended.
    pub fn append_marker(
        &self,
        marker: TransactionMarker,
        transaction_version: i16,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let config = self.config();
        let (mut header, mut bytes) = validate_marker(marker, &config, now_ms)?;
        let mut writer = self.writer_in(leader_epoch)?;
        let writer = &mut *writer;
        writer
            .producers
            .check_marker(&marker, transaction_version)?;
        let placed = Placed {
            batches: &mut bytes,
            headers: std::slice::from_mut(&mut header),
            leader_epoch,
        };
        let appended = self.append_at_end(writer, placed, Some(&marker), &config, now_ms)?;
        self.marker_is_there(writer, &header, &marker);
        self.tell_end(appended.last_offset + 1);
        Ok(appended)
    }

    /// Whoever may append in `leader_epoch`.
    fn writer_in(&self, leader_epoch: i32) -> Result<MutexGuard<'_, Writer>, AppendError> {
        let writer = self.writer.lock();
        self.check_usable()
            .map_err(|why| AppendError::Unusable(self.partition.to_string(), why))?;
        self.check_leader_epoch(leader_epoch)?;
        Ok(writer)
    }

    /// What is appended is in the file afterwards, and nobody was told of it yet. `marker` is what the one batch says, if it is
    /// a marker.
    fn append_at_end(
        &self,
        writer: &mut Writer,
        placed: Placed<'_>,
        marker: Option<&TransactionMarker>,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let Placed {
            batches,
            headers,
            leader_epoch,
        } = placed;
        self.changed.store(true, Ordering::Release);
        let first_offset = self.log_end_offset();
        let last_offset = assign_offsets(batches, headers, first_offset, leader_epoch);

        let _under_way = self.handles.operations().begin(DiskOperation::Write);
        let length = batches.len() as u64;
        let rolled = writer
            .active
            .must_roll(headers, length, last_offset, config, now_ms);
        if rolled {
            self.roll(writer, now_ms)?;
        }
        if let Some(marker) = marker {
            self.write_ahead(writer, &headers[0], marker)?;
        }
        self.write(writer, batches, headers, config)?;
        if self
            .epochs
            .read()
            .latest()
            .is_none_or(|latest| latest.epoch < leader_epoch)
        {
            self.begin_leader_epoch(leader_epoch, first_offset);
        }
        Ok(Appended {
            first_offset,
            last_offset,
            log_append_time_ms: match config.message_timestamp_type {
                TimestampType::CreateTime => -1,
                TimestampType::LogAppendTime => now_ms,
            },
            log_start_offset: self.log_start_offset(),
            duplicate: false,
            rolled,
        })
    }

    /// To be called last: whoever reads sees what was appended from now on.
    pub(super) fn tell_end(&self, offset: i64) {
        self.log_end_offset.store(offset, Ordering::Release);
    }

    /// Into the active segment. To be called before the end of the log is told to anybody.
    pub(super) fn write(
        &self,
        writer: &mut Writer,
        bytes: &[u8],
        headers: &[BatchHeader],
        config: &LogConfig,
    ) -> Result<(), StorageError> {
        let is_first = writer.active.segment.size() == 0;
        writer.active.append(bytes, headers, config)?;
        if is_first {
            // With it came the files of its indexes.
            self.directory_changed.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// A leader of `epoch` takes over, even if it has written nothing yet (KIP-101). `now_ms` is by the clock of
    /// [`Self::append_as_leader`].
    pub fn assign_leader_epoch(&self, epoch: i32, now_ms: i64) {
        let mut writer = self.writer.lock();
        writer.leads_since_ms = Some(now_ms);
        self.begin_leader_epoch(epoch, self.log_end_offset());
    }

    fn check_leader_epoch(&self, leader_epoch: i32) -> Result<(), AppendError> {
        match self.epochs.read().latest() {
            Some(latest) if latest.epoch > leader_epoch => Err(AppendError::StaleLeaderEpoch {
                current: latest.epoch,
                found: leader_epoch,
            }),
            _ => Ok(()),
        }
    }

    fn find_duplicate(
        &self,
        writer: &mut Writer,
        headers: &[BatchHeader],
        origin: AppendOrigin,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<Option<Appended>, AppendError> {
        let [header] = headers else { return Ok(None) };
        if !header.has_producer_id() {
            return Ok(None);
        }
        // Of a producer with records as old as that nothing is remembered: it may not be new at all.
        let age_ms = now_ms.saturating_sub(header.max_timestamp);
        let is_remembered = age_ms < config.producer_id_expiration_ms;
        let since_ms = writer.leads_since_ms.filter(|_| is_remembered);
        let leads_for_ms = since_ms.map(|since_ms| now_ms - since_ms);
        let circumstances = Circumstances {
            is_of_coordinator: origin.is_coordinator(),
            leads_for_ms,
            verification: writer.verifications.get(header.producer_id),
            guard: origin.guard(),
        };
        let producers = &mut writer.producers;
        let mut sequence = producers.check(header, circumstances)?;
        if let Sequence::Earlier { upper_bound_offset } = sequence {
            // The log may be read the next time: retention takes segments away, and files can run out.
            let earlier = self
                .earlier_batches(header, upper_bound_offset)
                .map_err(|_| AppendError::Unusable(self.partition.to_string(), NOT_READABLE))?;
            producers.insert_earlier(header.producer_id, &earlier);
            sequence = producers.check(header, circumstances)?;
        }
        let Sequence::Duplicate(batch) = sequence else {
            return Ok(None);
        };
        let log_append_time_ms = match config.message_timestamp_type {
            TimestampType::CreateTime => -1,
            TimestampType::LogAppendTime => batch.timestamp_ms,
        };
        Ok(Some(Appended {
            first_offset: batch.first_offset(),
            last_offset: batch.last_offset,
            log_append_time_ms,
            log_start_offset: self.log_start_offset(),
            duplicate: true,
            rolled: false,
        }))
    }

    pub(super) fn begin_leader_epoch(&self, epoch: i32, start_offset: i64) {
        if self.epochs.write().assign(epoch, start_offset) {
            self.epochs_changed.store(true, Ordering::Release);
            self.changed.store(true, Ordering::Release);
        }
    }

    /// Begins a segment at the end of the log. After a failure the old one goes on.
    pub(super) fn roll(&self, writer: &mut Writer, now_ms: i64) -> Result<(), StorageError> {
        writer.active.seal()?;
        self.write_snapshot(writer)?;
        let base_offset = self.log_end_offset();
        let segment = Arc::new(Segment::create(
            &self.handles,
            &self.directory,
            base_offset,
        )?);
        self.directory_changed.store(true, Ordering::Release);
        let index = IndexBuilder::default();
        writer.active = ActiveSegment::new(Arc::clone(&segment), index, None, now_ms, 0);
        self.segments.write().insert(base_offset, segment);
        Ok(())
    }

    /// None is needed where the log begins. Not flushed here: its CRC tells a torn one, and then the log is walked.
    pub(super) fn write_snapshot(&self, writer: &Writer) -> Result<(), StorageError> {
        let offset = self.log_end_offset();
        if offset == self.first_segment().base_offset {
            return Ok(());
        }
        let path = offset_file(&self.directory, offset, SNAPSHOT_SUFFIX);
        let written = fs::write(&path, producer_snapshot::encode(&writer.producers));
        if written.is_err() {
            let _ = fs::remove_file(&path);
        }
        written.at("write", &path)
    }
}

/// What is to be appended.
struct Placed<'a> {
    batches: &'a mut [u8],
    headers: &'a mut [BatchHeader],
    leader_epoch: i32,
}

/// Returns the last offset.
fn assign_offsets(
    batches: &mut [u8],
    headers: &mut [BatchHeader],
    first_offset: i64,
    leader_epoch: i32,
) -> i64 {
    let mut offset = first_offset;
    let mut rest = batches;
    for header in headers {
        let (bytes, after) = rest.split_at_mut(header.total_length());
        batch::assign(bytes, offset, leader_epoch);
        header.base_offset = offset;
        header.partition_leader_epoch = leader_epoch;
        offset = header.next_offset();
        rest = after;
    }
    offset - 1
}
