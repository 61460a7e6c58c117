//! Reading a partition for clients.

use std::sync::Arc;

use bytes::Bytes;
use foz_canary::{Canary, sings};
use foz_log::{PartitionLog, ReadError as LogReadError, StorageError};
use foz_metadata::Image;
use foz_protocol::batch::Batches;
use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{AbortedTransaction, IsolationLevel};
use foz_replication::{EpochEndOffset, ReplicaSelector};
use tracing::{error, warn};

use super::{FailedRead, Located, Partition};

/// Whoever is not further behind reads what was written a moment ago, from the page cache: that takes
/// less than handing over to another thread would.
const TAIL_RECORDS: i64 = 1_000;

/// What a consumer asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConsumerRead<'a> {
    pub(crate) offset: i64,
    /// As the client knows it; -1 for none.
    pub(crate) leader_epoch: i32,
    /// Of the record that it read before; -1 for none.
    pub(crate) last_fetched_epoch: i32,
    pub(crate) bytes_max: usize,
    pub(crate) at_least_one: bool,
    pub(crate) isolation_level: IsolationLevel,
    /// The consumer's; empty for none.
    pub(crate) rack: &'a str,
    pub(crate) selector: ReplicaSelector,
    /// KIP-392: a follower serves what it knows to be committed.
    pub(crate) may_read_from_follower: bool,
}

/// What a fetch gets.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) records: Vec<Bytes>,
    pub(crate) high_watermark: i64,
    /// As this replica knows it: not greater.
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start_offset: i64,
    /// Those that have records among `records`, for who reads committed ones only.
    pub(crate) aborted: Option<Vec<AbortedTransaction>>,
    /// Nothing was read: what the reader has is not of this log from here on.
    pub(crate) diverging_epoch: Option<EpochEndOffset>,
    /// Nothing was read: the consumer should ask this node.
    pub(crate) preferred_read_replica: Option<i32>,
}

/// Why a fetch gets nothing, with the bounds where they help (-1 where they do not).
#[derive(Debug)]
pub(crate) struct ReadError {
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
}

/// What ListOffsets can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OffsetQuery {
    Earliest,
    Latest,
    MaxTimestamp,
    Timestamp(i64),
}

/// An offset that was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundOffset {
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) leader_epoch: i32,
}

/// Where something may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    OfLeader,
    AnyReplica,
}

impl Partition {
    /// Whole batches, up to the high watermark; for who reads committed records only, up to the last stable offset.
    pub(crate) fn read(&self, wanted: &ConsumerRead<'_>, image: &Image) -> Result<Read, ReadError> {
        let failed = |error| ReadError {
            error,
            high_watermark: -1,
            log_start_offset: -1,
        };
        let reader = if wanted.may_read_from_follower {
            Reader::AnyReplica
        } else {
            Reader::OfLeader
        };
        self.check_reader(wanted.leader_epoch, reader)
            .map_err(failed)?;
        let &ConsumerRead {
            offset,
            bytes_max,
            at_least_one,
            ..
        } = wanted;
        // Bounds before the data, so that an answer never shows records beyond its high watermark.
        let high_watermark = if sings(Canary::ConsumerReadsAboveHighWatermark) {
            self.log().log_end_offset()
        } else {
            self.high_watermark()
        };
        let last_stable_offset = self.log().last_stable_offset().min(high_watermark);
        let log_start_offset = self.log().log_start_offset();
        let preferred_read_replica =
            self.preferred_read_replica(wanted.selector, wanted.rack, offset, image);
        let nothing = Read {
            records: Vec::new(),
            high_watermark,
            last_stable_offset,
            log_start_offset,
            aborted: None,
            diverging_epoch: None,
            preferred_read_replica,
        };
        if preferred_read_replica.is_some() {
            return Ok(nothing);
        }
        let out_of_range = ReadError {
            error: ErrorCode::OffsetOutOfRange,
            high_watermark,
            log_start_offset,
        };
        if wanted.last_fetched_epoch >= 0 {
            let log = self.log();
            let end = log.end_offset_for_epoch(wanted.last_fetched_epoch);
            // A follower is told where the newest epoch ends, to truncate its log there. A consumer has nothing to
            // truncate: as in Kafka, it has to begin anew where its epoch is not known here.
            let Some((epoch, end_offset)) = end.filter(|_| offset >= log_start_offset) else {
                return Err(out_of_range);
            };
            if epoch < wanted.last_fetched_epoch || end_offset < offset {
                return Ok(Read {
                    diverging_epoch: Some(EpochEndOffset { epoch, end_offset }),
                    ..nothing
                });
            }
        }
        let read = match wanted.isolation_level {
            IsolationLevel::ReadUncommitted => self
                .read_records(offset, bytes_max, high_watermark, at_least_one)
                .map(|bytes| (bytes, None)),
            IsolationLevel::ReadCommitted => self
                .read_committed(offset, bytes_max, last_stable_offset, at_least_one)
                .map(|(bytes, aborted)| (bytes, Some(aborted))),
        };
        match read {
            Ok((bytes, aborted)) => Ok(Read {
                records: if bytes.is_empty() {
                    Vec::new()
                } else {
                    vec![bytes]
                },
                aborted,
                ..nothing
            }),
            Err(FailedRead {
                reason: LogReadError::OffsetOutOfRange { .. },
                ..
            }) => Err(out_of_range),
            Err(read) => {
                let reason = &read.reason;
                error!(partition = self.name(), offset, %reason, "read failed");
                self.cannot_read(offset, &read);
                Err(failed(self.read_failed(&read)))
            }
        }
    }

