use std::collections::BTreeSet;
use std::sync::Arc;

/// Kafka's way to say that there is none.
pub(crate) const NO_PRODUCER_ID: i64 = -1;
/// As [`NO_PRODUCER_ID`].
pub(crate) const NO_PRODUCER_EPOCH: i16 = -1;
const NO_TIMESTAMP: i64 = -1;

/// The first version whose transactions have an epoch each (KIP-890).
const TRANSACTION_VERSION_2: i16 = 2;

/// Where a transaction is, as its records say it.
///
/// Kafka has two more, Dead (6) and PrepareEpochFence (7), which are in no record: the first is a tombstone
/// under way, the second the moment before PrepareAbort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionState {
    /// No transaction since the producer was initialised.
    Empty,
    /// Partitions were added.
    Ongoing,
    /// Decided; markers are on their way.
    PrepareCommit,
    /// As `PrepareCommit`.
    PrepareAbort,
    /// Every partition has its marker.
    CompleteCommit,
    /// As `CompleteCommit`.
    CompleteAbort,
}

impl TransactionState {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// `TransactionStatus` of `TransactionLogValue`.
    pub const fn id(self) -> i8 {
        match self {
            Self::Empty => 0,
            Self::Ongoing => 1,
            Self::PrepareCommit => 2,
            Self::PrepareAbort => 3,
            Self::CompleteCommit => 4,
            Self::CompleteAbort => 5,
        }
    }

    /// The state with this id; none for those that are in no record.
    pub fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.id() == id)
    }

    /// As DescribeTransactions and ListTransactions tell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// Whether the outcome is decided and not everywhere yet.
    pub const fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }
}

/// A partition that takes part in a transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index.
    pub partition: i32,
}

/// What is known of a transactional id: the content of `TransactionLogValue`, and the last epoch, which Kafka
/// does not store either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Of the producer that has the transactional id now.
    pub producer_id: i64,
    /// The id before it, for clients that did not hear of the change; -1 without any. Stored from value
    /// version 1 on.
    pub previous_producer_id: i64,
    /// The id that takes over when this transaction is complete; -1 when it stays. Stored from value version 1 on.
    pub next_producer_id: i64,
    /// Of the producer that has the transactional id now; -1 in no record.
    pub producer_epoch: i16,
    /// The epoch before the last bump where the producer itself asked for it, else -1. Never stored (KIP-360).
    pub last_producer_epoch: i16,
    /// After which an open transaction is aborted.
    pub transaction_timeout_ms: i32,
    /// Where it is.
    pub state: TransactionState,
    /// Of the transaction that is open or ends; empty in Empty and Complete states.
    pub partitions: BTreeSet<TopicPartition>,
    /// When the first partition was added; -1 when none was yet.
    pub start_timestamp_ms: i64,
    /// Of the last record.
    pub last_update_timestamp_ms: i64,
    /// The `transaction.version` that its client followed: 0 or 2. Stored from value version 1 on.
    pub client_transaction_version: i16,
}

/// Whether no further epoch may be handed out: one is kept back, so that the last producer can be fenced.
pub(crate) const fn is_epoch_exhausted(producer_epoch: i16) -> bool {
    producer_epoch >= i16::MAX - 1
}

/// Whether each transaction has an epoch of its own.
pub(crate) const fn bumps_epoch(transaction_version: i16) -> bool {
    transaction_version >= TRANSACTION_VERSION_2
}

