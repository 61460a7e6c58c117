//! The Raft log, the votes and the snapshots of one controller, on disk and, for the entries, in memory.
//!
//! ```text
//! quorum/.lock                     held while a process uses the directory
//! quorum/<number>.log              segments: a header, then one frame for each fsync
//! quorum/<index>-<term>.snapshot   the two newest snapshots
//! ```
//! Invariants:
//! - A frame is durable before the next one is written. So a bad frame with a frame after it is
//!   damage, and is refused; a bad one at the very end of the last segment was never acknowledged.
//! - Segments and snapshots get their names when they are whole and durable.
//! - Each segment begins with the newest hard state, so the older ones can go when their entries are
//!   covered by the older of the two snapshots.
//! - After an error of the disk nothing is tried again: the caller must stop. But for a shortage of room, after which
//!   nothing of what was tried is there.
//!
//! Start with [`LogStore`]; `frame` has the format, `recovery` reads it back.

mod aside;
mod error;
mod frame;
mod log_store;
mod recovery;
mod segment;
mod snapshot_file;

pub(crate) use crate::entries::SnapshotMeta;
pub(crate) use aside::set_aside;
pub use error::StorageError;
pub(crate) use log_store::LogStore;
pub(crate) use recovery::QuorumDirectory;
pub(crate) use snapshot_file::{StoredSnapshot, write as write_snapshot};

/// Of the files, in the data directory.
pub(crate) const DIRECTORY: &str = "quorum";

#[cfg(test)]
mod tests;
