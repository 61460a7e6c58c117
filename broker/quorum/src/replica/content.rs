//! What a Raft snapshot holds, how it is made and how it is taken over.

use std::time::Instant;

use prost::Message as _;

use super::{Replica, storage_failure};
use crate::error::QuorumFailure;
use crate::membership::Membership;
use crate::state_machine::StateMachine;
use crate::storage::{SnapshotMeta, StorageError, StoredSnapshot};
use crate::wire;

/// The data of a Raft snapshot.
pub(super) struct SnapshotContent {
    pub(super) cluster_id: String,
    pub(super) membership: Membership,
    state: Option<bytes::Bytes>,
}

impl SnapshotContent {
    pub(super) fn decode(data: &bytes::Bytes) -> Result<Self, String> {
        let data = wire::SnapshotData::decode(data.clone()).map_err(|error| error.to_string())?;
        let membership = data.membership.and_then(Membership::from_wire);
        let membership = membership.ok_or("it has no membership")?;
        Ok(Self {
            cluster_id: data.cluster_id,
            membership,
            state: data.state,
        })
    }

    /// The founding snapshot has no state: the state machine is as it began.
    pub(super) fn restore<S: StateMachine>(&self, state_machine: &mut S) -> Result<(), String> {
        match &self.state {
            Some(state) => state_machine
                .restore(state)
                .map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

impl<S: StateMachine> Replica<S> {
    /// Takes over the leader's snapshot, which is durable already.
    pub(super) fn restore(&mut self, snapshot: StoredSnapshot) -> Result<(), QuorumFailure> {
        let index = snapshot.meta.index;
        let refused = |reason| QuorumFailure::Restore { index, reason };
        let content = SnapshotContent::decode(&snapshot.data).map_err(refused)?;
        if content.cluster_id != self.cluster_id {
            return Err(refused(format!("it is of cluster {}", content.cluster_id)));
        }
        content.restore(&mut self.state_machine).map_err(refused)?;
        self.membership = content.membership;
        self.conf_state = snapshot.conf_state;
        self.applied = snapshot.meta;
        self.membership_changed();
        tracing::info!(index, "restored the leader's metadata snapshot");
        Ok(())
    }

    /// What became of the snapshot that was begun last.
    pub(super) fn snapshot_written(
        &mut self,
        written: Result<SnapshotMeta, StorageError>,
    ) -> Result<(), QuorumFailure> {
        let conf_state = self.snapshots.finish();
        let meta = match written {
            Err(error) if error.is_shortage() => {
                self.snapshots.rest(Instant::now(), &error);
                return Ok(());
            }
            written => written.map_err(storage_failure)?,
        };
        let store = self.node.mut_store();
        store
            .snapshot_written(meta, conf_state)
            .map_err(storage_failure)?;
        tracing::debug!(index = meta.index, "wrote a metadata snapshot");
        Ok(())
    }

    /// Begins a snapshot when enough was applied since the last one, or a member needs one.
    pub(super) fn snapshot_if_due(&mut self) {
        let store = self.node.store();
        let newest = store.newest_snapshot();
        let entries = self.applied.index.saturating_sub(newest.index);
        let is_due = entries >= self.config.snapshot_every_entries
            || (entries > 0 && store.bytes_since_snapshot() >= self.config.snapshot_every_bytes);
        if self.snapshots.is_busy(Instant::now()) || self.applied.index == 0 {
            return;
        }
        if is_due || store.take_snapshot_wanted() {
            let data = wire::SnapshotData {
                cluster_id: self.cluster_id.clone(),
                membership: Some(self.membership.to_wire()),
                state: Some(self.state_machine.snapshot().into()),
            };
            let conf_state = self.conf_state.clone();
            let data = data.encode_to_vec().into();
            let snapshot = StoredSnapshot {
                meta: self.applied,
                conf_state,
                data,
            };
            self.snapshots.begin(store.directory().to_owned(), snapshot);
        }
    }
}