impl Transaction {
    /// A transactional id that nobody had.
    pub(crate) fn new(producer_id: i64, transaction_timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer_id,
            previous_producer_id: producer_id,
            next_producer_id: NO_PRODUCER_ID,
            producer_epoch: 0,
            last_producer_epoch: NO_PRODUCER_EPOCH,
            transaction_timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            start_timestamp_ms: NO_TIMESTAMP,
            last_update_timestamp_ms: now_ms,
            client_transaction_version: 0,
        }
    }

    /// The next epoch for the producer that asks.
    pub(crate) fn initialized(
        &self,
        last_producer_epoch: i16,
        timeout_ms: i32,
        now_ms: i64,
    ) -> Self {
        Self {
            producer_epoch: self.producer_epoch + 1,
            last_producer_epoch,
            ..self.emptied(timeout_ms, now_ms)
        }
    }

    /// The same again, for a producer that did not hear it. The id before it stays, so that it may ask once more.
    pub(crate) fn initialized_again(&self, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            previous_producer_id: self.previous_producer_id,
            ..self.emptied(timeout_ms, now_ms)
        }
    }

    /// A new producer id, since the epochs of this one are used up.
    pub(crate) fn rotated(
        &self,
        producer_id: i64,
        last_producer_epoch: i16,
        timeout_ms: i32,
        now_ms: i64,
    ) -> Self {
        Self {
            producer_id,
            producer_epoch: 0,
            last_producer_epoch,
            ..self.emptied(timeout_ms, now_ms)
        }
    }

    /// More partitions; begins a transaction when none is open. Who adds has heard of its epoch, so nobody may ask
    /// for it again as if it had not: such a request was held up, and would make this transaction, or what became
    /// of it, disappear. Kafka lets it.
    pub(crate) fn with_partitions(
        &self,
        added: &BTreeSet<TopicPartition>,
        client_transaction_version: i16,
        now_ms: i64,
    ) -> Self {
        let is_open = self.state == TransactionState::Ongoing;
        Self {
            state: TransactionState::Ongoing,
            partitions: self.partitions.union(added).cloned().collect(),
            start_timestamp_ms: if is_open {
                self.start_timestamp_ms
            } else {
                now_ms
            },
            client_transaction_version,
            last_producer_epoch: NO_PRODUCER_EPOCH,
            ..self.next(now_ms)
        }
    }

    /// The decision as a client took it.
    pub(crate) fn ended(&self, commit: bool, client_transaction_version: i16, now_ms: i64) -> Self {
        let mut next = Self {
            state: if commit {
                TransactionState::PrepareCommit
            } else {
                TransactionState::PrepareAbort
            },
            client_transaction_version,
            ..self.next(now_ms)
        };
        if self.state != TransactionState::Ongoing {
            // An abort of what was never begun: the records want a time.
            next.start_timestamp_ms = now_ms;
        }
        if bumps_epoch(client_transaction_version) {
            next.last_producer_epoch = self.producer_epoch;
            // The last one is reached only with a next producer id, so no client sees it twice.
            next.producer_epoch = self.producer_epoch.saturating_add(1);
        }
        next
    }

    /// The abort as the coordinator takes it, by timeout or because another producer takes over: whoever had
    /// the open transaction is fenced. One bump does both (KAFKA-19367). With version 2 it is the bump of any
    /// end, so until the next InitProducerId that producer may hear of the abort, and go on, as with Kafka.
    pub(crate) fn fenced(&self, transaction_version: i16, now_ms: i64) -> Self {
        let mut next = self.ended(false, transaction_version, now_ms);
        if !bumps_epoch(transaction_version) {
            // Nobody is told this epoch, so nobody can ask for it again.
            next.last_producer_epoch = NO_PRODUCER_EPOCH;
            next.producer_epoch = self.producer_epoch.saturating_add(1);
            next.client_transaction_version = 0;
        }
        next
    }

    /// Every partition has its marker.
    pub(crate) fn completed(&self, now_ms: i64) -> Self {
        let (producer_id, producer_epoch) = self.after_completion();
        Self {
            producer_id,
            producer_epoch,
            next_producer_id: NO_PRODUCER_ID,
            state: if self.state == TransactionState::PrepareCommit {
                TransactionState::CompleteCommit
            } else {
                TransactionState::CompleteAbort
            },
            partitions: BTreeSet::new(),
            ..self.next(now_ms)
        }
    }

    /// The producer id and epoch that go on when this decided transaction is complete.
    pub(crate) fn after_completion(&self) -> (i64, i16) {
        if self.next_producer_id == NO_PRODUCER_ID {
            (self.producer_id, self.producer_epoch)
        } else {
            (self.next_producer_id, 0)
        }
    }

    /// Whether `expired_before_ms` is later than its last change, and nothing is open.
    pub(crate) fn has_expired(&self, expired_before_ms: i64) -> bool {
        let may_expire = match self.state {
            TransactionState::Empty
            | TransactionState::CompleteCommit
            | TransactionState::CompleteAbort => true,
            TransactionState::Ongoing
            | TransactionState::PrepareCommit
            | TransactionState::PrepareAbort => false,
        };
        may_expire && self.last_update_timestamp_ms <= expired_before_ms
    }

    /// Kafka writes version 1 once `transaction.version` is finalised at 1 or more. What only version 1 can hold
    /// is written with it in any case: a client that was told the next producer id must find it again.
    pub(crate) fn value_version(&self, transaction_version: i16) -> i16 {
        let needs_tags =
            self.next_producer_id != NO_PRODUCER_ID || bumps_epoch(self.client_transaction_version);
        i16::from(transaction_version >= 1 || needs_tags)
    }

    fn emptied(&self, transaction_timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            transaction_timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            start_timestamp_ms: NO_TIMESTAMP,
            ..self.next(now_ms)
        }
    }

    fn next(&self, now_ms: i64) -> Self {
        Self {
            previous_producer_id: self.producer_id,
            last_update_timestamp_ms: now_ms,
            ..self.clone()
        }
    }
}
