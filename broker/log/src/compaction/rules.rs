//! What stays of a log when it is compacted: the rules of Kafka's log cleaner, one batch at a time. Pure.
//!
//! - Of each key the newest record stays. Records without a key and records of aborted transactions go.
//! - A tombstone stays for `delete.retention.ms` after the first pass that met it, so that who began to read
//!   before hears of the deletion. The time when it may go is written into the batch (KIP-534).
//! - So is the marker of a transaction, from the first pass on that met no batch of its transaction.
//! - Offsets never change. A batch that loses records keeps its base offset, its last offset and its sequences.
//! - What nothing is known of yet, behind the end of the map, stays as it is.
//!
//! A batch that loses all its records goes, but for these, which stay as empty headers:
//! - The last batches of a producer that is known, up to five: its sequence is counted on from there (KIP-98), each
//!   of them may come again, and after a start the log alone tells that they came before. Kafka keeps the last one.
//! - The first batch of a leader epoch: recovery and followers learn from the log where an epoch began, and a
//!   wrong begin would hide that two logs have parted (KIP-101). Kafka has only a file for that.
//! - The last batch of a segment that is written: segments end where the next one begins, so that a segment
//!   that is missing can be told from one that was compacted, and no segment is ever empty. Kafka keeps the last
//!   one of a pass.

use std::collections::HashMap;

use foz_protocol::batch::BatchHeader;
use foz_protocol::record::{BuildError, Record, RecordError, Records, record_bytes};

use super::offset_map::{Full, KEYS_AT_ONCE, KeyHash, OffsetMap};
use super::rewrite::{self, Kept};
use super::transactions::{AbortedTransaction, Transactions};
use crate::rebuilt_batch::RebuildError;
use crate::transaction_marker::ControlType;
use crate::validate::DECOMPRESSED_BYTES_MAX;

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    Drop,
    /// These bytes take its place.
    Rewrite(Vec<u8>),
}

/// Why a batch cannot be judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum JudgeError {
    /// What is stored is not what it should be.
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl From<RebuildError> for JudgeError {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Record(error) => Self::Record(error),
            RebuildError::Build(error) => Self::Build(error),
        }
    }
}

/// What is known of a producer that may still go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastOfProducer {
    /// Where the first of its last batches ends that may come again.
    Data { first_last_offset: i64 },
    /// Only markers of this epoch.
    Marker { epoch: i16 },
}

/// The keys of a batch and their offsets, for the map. Aborted ones are left out. A batch that may not fit leaves the
/// map as it is, unless that is empty; then it is empty again afterwards.
pub(super) fn put_keys(
    map: &mut OffsetMap,
    transactions: &mut Transactions<'_>,
    header: &BatchHeader,
    batch: &[u8],
    from_offset: i64,
) -> Result<Result<(), Full>, RecordError> {
    if header.is_control() {
        let marker = read_marker(header, batch)?;
        if let Some(marker) = marker {
            transactions.has_served(header, marker);
        }
        return Ok(Ok(()));
    }
    if transactions.is_aborted(header) {
        return Ok(Ok(()));
    }
    // So the map tells everything of what lies before its end, and nothing of what comes after.
    let records = usize::try_from(header.record_count).unwrap_or(0);
    if map.len() > 0 && !map.has_room_for(records) {
        return Ok(Err(Full));
    }
    let bytes = record_bytes(header, batch, DECOMPRESSED_BYTES_MAX)?;
    let mut records = Records::new(header, &bytes);
    let mut keys: Vec<(KeyHash, i64)> = Vec::with_capacity(KEYS_AT_ONCE);
    loop {
        keys.clear();
        for record in records.by_ref().take(KEYS_AT_ONCE) {
            let record = record?;
            let offset = record.offset(header);
            if let Some(key) = record.key.filter(|_| offset >= from_offset) {
                keys.push((map.hash(key), offset));
            }
        }
        map.fetch(keys.iter().map(|(hash, _)| *hash));
        for (hash, offset) in &keys {
            if let Err(full) = map.put(*hash, *offset) {
                map.clear();
                return Ok(Err(full));
            }
        }
        if records.rest().is_empty() {
            // After the last record it is known whether there were as many as the header says.
            return records.next().transpose().map(|_| Ok(()));
        }
    }
}

/// What a control batch says; `None` for one that is empty.
pub(super) fn read_marker(
    header: &BatchHeader,
    batch: &[u8],
) -> Result<Option<ControlType>, RecordError> {
    let bytes = record_bytes(header, batch, DECOMPRESSED_BYTES_MAX)?;
    let first = Records::new(header, &bytes).next().transpose()?;
    Ok(first.map(|record| ControlType::parse(record.key)))
}

