//! The log as Raft reads it and as the quorum's thread writes it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs;

use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage};

use super::StorageError;
use super::recovery::{ClosedSegment, QuorumDirectory};
use super::segment::{self, Segment};
use super::snapshot_file::{self, SnapshotMeta, StoredSnapshot};

/// All entries since the older of the two newest snapshots are in memory; their number is bounded by
/// how often snapshots are taken.
#[derive(Debug)]
pub(crate) struct LogStore {
    directory: QuorumDirectory,
    hard_state: HardState,
    /// The configuration in the newest snapshot.
    conf_state: ConfState,
    newest: SnapshotMeta,
    /// The entry before the first one in `entries`.
    compacted: SnapshotMeta,
    entries: VecDeque<Entry>,
    bytes_since_snapshot: u64,
    closed: VecDeque<ClosedSegment>,
    active: Segment,
    active_number: u64,
    active_last_index: u64,
    /// A member needs a snapshot and the newest one cannot be read.
    snapshot_wanted: Cell<bool>,
}

impl LogStore {
    pub(super) fn new(
        directory: QuorumDirectory,
        hard_state: HardState,
        entries: VecDeque<Entry>,
        snapshot: Option<&StoredSnapshot>,
        closed: VecDeque<ClosedSegment>,
        (active_number, active): (u64, Segment),
    ) -> Self {
        let newest = snapshot.map_or(SnapshotMeta { index: 0, term: 0 }, |s| s.meta);
        let active_last_index = entries.back().map_or(newest.index, |entry| entry.index);
        let bytes_since_snapshot = entries.iter().map(|entry| entry.data.len() as u64).sum();
        Self {
            directory,
            hard_state,
            conf_state: snapshot.map(|s| s.conf_state.clone()).unwrap_or_default(),
            newest,
            compacted: newest,
            entries,
            bytes_since_snapshot,
            closed,
            active,
            active_number,
            active_last_index,
            snapshot_wanted: Cell::new(false),
        }
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        &self.directory.path
    }

    pub(crate) fn newest_snapshot(&self) -> SnapshotMeta {
        self.newest
    }

    /// The data of the entries since the newest snapshot.
    pub(crate) fn bytes_since_snapshot(&self) -> u64 {
        self.bytes_since_snapshot
    }

    /// Whether a snapshot should be taken at once; asking forgets it.
    pub(crate) fn take_snapshot_wanted(&self) -> bool {
        self.snapshot_wanted.take()
    }

    pub(crate) fn first(&self) -> u64 {
        self.compacted.index + 1
    }

    pub(crate) fn last(&self) -> u64 {
        self.entries
            .back()
            .map_or(self.compacted.index, |entry| entry.index)
    }

    /// The commit index alone need not be durable: Raft finds it again.
    pub(crate) fn set_commit(&mut self, commit: u64) {
        self.hard_state.commit = commit;
    }

    /// Makes a vote and entries durable, with one fsync. The entries take the place of those at their
    /// indexes and after.
    pub(crate) fn append(
        &mut self,
        hard_state: Option<&HardState>,
        entries: Vec<Entry>,
    ) -> Result<(), StorageError> {
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        self.active.append(&self.hard_state, &entries)?;
        let Some(first) = entries.first() else {
            return Ok(());
        };
        assert!(
            first.index > self.compacted.index && first.index <= self.last() + 1,
            "raft appends entry {} to a log of {}..={}",
            first.index,
            self.first(),
            self.last(),
        );
        self.entries.truncate(self.position(first.index));
        self.bytes_since_snapshot += entries
            .iter()
            .map(|entry| entry.data.len() as u64)
            .sum::<u64>();
        self.entries.extend(entries);
        self.active_last_index = self.active_last_index.max(self.last());
        Ok(())
    }

    /// Takes the leader's snapshot in place of the whole log.
    pub(crate) fn install(
        &mut self,
        snapshot: &Snapshot,
        hard_state: Option<&HardState>,
    ) -> Result<(), StorageError> {
        let snapshot = StoredSnapshot::from_raft(snapshot);
        let meta = snapshot_file::write(&self.directory.path, &snapshot)?;
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        self.hard_state.commit = self.hard_state.commit.max(meta.index);
        self.conf_state = snapshot.conf_state;
        self.newest = meta;
        self.compacted = meta;
        self.entries.clear();
        self.bytes_since_snapshot = 0;
        self.roll()?;
        self.directory.keep_two_snapshots(meta)?;
        self.remove_segments_through(meta.index, true)
    }

