//! The log as Raft reads it and as the quorum's thread writes it.

use std::cell::Cell;
use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage};

use super::StorageError;
use super::recovery::{ClosedSegment, QuorumDirectory};
use super::segment::{self, Segment};
use super::snapshot_file::{self, StoredSnapshot};
use crate::disk;
use crate::entries::{Entries, SnapshotMeta};

/// What is in the files, and in memory: the hard state and the entries.
#[derive(Debug)]
pub(crate) struct LogStore {
    directory: QuorumDirectory,
    hard_state: HardState,
    /// The configuration in the newest snapshot.
    conf_state: ConfState,
    entries: Entries,
    closed: VecDeque<ClosedSegment>,
    active: Segment,
    active_number: u64,
    active_last_index: u64,
    /// A snapshot of the leader that is durable, but for what comes after it there was no room yet.
    installing: Option<SnapshotMeta>,
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
        Self {
            directory,
            hard_state,
            conf_state: snapshot.map(|s| s.conf_state.clone()).unwrap_or_default(),
            entries: Entries::new(newest, entries),
            closed,
            active,
            active_number,
            active_last_index,
            installing: None,
            snapshot_wanted: Cell::new(false),
        }
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        &self.directory.path
    }

    pub(crate) fn newest_snapshot(&self) -> SnapshotMeta {
        self.entries.newest_snapshot()
    }

    /// The data of the entries since the newest snapshot.
    pub(crate) fn bytes_since_snapshot(&self) -> u64 {
        self.entries.bytes_since_snapshot()
    }

    /// Whether a snapshot should be taken at once; asking forgets it.
    pub(crate) fn take_snapshot_wanted(&self) -> bool {
        self.snapshot_wanted.take()
    }

    pub(crate) fn first(&self) -> u64 {
        self.entries.first()
    }

    pub(crate) fn last(&self) -> u64 {
        self.entries.last()
    }

    /// The commit index alone need not be durable: Raft finds it again.
    pub(crate) fn set_commit(&mut self, commit: u64) {
        self.hard_state.commit = commit;
    }

    /// Makes a vote and entries durable, with one fsync. The entries take the place of those at their
    /// indexes and after; they are taken out of `entries` where it worked. After a
    /// [shortage](StorageError::Shortage) it is to be tried again.
    pub(crate) fn append(
        &mut self,
        hard_state: Option<&HardState>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), StorageError> {
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        self.active.append(&self.hard_state, entries)?;
        if !entries.is_empty() {
            self.entries.append(std::mem::take(entries));
            self.active_last_index = self.active_last_index.max(self.last());
        }
        Ok(())
    }

    /// Takes the leader's snapshot in place of the whole log. After a [shortage](StorageError::Shortage) it is to be
    /// tried again, with the same: what is done already is not done again.
    pub(crate) fn install(
        &mut self,
        snapshot: &Snapshot,
        hard_state: Option<&HardState>,
    ) -> Result<(), StorageError> {
        let snapshot = StoredSnapshot::from_raft(snapshot);
        let meta = snapshot.meta;
        if self.installing != Some(meta) {
            snapshot_file::write(&self.directory.path, &snapshot)?;
            self.installing = Some(meta);
        }
        if self.entries.newest_snapshot() != meta {
            self.begin_anew(meta, snapshot.conf_state, hard_state)?;
        }
        self.directory.keep_two_snapshots(meta)?;
        // Entries of another leader must not stand before those that follow the snapshot.
        if !self.remove_segments_through(meta.index, true)? {
            let source = std::io::ErrorKind::StorageFull.into();
            let path = &self.directory.path;
            return Err(StorageError::shortage(
                path,
                "remove the log before the snapshot from",
                source,
            ));
        }
        self.installing = None;
        Ok(())
    }

    fn begin_anew(
        &mut self,
        meta: SnapshotMeta,
        conf_state: ConfState,
        hard_state: Option<&HardState>,
    ) -> Result<(), StorageError> {
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        self.hard_state.commit = self.hard_state.commit.max(meta.index);
        self.roll()?;
        self.conf_state = conf_state;
        self.entries.install(meta);
        Ok(())
    }

    /// A snapshot that was written beside this thread is durable: the log before the one before it can
    /// go.
    pub(crate) fn snapshot_written(
        &mut self,
        meta: SnapshotMeta,
        conf_state: ConfState,
    ) -> Result<(), StorageError> {
        let Some(older) = self.entries.snapshot_written(meta) else {
            // The leader's snapshot overtook it; this one goes when the next is written.
            return self.directory.keep_two_snapshots(meta);
        };
        self.conf_state = conf_state;
        match self.roll() {
            Err(error) if error.is_shortage() => {
                tracing::warn!(%error, "the log goes on in the same segment");
            }
            rolled => rolled?,
        }
        self.directory.keep_two_snapshots(meta)?;
        self.remove_segments_through(older.index, false).map(|_| ())
    }

    /// Begins a new segment, with the hard state. A [shortage](StorageError::Shortage): there is none, and the log may
    /// go on in this one.
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

    /// False where there was no room to remove one.
    fn remove_segments_through(&mut self, index: u64, all: bool) -> Result<bool, StorageError> {
        while let Some(oldest) = self.closed.front() {
            if !all && oldest.last_index > index {
                break;
            }
            let path = segment::path(&self.directory.path, oldest.number);
            if !disk::remove_file(&path).map_err(StorageError::io(&path, "remove"))? {
                return Ok(false);
            }
            self.closed.pop_front();
        }
        Ok(true)
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
        self.entries.read(low, high, max_size.into())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        self.entries.term(index)
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
        let newest = self.newest_snapshot();
        if newest.index == 0 || newest.index < request_index || !is_member {
            self.snapshot_wanted.set(true);
            return Err(temporarily);
        }
        match snapshot_file::read(&self.directory.path, newest) {
            Ok(snapshot) => Ok(snapshot.into_raft()),
            Err(error) => {
                tracing::error!(%error, to, "a member needs the snapshot; another one is taken");
                self.snapshot_wanted.set(true);
                Err(temporarily)
            }
        }
    }
}
