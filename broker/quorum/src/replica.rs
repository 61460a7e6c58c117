//! The quorum's thread: Raft, its log and the state machine, driven by commands and a clock.
//!
//! What raft-rs hands out is done in the order that Raft needs: a leader's messages may go before its
//! own disk has the entries; votes and entries are fsynced before the messages that answer for them;
//! then committed entries are applied. One pass takes all commands that wait, so many proposals share
//! one fsync.

mod content;
mod proposals;
mod publish;
mod reads;
mod requests;
mod shortage;
mod snapshots;
mod succession;
mod voters;

use std::sync::Arc;
use std::time::Instant;

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, ConfState, Entry, EntryType};
use raft::{RawNode, ReadOnlyOption, SnapshotStatus, StateRole};
use tokio::sync::{mpsc, watch};

use crate::command::Command;
use crate::config::QuorumConfig;
use crate::error::{QuorumFailure, StartError};
use crate::joining::Joining;
use crate::membership::{Membership, MembershipChange};
use crate::service::Shared;
use crate::state_machine::StateMachine;
use crate::status::{Leadership, Member, QuorumStatus};
use crate::storage::{LogStore, SnapshotMeta, StorageError, StoredSnapshot};
use crate::succession::{Candidacy, Connections};
use crate::transport::Transport;
use content::SnapshotContent;
use proposals::Proposals;
use reads::Reads;
use snapshots::SnapshotWriter;
use voters::VoterChanges;

/// Commands taken in one pass.
const COMMANDS_PER_PASS_MAX: usize = 1024;
/// Entries in one message to a follower, beyond the first one; and messages under way to it.
const APPEND_BYTES_MAX: u64 = 256 << 10;
const APPENDS_IN_FLIGHT_MAX: usize = 64;
/// Entries applied between two looks at the clock.
const APPLY_BYTES_PER_PASS_MAX: u64 = 8 << 20;

/// One member of the Raft group.
pub(crate) struct Replica<S> {
    config: Arc<QuorumConfig>,
    shared: Arc<Shared>,
    raft_id: u64,
    cluster_id: String,
    node: RawNode<LogStore>,
    state_machine: S,
    membership: Membership,
    /// As of `applied`.
    conf_state: ConfState,
    applied: SnapshotMeta,
    transport: Transport,
    commands: mpsc::UnboundedReceiver<Command>,
    proposals: Proposals,
    reads: Reads,
    voter_changes: VoterChanges,
    snapshots: SnapshotWriter,
    /// It stood still for want of room on the disk, and is not to lead as if nothing had been.
    has_stood_still: bool,
    /// Came while it stood still: the snapshot that was being written.
    held: Option<Result<SnapshotMeta, StorageError>>,
    /// The term in which this replica leads, and whether it applied the first entry of that term.
    leading: Option<(u64, bool)>,
    connections: Connections,
    /// After the leader's process ended, until there is another leader.
    candidacy: Option<Candidacy>,
    /// Times are counted from here.
    began: Instant,
    outputs: Outputs,
}

/// What the handle watches.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) status: watch::Sender<QuorumStatus>,
}

/// All that a replica is made of.
pub(crate) struct Parts<S> {
    pub(crate) config: Arc<QuorumConfig>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) me: Member,
    pub(crate) cluster_id: String,
    pub(crate) store: LogStore,
    pub(crate) snapshot: Option<StoredSnapshot>,
    pub(crate) state_machine: S,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) outputs: Outputs,
}

/// Whether the thread goes on.
enum Flow {
    On,
    Stop,
}

impl<S: StateMachine> Replica<S> {
    /// Restores the state machine and starts Raft on what the disk has.
    pub(crate) fn new(parts: Parts<S>) -> Result<Self, StartError> {
        let Parts {
            config,
            shared,
            me,
            cluster_id,
            store,
            snapshot,
            ..
        } = parts;
        let raft_id = me.raft_id;
        let mut state_machine = parts.state_machine;
        let applied = store.newest_snapshot();
        let (mut membership, mut conf_state) = (Membership::default(), ConfState::default());
        if let Some(snapshot) = snapshot {
            let index = snapshot.meta.index;
            let refused = |reason| StartError::Restore { index, reason };
            let data = SnapshotContent::decode(&snapshot.data).map_err(refused)?;
            data.restore(&mut state_machine).map_err(refused)?;
            membership = data.membership;
            conf_state = snapshot.conf_state;
        }
        let raft_config = raft::Config {
            id: raft_id,
            election_tick: config.election_ticks,
            heartbeat_tick: 2,
            applied: applied.index,
            max_size_per_msg: APPEND_BYTES_MAX,
            max_inflight_msgs: APPENDS_IN_FLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            batch_append: true,
            max_committed_size_per_ready: APPLY_BYTES_PER_PASS_MAX,
            ..raft::Config::default()
        };
        let node = RawNode::new(&raft_config, store, &crate::raft_log::logger());
        let node = node.map_err(|error| StartError::Raft(error.to_string()))?;
        let mut transport = Transport::new(
            parts.runtime,
            Arc::clone(&config),
            cluster_id.clone(),
            me,
            shared.commands.clone(),
        );
        transport.follow(&membership);
        let snapshots = SnapshotWriter::new(shared.commands.clone());
        let replica = Self {
            config,
            shared,
            raft_id,
            cluster_id,
            node,
            state_machine,
            membership,
            conf_state,
            applied,
            transport,
            commands: parts.commands,
            proposals: Proposals::default(),
            reads: Reads::default(),
            voter_changes: VoterChanges::default(),
            snapshots,
            has_stood_still: false,
            held: None,
            leading: None,
            connections: Connections::default(),
            candidacy: None,
            began: Instant::now(),
            outputs: parts.outputs,
        };
        replica.publish();
        Ok(replica)
    }