    /// Up to `end`.
    pub(super) fn read_records(
        &self,
        offset: i64,
        bytes_max: usize,
        end: i64,
        at_least_one: bool,
    ) -> Result<Bytes, FailedRead> {
        let read = || self.read_log(|log| log.read(offset, bytes_max, end, at_least_one));
        if end.saturating_sub(offset) > TAIL_RECORDS {
            // Perhaps from a disk: others must not wait for it.
            tokio::task::block_in_place(read)
        } else {
            read()
        }
    }

    /// Up to `end`, with the transactions that have records among them and were aborted.
    fn read_committed(
        &self,
        offset: i64,
        bytes_max: usize,
        end: i64,
        at_least_one: bool,
    ) -> Result<(Bytes, Vec<AbortedTransaction>), FailedRead> {
        let read = || {
            self.read_log(|log| {
                let bytes = log.read(offset, bytes_max, end, at_least_one)?;
                let aborted = aborted_among(log, offset, &bytes)?;
                Ok((bytes, aborted))
            })
        };
        match end.saturating_sub(offset) > TAIL_RECORDS {
            true => tokio::task::block_in_place(read),
            false => read(),
        }
    }

    /// What to tell whoever wanted to read; damage is seen to.
    pub(super) fn read_failed(&self, read: &FailedRead) -> ErrorCode {
        if self.role.read().leader_epoch().is_none() {
            // The log went away in the middle of the read: it was deleted, or its replica moved elsewhere.
            return ErrorCode::NotLeaderOrFollower;
        }
        if let LogReadError::Corrupt { offset, .. } = read.reason {
            self.found_damage(&read.located, offset);
        }
        read.reason.error_code()
    }

    /// See [`Self::disk_does_not_give`].
    pub(super) fn cannot_read(&self, offset: i64, read: &FailedRead) {
        match &read.reason {
            LogReadError::Storage(error) => {
                self.disk_does_not_give(&read.located, offset, error);
            }
            // The log itself is whole.
            LogReadError::TransactionIndex(error) => {
                read.located.directory.failure().storage_failed(error);
                rebuild_transaction_index(&read.located, error);
            }
            _ => {}
        }
    }

    /// What the disk does not give, though it takes what is written, is damaged.
    pub(super) fn disk_does_not_give(&self, located: &Located, offset: i64, error: &StorageError) {
        let failure = located.directory.failure();
        failure.storage_failed(error);
        if error.is_of_disk() && !failure.has_failed() {
            self.found_damage(located, offset);
        }
    }

