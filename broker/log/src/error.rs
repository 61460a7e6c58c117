//! What can go wrong, with the Kafka error code that a client gets for it.

use std::io;
use std::path::{Path, PathBuf};

use foz_protocol::batch::BatchError;
use foz_protocol::error::ErrorCode;
use foz_protocol::record::RecordError;

/// An operation on a file or directory failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", .path.display())]
pub struct StorageError {
    /// What was tried, as a verb: "read", "write", "flush".
    pub action: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

impl StorageError {
    /// The kernel may have dropped what it could not write, and say nothing of it the next time.
    #[must_use]
    pub fn is_failed_flush(&self) -> bool {
        self.action == FLUSH
    }

    /// There was no room on the disk, or in a quota (ENOSPC, EDQUOT): what was tried may work once there is. A failed
    /// flush is none, whatever the reason: nobody knows what of the data is on the disk.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        says_no_room(&self.source) && !self.is_failed_flush()
    }

    /// What was tried may work later, and nothing was done of it: a [shortage](Self::is_shortage) of room, or there were no open
    /// files or no memory left when something was to be opened or renamed (EMFILE, ENFILE, ENOMEM).
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let is_done_at_once = ["open", "rename"].contains(&self.action);
        self.is_shortage() || is_done_at_once && says_no_handle(&self.source)
    }

    /// The disk does not do what it is told, whatever is asked of it next: a flush failed, or
    /// [the system says so](says_disk_failed).
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        self.is_failed_flush() || says_disk_failed(&self.source)
    }

    /// Nothing was to be changed. One place of a disk may be unreadable while everything else works.
    #[must_use]
    pub fn is_failed_read(&self) -> bool {
        ["read", "list", "open", "look for"].contains(&self.action)
    }
}

/// EIO, ENXIO, ENODEV, EROFS, ESTALE, EUCLEAN, EREMOTEIO: the device or its file system is out of order. Not ENOENT, which a
/// person can cause, nor a lack of room, memory or open files, which goes by.
#[must_use]
pub fn says_disk_failed(error: &io::Error) -> bool {
    const OUT_OF_ORDER: [i32; 7] = [5, 6, 19, 30, 116, 117, 121];
    let errno = error.raw_os_error();
    errno.is_some_and(|errno| OUT_OF_ORDER.contains(&errno))
}

/// ENOMEM, ENFILE, EMFILE.
pub(crate) fn says_no_handle(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    errno.is_some_and(|errno| [12, 23, 24].contains(&errno))
}

/// ENOSPC, EDQUOT.
pub(crate) fn says_no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Who lacks only room goes on with the rest: the inner result is that shortage.
pub(crate) fn unless_short(
    result: Result<(), StorageError>,
) -> Result<Result<(), StorageError>, StorageError> {
    match result {
        Err(error) if !error.is_shortage() => Err(error),
        result => Ok(result),
    }
}

/// What [`StorageError::is_failed_flush`] goes by.
const FLUSH: &str = "flush";

/// Names the file and the action in an I/O error.
pub(crate) trait StorageContext<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StorageError>;
}

impl<T, E: Into<io::Error>> StorageContext<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StorageError> {
        self.map_err(|source| StorageError {
            action,
            path: path.to_path_buf(),
            source: source.into(),
        })
    }
}

/// Why a partition cannot be opened or created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk or the file system refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Data that no crash can have taken is damaged or gone: truncating it would hide a loss.
    #[error("{} is damaged at byte {position}: {reason}; everything before offset {recovery_offset} had been there and cannot be torn, so it is not cut off", .file.display())]
    Corrupt {
        /// The segment at fault.
        file: PathBuf,
        /// Byte position in it.
        position: u64,
        /// What is wrong there.
        reason: String,
        /// Offsets below this one had been there: flushed, or written and still in the page cache.
        recovery_offset: i64,
    },
    /// A small file beside the segments says what cannot be.
    #[error("{} cannot be understood: {reason}", .file.display())]
    Malformed {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What was to stay of a log that was to be cut is damaged, or the disk does not give it. Nothing was changed.
    #[error("the log is damaged from offset {offset} on: {reason}")]
    Damaged {
        /// From here on the log must be fetched again from another replica ([`crate::LogDirectory::quarantine`]).
        offset: i64,
        /// What is wrong there.
        #[source]
        reason: Box<ReadError>,
    },
    /// The log was closed, deleted, or had to stop.
    #[error("the log of {0} is {1}")]
    Unusable(String, &'static str),
    /// The partition is there already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// Another process works on this data directory.
    #[error("{} is in use by another process (its .lock file is held)", .0.display())]
    InUse(PathBuf),
}

impl OpenError {
    /// See [`StorageError::is_failed_flush`].
    #[must_use]
    pub fn is_failed_flush(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_failed_flush())
    }

    /// See [`StorageError::is_shortage`].
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_shortage())
    }

    /// See [`StorageError::is_of_disk`].
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_of_disk())
    }
}