    /// Runs until it is told to stop, or cannot go on.
    pub(crate) fn run(mut self) -> Result<(), QuorumFailure> {
        // Its own runtime: nothing that the rest of the process does can keep its clock from ticking.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let runtime = runtime.map_err(|error| QuorumFailure::Broken(error.to_string()))?;
        let result = runtime.block_on(self.drive());
        self.snapshots.join();
        result
    }

    async fn drive(&mut self) -> Result<(), QuorumFailure> {
        if self.conf_state.voters == [self.raft_id] {
            self.campaign();
        }
        if let Flow::Stop = self.settle().await? {
            return Ok(());
        }
        let mut commands = Vec::new();
        let mut next_tick = Instant::now() + self.config.tick;
        loop {
            let stands = self.candidacy_at().map(|at| self.began + at);
            let wakes = stands.map_or(next_tick, |at| at.min(next_tick));
            let received = self
                .commands
                .recv_many(&mut commands, COMMANDS_PER_PASS_MAX);
            tokio::select! {
                biased;
                count = received => if count == 0 {
                    return Ok(());
                },
                () = tokio::time::sleep_until(wakes.into()) => {}
            }
            for command in commands.drain(..) {
                if let Flow::Stop = self.handle(command)? {
                    return Ok(());
                }
            }
            let now = Instant::now();
            let ticks = now >= next_tick;
            if ticks {
                // Ticks that were missed are not made up for: what waited in the queue was heard
                // first, and time in which nobody could be heard is not silence of the leader.
                self.node.tick();
                next_tick = now + self.config.tick;
            }
            self.stand_if_due();
            if let Flow::Stop = self.settle().await? {
                return Ok(());
            }
            if let Some(written) = self.held.take() {
                self.snapshot_written(written)?;
            }
            if ticks {
                self.ask_again();
            }
        }
    }

    fn handle(&mut self, command: Command) -> Result<Flow, QuorumFailure> {
        match command {
            Command::Message(message, _permit) => {
                if !self.membership.is_removed(message.from) && self.hears(&message) {
                    // An error: a message that no longer matters.
                    let _ = self.node.step(*message);
                }
            }
            Command::Met(member) => self.transport.meet(member, &self.membership),
            Command::Propose(proposal) => self.propose(proposal),
            Command::ConfirmLeadership(answer) => self.reads.wait(answer),
            Command::Transfer { to, answer } => {
                // An error: nobody waits for the answer any more.
                let _ = answer.send(self.transfer(to));
            }
            Command::Join {
                member,
                configured,
                renew,
                answer,
            } => {
                let joining = Joining {
                    member: &member,
                    configured: &configured,
                    renew,
                };
                // An error: nobody waits for the answer any more.
                let _ = answer.send(self.join(joining));
            }
            Command::RemoveVoter { node_id, answer } => self.remove_voter(node_id, answer),
            Command::AddVoter { node_id, answer } => {
                // An error: nobody waits for the answer any more.
                let _ = answer.send(self.add_voter(node_id));
            }
            // Not in the middle of its own election: that would begin anew.
            Command::Campaign if self.node.raft.state == StateRole::Follower => self.campaign(),
            Command::Campaign => {}
            Command::Unreachable(raft_id) => self.node.report_unreachable(raft_id),
            Command::Connected(raft_id) => self.connections.connected(raft_id),
            Command::Refused(raft_id) => {
                if self.connections.refused(raft_id) {
                    self.ended(raft_id);
                }
            }
            Command::StreamOpened(raft_id) => {
                self.connections.opened(raft_id);
                self.transport.hurry(raft_id);
            }
            Command::StreamClosed(raft_id) => {
                if self.connections.closed(raft_id) {
                    self.ended(raft_id);
                }
            }
            Command::SnapshotSent { to, arrived } => {
                let status = if arrived {
                    SnapshotStatus::Finish
                } else {
                    SnapshotStatus::Failure
                };
                self.node.report_snapshot(to, status);
            }
            Command::SnapshotWritten(result) => self.snapshot_written(result)?,
            Command::Stop => return Ok(Flow::Stop),
        }
        Ok(Flow::On)
    }

