//! The partitions that this broker holds: logs with a leadership and with those who wait for them.

mod log_config;
mod registry;
mod replay;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use foz_log::{AppendError, Flusher, PartitionLog, ReadError as LogReadError};
use foz_protocol::error::ErrorCode;
use tokio::sync::Notify;
use tracing::error;

pub(crate) use registry::Partitions;
use waiters::Waiters;

/// The leader epoch of a partition that this broker does not lead.
const NOT_LED: i32 = -1;

/// Whoever is not further behind reads what was written a moment ago, from the page cache: that takes
/// less than handing over to another thread would.
const TAIL_RECORDS: i64 = 1_000;

/// A partition with a single replica, which is here.
#[derive(Debug)]
pub(crate) struct Partition {
    log: Arc<PartitionLog>,
    flusher: Arc<Flusher>,
    /// [`NOT_LED`], or the epoch in which this broker leads.
    leader_epoch: AtomicI32,
    /// Woken when the high watermark or the leadership moves.
    pub(crate) moved: Waiters,
}

/// Where records were appended.
#[derive(Debug)]
pub(crate) struct Produced {
    pub(crate) base_offset: i64,
    /// Set where the topic uses the broker's clock.
    pub(crate) log_append_time_ms: Option<i64>,
    /// The high watermark at which they are safe.
    end_offset: i64,
    leader_epoch: i32,
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) enum ProduceError {
    NotLeader,
    Append(AppendError),
}

/// What a fetch gets.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) records: Vec<Bytes>,
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
}

/// Why a fetch gets nothing, with the bounds where they help (-1 where they do not).
#[derive(Debug)]
pub(crate) struct ReadError {
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
}

/// What ListOffsets can ask for.
#[derive(Debug, Clone, Copy)]
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

impl Partition {
    fn new(log: Arc<PartitionLog>, flusher: Arc<Flusher>) -> Self {
        // What recovery kept is all there is, with a single replica.
        log.set_high_watermark(log.flushed_offset());
        Self {
            log,
            flusher,
            leader_epoch: AtomicI32::new(NOT_LED),
            moved: Waiters::default(),
        }
    }

    /// `topic-index`.
    pub(crate) fn name(&self) -> String {
        self.log.partition().to_string()
    }

    pub(crate) fn log_start_offset(&self) -> i64 {
        self.log.log_start_offset()
    }

    /// Appends what a client produced.
    pub(crate) fn append(&self, batches: BytesMut) -> Result<Produced, ProduceError> {
        let leader_epoch = self.led().ok_or(ProduceError::NotLeader)?;
        self.append_in_epoch(leader_epoch, batches)
    }

    /// Appends for somebody who may write in this leader epoch only.
    pub(crate) fn append_in_epoch(
        &self,
        leader_epoch: i32,
        mut batches: BytesMut,
    ) -> Result<Produced, ProduceError> {
        if self.led() != Some(leader_epoch) {
            return Err(ProduceError::NotLeader);
        }
        let appended = self
            .log
            .append_as_leader(&mut batches, leader_epoch, wall_clock_ms())
            .map_err(ProduceError::Append)?;
        self.after_append();
        Ok(Produced {
            base_offset: appended.first_offset,
            log_append_time_ms: (appended.log_append_time_ms >= 0)
                .then_some(appended.log_append_time_ms),
            end_offset: appended.last_offset + 1,
            leader_epoch,
        })
    }

    /// Waits until what was produced is safe.
    ///
    /// # Errors
    /// When the leadership ends first: the records may or may not survive.
    pub(crate) async fn acknowledged(&self, produced: &Produced) -> Result<(), ErrorCode> {
        self.safe_to(produced.end_offset, produced.leader_epoch)
            .await
    }

    /// Waits until everything is safe that was appended before this call.
    ///
    /// # Errors
    /// When the leadership of this epoch ends first.
    pub(crate) async fn all_acknowledged(&self, leader_epoch: i32) -> Result<(), ErrorCode> {
        self.safe_to(self.log.log_end_offset(), leader_epoch).await
    }

