//! One member of the Raft group, driven as `broker/quorum` drives it: what raft hands out is done in the same order, and
//! while the disk flushes, nothing else is.

use std::collections::VecDeque;
use std::sync::Arc;

use foz_metadata::Image;
use foz_metadata::image::ApplyError;
use foz_metadata::record::Batch;
use foz_quorum::succession::{Candidacy, Turn};
use raft::eraftpb::{ConfState, Entry, Message as RaftMessage, MessageType, Snapshot};
use raft::{INVALID_ID, RawNode, Ready, SnapshotStatus, StateRole};

use super::store::Store;
use crate::context::{Context, Observation, Timer};
use crate::message::Message;
use crate::mutation::Mutation;
use crate::scenario::{CONTROLLERS, FIRST_CONTROLLER};

pub(crate) const TICK_MS: i64 = 100;
const ELECTION_TICKS: usize = 5;
const HEARTBEAT_TICKS: usize = 1;
/// Committed batches that are kept for observers.
const HISTORY_MAX: usize = 60;

#[derive(Debug)]
pub(crate) enum Input {
    Message(Box<RaftMessage>),
    /// For a term; the ticket names it in an [`Outcome`].
    Propose {
        term: u64,
        ticket: u64,
        data: Vec<u8>,
    },
    SnapshotSent {
        to: u64,
        arrived: bool,
    },
    /// The process of a member.
    Ended(u64),
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) ticket: u64,
    pub(crate) result: Result<(), NotCommitted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotCommitted {
    /// Not written, or something else is at its place.
    NotLeader,
    /// Leadership was lost first.
    Unknown,
}

pub(crate) struct Replica {
    raft_id: u64,
    node: RawNode<Store>,
    pub(crate) image: Image,
    pub(crate) history: VecDeque<Arc<Batch>>,
    /// Index and term of the last entry applied.
    applied: (u64, u64),
    proposals: VecDeque<(u64, u64, u64)>,
    leading: Option<(u64, bool)>,
    /// What waits for the disk.
    flushing: Option<Ready>,
    inbox: VecDeque<Input>,
    snapshot: Option<Snapshot>,
    /// After the leader's process ended.
    candidacy: Option<Candidacy>,
    pub(crate) outcomes: Vec<Outcome>,
    /// Raft draws its own election timeouts from a source that no seed reaches; this one takes its place.
    timeout: (u64, usize),
}

impl Replica {
    pub(crate) fn new(node_id: i32, store: Store, ctx: &mut Context<'_>) -> Self {
        let raft_id = raft_id(node_id);
        let (mut image, mut applied) = (Image::default(), (0, 0));
        let newest = store.newest_snapshot();
        let meta = newest.get_metadata();
        if meta.index > 0 {
            image = Image::decode(&newest.data).expect("a snapshot that a controller wrote");
            applied = (meta.index, meta.term);
        }
        let config = raft::Config {
            id: raft_id,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: applied.0,
            max_size_per_msg: 4 << 10,
            max_inflight_msgs: 64,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            max_committed_size_per_ready: 8 << 20,
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, store, &logger).expect("the configuration is sound");
        let mut replica = Self {
            raft_id,
            node,
            image,
            history: VecDeque::new(),
            applied,
            proposals: VecDeque::new(),
            leading: None,
            flushing: None,
            inbox: VecDeque::new(),
            snapshot: None,
            candidacy: None,
            outcomes: Vec::new(),
            timeout: (u64::MAX, 0),
        };
        replica.settle(ctx);
        replica
    }

    /// The disk that is left when the process ends.
    pub(crate) fn into_store(mut self, keeps_frame: bool) -> Store {
        std::mem::take(self.node.mut_store()).crashed(keeps_frame)
    }

    /// The term in which it leads and has applied all that earlier leaders committed.
    pub(crate) fn led_term(&self) -> Option<u64> {
        self.leading
            .filter(|(_, first_applied)| *first_applied)
            .map(|(term, _)| term)
    }