/// Why batches were not appended. Nothing of them is in the log then, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Bytes that are not whole batches with the right CRC.
    #[error("batch at byte {position} of the request: {source}")]
    Corrupt {
        /// Where the batch begins in what was given.
        position: usize,
        /// What is wrong with it.
        #[source]
        source: BatchError,
    },
    /// Whole batches that break a rule of the format or of the topic.
    #[error("{0}")]
    InvalidRecord(String),
    /// One batch over `max.message.bytes`.
    #[error("a batch of {bytes} bytes is over max.message.bytes={max}")]
    MessageTooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// The topic's limit.
        max: usize,
    },
    /// All batches together do not fit into one segment.
    #[error("batches of {bytes} bytes together are over segment.bytes={max}")]
    RecordListTooLarge {
        /// Bytes of all batches.
        bytes: usize,
        /// The topic's limit.
        max: u64,
    },
    /// A timestamp outside `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    #[error("timestamp {timestamp_ms} is out of bounds: {rule}={limit_ms}, now is {now_ms}")]
    InvalidTimestamp {
        /// The timestamp, in ms since 1970.
        timestamp_ms: i64,
        /// The config key it breaks.
        rule: &'static str,
        /// The value of that key, in ms.
        limit_ms: i64,
        /// The broker's clock, in ms since 1970.
        now_ms: i64,
    },
    /// Records that break a rule of the topic (KIP-467). The others of their batch are refused with them.
    #[error("{count} records are refused, the first is {}", first_of(.records))]
    RejectedRecords {
        /// INVALID_TIMESTAMP where that is what is wrong with one of them, else INVALID_RECORD.
        code: ErrorCode,
        /// How many there are.
        count: usize,
        /// The first ones.
        records: Vec<RejectedRecord>,
    },
    /// A batch of this producer is missing before this one (KIP-98).
    #[error("producer {producer_id} sent sequence {found}, {expected} comes next")]
    OutOfOrderSequence {
        /// Whose batch.
        producer_id: i64,
        /// The sequence that would follow.
        expected: i32,
        /// The sequence of the batch.
        found: i32,
    },
    /// The leader took over a moment ago and knows nothing of this producer: its batches before this one may still
    /// be on their way, to the leader before. It is to come again.
    #[error(
        "producer {producer_id} begins with sequence {found} at a leader that has just taken over: \
         what comes before may be on its way"
    )]
    EarlierMayCome {
        /// Whose batch.
        producer_id: i64,
        /// The sequence of the batch.
        found: i32,
    },
    /// A newer instance of this producer has written already (KIP-98).
    #[error("producer {producer_id} has epoch {current}, the batch says {found}")]
    InvalidProducerEpoch {
        /// Whose batch.
        producer_id: i64,
        /// The newest epoch seen.
        current: i16,
        /// The epoch of the batch.
        found: i16,
    },
    /// A transactional batch without a transaction that its coordinator is known to know of.
    #[error("producer {producer_id} has no open transaction on this partition")]
    NoTransaction {
        /// Whose batch.
        producer_id: i64,
    },
    /// A batch of no transaction from a producer that is in the middle of one.
    #[error(
        "producer {producer_id} has an open transaction on this partition, and this batch is not part of it"
    )]
    OutsideTransaction {
        /// Whose batch.
        producer_id: i64,
    },
    /// A marker from a transaction coordinator after which there was another one.
    #[error(
        "the marker for producer {producer_id} has coordinator epoch {found}, the last one had {current}"
    )]
    CoordinatorFenced {
        /// Whose transaction.
        producer_id: i64,
        /// The newest epoch seen.
        current: i32,
        /// The epoch of the marker.
        found: i32,
    },
    /// The log has seen a newer leader.
    #[error("leader epoch {found} is over, the log has seen {current}")]
    StaleLeaderEpoch {
        /// The newest epoch in the log.
        current: i32,
        /// The epoch given.
        found: i32,
    },
    /// A batch that the leader sent does not begin where this follower's log, or the batch before it,
    /// ends.
    #[error("the leader's batch begins at offset {found}, {expected} comes next")]
    NotNext {
        /// The offset that comes next.
        expected: i64,
        /// Base offset of the batch.
        found: i64,
    },
    /// A batch that the leader sent is damaged: on its disk or on the way.
    #[error("{}: {source}", the_leaders_batch(*.offset))]
    CorruptFromLeader {
        /// Its base offset; `None` for the first batch when not even its header can be read.
        offset: Option<i64>,
        /// What is wrong with it.
        #[source]
        source: BatchError,
    },
    /// The log was closed, deleted, or had to stop.
    #[error("the log of {0} is {1}")]
    Unusable(String, &'static str),
    /// The disk or the file system refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A record that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Which one of its batch, from 0 on.
    pub batch_index: i32,
    /// For whoever sent it.
    pub reason: String,
}

