//! A disk without room.
//!
//! What Raft wants on the disk cannot be left out: a vote, entries that others count. So the thread stands still until
//! there is room: it answers nobody, and others elect a leader without it. Nothing is answered that is not durable, and
//! nothing is lost that is. Afterwards it follows.

use std::time::{Duration, Instant};

use raft::StateRole;

use super::{Flow, Replica, storage_failure};
use crate::command::Command;
use crate::error::{ChangeVotersError, ProposeError, QuorumFailure, TransferError};
use crate::joining::JoinAnswer;
use crate::state_machine::StateMachine;
use crate::storage::{LogStore, StorageError};

/// Before a vote or entries are tried again, and between two looks at what others say.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

impl<S: StateMachine> Replica<S> {
    /// Writes, however long there is no room for it: once in each `pause`.
    pub(super) async fn write(
        &mut self,
        pause: Duration,
        mut write: impl FnMut(&mut LogStore) -> Result<(), StorageError>,
    ) -> Result<Flow, QuorumFailure> {
        let mut stands_still = false;
        loop {
            match write(self.node.mut_store()) {
                Err(error) if error.is_shortage() => {
                    if !std::mem::replace(&mut stands_still, true) {
                        tracing::error!(%error, "no room for the quorum's log: this controller stands still until there is");
                        self.stand_aside();
                    }
                }
                written => {
                    if stands_still {
                        tracing::warn!("there is room for the quorum's log again");
                        self.has_stood_still = true;
                    }
                    return written.map(|()| Flow::On).map_err(storage_failure);
                }
            }
            let next_try = Instant::now() + pause;
            while Instant::now() < next_try {
                if let Flow::Stop = self.hear_only() {
                    return Ok(Flow::Stop);
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// A leader that stood still leads no more. Others may have elected another one, in a term that it has not heard
    /// of; and whoever decided as the active controller was told that it is none.
    pub(super) fn resign_if_stood_still(&mut self) {
        let stood_still = std::mem::take(&mut self.has_stood_still);
        let raft = &mut self.node.raft;
        if stood_still && raft.state == StateRole::Leader {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
    }

    /// Nobody decides by what this controller says while it cannot write.
    fn stand_aside(&mut self) {
        let status = &self.outputs.status;
        status.send_modify(|status| status.stands_still = true);
        self.outputs.leadership.send_if_modified(|leadership| {
            leadership.leader = None;
            std::mem::take(&mut leadership.is_self)
        });
        self.proposals.leadership_lost();
        self.reads.leadership_lost();
        self.voter_changes.leadership_lost();
    }

    /// Messages may be lost, Raft sends them again; nothing is written that is proposed. Whoever waits has an answer
    /// now. Raft itself hears nothing: it is in the middle of something. Keeps one snapshot at most, which is as many as
    /// are written at a time.
    fn hear_only(&mut self) -> Flow {
        while let Ok(command) = self.commands.try_recv() {
            // Of answers, an error: nobody waits for it any more.
            match command {
                Command::Stop => return Flow::Stop,
                Command::Message(..)
                | Command::ConfirmLeadership(_)
                | Command::Campaign
                | Command::Unreachable(_)
                | Command::SnapshotSent { .. } => {}
                Command::Propose(proposal) => proposal.refuse(ProposeError::Busy),
                Command::Transfer { answer, .. } => {
                    let _ = answer.send(Err(TransferError::NotLeader));
                }
                Command::Join { answer, .. } => {
                    let _ = answer.send(JoinAnswer::NotLeader);
                }
                Command::RemoveVoter { answer, .. } | Command::AddVoter { answer, .. } => {
                    let _ = answer.send(Err(ChangeVotersError::NotLeader));
                }
                Command::Met(member) => self.transport.meet(member, &self.membership),
                Command::Connected(raft_id) => self.connections.connected(raft_id),
                Command::StreamOpened(raft_id) => {
                    self.connections.opened(raft_id);
                    self.transport.hurry(raft_id);
                }
                // Who has ended is heard of no more, and an election timeout tells that as well.
                Command::Refused(raft_id) => {
                    let _ = self.connections.refused(raft_id);
                }
                Command::StreamClosed(raft_id) => {
                    let _ = self.connections.closed(raft_id);
                }
                Command::SnapshotWritten(written) => self.held = Some(written),
            }
        }
        Flow::On
    }
}
