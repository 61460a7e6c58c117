//! Snapshot files.
//!
//! Header (28 bytes): magic 8 · version u32 · body length u64 · body crc32c · crc32c of the 24 before;
//! then the body, a `SnapshotFile`. Numbers are little-endian.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb::{ConfState, Snapshot};

use super::StorageError;
use crate::disk;
use crate::entries::SnapshotMeta;
use crate::wire;

pub(crate) const SUFFIX: &str = ".snapshot";
/// More than any metadata image; a guard against reading something else into memory.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

const HEADER_BYTES: usize = 28;
const MAGIC: [u8; 8] = *b"FOZQSNP\0";
const FORMAT_VERSION: u32 = 1;

/// A snapshot as it is read from disk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredSnapshot {
    pub(crate) meta: SnapshotMeta,
    pub(crate) conf_state: ConfState,
    /// An encoded `SnapshotData`.
    pub(crate) data: Bytes,
}

impl StoredSnapshot {
    pub(crate) fn from_raft(snapshot: &Snapshot) -> Self {
        let metadata = snapshot.get_metadata();
        Self {
            meta: SnapshotMeta {
                index: metadata.index,
                term: metadata.term,
            },
            conf_state: metadata.get_conf_state().clone(),
            data: snapshot.data.clone(),
        }
    }

    pub(crate) fn into_raft(self) -> Snapshot {
        let mut snapshot = Snapshot {
            data: self.data,
            ..Snapshot::default()
        };
        let metadata = snapshot.mut_metadata();
        metadata.index = self.meta.index;
        metadata.term = self.meta.term;
        metadata.set_conf_state(self.conf_state);
        snapshot
    }
}

/// Writes a snapshot; it has its name only when it is whole and durable.
pub(crate) fn write(
    directory: &Path,
    snapshot: &StoredSnapshot,
) -> Result<SnapshotMeta, StorageError> {
    let body = wire::SnapshotFile {
        index: snapshot.meta.index,
        term: snapshot.meta.term,
        voters: snapshot.conf_state.voters.clone(),
        learners: snapshot.conf_state.learners.clone(),
        voters_outgoing: snapshot.conf_state.voters_outgoing.clone(),
        learners_next: snapshot.conf_state.learners_next.clone(),
        auto_leave: snapshot.conf_state.auto_leave,
        data: snapshot.data.clone(),
    };
    let body = body.encode_to_vec();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes.extend_from_slice(&body);
    let path = path(directory, snapshot.meta);
    disk::replace_file(&path, &bytes).map_err(StorageError::not_replaced(&path, "write"))?;
    Ok(snapshot.meta)
}

pub(crate) fn read(directory: &Path, meta: SnapshotMeta) -> Result<StoredSnapshot, StorageError> {
    let path = path(directory, meta);
    let bytes = disk::read_bounded(&path, SNAPSHOT_BYTES_MAX);
    let bytes = Bytes::from(bytes.map_err(StorageError::io(&path, "read"))?);
    let damaged = |what: &str| StorageError::corrupt(&path, 0, what);
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
        return Err(damaged("no snapshot header"));
    }
    let number = |range: std::ops::Range<usize>| {
        bytes[range]
            .iter()
            .rev()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    if u64::from(crc32c::crc32c(&bytes[..24])) != number(24..28) {
        return Err(damaged("the header's checksum does not match"));
    }
    let version = u32::try_from(number(8..12)).unwrap_or(u32::MAX);
    if version != FORMAT_VERSION {
        return Err(StorageError::Version {
            path,
            found: version,
            supported: FORMAT_VERSION,
        });
    }
    let body = bytes.slice(HEADER_BYTES..);
    if body.len() as u64 != number(12..20) || u64::from(crc32c::crc32c(&body)) != number(20..24) {
        return Err(damaged("the body's checksum does not match"));
    }
    let file = wire::SnapshotFile::decode(body).map_err(|error| damaged(&error.to_string()))?;
    if (file.index, file.term) != (meta.index, meta.term) {
        return Err(damaged("its index is not the one in its name"));
    }
    let conf_state = ConfState {
        voters: file.voters,
        learners: file.learners,
        voters_outgoing: file.voters_outgoing,
        learners_next: file.learners_next,
        auto_leave: file.auto_leave,
        ..ConfState::default()
    };
    Ok(StoredSnapshot {
        meta,
        conf_state,
        data: file.data,
    })
}

/// False where there is no room for that.
pub(crate) fn remove(directory: &Path, meta: SnapshotMeta) -> Result<bool, StorageError> {
    let path = path(directory, meta);
    disk::remove_file(&path).map_err(StorageError::io(&path, "remove"))
}

/// The index and term in a snapshot's file name.
pub(crate) fn meta_of(name: &str) -> Option<SnapshotMeta> {
    let (index, term) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    if index.len() != 20 || term.len() != 20 {
        return None;
    }
    Some(SnapshotMeta {
        index: index.parse().ok()?,
        term: term.parse().ok()?,
    })
}

pub(crate) fn path(directory: &Path, meta: SnapshotMeta) -> PathBuf {
    directory.join(format!("{:020}-{:020}{SUFFIX}", meta.index, meta.term))
}
