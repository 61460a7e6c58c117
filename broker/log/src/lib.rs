//! Partitions on disk, in Apache Kafka's own layout.
//!
//! A [`LogDirectory`] is one data directory (one of `log.dirs`); it holds a [`PartitionLog`] for each
//! partition, which is a sequence of segments. A batch is stored as it came, but for base offset,
//! leader epoch, where the broker's clock decides, the timestamp and, where `compression.type` names
//! one, the codec.
//!
//! What holds at all times:
//! - Bytes are written first and offsets published after, so a reader sees whole batches only.
//! - What is below [`PartitionLog::flushed_offset`] survives a power failure. The recovery point on
//!   disk is never above it, so damage below the recovery point is an error that takes the partition
//!   offline, and only what is above it can be a torn tail that is cut off. Where the page cache has
//!   survived, only what one unfinished write leaves is a torn tail (`recovery/written.rs`). All of it is
//!   reported.
//! - The checkpoints say of each partition what it has at least: a deletion and a cut are written down
//!   before they can look like a loss.
//! - Where the page cache has survived, what was not flushed is checked after the log is opened. A checkpoint of
//!   its own says how far, and reads check the rest themselves (`partition_log/check.rs`). It is flushed then, too: until that is
//!   done the recovery point stays where it was.
//! - A flush that failed is never tried again: the log stops and the process must. So it does when a
//!   truncation or a reset fails half-way.
//! - A follower's log holds the leader's bytes. It is cut off or begun anew under the lock of the
//!   checkpoints, which never claim more than the files hold; a reset is decided by one small file
//!   (`reset.rs`) that recovery carries out.
//! - What is damaged or gone though it was flushed is never served as less: the partition is offline until
//!   it is mended, or [`LogDirectory::open_quarantined`] is asked, which keeps copies.
//! - Indexes, snapshots of producers and epochs are made anew from the log when they are missing.
//! - Nothing read from disk decides how much memory is taken.
//! - What a transaction's marker says is known before the marker counts: the transaction index is no hint, and made anew only
//!   where recovery walks, or where it cannot be one (`transaction_index.rs`).
//! - Compaction takes records away and changes no offset (`compaction.rs`): a crash leaves what was or what is new.
//! - A partition that nobody uses holds no open file ([`FileHandles`]).
//!
//! Kafka's `kafka-dump-log` reads closed segments, and the whole log after a clean stop.
//!
//! Start reading at [`PartitionLog`], then `recovery.rs` for what opening does, `active_segment.rs`
//! for what is written, `partition_log/follow.rs` for what a replica needs, `producer_state.rs` for idempotence (KIP-98), `partition_log/transactions.rs` for transactions, [`Flusher`] for durability, `compaction.rs` for
//! `cleanup.policy=compact`.
//! Records for [`PartitionLog::append_as_leader`] are made by `foz_protocol::record::BatchBuilder`.

mod active_segment;
mod atomic_file;
mod batch_scanner;
mod burial_mark;
mod checkpoint;
mod clean_shutdown;
mod compaction;
mod config;
mod disk_operations;
mod error;
mod file_handles;
mod file_steps;
mod flusher;
mod index;
mod leader_epochs;
mod log_directories;
mod log_directory;
mod log_move;
mod names;
mod partition_log;
mod partition_metadata;
mod producer_snapshot;
mod producer_state;
mod quarantine;
mod reading_files;
mod rebuilt_batch;
mod recovery;
mod replicated;
mod reset;
mod segment;
mod stability;
mod transaction_index;
mod transaction_marker;
mod unchecked;
mod unstable_transactions;
mod validate;
mod verifications;

pub use clean_shutdown::CleanShutdown;
pub use compaction::{
    Compacted, CompactionError, CompactionIo, CompactionLimits, CompactionNeed, Proceed,
};
pub use config::{FlushInterval, LogConfig, StoredCompression, TimestampType};
pub use disk_operations::{DiskOperation, DiskOperations, UnderWay};
pub use error::{
    AppendError, OpenError, ReadError, RejectedRecord, StorageError, says_disk_failed,
};
pub use file_handles::FileHandles;
pub use flusher::{FlushObserver, Flusher};
pub use leader_epochs::{EpochEnd, EpochStart};
pub use log_directories::{FoundDirectory, FoundLog, Reconciled, TwoLogs, reconcile};
pub use log_directory::{
    FinishedMoves, LogDirectory, LostData, OfflinePartition, OpenProgress, OpenReport, Unburied,
    finish_moves,
};
pub use log_move::{Finished, FutureLog, LogMove, MoveAct, MoveError, MoveProgress, Seen};
pub use names::TopicPartition;
pub use partition_log::{
    ActiveProducer, AppendOrigin, Appended, AppendedByFollower, Checked, PartitionLog,
    TimestampAndOffset,
};
pub use recovery::{Finding, PageCache};
pub use replicated::FollowedLeader;
pub use transaction_index::AbortedTransaction;
pub use transaction_marker::TransactionMarker;
pub use verifications::VerificationGuard;
