//! Reads back what a process left behind, however it ended.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use prost::Message as _;
use protobuf::Message as _;
use raft::eraftpb::{Entry, HardState};

use super::frame::{self, HeaderFault};
use super::segment::{self, Segment};
use super::snapshot_file::{self, StoredSnapshot};
use super::{LogStore, StorageError};
use crate::disk;
use crate::entries::SnapshotMeta;
use crate::wire;

/// A segment is compacted long before it is this large.
const SEGMENT_BYTES_MAX: u64 = 4 << 30;

/// The directory of the quorum's files, locked.
#[derive(Debug)]
pub(crate) struct QuorumDirectory {
    pub(crate) path: PathBuf,
    _lock: File,
    /// Ascending.
    segments: Vec<u64>,
    /// Ascending.
    snapshots: Vec<SnapshotMeta>,
}

/// A closed segment: it can go when all its entries are covered by a snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClosedSegment {
    pub(crate) number: u64,
    pub(crate) last_index: u64,
}

/// What the segments hold, read in order.
#[derive(Debug, Default)]
struct Replay {
    hard_state: HardState,
    entries: VecDeque<Entry>,
    closed: VecDeque<ClosedSegment>,
}

impl QuorumDirectory {
    /// Locks the directory (made if it is not there) and removes what was never finished.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StorageError> {
        disk::create_directory(&path).map_err(StorageError::io(&path, "create"))?;
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).map_err(StorageError::io(&lock_path, "create"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::Locked { path: lock_path }),
            Err(TryLockError::Error(source)) => {
                return Err(StorageError::Io {
                    path: lock_path,
                    action: "lock",
                    source,
                });
            }
        }
        let (mut segments, mut snapshots) = (Vec::new(), Vec::new());
        for file in fs::read_dir(&path).map_err(StorageError::io(&path, "list"))? {
            let name = file.map_err(StorageError::io(&path, "list"))?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(disk::TEMPORARY_SUFFIX) {
                let file = path.join(&*name);
                fs::remove_file(&file).map_err(StorageError::io(&file, "remove"))?;
            } else if let Some(number) = segment::number_of(&name) {
                segments.push(number);
            } else if let Some(meta) = snapshot_file::meta_of(&name) {
                snapshots.push(meta);
            }
        }
        segments.sort_unstable();
        snapshots.sort_unstable();
        Ok(Self {
            path,
            _lock: lock,
            segments,
            snapshots,
        })
    }

    /// No controller ever voted or wrote here.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.snapshots.is_empty()
    }

    /// It knows the members of a quorum.
    pub(crate) fn has_snapshot(&self) -> bool {
        !self.snapshots.is_empty()
    }

    /// Writes the snapshot with which a founding member begins.
    pub(crate) fn found(&mut self, snapshot: &StoredSnapshot) -> Result<(), StorageError> {
        assert!(
            !self.has_snapshot(),
            "a quorum is founded on a directory that has none"
        );
        self.snapshots
            .push(snapshot_file::write(&self.path, snapshot)?);
        Ok(())
    }

    /// Reads everything and opens the log for writing. `may_create_log`: no vote can have been written
    /// yet, so a missing log is a new one.
    pub(crate) fn open_log(
        mut self,
        may_create_log: bool,
    ) -> Result<(LogStore, Option<StoredSnapshot>), StorageError> {
        let mut replay = Replay::default();
        let mut active = None;
        for number in self.segments.clone() {
            let is_last = self.segments.last() == Some(&number);
            if let Some(segment) = replay.read(&self.path, number, is_last)? {
                active = Some((number, segment));
            }
        }
        let snapshot = self.newest_snapshot(&replay)?;
        let newest = snapshot
            .as_ref()
            .map_or(SnapshotMeta { index: 0, term: 0 }, |s| s.meta);
        replay.begin_after(newest);
        let (number, segment) = match active {
            Some(active) => active,
            None if may_create_log => (1, Segment::create(&self.path, 1, &replay.hard_state)?),
            None => {
                let what = "the votes and the log of this controller are gone".to_owned();
                return Err(StorageError::Missing {
                    path: self.path,
                    what,
                });
            }
        };
        let store = LogStore::new(
            self,
            replay.hard_state,
            replay.entries,
            snapshot.as_ref(),
            replay.closed,
            (number, segment),
        );
        Ok((store, snapshot))
    }

    /// A snapshot was written: only it and the one before it stay. What cannot be removed for want of room goes with a
    /// later one.
    pub(crate) fn keep_two_snapshots(&mut self, newest: SnapshotMeta) -> Result<(), StorageError> {
        self.snapshots.push(newest);
        self.snapshots.sort_unstable();
        self.snapshots.dedup();
        while self.snapshots.len() > 2 {
            if !snapshot_file::remove(&self.path, self.snapshots[0])? {
                break;
            }
            self.snapshots.remove(0);
        }
        Ok(())
    }

    /// The newest snapshot; when it is damaged the one before it, if the log still has all that follows.
    fn newest_snapshot(&mut self, replay: &Replay) -> Result<Option<StoredSnapshot>, StorageError> {
        let Some(newest) = self.snapshots.last().copied() else {
            return replay.check_follows(&self.path, 0).map(|()| None);
        };
        let damage = match snapshot_file::read(&self.path, newest) {
            Ok(snapshot) => {
                return replay
                    .check_follows(&self.path, newest.index)
                    .map(|()| Some(snapshot));
            }
            Err(StorageError::Corrupt { path, offset, what }) => {
                StorageError::Corrupt { path, offset, what }
            }
            Err(other) => return Err(other),
        };
        let last_index = replay.entries.back().map_or(0, |entry| entry.index);
        match self.snapshots.iter().rev().nth(1).copied() {
            Some(older) if last_index >= newest.index && replay.follows(older.index) => {
                tracing::error!(%damage, older_index = older.index, "the newest snapshot is damaged; the one before it and the log have all it had");
                let snapshot = snapshot_file::read(&self.path, older)?;
                self.snapshots.pop();
                if !snapshot_file::remove(&self.path, newest)? {
                    // Beside the next one it would be read again.
                    let path = snapshot_file::path(&self.path, newest);
                    let source = std::io::ErrorKind::StorageFull.into();
                    return Err(StorageError::shortage(
                        &path,
                        "remove what is damaged:",
                        source,
                    ));
                }
                Ok(Some(snapshot))
            }
            _ => Err(damage),
        }
    }
}