    /// The term in which Raft says that it leads.
    pub(crate) fn raft_leads(&self) -> Option<u64> {
        (self.node.raft.state == StateRole::Leader).then_some(self.node.raft.term)
    }

    pub(crate) fn raft_id(&self) -> u64 {
        self.raft_id
    }

    /// Ticks that are missed while the disk flushes are not made up for.
    pub(crate) fn tick(&mut self, ctx: &mut Context<'_>) {
        if self.flushing.is_none() {
            self.node.tick();
            self.settle(ctx);
        }
    }

    pub(crate) fn take(&mut self, input: Input, ctx: &mut Context<'_>) {
        if self.flushing.is_some() {
            self.inbox.push_back(input);
            return;
        }
        self.handle(input, ctx);
        self.settle(ctx);
    }

    fn handle(&mut self, input: Input, ctx: &mut Context<'_>) {
        match input {
            Input::Message(message) => {
                self.give_way(&message, ctx);
                // An error: a message that no longer matters.
                let _ = self.node.step(*message);
            }
            Input::Propose { term, ticket, data } => self.propose(term, ticket, data),
            Input::SnapshotSent { to, arrived } => {
                let status = if arrived {
                    SnapshotStatus::Finish
                } else {
                    SnapshotStatus::Failure
                };
                self.node.report_snapshot(to, status);
            }
            Input::Ended(raft_id) => self.ended(raft_id, ctx),
        }
    }

