//! The partitions that this broker holds: logs with the part that this broker plays in each, and with
//! those who wait for them.
//!
//! Who writes as the leader holds the role for reading, and who writes as a follower the right to change it, so a
//! role never changes in the middle of a write; `foz-replication` decides what is committed, this carries it out.

mod checking;
mod damage;
mod data_directories;
mod data_directory;
mod deleting_records;
mod due_partitions;
mod following;
mod leading;
mod located;
mod log_move;
mod log_moves;
mod offline;
mod placing;
mod reading;
mod registry;
mod replay;
mod role;
mod said_once;
mod topic_settings;
mod touched;
mod traffic;
mod waiters;

use std::sync::atomic::{AtomicI64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use foz_canary::{Canary, sings};
use foz_log::{
    ActiveProducer, AppendError, AppendOrigin, Appended, PartitionLog, TopicPartition,
    TransactionMarker, VerificationGuard,
};
use foz_metadata::Image;
use foz_protocol::batch::BatchHeader;
use foz_protocol::error::ErrorCode;
use foz_replication::acks::{self, Reached, Required};
use parking_lot::{Mutex, RwLock};
use prometheus::IntGauge;
use tokio::sync::{Notify, mpsc};
use tokio::task::block_in_place;
use uuid::Uuid;

use damage::Damage;
pub(crate) use data_directories::DataDirectories;
pub(crate) use data_directory::{DataDirectory, Opening, Openings, RoomSeen};
pub(crate) use due_partitions::DuePartitions;
pub(crate) use following::Followed;
pub(crate) use leading::{FollowerAnswer, FollowerRead};
pub(crate) use located::FailedRead;
use located::Located;
pub(crate) use log_move::Next;
pub(crate) use log_moves::LogMoves;
pub(crate) use reading::{ConsumerRead, OffsetQuery, Read, ReadError};
pub(crate) use registry::{InDoubt, Key, Leave, Partitions, Resting};
pub(crate) use replay::{Content, Replayed, ReplayedLog};
pub(crate) use role::Proposed;
use role::{Leading, Role};
use said_once::SaidOnce;
use touched::IsTouched;
pub(crate) use touched::Touched;
use traffic::Traffic;
pub(crate) use waiters::FetchWaiter;
use waiters::Waiters;

use crate::internal_topics::is_internal;

/// `acks=all`.
pub(crate) const ACKS_ALL: i16 = -1;
/// A batch of one record, without headers.
const MARKER_BYTES: usize = 78;

/// One replica of a partition.
#[derive(Debug)]
pub(crate) struct Partition {
    name: TopicPartition,
    topic_id: Uuid,
    located: ArcSwap<Located>,
    role: RwLock<Role>,
    /// Taken before the role by whoever changes it, and by a follower that takes an answer in, which may be long:
    /// who only wants to know the role waits for neither.
    role_change: Mutex<()>,
    /// Woken when the high watermark or the role moves, when a flush is done, and when the leader may know that
    /// nobody else leads.
    pub(crate) moved: Waiters,
    /// Woken when the log grew: followers wait for it.
    pub(crate) grown: Waiters,
    reports: Reports,
    damage: Mutex<Option<Damage>>,
    /// With how many replicas in mind the log was configured.
    replicas: AtomicUsize,
    /// Why the log does not go on.
    said: SaidOnce,
    traffic: Traffic,
    /// Time may change something: see [`Partition::tick`].
    is_awake: IsTouched,
    /// It grew since the kernel was told to write.
    has_grown: IsTouched,
}

/// What partitions tell the rest of the broker.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    /// Takes changes of the ISR to the controller.
    pub(crate) proposals: mpsc::UnboundedSender<Proposed>,
    /// A log is damaged: see [`Partitions::repair`].
    pub(crate) damage: Arc<Notify>,
    /// What is to be checked after a crash.
    pub(crate) due_checks: Arc<DuePartitions>,
    /// Led here, and time may change something.
    pub(crate) awake: Arc<Touched>,
    /// Which grew.
    pub(crate) to_write: Arc<Touched>,
    /// How many are led here.
    pub(crate) led: IntGauge,
    /// Of this broker's registration.
    pub(crate) broker_epoch: Arc<AtomicI64>,
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
    required: Required,
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) enum ProduceError {
    NotLeader,
    /// INVALID_REQUIRED_ACKS, NOT_ENOUGH_REPLICAS.
    Acks(ErrorCode),
    /// The disk is about to be full.
    NoRoom,
    /// Those of too many others in sync are: what is to be on all of them would wait until they lag.
    TooFewHaveRoom,
    Append {
        /// This broker led in it.
        leader_epoch: i32,
        error: AppendError,
    },
}