    /// Does all that Raft asks for, until it asks for nothing.
    async fn settle(&mut self) -> Result<Flow, QuorumFailure> {
        loop {
            self.follow_leadership();
            if !self.leads() {
                self.reads.leadership_lost();
            } else if let Some(context) = self.reads.begin() {
                self.node.read_index(context);
            }
            if self.leads() {
                self.carry_on_removals();
                self.resign_if_removed();
            }
            if !self.node.has_ready() {
                break;
            }
            if let Flow::Stop = self.pass().await? {
                return Ok(Flow::Stop);
            }
            self.resign_if_stood_still();
        }
        self.snapshot_if_due();
        self.publish();
        Ok(Flow::On)
    }

    async fn pass(&mut self) -> Result<Flow, QuorumFailure> {
        let mut ready = self.node.ready();
        self.send(ready.take_messages());
        if !ready.snapshot().is_empty() {
            let snapshot = ready.snapshot().clone();
            let install = |store: &mut LogStore| store.install(&snapshot, ready.hs());
            if let Flow::Stop = self.write(snapshots::REST, install).await? {
                return Ok(Flow::Stop);
            }
            self.restore(StoredSnapshot::from_raft(&snapshot))?;
        }
        let mut entries = ready.take_entries();
        if ready.must_sync() {
            let append = |store: &mut LogStore| store.append(ready.hs(), &mut entries);
            if let Flow::Stop = self.write(shortage::PAUSE, append).await? {
                return Ok(Flow::Stop);
            }
        } else if let Some(hard_state) = ready.hs() {
            self.node.mut_store().set_commit(hard_state.commit);
        }
        self.send(ready.take_persisted_messages());
        for read in ready.take_read_states() {
            self.reads.confirmed(&read.request_ctx);
        }
        self.apply(ready.take_committed_entries())?;
        let mut light = self.node.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.node.mut_store().set_commit(commit);
        }
        self.send(light.take_messages());
        self.apply(light.take_committed_entries())?;
        self.node.advance_apply();
        Ok(Flow::On)
    }

    fn send(&self, messages: Vec<raft::eraftpb::Message>) {
        for message in messages {
            self.transport.send(message);
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), QuorumFailure> {
        for entry in entries {
            let accepted = match entry.get_entry_type() {
                EntryType::EntryNormal if entry.data.is_empty() => false,
                EntryType::EntryNormal => {
                    self.state_machine
                        .apply(entry.index, entry.term, &entry.data)
                }
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    self.change_membership(&entry).map_err(|reason| {
                        QuorumFailure::Broken(format!("entry {}: {reason}", entry.index))
                    })?;
                    true
                }
            };
            self.applied = SnapshotMeta {
                index: entry.index,
                term: entry.term,
            };
            self.proposals.applied(entry.index, entry.term, accepted);
            if let Some((term, first_applied)) = &mut self.leading
                && entry.term == *term
            {
                *first_applied = true;
            }
        }
        Ok(())
    }

    fn change_membership(&mut self, entry: &Entry) -> Result<(), String> {
        let change = ConfChangeV2::parse_from_carllerche_bytes(&entry.data);
        let change = change.map_err(|error| error.to_string())?;
        let added = MembershipChange::of(&change)?;
        let conf_state = self
            .node
            .apply_conf_change(&change)
            .map_err(|error| error.to_string())?;
        self.membership.apply(entry.index, added, &conf_state);
        self.conf_state = conf_state;
        self.membership_changed();
        tracing::info!(index = entry.index, members = ?self.member_names(), "the quorum's members changed");
        Ok(())
    }

    fn membership_changed(&mut self) {
        self.transport.follow(&self.membership);
        let members = &self.membership.members;
        self.connections.retain(|id| members.contains_key(&id));
        let membership = self.membership.clone();
        self.shared
            .me
            .send_modify(|me| me.membership = Some(membership));
    }

    /// It leads and everything that earlier leaders committed is applied.
    fn leads(&self) -> bool {
        matches!(self.leading, Some((_, true)))
    }

    /// Notices that leadership began or ended.
    fn follow_leadership(&mut self) {
        let raft = &self.node.raft;
        let term = (raft.state == StateRole::Leader).then_some(raft.term);
        if term == self.leading.map(|(term, _)| term) {
            return;
        }
        if let Some((old, _)) = self.leading {
            tracing::info!(term = old, "no longer leads the metadata quorum");
            self.proposals.leadership_lost();
            self.voter_changes.leadership_lost();
        }
        self.leading = term.map(|term| (term, self.applied.term == term));
        if let Some((term, _)) = self.leading {
            tracing::info!(term, "leads the metadata quorum");
        }
    }

    fn member_names(&self) -> Vec<(i32, String)> {
        let members = self.membership.members.values();
        members
            .map(|member| (member.node_id, member.directory_id.to_string()))
            .collect()
    }
}

fn storage_failure(error: StorageError) -> QuorumFailure {
    QuorumFailure::Storage(Arc::new(error))
}

impl<S> std::fmt::Debug for Replica<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("raft_id", &self.raft_id)
            .finish_non_exhaustive()
    }
}