impl Replay {
    /// Reads one segment; gives it open for writing when it is the last.
    fn read(
        &mut self,
        directory: &Path,
        number: u64,
        is_last: bool,
    ) -> Result<Option<Segment>, StorageError> {
        let path = segment::path(directory, number);
        let bytes = disk::read_bounded(&path, SEGMENT_BYTES_MAX);
        let bytes = bytes::Bytes::from(bytes.map_err(StorageError::io(&path, "read"))?);
        let salt = frame::read_segment_header(&bytes).map_err(|fault| match fault {
            HeaderFault::Damaged => StorageError::corrupt(&path, 0, "no segment header"),
            HeaderFault::Version(found) => {
                let supported = frame::FORMAT_VERSION;
                StorageError::Version {
                    path: path.clone(),
                    found,
                    supported,
                }
            }
        })?;
        let scan = frame::scan(salt, &bytes).map_err(|damage| {
            let what = "a record's checksum does not match, and records follow it";
            StorageError::corrupt(&path, damage.offset, what)
        })?;
        if !is_last && scan.end != bytes.len() {
            let what = "a record is cut off, and another segment follows";
            return Err(StorageError::corrupt(&path, scan.end, what));
        }
        if scan.payloads.is_empty() {
            let what = "the segment's first record is damaged";
            return Err(StorageError::corrupt(&path, scan.end, what));
        }
        let frames = scan.payloads.len() as u64;
        let mut segment_last_index = 0;
        for payload in scan.payloads {
            let offset = payload.start;
            let last = self
                .apply_frame(bytes.slice(payload))
                .map_err(|what| StorageError::corrupt(&path, offset, what))?;
            segment_last_index = segment_last_index.max(last);
        }
        if is_last {
            return Segment::reopen(path, salt, frames, scan.end as u64).map(Some);
        }
        self.closed.push_back(ClosedSegment {
            number,
            last_index: segment_last_index,
        });
        Ok(None)
    }

    /// Gives the last index of the frame's entries, 0 when it has none.
    fn apply_frame(&mut self, payload: bytes::Bytes) -> Result<u64, String> {
        let frame = wire::LogFrame::decode(payload).map_err(|error| error.to_string())?;
        if let Some(state) = frame.hard_state {
            self.hard_state.term = state.term;
            self.hard_state.vote = state.vote;
            self.hard_state.commit = state.commit;
        }
        let mut last_index = 0;
        for bytes in frame.entries {
            let entry = Entry::parse_from_carllerche_bytes(&bytes).map_err(|e| e.to_string())?;
            last_index = entry.index;
            self.push(entry)?;
        }
        Ok(last_index)
    }

    /// An entry takes the place of all that were at its index and after it. An index that leaves a gap
    /// begins anew: the entries before it were covered by a snapshot that the leader sent.
    fn push(&mut self, entry: Entry) -> Result<(), String> {
        if entry.index == 0 {
            return Err("an entry has index 0".to_owned());
        }
        while self
            .entries
            .back()
            .is_some_and(|last| last.index >= entry.index)
        {
            self.entries.pop_back();
        }
        if self
            .entries
            .back()
            .is_some_and(|last| last.index + 1 != entry.index)
        {
            self.entries.clear();
        }
        self.entries.push_back(entry);
        Ok(())
    }

    /// Nothing is missing between index and the first entry.
    fn follows(&self, index: u64) -> bool {
        self.entries
            .front()
            .is_none_or(|first| first.index <= index + 1)
    }

    fn check_follows(&self, directory: &Path, index: u64) -> Result<(), StorageError> {
        if self.follows(index) {
            return Ok(());
        }
        let first = self.entries.front().map_or(0, |entry| entry.index);
        let what = format!("the newest snapshot ends at index {index}, the log begins at {first}");
        Err(StorageError::Missing {
            path: directory.to_owned(),
            what,
        })
    }

    /// Leaves the entries that follow the snapshot. A log that does not hold the snapshot's last entry
    /// was overtaken by it: the crash came after the leader's snapshot was written and before the log
    /// was begun anew.
    fn begin_after(&mut self, snapshot: SnapshotMeta) {
        let overtaken = !self.entries.iter().any(|entry| {
            entry.index == snapshot.index && entry.term == snapshot.term
                || entry.index == snapshot.index + 1 && self.entries.front() == Some(entry)
        });
        if overtaken {
            self.entries.clear();
        }
        while self
            .entries
            .front()
            .is_some_and(|first| first.index <= snapshot.index)
        {
            self.entries.pop_front();
        }
        // Never answered in a term it did not know, so nothing was voted in it.
        if self.hard_state.term < snapshot.term {
            self.hard_state.term = snapshot.term;
            self.hard_state.vote = 0;
        }
        self.hard_state.commit = self.hard_state.commit.max(snapshot.index);
    }
}