impl Partition {
    fn new(
        log: Arc<PartitionLog>,
        directory: Arc<DataDirectory>,
        replicas: usize,
        reports: Reports,
    ) -> Self {
        Self {
            name: log.partition().clone(),
            topic_id: log.topic_id(),
            located: ArcSwap::from_pointee(Located { log, directory }),
            role: RwLock::new(Role::Idle),
            role_change: Mutex::new(()),
            moved: Waiters::default(),
            grown: Waiters::default(),
            reports,
            damage: Mutex::new(None),
            replicas: AtomicUsize::new(replicas),
            said: SaidOnce::default(),
            traffic: Traffic::default(),
            is_awake: IsTouched::default(),
            has_grown: IsTouched::default(),
        }
    }

    /// `topic-index`.
    pub(crate) fn name(&self) -> String {
        self.name.to_string()
    }

    pub(crate) fn topic_partition(&self) -> &TopicPartition {
        &self.name
    }

    pub(crate) fn topic_and_index(&self) -> (&str, i32) {
        (&self.name.topic, self.name.partition)
    }

    /// Of all segments.
    pub(crate) fn size_bytes(&self) -> i64 {
        i64::try_from(self.log().size_bytes()).unwrap_or(i64::MAX)
    }

    /// While this broker led and before.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    pub(crate) fn key(&self) -> Key {
        (self.topic_id, self.name.partition)
    }

    pub(crate) fn log_end_offset(&self) -> i64 {
        self.log().log_end_offset()
    }

    pub(crate) fn log_start_offset(&self) -> i64 {
        self.log().log_start_offset()
    }

    /// As [`append_verified`](Self::append_verified), outside of transactions.
    #[cfg(test)]
    pub(crate) fn append(
        self: &Arc<Self>,
        image: &Image,
        acks: i16,
        batches: BytesMut,
    ) -> Result<Produced, ProduceError> {
        self.append_verified(image, acks, None, batches)
    }

    /// Appends what a client produced with these `acks`; a batch that begins a transaction with the guard that
    /// [`begin_verification`](Self::begin_verification) gave.
    pub(crate) fn append_verified(
        self: &Arc<Self>,
        image: &Image,
        acks: i16,
        guard: Option<VerificationGuard>,
        batches: BytesMut,
    ) -> Result<Produced, ProduceError> {
        let batches = self.in_stored_compression(batches)?;
        let role = self.role.read();
        let leading = role.leading().ok_or(ProduceError::NotLeader)?;
        let origin = AppendOrigin::Client(guard);
        let others_have_room = || others_have_room(leading, image);
        self.append_in(leading, origin, acks, batches, others_have_room)
    }

    /// A second of zstd is neither to hold up who changes the role nor the other tasks of this thread.
    fn in_stored_compression(&self, batches: BytesMut) -> Result<BytesMut, ProduceError> {
        let log = self.log();
        if log.config().compression.is_none() {
            return Ok(batches);
        }
        let leader_epoch = self.role.read().leading().map(|it| it.epoch);
        let leader_epoch = leader_epoch.ok_or(ProduceError::NotLeader)?;
        let rebuilt = block_in_place(|| log.in_stored_compression(&batches, wall_clock_ms()));
        let rebuilt = rebuilt.map_err(|error| ProduceError::Append {
            leader_epoch,
            error,
        })?;
        Ok(rebuilt.map_or(batches, |rebuilt| BytesMut::from(&rebuilt[..])))
    }

    /// Before the coordinator is asked whether this partition takes part in the transaction of `batch`; `None` where it
    /// need not be asked.
    pub(crate) fn begin_verification(
        &self,
        batch: &BatchHeader,
        has_epoch_per_transaction: bool,
    ) -> Result<Option<VerificationGuard>, ProduceError> {
        let role = self.role.read();
        let leading = role.leading().ok_or(ProduceError::NotLeader)?;
        let leader_epoch = leading.epoch;
        self.log()
            .begin_verification(batch, has_epoch_per_transaction, wall_clock_ms())
            .map_err(|error| ProduceError::Append {
                leader_epoch,
                error,
            })
    }

    /// Appends for somebody who may write in this leader epoch only, to be safe on all replicas.
    pub(crate) fn append_in_epoch(
        self: &Arc<Self>,
        leader_epoch: i32,
        batches: BytesMut,
    ) -> Result<Produced, ProduceError> {
        let role = self.role.read();
        let leading = role.leading().filter(|it| it.epoch == leader_epoch);
        let leading = leading.ok_or(ProduceError::NotLeader)?;
        // The brokers' own topics are written for longer than who has no room says.
        let origin = AppendOrigin::Client(None);
        self.append_in(leading, origin, ACKS_ALL, batches, || true)
    }

    /// As [`append_in_epoch`](Self::append_in_epoch), for a producer, in its transaction; where that begins here, with the
    /// guard that [`begin_verification`](Self::begin_verification) gave.
    pub(crate) fn append_transactional_in_epoch(
        self: &Arc<Self>,
        leader_epoch: i32,
        guard: Option<VerificationGuard>,
        batch: BytesMut,
    ) -> Result<Produced, ProduceError> {
        let role = self.role.read();
        let leading = role.leading().filter(|it| it.epoch == leader_epoch);
        let leading = leading.ok_or(ProduceError::NotLeader)?;
        let origin = AppendOrigin::Coordinator(guard);
        self.append_in(leading, origin, ACKS_ALL, batch, || true)
    }

    /// Ends a transaction here, as its coordinator decided, to be safe on all replicas.
    pub(crate) fn append_marker(
        self: &Arc<Self>,
        marker: TransactionMarker,
        transaction_version: i16,
    ) -> Result<Produced, ProduceError> {
        let role = self.role.read();
        let leading = role.leading().ok_or(ProduceError::NotLeader)?;
        self.append_marker_in(leading, marker, transaction_version)
    }

    /// The same, for somebody who may write in this leader epoch only.
    pub(crate) fn append_marker_in_epoch(
        self: &Arc<Self>,
        leader_epoch: i32,
        marker: TransactionMarker,
        transaction_version: i16,
    ) -> Result<Produced, ProduceError> {
        let role = self.role.read();
        let leading = role.leading().filter(|it| it.epoch == leader_epoch);
        let leading = leading.ok_or(ProduceError::NotLeader)?;
        self.append_marker_in(leading, marker, transaction_version)
    }

    fn append_marker_in(
        self: &Arc<Self>,
        leading: &Leading,
        marker: TransactionMarker,
        transaction_version: i16,
    ) -> Result<Produced, ProduceError> {
        let required = required(leading, ACKS_ALL)?;
        // Where clients are refused it gives room back: what it ends can be compacted, and readers go on.
        if !self.located().directory.disk_gate().takes(true) {
            return Err(ProduceError::NoRoom);
        }
        let append = |log: &PartitionLog| {
            log.append_marker(marker, transaction_version, leading.epoch, wall_clock_ms())
        };
        self.append_with(leading, required, MARKER_BYTES, append)
    }

    fn append_in(
        self: &Arc<Self>,
        leading: &Leading,
        origin: AppendOrigin,
        acks: i16,
        mut batches: BytesMut,
        others_have_room: impl FnOnce() -> bool,
    ) -> Result<Produced, ProduceError> {
        let required = required(leading, acks)?;
        if !self.has_room() {
            return Err(ProduceError::NoRoom);
        }
        if acks == ACKS_ALL && !others_have_room() {
            return Err(ProduceError::TooFewHaveRoom);
        }
        self.append_with(leading, required, batches.len(), |log| {
            log.append_from(origin, &mut batches, leading.epoch, wall_clock_ms())
        })
    }

    fn append_with(
        self: &Arc<Self>,
        leading: &Leading,
        required: Required,
        bytes: usize,
        append: impl FnOnce(&PartitionLog) -> Result<Appended, AppendError>,
    ) -> Result<Produced, ProduceError> {
        let leader_epoch = leading.epoch;
        let located = self.located();
        let appended = append(&located.log).map_err(|error| {
            self.found_no_room(error.is_shortage());
            self.append_failed(&error);
            ProduceError::Append {
                leader_epoch,
                error,
            }
        })?;
        self.traffic.appended(bytes);
        located.directory.disk_gate().wrote(bytes);
        self.after_append(leading, &located);
        Ok(Produced {
            base_offset: appended.first_offset,
            log_append_time_ms: (appended.log_append_time_ms >= 0)
                .then_some(appended.log_append_time_ms),
            end_offset: appended.last_offset + 1,
            leader_epoch,
            required,
        })
    }

    /// The producers that this replica remembers.
    pub(crate) fn active_producers(&self) -> Vec<ActiveProducer> {
        self.log().active_producers()
    }

    /// For a record of this partition.
    pub(crate) fn has_room(&self) -> bool {
        let is_internal = is_internal(&self.topic_partition().topic);
        self.located().directory.disk_gate().takes(is_internal)
    }

    fn found_no_room(&self, is_shortage: bool) {
        if is_shortage {
            self.located().directory.disk_gate().refuse();
        }
    }

    /// Who goes on to lead with a log that takes nothing keeps others from it.
    fn append_failed(&self, error: &AppendError) {
        if let AppendError::Storage(error) = error {
            let located = self.located();
            let failure = located.directory.failure();
            if located.log.has_failed() {
                let rest = format!("{} was left half-way: {error}", self.name());
                failure.fail(rest, error.is_failed_flush());
            } else {
                failure.storage_failed(error);
            }
        }
    }

    /// Waits until what was produced is as safe as the producer asked for.
    ///
    /// # Errors
    /// When the leadership ends first: the records may or may not survive. When the replicas in sync
    /// became too few meanwhile.
    pub(crate) async fn acknowledged(&self, produced: &Produced) -> Result<(), ErrorCode> {
        self.reached(
            produced.required,
            produced.end_offset,
            produced.leader_epoch,
        )
        .await
    }

    /// Waits until everything is safe that was appended before this call.
    ///
    /// # Errors
    /// When the leadership of this epoch ends first.
    pub(crate) async fn all_acknowledged(&self, leader_epoch: i32) -> Result<(), ErrorCode> {
        let end_offset = self.log().log_end_offset();
        match self
            .reached(Required::HighWatermark, end_offset, leader_epoch)
            .await
        {
            Err(ErrorCode::NotEnoughReplicasAfterAppend) => Ok(()),
            outcome => outcome,
        }
    }

    async fn reached(
        &self,
        required: Required,
        end_offset: i64,
        leader_epoch: i32,
    ) -> Result<(), ErrorCode> {
        loop {
            if let Some(outcome) = self.outcome(required, end_offset, leader_epoch) {
                return outcome;
            }
            let waiter = Arc::new(Notify::new());
            self.moved.register(&waiter);
            if let Some(outcome) = self.outcome(required, end_offset, leader_epoch) {
                return outcome;
            }
            waiter.notified().await;
        }
    }

    /// `None`: not yet. Only while this broker leads in that epoch: what offsets say later is about other
    /// records.
    fn outcome(
        &self,
        required: Required,
        end_offset: i64,
        leader_epoch: i32,
    ) -> Option<Result<(), ErrorCode>> {
        let role = self.role.read();
        let Some(leading) = role.leading().filter(|it| it.epoch == leader_epoch) else {
            if sings(Canary::FencedLeaderStillAcknowledges) {
                return Some(Ok(()));
            }
            return Some(Err(ErrorCode::NotLeaderOrFollower));
        };
        let reached = Reached {
            durable_offset: durable_offset(&self.log()),
            high_watermark: self.high_watermark(),
            has_min_insync: leading.leader.lock().has_min_insync(),
        };
        acks::acknowledged(required, end_offset, &reached)
    }

    /// The epoch in which this broker leads, if it does.
    pub(crate) fn led(&self) -> Option<i32> {
        self.role.read().leading().map(|leading| leading.epoch)
    }

    fn high_watermark(&self) -> i64 {
        self.log().high_watermark()
    }

    /// KIP-320: a client that knows an older leader must look again, one that knows a newer leader must
    /// wait for this broker to hear of it.
    fn check_epoch(own: i32, client_epoch: i32) -> Result<(), ErrorCode> {
        match client_epoch {
            -1 => Ok(()),
            epoch if epoch < own => Err(ErrorCode::FencedLeaderEpoch),
            epoch if epoch > own => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }
}

/// Since this process began to count: for time that passes.
pub(crate) fn monotonic() -> Duration {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed()
}

/// [`monotonic`] in milliseconds.
pub(crate) fn monotonic_ms() -> i64 {
    i64::try_from(monotonic().as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970.
pub(crate) fn wall_clock_ms() -> i64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since_1970.as_millis() as i64
}

fn required(leading: &Leading, acks: i16) -> Result<Required, ProduceError> {
    let has_min_insync = leading.leader.lock().has_min_insync();
    acks::required(acks, has_min_insync).map_err(ProduceError::Acks)
}

/// What this replica vouches for by itself.
fn durable_offset(log: &PartitionLog) -> i64 {
    if log.config().flush_before_acknowledge {
        log.flushed_offset()
    } else {
        log.log_end_offset()
    }
}

/// Nothing that is produced can be acknowledged otherwise. This broker's own disk is not asked about.
fn others_have_room(leading: &Leading, image: &Image) -> bool {
    let leader = leading.leader.lock();
    let is_short = |id| image.broker(id).is_some_and(|it| it.short_of_space);
    leader.has_min_insync_of(|id| id == leader.node_id() || !is_short(id))
}

#[cfg(test)]
mod tests;
