//! The Raft log and the votes of one controller: what is written, and what of it is on the disk.
//!
//! A frame (hard state and entries) is written as a whole and then flushed; a loss of power in between keeps all of it or
//! nothing, since a torn frame fails its checksum. What Raft reads of it is `foz-quorum`'s own.

use foz_quorum::entries::{Entries, SnapshotMeta};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

#[derive(Debug, Default)]
pub(crate) struct Store {
    hard_state: HardState,
    durable_hard_state: HardState,
    conf_state: ConfState,
    newest: Snapshot,
    entries: Entries,
    /// What the frame that is being flushed took the place of.
    unflushed: Option<Replaced>,
}

#[derive(Debug)]
struct Replaced {
    hard_state: HardState,
    first_index: u64,
    entries: Vec<Entry>,
    /// The frame has entries, not a vote alone.
    has_entries: bool,
}

impl Store {
    pub(crate) fn founded(voters: Vec<u64>) -> Self {
        Self {
            conf_state: ConfState {
                voters,
                ..ConfState::default()
            },
            ..Self::default()
        }
    }

    pub(crate) fn newest_snapshot(&self) -> &Snapshot {
        &self.newest
    }

    fn newest_index(&self) -> u64 {
        self.newest.get_metadata().index
    }

    /// Need not be durable: Raft finds it again.
    pub(crate) fn set_commit(&mut self, commit: u64) {
        self.hard_state.commit = commit;
    }

    /// Writes a frame; [`Self::flushed`] makes it durable.
    pub(crate) fn append(&mut self, hard_state: Option<&HardState>, entries: Vec<Entry>) {
        let before = self.durable_hard_state.clone();
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        let first = entries.first().map(|first| first.index);
        let first_index = first.unwrap_or(self.entries.last() + 1);
        let has_entries = !entries.is_empty();
        let replaced = self.entries.append(entries);
        self.unflushed = Some(Replaced {
            hard_state: before,
            first_index,
            entries: replaced.into(),
            has_entries,
        });
    }

    pub(crate) fn flushed(&mut self) {
        if self.unflushed.take().is_some() {
            self.durable_hard_state = self.hard_state.clone();
        }
    }

    /// As [`Self::flushed`], for a store that forgets to flush what it voted.
    pub(crate) fn flushed_without_vote(&mut self) {
        if self.unflushed.as_ref().is_some_and(|it| it.has_entries) {
            self.flushed();
        } else {
            self.unflushed = None;
        }
    }

    /// The process ends, and with it what was not on the disk.
    pub(crate) fn crashed(mut self, keeps_frame: bool) -> Self {
        if keeps_frame {
            self.flushed();
        } else if let Some(replaced) = self.unflushed.take() {
            self.entries.cut(replaced.first_index);
            self.entries.append(replaced.entries);
            self.durable_hard_state = replaced.hard_state;
        }
        self.hard_state = self.durable_hard_state.clone();
        let last = self.entries.last();
        let newest = self.newest_index();
        self.hard_state.commit = self.hard_state.commit.clamp(newest, last.max(newest));
        self
    }

    /// Takes the leader's snapshot in place of the log. Durable at once.
    pub(crate) fn install(&mut self, snapshot: &Snapshot, hard_state: Option<&HardState>) {
        let meta = snapshot.get_metadata();
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        self.hard_state.commit = self.hard_state.commit.max(meta.index);
        self.durable_hard_state = self.hard_state.clone();
        self.conf_state = meta.get_conf_state().clone();
        self.entries.install(position(snapshot));
        self.newest = snapshot.clone();
    }

    /// A snapshot of the own state is durable: the log before the one before it can go.
    pub(crate) fn snapshot_written(&mut self, mut snapshot: Snapshot) {
        if self.entries.snapshot_written(position(&snapshot)).is_none() {
            return;
        }
        snapshot
            .mut_metadata()
            .set_conf_state(self.conf_state.clone());
        self.newest = snapshot;
    }
}

fn position(snapshot: &Snapshot) -> SnapshotMeta {
    let meta = snapshot.get_metadata();
    SnapshotMeta {
        index: meta.index,
        term: meta.term,
    }
}

impl Storage for Store {
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
        Ok(self.entries.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.entries.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.newest_index() == 0 || self.newest_index() < request_index {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(self.newest.clone())
    }
}