fn first_of(records: &[RejectedRecord]) -> String {
    let first = records.first();
    first.map_or_else(String::new, |it| {
        format!("record {}: {}", it.batch_index, it.reason)
    })
}

fn the_leaders_batch(offset: Option<i64>) -> String {
    match offset {
        Some(offset) => format!("the leader's batch at offset {offset} is damaged"),
        None => "the leader's batch at the offset that was fetched is damaged".to_owned(),
    }
}

impl AppendError {
    /// See [`StorageError::is_shortage`].
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_shortage())
    }

    /// What Kafka calls it on the wire.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Corrupt {
                source: BatchError::Magic(_) | BatchError::Contradiction { .. },
                ..
            }
            | Self::InvalidRecord(_) => ErrorCode::InvalidRecord,
            Self::Corrupt { .. } | Self::CorruptFromLeader { .. } => ErrorCode::CorruptMessage,
            Self::MessageTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::RecordListTooLarge { .. } => ErrorCode::RecordListTooLarge,
            Self::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
            Self::RejectedRecords { code, .. } => *code,
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::NoTransaction { .. } | Self::OutsideTransaction { .. } => {
                ErrorCode::InvalidTxnState
            }
            Self::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
            // Every client sends it again after that, once it has asked who leads, and in order.
            Self::EarlierMayCome { .. } | Self::StaleLeaderEpoch { .. } => {
                ErrorCode::NotLeaderOrFollower
            }
            Self::NotNext { .. } => ErrorCode::OffsetOutOfRange,
            Self::Unusable(..) | Self::Storage(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is before the log's start or after its end.
    #[error("offset {offset} is not within {start}..={end}")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: i64,
        /// First offset in the log.
        start: i64,
        /// Offset that the next record will get.
        end: i64,
    },
    /// The bytes on disk are not a batch, or not one that can be there.
    #[error("{} is damaged at byte {position}, offset {offset}: {reason}", .file.display())]
    Corrupt {
        /// From here on the log must be fetched again from another replica
        /// ([`crate::LogDirectory::quarantine`]).
        offset: i64,
        /// The segment at fault.
        file: PathBuf,
        /// Byte position in it.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A batch is as it was written, and its content is not what its header says: a client sent it so. No damage: every
    /// replica has it.
    #[error("the records of the batch at offset {offset} cannot be read: {source}")]
    Malformed {
        /// Its base offset.
        offset: i64,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// The log was deleted, or a flush failed.
    #[error("the log of {0} is {1}")]
    Unusable(String, &'static str),
    /// The log itself can be read: [`crate::PartitionLog::rebuild_transaction_index`].
    #[error("nobody can say which transactions were aborted: {0}")]
    TransactionIndex(#[source] StorageError),
    /// The disk or the file system refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReadError {
    /// What Kafka calls it on the wire.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Corrupt { .. }
            | Self::Malformed { .. }
            | Self::Unusable(..)
            | Self::TransactionIndex(_)
            | Self::Storage(_) => ErrorCode::KafkaStorageError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(action: &'static str, errno: i32) -> StorageError {
        StorageError {
            action,
            path: "orders-0".into(),
            source: io::Error::from_raw_os_error(errno),
        }
    }

    #[test]
    fn a_disk_is_out_of_order_where_no_other_file_of_it_would_do_better() {
        for (errno, expected) in [
            (5, true),    // EIO
            (6, true),    // ENXIO
            (19, true),   // ENODEV
            (30, true),   // EROFS
            (116, true),  // ESTALE
            (117, true),  // EUCLEAN
            (121, true),  // EREMOTEIO
            (2, false),   // ENOENT
            (12, false),  // ENOMEM
            (13, false),  // EACCES
            (17, false),  // EEXIST
            (20, false),  // ENOTDIR
            (23, false),  // ENFILE
            (24, false),  // EMFILE
            (28, false),  // ENOSPC
            (122, false), // EDQUOT
        ] {
            for action in ["write", "create", "rename", "remove", "read"] {
                let error = failed(action, errno);
                assert_eq!(error.is_of_disk(), expected, "{action} {errno}");
                let is_of_disk = OpenError::Storage(error).is_of_disk();
                assert_eq!(is_of_disk, expected, "{action} {errno}");
            }
            // What of it is on the disk nobody knows.
            assert!(failed("flush", errno).is_of_disk(), "{errno}");
            assert!(!failed("flush", errno).is_passing(), "{errno}");
            let is_passing = [12, 23, 24, 28, 122].contains(&errno);
            assert_eq!(failed("open", errno).is_passing(), is_passing, "{errno}");
            assert_eq!(failed("rename", errno).is_passing(), is_passing, "{errno}");
        }
        let no_number = StorageError {
            source: io::Error::other("?"),
            ..failed("write", 5)
        };
        assert!(!no_number.is_of_disk());
        assert!(failed("read", 5).is_failed_read() && !failed("write", 5).is_failed_read());
        assert!(!OpenError::Unusable("orders-0".to_owned(), "closed").is_of_disk());
    }
}