    /// A snapshot that was written beside this thread is durable: the log before the one before it can
    /// go.
    pub(crate) fn snapshot_written(
        &mut self,
        meta: SnapshotMeta,
        conf_state: ConfState,
    ) -> Result<(), StorageError> {
        if meta <= self.newest {
            // The leader's snapshot overtook it; this one goes when the next is written.
            return self.directory.keep_two_snapshots(meta);
        }
        let older = self.newest;
        self.newest = meta;
        self.conf_state = conf_state;
        let since = self.position(meta.index + 1);
        self.bytes_since_snapshot = self
            .entries
            .range(since..)
            .map(|entry| entry.data.len() as u64)
            .sum();
        self.roll()?;
        self.directory.keep_two_snapshots(meta)?;
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.index <= older.index)
        {
            self.entries.pop_front();
        }
        self.entries.shrink_to(2 * self.entries.len());
        self.compacted = self.compacted.max(older);
        self.remove_segments_through(older.index, false)
    }

    /// Begins a new segment, with the hard state.
    fn roll(&mut self) -> Result<(), StorageError> {
        let number = self.active_number + 1;
        let segment = Segment::create(&self.directory.path, number, &self.hard_state)?;
        self.active = segment;
        let last_index = self.active_last_index;
        self.closed.push_back(ClosedSegment {
            number: self.active_number,
            last_index,
        });
        self.active_number = number;
        self.active_last_index = 0;
        Ok(())
    }

    fn remove_segments_through(&mut self, index: u64, all: bool) -> Result<(), StorageError> {
        while let Some(oldest) = self.closed.front() {
            if !all && oldest.last_index > index {
                break;
            }
            let path = segment::path(&self.directory.path, oldest.number);
            fs::remove_file(&path).map_err(StorageError::io(&path, "remove"))?;
            self.closed.pop_front();
        }
        Ok(())
    }

    /// Where the entry of an index is, or would be.
    fn position(&self, index: u64) -> usize {
        let position = index.saturating_sub(self.compacted.index + 1);
        usize::try_from(position)
            .unwrap_or(usize::MAX)
            .min(self.entries.len())
    }
}

impl Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.hard_state.clone(),
            self.conf_state.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.compacted.index {
            return Err(raft::Error::Store(raft::StorageError::Compacted));
        }
        assert!(
            high <= self.last() + 1,
            "raft asks for entry {} of {}",
            high - 1,
            self.last()
        );
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0;
        let range = self.entries.range(self.position(low)..self.position(high));
        let fitting = range.take_while(|entry| {
            let is_first = bytes == 0;
            bytes += u64::from(entry.compute_size());
            is_first || bytes <= bytes_max
        });
        Ok(fitting.cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.compacted.index {
            return Ok(self.compacted.term);
        }
        if index == self.newest.index {
            return Ok(self.newest.term);
        }
        if index < self.compacted.index {
            return Err(raft::Error::Store(raft::StorageError::Compacted));
        }
        let entry = self.entries.get(self.position(index));
        let unavailable = raft::Error::Store(raft::StorageError::Unavailable);
        entry.map(|entry| entry.term).ok_or(unavailable)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let temporarily = raft::Error::Store(raft::StorageError::SnapshotTemporarilyUnavailable);
        // A member ignores a snapshot from before it was one.
        let state = &self.conf_state;
        let is_member = [&state.voters, &state.learners, &state.voters_outgoing]
            .iter()
            .any(|members| members.contains(&to));
        if self.newest.index == 0 || self.newest.index < request_index || !is_member {
            self.snapshot_wanted.set(true);
            return Err(temporarily);
        }
        match snapshot_file::read(&self.directory.path, self.newest) {
            Ok(snapshot) => Ok(snapshot.into_raft()),
            Err(error) => {
                tracing::error!(%error, to, "a member needs the snapshot; another one is taken");
                self.snapshot_wanted.set(true);
                Err(temporarily)
            }
        }
    }
}