    fn ended(&mut self, raft_id: u64, ctx: &mut Context<'_>) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Follower || raft.leader_id != raft_id {
            return;
        }
        let term = raft.term;
        raft.become_follower(term, INVALID_ID);
        ctx.note(|| format!("the process of the leader of term {term} has ended"));
        self.candidacy = Candidacy::new(term, self.raft_id, raft_id, &voters(), ctx.now());
        self.remind_to_stand(ctx);
    }

    fn give_way(&mut self, message: &RaftMessage, ctx: &mut Context<'_>) {
        let kind = message.get_msg_type();
        let asks = matches!(
            kind,
            MessageType::MsgRequestPreVote | MessageType::MsgRequestVote
        );
        if let Some(candidacy) = self.candidacy.as_mut().filter(|_| asks) {
            candidacy.give_way(ctx.now());
        }
    }

    fn remind_to_stand(&self, ctx: &mut Context<'_>) {
        if let Some(candidacy) = &self.candidacy {
            let after = candidacy.at().saturating_sub(ctx.now());
            ctx.remind(after.as_millis() as i64, Timer::Stand);
        }
    }

    pub(crate) fn stand(&mut self, ctx: &mut Context<'_>) {
        if self.flushing.is_some() {
            return ctx.remind(1, Timer::Stand);
        }
        let raft = &self.node.raft;
        let has_leader = raft.leader_id != INVALID_ID;
        let Some(candidacy) = &mut self.candidacy else {
            return;
        };
        match candidacy.turn(raft.term, has_leader, ctx.now()) {
            Turn::Wait => {}
            Turn::Stand => {
                // An error: it may not stand for election now.
                let _ = self.node.campaign();
            }
            Turn::Over => self.candidacy = None,
        }
        self.remind_to_stand(ctx);
        self.settle(ctx);
    }

    fn propose(&mut self, term: u64, ticket: u64, data: Vec<u8>) {
        let may = self.led_term() == Some(term) && self.node.raft.term == term;
        if may && self.node.propose(Vec::new(), data).is_ok() {
            let index = self.node.raft.raft_log.last_index();
            self.proposals.push_back((index, term, ticket));
        } else {
            self.outcome(ticket, Err(NotCommitted::NotLeader));
        }
    }

    /// The disk has what it was given.
    pub(crate) fn flushed(&mut self, ctx: &mut Context<'_>) {
        let Some(ready) = self.flushing.take() else {
            return;
        };
        self.durable(ready, ctx);
        while self.flushing.is_none() {
            let Some(input) = self.inbox.pop_front() else {
                break;
            };
            self.handle(input, ctx);
            self.settle(ctx);
        }
        self.settle(ctx);
    }

    pub(crate) fn snapshot_written(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            self.node.mut_store().snapshot_written(snapshot);
        }
    }

    fn settle(&mut self, ctx: &mut Context<'_>) {
        while self.flushing.is_none() {
            self.draw_timeout(ctx);
            self.follow_leadership(ctx);
            if !self.node.has_ready() {
                break;
            }
            self.pass(ctx);
        }
        self.snapshot_if_due(ctx);
    }

    fn pass(&mut self, ctx: &mut Context<'_>) {
        let mut ready = self.node.ready();
        send(ready.take_messages(), ctx);
        if !ready.snapshot().is_empty() {
            let snapshot = ready.snapshot().clone();
            let hard_state = ready.hs().cloned();
            self.node
                .mut_store()
                .install(&snapshot, hard_state.as_ref());
            self.restore(&snapshot, ctx);
        }
        let entries = ready.take_entries();
        if !ready.must_sync() {
            if let Some(hard_state) = ready.hs() {
                self.node.mut_store().set_commit(hard_state.commit);
            }
            self.durable(ready, ctx);
            return;
        }
        let hard_state = ready.hs().cloned();
        let only_vote = entries.is_empty();
        self.node.mut_store().append(hard_state.as_ref(), entries);
        if (only_vote && ctx.has(Mutation::VoteNotFlushed))
            || (!only_vote && ctx.has(Mutation::EntriesNotFlushed))
        {
            // What the disk holds is written with the next frame, or never.
            send(ready.take_persisted_messages(), ctx);
            self.durable(ready, ctx);
        } else if ctx.chance.permille(500) {
            self.durable(ready, ctx);
        } else {
            self.flushing = Some(ready);
            let takes_ms = if ctx.chance.permille(20) {
                ctx.chance.between(100, 600)
            } else {
                ctx.chance.between(1, 8)
            };
            ctx.remind(takes_ms, Timer::QuorumFlushed);
        }
    }

    /// Goes on where a pass waited for the disk.
    fn durable(&mut self, mut ready: Ready, ctx: &mut Context<'_>) {
        if ctx.has(Mutation::VoteNotFlushed) {
            self.node.mut_store().flushed_without_vote();
        } else if !ctx.has(Mutation::EntriesNotFlushed) {
            self.node.mut_store().flushed();
        }
        send(ready.take_persisted_messages(), ctx);
        self.apply(ready.take_committed_entries(), ctx);
        let mut light = self.node.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.node.mut_store().set_commit(commit);
        }
        send(light.take_messages(), ctx);
        self.apply(light.take_committed_entries(), ctx);
        self.node.advance_apply();
    }

    fn apply(&mut self, entries: Vec<Entry>, ctx: &mut Context<'_>) {
        for entry in entries {
            ctx.observe(Observation::Applied {
                index: entry.index,
                term: entry.term,
                hash: hash(&entry.data),
            });
            let accepted = !entry.data.is_empty() && self.apply_batch(&entry, ctx);
            self.applied = (entry.index, entry.term);
            while let Some(&(index, term, ticket)) = self.proposals.front()
                && index <= entry.index
            {
                self.proposals.pop_front();
                let is_it = index == entry.index && term == entry.term;
                let result = if is_it && accepted {
                    Ok(())
                } else {
                    Err(NotCommitted::NotLeader)
                };
                self.outcome(ticket, result);
            }
            if let Some((term, first_applied)) = &mut self.leading
                && entry.term == *term
            {
                *first_applied = true;
            }
        }
    }

    fn apply_batch(&mut self, entry: &Entry, ctx: &mut Context<'_>) -> bool {
        let batch = Batch::decode_from(&entry.data).expect("a batch that a controller wrote");
        if u64::try_from(batch.term) != Ok(entry.term) {
            return false;
        }
        match self.image.apply(&batch) {
            Ok(image) => {
                ctx.note(|| format!("applied {:?}", batch));
                self.image = image;
                self.history.push_back(Arc::new(batch));
                if self.history.len() > HISTORY_MAX {
                    self.history.pop_front();
                }
                true
            }
            Err(ApplyError::DoesNotFollow { .. }) => false,
            Err(error @ ApplyError::Unusable { .. }) => panic!("{error}"),
        }
    }

    fn restore(&mut self, snapshot: &Snapshot, ctx: &mut Context<'_>) {
        let meta = snapshot.get_metadata();
        self.image = Image::decode(&snapshot.data).expect("a snapshot that a controller wrote");
        self.history.clear();
        self.applied = (meta.index, meta.term);
        let (index, offset) = (meta.index, self.image.offset());
        ctx.note(|| format!("restored the snapshot at index {index}, offset {offset}"));
    }

    fn outcome(&mut self, ticket: u64, result: Result<(), NotCommitted>) {
        self.outcomes.push(Outcome { ticket, result });
    }

    fn draw_timeout(&mut self, ctx: &mut Context<'_>) {
        let term = self.node.raft.term;
        if self.timeout.0 != term {
            let most = 2 * ELECTION_TICKS as i64 - 1;
            let ticks = ctx.chance.between(ELECTION_TICKS as i64, most) as usize;
            self.timeout = (term, ticks);
        }
        self.node
            .raft
            .set_randomized_election_timeout(self.timeout.1);
    }

    fn follow_leadership(&mut self, ctx: &mut Context<'_>) {
        let term = self.raft_leads();
        if term == self.leading.map(|(term, _)| term) {
            return;
        }
        if self.leading.is_some() {
            let lost: Vec<u64> = self
                .proposals
                .drain(..)
                .map(|(_, _, ticket)| ticket)
                .collect();
            for ticket in lost {
                self.outcome(ticket, Err(NotCommitted::Unknown));
            }
        }
        self.leading = term.map(|term| (term, self.applied.1 == term));
        ctx.note(|| format!("leads Raft in term {term:?}"));
    }

    fn snapshot_if_due(&mut self, ctx: &mut Context<'_>) {
        let since = self.node.store().newest_snapshot().get_metadata().index;
        let due = self.applied.0 >= since + ctx.scenario.snapshot_every_entries;
        if !due || self.snapshot.is_some() {
            return;
        }
        let mut snapshot = Snapshot::default();
        snapshot.set_data(self.image.encode().into());
        let meta = snapshot.mut_metadata();
        meta.index = self.applied.0;
        meta.term = self.applied.1;
        meta.set_conf_state(ConfState::default());
        self.snapshot = Some(snapshot);
        let takes_ms = ctx.chance.between(1, 200);
        ctx.remind(takes_ms, Timer::SnapshotWritten);
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("raft_id", &self.raft_id)
            .finish_non_exhaustive()
    }
}

/// Raft ids are from 1.
pub(crate) fn raft_id(node_id: i32) -> u64 {
    (node_id - FIRST_CONTROLLER + 1) as u64
}

pub(crate) fn voters() -> Vec<u64> {
    (1..=CONTROLLERS as u64).collect()
}

pub(crate) fn node_id(raft_id: u64) -> i32 {
    raft_id as i32 - 1 + FIRST_CONTROLLER
}

pub(crate) fn is_snapshot(message: &RaftMessage) -> bool {
    message.get_msg_type() == MessageType::MsgSnapshot
}

fn send(messages: Vec<RaftMessage>, ctx: &mut Context<'_>) {
    for message in messages {
        ctx.send(node_id(message.to), Message::Raft(Box::new(message)));
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
