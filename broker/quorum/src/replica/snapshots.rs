//! Writes snapshots beside the quorum's thread, so that a large one does not hold up heartbeats.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use raft::eraftpb::ConfState;
use tokio::sync::mpsc;

use crate::command::Command;
use crate::storage::{StorageError, StoredSnapshot, write_snapshot};

/// At most one snapshot is being written.
#[derive(Debug)]
pub(super) struct SnapshotWriter {
    commands: mpsc::UnboundedSender<Command>,
    /// Raft's configuration in the snapshot, and who writes it.
    writing: Option<(ConfState, JoinHandle<()>)>,
    /// There was no room for the last one.
    rests_until: Option<Instant>,
}

/// Before another one is tried.
pub(super) const REST: Duration = Duration::from_secs(5);

impl SnapshotWriter {
    pub(super) fn new(commands: mpsc::UnboundedSender<Command>) -> Self {
        Self {
            commands,
            writing: None,
            rests_until: None,
        }
    }

    /// None is to be begun.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.writing.is_some() || self.rests_until.is_some_and(|until| now < until)
    }

    /// The log grows until there is room.
    pub(super) fn rest(&mut self, now: Instant, error: &StorageError) {
        tracing::warn!(%error, "no room for a metadata snapshot; it is tried again");
        self.rests_until = Some(now + REST);
    }

    /// The outcome comes as [`Command::SnapshotWritten`].
    pub(super) fn begin(&mut self, directory: PathBuf, snapshot: StoredSnapshot) {
        let conf_state = snapshot.conf_state.clone();
        let commands = self.commands.clone();
        let path = directory.clone();
        let write = move || {
            let result = write_snapshot(&directory, &snapshot);
            // An error: the quorum's thread has ended; the file is whole or has no name.
            let _ = commands.send(Command::SnapshotWritten(result));
        };
        match std::thread::Builder::new()
            .name("foz-snapshot".into())
            .spawn(write)
        {
            Ok(thread) => self.writing = Some((conf_state, thread)),
            Err(source) => {
                let error = StorageError::Io {
                    path,
                    action: "start a thread to write",
                    source,
                };
                tracing::warn!(%error, "no snapshot is taken now");
            }
        }
    }

    /// The outcome came: the configuration in the snapshot.
    pub(super) fn finish(&mut self) -> ConfState {
        self.writing
            .take()
            .map(|(conf_state, _)| conf_state)
            .unwrap_or_default()
    }

    /// Waits for the one being written.
    pub(super) fn join(&mut self) {
        if let Some((_, thread)) = self.writing.take() {
            // An error: it panicked, and the file has no name.
            let _ = thread.join();
        }
    }
}