/// A walk over the log from its begin on that decides about each batch.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) map: &'a OffsetMap,
    /// The last one that the map tells of.
    pub(super) latest_offset: i64,
    pub(super) now_ms: i64,
    /// What has a delete horizon up to here goes.
    passed_horizon_ms: i64,
    pub(super) delete_retention_ms: i64,
    pub(super) producers: &'a HashMap<i64, LastOfProducer>,
    transactions: Transactions<'a>,
    leader_epoch: Option<i32>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        map: &'a OffsetMap,
        latest_offset: i64,
        now_ms: i64,
        delete_retention_ms: i64,
        producers: &'a HashMap<i64, LastOfProducer>,
        aborted: &'a [AbortedTransaction],
    ) -> Self {
        Self {
            map,
            latest_offset,
            now_ms,
            passed_horizon_ms: now_ms,
            delete_retention_ms,
            producers,
            transactions: Transactions::new(aborted),
            leader_epoch: None,
        }
    }

    /// Tombstones and markers stay, however long they have been there.
    pub(super) fn keep_horizons(&mut self) {
        self.passed_horizon_ms = i64::MIN;
    }

    /// `batch`, whose CRC is right, comes after all those that were judged before. `ends_segment`: it is the
    /// last one of the segment that is written.
    pub(super) fn judge(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        ends_segment: bool,
    ) -> Result<Fate, JudgeError> {
        let leader_epoch = self.leader_epoch.replace(header.partition_leader_epoch);
        if header.base_offset > self.latest_offset {
            return Ok(Fate::Keep);
        }
        let begins_epoch = leader_epoch != Some(header.partition_leader_epoch);
        let stays = begins_epoch || ends_segment || self.is_last_of_producer(header);
        if header.is_control() {
            self.judge_control(header, batch, stays)
        } else if self.transactions.is_aborted(header) {
            emptied(header, stays)
        } else {
            self.judge_data(header, batch, stays)
        }
    }

    fn judge_control(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        stays: bool,
    ) -> Result<Fate, JudgeError> {
        let bytes = record_bytes(header, batch, DECOMPRESSED_BYTES_MAX)?;
        let mut records = Records::new(header, &bytes);
        let Some(record) = records.next().transpose()? else {
            return emptied(header, stays);
        };
        let served = self
            .transactions
            .has_served(header, ControlType::parse(record.key));
        if !served {
            return Ok(Fate::Keep);
        }
        if header.has_delete_horizon() {
            return if header.base_timestamp <= self.passed_horizon_ms {
                emptied(header, stays)
            } else {
                Ok(Fate::Keep)
            };
        }
        let kept = Kept {
            bytes: &bytes,
            count: header.record_count,
            max_timestamp: header.max_timestamp,
        };
        let rewritten = rewrite::with_delete_horizon(header, kept, self.new_delete_horizon_ms())?;
        Ok(Fate::Rewrite(rewritten))
    }

    fn judge_data(
        &self,
        header: &BatchHeader,
        batch: &[u8],
        stays: bool,
    ) -> Result<Fate, JudgeError> {
        let bytes = record_bytes(header, batch, DECOMPRESSED_BYTES_MAX)?;
        let mut records = Records::new(header, &bytes);
        // Made when the first record goes: most batches that were compacted before stay as they are.
        let mut kept_bytes: Option<Vec<u8>> = None;
        let (mut count, mut max_timestamp, mut has_tombstone) = (0, i64::MIN, false);
        let mut some = Vec::with_capacity(KEYS_AT_ONCE);
        loop {
            some.clear();
            while some.len() < KEYS_AT_ONCE {
                let from = bytes.len() - records.rest().len();
                let Some(record) = records.next().transpose()? else {
                    break;
                };
                let to = bytes.len() - records.rest().len();
                let hash = record.key.map(|key| self.map.hash(key));
                some.push((from..to, record, hash));
            }
            if some.is_empty() {
                break;
            }
            self.map.fetch(some.iter().filter_map(|(_, _, hash)| *hash));
            for (range, record, hash) in &some {
                if !self.stays(header, record, *hash) {
                    kept_bytes.get_or_insert_with(|| bytes[..range.start].to_vec());
                    continue;
                }
                if let Some(kept) = &mut kept_bytes {
                    kept.extend_from_slice(&bytes[range.clone()]);
                }
                count += 1;
                max_timestamp = max_timestamp.max(record.timestamp(header));
                has_tombstone |= record.value.is_none();
            }
        }
        if count == 0 {
            return emptied(header, stays);
        }
        let kept = Kept {
            bytes: kept_bytes.as_deref().unwrap_or(&bytes),
            count,
            max_timestamp,
        };
        if has_tombstone && !header.has_delete_horizon() {
            let horizon_ms = self.new_delete_horizon_ms();
            let rewritten = rewrite::with_delete_horizon(header, kept, horizon_ms)?;
            return Ok(Fate::Rewrite(rewritten));
        }
        if kept_bytes.is_none() {
            return Ok(Fate::Keep);
        }
        Ok(Fate::Rewrite(rewrite::with_records(header, kept)?))
    }

    /// `key` is the hash of its key.
    fn stays(&self, header: &BatchHeader, record: &Record<'_>, key: Option<KeyHash>) -> bool {
        let offset = record.offset(header);
        if offset > self.latest_offset {
            return true;
        }
        let Some(key) = key else {
            return false;
        };
        let may_go = record.value.is_none()
            && header.has_delete_horizon()
            && header.base_timestamp <= self.passed_horizon_ms;
        !may_go && self.map.get(key).is_none_or(|newest| offset >= newest)
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        header.has_producer_id()
            && match self.producers.get(&header.producer_id) {
                Some(LastOfProducer::Data { first_last_offset }) => {
                    !header.is_control() && header.last_offset() >= *first_last_offset
                }
                Some(LastOfProducer::Marker { epoch }) => {
                    header.is_control() && header.producer_epoch == *epoch
                }
                None => false,
            }
    }

    fn new_delete_horizon_ms(&self) -> i64 {
        self.now_ms.saturating_add(self.delete_retention_ms)
    }
}

/// Nothing is left of a batch but perhaps its header.
fn emptied(header: &BatchHeader, stays: bool) -> Result<Fate, JudgeError> {
    Ok(match (stays, header.record_count) {
        (false, _) => Fate::Drop,
        (true, 0) => Fate::Keep,
        (true, _) => Fate::Rewrite(rewrite::without_records(header)?),
    })
}
