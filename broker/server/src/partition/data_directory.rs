//! One of `log.dirs`: its logs, and whatever is of one disk.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foz_log::{Flusher, LogDirectory, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{DuePartitions, InDoubt, Key};
use crate::directory_failure::DirectoryFailure;
use crate::disk_gate::DiskGate;
use crate::disk_room::DiskRoom;
use crate::identity::{Claimed, Claims, Identity, OfflineDirectory};

#[derive(Debug)]
pub(crate) struct DataDirectory {
    logs: LogDirectory,
    identity: Arc<Identity>,
    flusher: Flusher,
    disk_gate: Arc<DiskGate>,
    failure: DirectoryFailure,
    found: Found,
    room: Mutex<Option<RoomSeen>>,
    due_starts: DuePartitions,
    due_retention: DuePartitions,
    deletions: Notify,
    moves: Notify,
    /// Replicas whose logs are here, and are not theirs any more: they went to other brokers after it had failed.
    given_up: Mutex<HashSet<Key>>,
    is_older: AtomicBool,
}

/// What a directory that failed has of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InFailed {
    Nothing,
    /// A log that is not the replica's any more. Where one that is made elsewhere now is lost, the next start would take
    /// this one for it: both directories were part of the same registration.
    GivenUp,
    /// Its log, in use or not: none is made in its place.
    Its,
}

/// What a start found.
#[derive(Debug)]
pub(crate) struct Found {
    /// With which epoch it was registered last; -1: never.
    pub(crate) disk_epoch: i64,
    /// Everything that was written there is there, but for what is told of single logs.
    pub(crate) has_all_written: bool,
    /// Logs that are damaged, have less than the checkpoints say of them, are not there, or come from nobody knows where.
    pub(crate) in_doubt: Vec<InDoubt>,
    /// The logs in it, until the quorum knows them.
    pub(crate) logs: Mutex<Vec<Key>>,
}

/// What the disk said of itself when it was looked at last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoomSeen {
    pub(crate) room: DiskRoom,
    /// To be kept free of it.
    pub(crate) reserve_bytes: i64,
}

/// All of `log.dirs`, before they are opened.
#[derive(Debug)]
pub(crate) struct Openings {
    /// In their order.
    pub(crate) usable: Vec<Opening>,
    pub(crate) offline: Vec<OfflineDirectory>,
}

/// What a directory is opened with.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) claimed: Claimed,
    /// Hears what goes wrong there.
    pub(crate) failure: DirectoryFailure,
    /// Knows whether the disk has room.
    pub(crate) disk_gate: Arc<DiskGate>,
}

impl DataDirectory {
    pub(super) fn new(
        opening: Opening,
        logs: LogDirectory,
        flusher: Flusher,
        found: Found,
    ) -> Self {
        Self {
            logs,
            identity: opening.claimed.identity,
            flusher,
            disk_gate: opening.disk_gate,
            failure: opening.failure,
            found,
            room: Mutex::default(),
            due_starts: DuePartitions::default(),
            due_retention: DuePartitions::default(),
            deletions: Notify::new(),
            moves: Notify::new(),
            given_up: Mutex::default(),
            is_older: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.logs.path()
    }

    pub(crate) fn logs(&self) -> &LogDirectory {
        &self.logs
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn flusher(&self) -> &Flusher {
        &self.flusher
    }

    pub(crate) fn disk_gate(&self) -> &DiskGate {
        &self.disk_gate
    }

    pub(crate) fn failure(&self) -> &DirectoryFailure {
        &self.failure
    }

    /// Nothing there is used any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.has_failed()
    }

    /// When this process began.
    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    /// `None`: nobody has looked yet.
    pub(crate) fn room(&self) -> Option<RoomSeen> {
        *self.room.lock()
    }

    pub(crate) fn set_room(&self, seen: RoomSeen) {
        *self.room.lock() = Some(seen);
    }

    /// Where the log begins later, which is to be made durable: see [`Partitions::write_due_starts`](super::Partitions).
    pub(crate) fn due_starts(&self) -> &DuePartitions {
        &self.due_starts
    }

    /// Where there may be something to remove: see [`Partitions::apply_due_retention`](super::Partitions).
    pub(crate) fn due_retention(&self) -> &DuePartitions {
        &self.due_retention
    }

    /// Of a directory that has failed.
    pub(super) fn in_failed(&self, name: &TopicPartition, key: Key) -> InFailed {
        let is_listed = self.has(name, key);
        if is_listed && !self.given_up.lock().contains(&key) {
            return InFailed::Its;
        }
        match (is_listed || self.logs.may_come_back(name, key.0)) && !self.is_older() {
            true => InFailed::GivenUp,
            false => InFailed::Nothing,
        }
    }

    /// Should the replica come back to this broker, it is made anew.
    pub(super) fn give_up(&self, name: &TopicPartition, key: Key) {
        if self.has(name, key) {
            self.given_up.lock().insert(key);
        }
    }

    /// The replicas that cannot be used because it has failed: in service, damaged, or kept of deleted topics.
    pub(super) fn failed_replicas(&self) -> Vec<Key> {
        let mut replicas = self.logs.listed();
        let given_up = self.given_up.lock();
        replicas.retain(|key| !given_up.contains(key));
        replicas
    }

    fn has(&self, name: &TopicPartition, (topic_id, index): Key) -> bool {
        let log = self.logs.get(name);
        log.is_some_and(|log| log.topic_id() == topic_id)
            || self.logs.is_buried(topic_id, index)
            // Where nobody can tell of which topic it is, it may be this one.
            || self.logs.is_offline(name)
                && self.logs.topic_id_of_offline(name).is_none_or(|id| id == topic_id)
    }

    /// The broker was registered without it since it failed: a log that is made in another directory from now on is newer
    /// than anything here.
    fn is_older(&self) -> bool {
        self.is_older.load(Ordering::Acquire)
    }

    /// See [`Self::is_older`].
    pub(crate) fn set_older(&self) {
        self.is_older.store(true, Ordering::Release);
    }

    /// Woken when there is something to do for [`Partitions::remove_deleted`](super::Partitions).
    pub(crate) fn deletions(&self) -> &Notify {
        &self.deletions
    }

    /// Woken when a log is to come here.
    pub(crate) fn moves(&self) -> &Notify {
        &self.moves
    }
}

impl Openings {
    /// `reasons` are told why the broker cannot go on.
    pub(crate) fn new(claims: Claims, reasons: tokio::sync::mpsc::Sender<String>) -> Self {
        let failures = DirectoryFailure::of_all(&claims.usable, reasons);
        let usable = claims.usable.into_iter().zip(failures);
        let usable = usable.map(|(claimed, failure)| Opening {
            claimed,
            failure,
            disk_gate: Arc::default(),
        });
        Self {
            usable: usable.collect(),
            offline: claims.offline,
        }
    }
}