    async fn safe_to(&self, end_offset: i64, leader_epoch: i32) -> Result<(), ErrorCode> {
        loop {
            if self.high_watermark() >= end_offset {
                return Ok(());
            }
            let waiter = Arc::new(Notify::new());
            self.moved.register(&waiter);
            if self.high_watermark() >= end_offset {
                return Ok(());
            }
            if self.led() != Some(leader_epoch) {
                return Err(ErrorCode::NotLeaderOrFollower);
            }
            waiter.notified().await;
        }
    }

    /// Whole batches from `offset` on, up to the high watermark.
    pub(crate) fn read(
        &self,
        offset: i64,
        client_epoch: i32,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Read, ReadError> {
        let failed = |error| ReadError {
            error,
            high_watermark: -1,
            log_start_offset: -1,
        };
        self.check_epoch(client_epoch).map_err(failed)?;
        // Bounds before the data, so that an answer never shows records beyond its high watermark.
        let high_watermark = self.high_watermark();
        let log_start_offset = self.log.log_start_offset();
        let read = || {
            self.log
                .read(offset, bytes_max, high_watermark, at_least_one)
        };
        let read = if high_watermark.saturating_sub(offset) > TAIL_RECORDS {
            // Perhaps from a disk: others must not wait for it.
            tokio::task::block_in_place(read)
        } else {
            read()
        };
        match read {
            Ok(bytes) => {
                let records = if bytes.is_empty() {
                    Vec::new()
                } else {
                    vec![bytes]
                };
                Ok(Read {
                    records,
                    high_watermark,
                    log_start_offset,
                })
            }
            Err(LogReadError::OffsetOutOfRange { .. }) => Err(ReadError {
                error: ErrorCode::OffsetOutOfRange,
                high_watermark,
                log_start_offset,
            }),
            Err(reason) => {
                error!(partition = self.name(), offset, %reason, "read failed");
                Err(failed(ErrorCode::KafkaStorageError))
            }
        }
    }

    /// Answers ListOffsets. `None`: there is no such record.
    pub(crate) fn find_offset(
        &self,
        query: OffsetQuery,
        client_epoch: i32,
    ) -> Result<Option<FoundOffset>, ErrorCode> {
        self.check_epoch(client_epoch)?;
        let high_watermark = self.high_watermark();
        let bound = |offset: i64, epoch: Option<i32>| {
            Ok(Some(FoundOffset {
                offset,
                timestamp_ms: -1,
                leader_epoch: epoch.unwrap_or(-1),
            }))
        };
        let found = match query {
            OffsetQuery::Earliest => {
                let start = self.log.log_start_offset();
                return bound(start, self.log.leader_epoch_at(start));
            }
            OffsetQuery::Latest => return bound(high_watermark, self.led()),
            OffsetQuery::MaxTimestamp => self.log.offset_of_max_timestamp(high_watermark),
            OffsetQuery::Timestamp(timestamp_ms) => {
                self.log.offset_for_timestamp(timestamp_ms, high_watermark)
            }
        };
        match found {
            Ok(found) => Ok(found.map(|found| FoundOffset {
                offset: found.offset,
                timestamp_ms: found.timestamp_ms,
                leader_epoch: found.leader_epoch,
            })),
            Err(reason) => {
                error!(partition = self.name(), %reason, "search by time failed");
                Err(ErrorCode::KafkaStorageError)
            }
        }
    }

    /// The greatest epoch not above `epoch`, and where it ended; -1 where the log cannot say.
    pub(crate) fn end_of_epoch(
        &self,
        epoch: i32,
        client_epoch: i32,
    ) -> Result<(i32, i64), ErrorCode> {
        self.check_epoch(client_epoch)?;
        Ok(self.log.end_offset_for_epoch(epoch).unwrap_or((-1, -1)))
    }

    /// Leads from now on, in this epoch.
    fn lead(&self, leader_epoch: i32) {
        self.log.assign_leader_epoch(leader_epoch);
        self.leader_epoch.store(leader_epoch, Ordering::Release);
        self.moved.wake();
    }

    /// Leads no longer; those who wait are told.
    fn resign(&self) {
        self.leader_epoch.store(NOT_LED, Ordering::Release);
        self.moved.wake();
    }

    /// The epoch in which this broker leads, if it does.
    fn led(&self) -> Option<i32> {
        let epoch = self.leader_epoch.load(Ordering::Acquire);
        (epoch != NOT_LED).then_some(epoch)
    }

    fn high_watermark(&self) -> i64 {
        self.log.high_watermark()
    }

    /// KIP-320: a client that knows an older leader must look again, one that knows a newer leader must
    /// wait for this broker to hear of it.
    fn check_epoch(&self, client_epoch: i32) -> Result<(), ErrorCode> {
        let led = self.led().ok_or(ErrorCode::NotLeaderOrFollower)?;
        match client_epoch {
            -1 => Ok(()),
            epoch if epoch < led => Err(ErrorCode::FencedLeaderEpoch),
            epoch if epoch > led => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    fn after_append(&self) {
        if self.log.config().flush_before_acknowledge {
            self.flusher.request(&self.log);
        } else {
            self.advance(self.log.log_end_offset());
        }
    }

    /// Records below `to` are safe by the rules of the partition, and visible from now on.
    fn advance(&self, to: i64) {
        if self.log.high_watermark() < to {
            self.log.set_high_watermark(to);
            self.moved.wake();
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_clock_ms() -> i64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since_1970.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use foz_log::TopicPartition;
    use foz_log::{FileHandles, FlushObserver, LogConfig, LogDirectory, StorageError};
    use foz_protocol::codec::Compression;
    use foz_protocol::record::{BatchBuilder, RecordToWrite};
    use uuid::Uuid;

    use super::*;

    struct Unheard;

    impl FlushObserver for Unheard {
        fn flushed(&self, _: &Arc<PartitionLog>, _: i64) {}
        fn failed(&self, _: &Arc<PartitionLog>, error: &StorageError) {
            panic!("{error}");
        }
    }

    fn batch() -> BytesMut {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&RecordToWrite {
            timestamp_ms: wall_clock_ms(),
            value: Some(b"one"),
            ..RecordToWrite::default()
        });
        BytesMut::from(builder.build().unwrap().as_slice())
    }

    /// Nobody tells it what was flushed.
    fn partition(path: &std::path::Path) -> Partition {
        let handles = FileHandles::new(10);
        let config = |_: &TopicPartition, _| LogConfig::default();
        let (directory, _) =
            LogDirectory::open(path, 1, &handles, wall_clock_ms(), &config, &|_| {}).unwrap();
        let flushing = LogConfig {
            flush_before_acknowledge: true,
            ..LogConfig::default()
        };
        let name = TopicPartition::new("orders".to_owned(), 0);
        let log = directory.create(name, Uuid::from_u128(1), flushing, wall_clock_ms());
        let flusher = Flusher::start(Arc::new(Unheard)).unwrap();
        Partition::new(log.unwrap(), Arc::new(flusher))
    }

    #[test]
    fn who_coordinated_in_an_earlier_epoch_adds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let partition = partition(dir.path());
        partition.lead(1);
        partition.append_in_epoch(1, batch()).unwrap();
        partition.lead(2);
        let refused = partition.append_in_epoch(1, batch()).unwrap_err();
        assert!(matches!(refused, ProduceError::NotLeader), "{refused:?}");
        assert_eq!(
            partition.append_in_epoch(2, batch()).unwrap().base_offset,
            1
        );
    }

    #[tokio::test]
    async fn all_is_acknowledged_when_the_last_append_is() {
        let dir = tempfile::tempdir().unwrap();
        let partition = Arc::new(partition(dir.path()));
        partition.lead(1);
        partition.append(batch()).unwrap();
        partition.append(batch()).unwrap();
        let waiting = tokio::spawn({
            let partition = Arc::clone(&partition);
            async move { partition.all_acknowledged(1).await }
        });
        tokio::task::yield_now().await;
        partition.advance(1);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "one is not safe yet");
        partition.advance(2);
        waiting.await.unwrap().unwrap();
        partition.append(batch()).unwrap();
        let waiting = partition.all_acknowledged(1);
        partition.resign();
        assert_eq!(waiting.await, Err(ErrorCode::NotLeaderOrFollower));
    }
}