    /// Answers ListOffsets. `None`: there is no such record. Who reads committed records only has none from the last stable offset
    /// on.
    pub(crate) fn find_offset(
        &self,
        query: OffsetQuery,
        isolation_level: IsolationLevel,
        client_epoch: i32,
    ) -> Result<Option<FoundOffset>, ErrorCode> {
        let leader_epoch = self.check_reader(client_epoch, Reader::OfLeader)?;
        // KIP-207: until the new leader knows what earlier ones committed, its high watermark may be
        // behind what clients have seen.
        let is_known = self.knows_what_is_committed() || sings(Canary::EndOffsetToldTooEarly);
        if !matches!(query, OffsetQuery::Earliest) && !is_known {
            return Err(ErrorCode::OffsetNotAvailable);
        }
        let end = match isolation_level {
            IsolationLevel::ReadUncommitted => self.high_watermark(),
            IsolationLevel::ReadCommitted => self.log().last_stable_offset(),
        };
        let bound = |offset: i64, epoch: Option<i32>| {
            Ok(Some(FoundOffset {
                offset,
                timestamp_ms: -1,
                leader_epoch: epoch.unwrap_or(-1),
            }))
        };
        let found = match query {
            OffsetQuery::Earliest => {
                let log = self.log();
                let start = log.log_start_offset();
                return bound(start, log.leader_epoch_at(start));
            }
            OffsetQuery::Latest => return bound(end, Some(leader_epoch)),
            OffsetQuery::MaxTimestamp => self.read_log(|log| log.offset_of_max_timestamp(end)),
            OffsetQuery::Timestamp(timestamp_ms) => {
                self.read_log(|log| log.offset_for_timestamp(timestamp_ms, end))
            }
        };
        match found {
            Ok(found) => Ok(found.map(|found| FoundOffset {
                offset: found.offset,
                timestamp_ms: found.timestamp_ms,
                leader_epoch: found.leader_epoch,
            })),
            Err(read) => {
                let reason = &read.reason;
                error!(partition = self.name(), %reason, "search by time failed");
                Err(self.read_failed(&read))
            }
        }
    }

    /// The greatest epoch not above `epoch`, and where it ended; -1 where the log cannot say.
    pub(crate) fn end_of_epoch(
        &self,
        epoch: i32,
        client_epoch: i32,
    ) -> Result<(i32, i64), ErrorCode> {
        self.check_reader(client_epoch, Reader::OfLeader)?;
        Ok(self.log().end_offset_for_epoch(epoch).unwrap_or((-1, -1)))
    }

    /// The leader epoch of which this broker is part, if `reader` may read here.
    fn check_reader(&self, client_epoch: i32, reader: Reader) -> Result<i32, ErrorCode> {
        let role = self.role.read();
        let own = role.leader_epoch().ok_or(ErrorCode::NotLeaderOrFollower)?;
        // First, as in Kafka: a follower that has not heard of its own election is behind, not wrong.
        Self::check_epoch(own, client_epoch)?;
        if reader == Reader::OfLeader && role.leading().is_none() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(own)
    }
}

/// In the background, for as long as it takes to read a segment: whoever reads committed records meanwhile is told to come again.
fn rebuild_transaction_index(located: &Arc<Located>, error: &StorageError) {
    let (located, file) = (Arc::clone(located), error.path.clone());
    tokio::task::spawn_blocking(move || match located.log.rebuild_transaction_index(&file) {
        Ok(true) => warn!(file = %file.display(), "what was aborted there is known again"),
        Ok(false) => {}
        Err(error) => {
            error!(file = %file.display(), %error, "it cannot be said what was aborted there");
            if located.log.has_failed() {
                (located.directory.failure()).log_stopped(located.log.partition(), &error);
            } else {
                located.directory.failure().open_failed(&error);
            }
        }
    });
}

/// Of `bytes`, whole batches that were read at `offset`.
fn aborted_among(
    log: &PartitionLog,
    offset: i64,
    bytes: &[u8],
) -> Result<Vec<AbortedTransaction>, LogReadError> {
    // Most logs have none, and their batches are not looked at.
    if !log.has_aborted_from(offset) || sings(Canary::AbortedTransactionsUntold) {
        return Ok(Vec::new());
    }
    let headers = Batches::new(bytes).map_while(Result::ok);
    let Some((last, _)) = headers.last() else {
        return Ok(Vec::new());
    };
    let aborted = log.aborted_in(offset, last.next_offset())?;
    let aborted = aborted.into_iter().map(|it| AbortedTransaction {
        producer_id: it.producer_id,
        first_offset: it.first_offset,
    });
    Ok(aborted.collect())
}
