//! What a follower does to its log, and what a leader asks its own on a follower's behalf.

use std::sync::atomic::Ordering;

use foz_canary::{Canary, sings};

use super::PartitionLog;
use super::transactions::Markers;
use crate::disk_operations::DiskOperation;
use crate::error::AppendError;
use crate::leader_epochs::EpochEnd;
use crate::replicated::{self, FollowedLeader};

/// What became of batches that came from the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendedByFollower {
    /// Offset of the first record; where nothing was appended, the end of the log.
    pub first_offset: i64,
    /// Offset of the last record; one less than `first_offset` where nothing was appended.
    pub last_offset: i64,
    /// A new segment was begun: [`crate::Flusher::appended`] has the one before flushed.
    pub rolled: bool,
}

impl PartitionLog {
    /// Appends what the leader answered to a fetch from this log's end: batches as it stores them, with
    /// offsets and epochs. They are checked (structure, CRC, that they follow), not judged again: no
    /// sequence of a producer is refused here that the leader has accepted. A batch at the end that is not
    /// there as a whole is left off.
    ///
    /// `leader` tells where compaction may have left gaps, now or in a time when the topic was compacted.
    ///
    /// The bytes are in the page cache afterwards; see [`Self::flush`].
    ///
    /// # Errors
    /// [`AppendError::CorruptFromLeader`], [`AppendError::NotNext`] and
    /// [`AppendError::StaleLeaderEpoch`]: nothing of them is appended. [`AppendError::Storage`]: what was
    /// appended before stays, go on at the end of the log.
    ///
    /// `NotNext` with `found` below `expected` on an empty log means that the leader's log starts within
    /// a batch (DeleteRecords): [`crate::LogDirectory::reset`] to `found`, then append again.
    pub fn append_as_follower(
        &self,
        batches: &[u8],
        leader: FollowedLeader,
        now_ms: i64,
    ) -> Result<AppendedByFollower, AppendError> {
        let config = self.config();
        let (headers, whole) = replicated::check(batches)?;
        let mut writer = self.writer.lock();
        self.check_usable()
            .map_err(|why| AppendError::Unusable(self.partition.to_string(), why))?;
        let first_offset = self.log_end_offset();
        let mut latest_epoch = self.latest_epoch();
        replicated::check_follows(&headers, first_offset, latest_epoch, leader)?;

        let (mut rest, mut bytes) = (headers.as_slice(), &batches[..whole]);
        if sings(Canary::FollowerSkipsBatch) && rest.len() > 8 {
            (rest, bytes) = (&rest[1..], &bytes[rest[0].total_length()..]);
        }
        let _under_way = self.handles.operations().begin(DiskOperation::Write);
        let markers = Markers::read(rest, bytes);
        let (mut rolled, mut at) = (false, 0);
        while !rest.is_empty() {
            self.changed.store(true, Ordering::Release);
            let together = &rest[..markers.written_together(at, rest.len())];
            let mut count = writer.active.room_for(together, &config, now_ms);
            if count == 0 {
                self.roll(&mut writer, now_ms)?;
                rolled = true;
                // An empty segment takes any batch.
                count = writer.active.room_for(together, &config, now_ms).max(1);
            }
            let (fitting, later) = rest.split_at(count);
            let length = fitting.iter().map(|header| header.total_length()).sum();
            let (now, after) = bytes.split_at(length);
            if let Some(marker) = markers.at(at) {
                self.write_ahead(&writer, &fitting[0], marker)?;
            }
            self.write(&mut writer, now, fitting, &config)?;
            for (n, header) in fitting.iter().enumerate() {
                match markers.at(at + n) {
                    Some(marker) => self.marker_is_there(&mut writer, header, marker),
                    None if sings(Canary::ProducerStateNotReplicated) => {}
                    None => self.data_is_there(&mut writer, header),
                }
                let epoch = header.partition_leader_epoch;
                if latest_epoch.is_none_or(|latest| latest < epoch) {
                    self.begin_leader_epoch(epoch, header.base_offset);
                    latest_epoch = Some(epoch);
                }
                self.tell_end(header.next_offset());
            }
            at += count;
            (rest, bytes) = (later, after);
        }
        Ok(AppendedByFollower {
            // Compaction may have left a gap before it.
            first_offset: headers.first().map_or(first_offset, |it| it.base_offset),
            last_offset: self.log_end_offset() - 1,
            rolled,
        })
    }

    /// The newest leader epoch that this log knows: what a follower says with each fetch (KIP-595).
    #[must_use]
    pub fn latest_epoch(&self) -> Option<i32> {
        self.latest_leader_epoch().map(|latest| latest.epoch)
    }

    /// As the leader: where the log of a follower that has read up to `fetch_offset` in
    /// `last_fetched_epoch` parts from this one (KIP-595). `None` when it is the same log up to there, and
    /// where this log cannot tell: no epoch was given (-1), or the offset is before its start, which
    /// [`Self::read`] refuses.
    #[must_use]
    pub fn divergence(&self, last_fetched_epoch: i32, fetch_offset: i64) -> Option<EpochEnd> {
        if fetch_offset < self.log_start_offset() {
            return None;
        }
        self.epochs
            .read()
            .divergence(last_fetched_epoch, fetch_offset, self.log_end_offset())
    }

    /// As a follower: moves the start of the log to the leader's, but never above the high watermark,
    /// which is to be set first. Returns the start as it is now.
    pub fn advance_log_start_offset_to(&self, leader_log_start_offset: i64) -> i64 {
        let _writer = self.writer.lock();
        if self.check_usable().is_ok() {
            self.set_log_start_offset(leader_log_start_offset.min(self.high_watermark()));
        }
        self.log_start_offset()
    }
}
