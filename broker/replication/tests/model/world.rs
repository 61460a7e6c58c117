use std::collections::{BTreeMap, BTreeSet};

use foz_protocol::error::ErrorCode;
use foz_replication::{
    Assignment, Cluster, Effects, EpochEndOffset, FetchedPartition, FollowerFetch, FollowerLog,
    IsrProposal, Leader, LocalLog, ProposalOutcome, Settings, Step, next_step,
    progress_after_append,
};

const LAG_TIME_MAX_MS: i64 = 10;
const MESSAGES_MAX: usize = 12;

type Record = (i32, u64);

/// What happened, to see that the schedules are worth something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) elections: usize,
    pub(crate) committed: usize,
    pub(crate) isr_changes: usize,
    pub(crate) truncated: usize,
    pub(crate) unknown_outcomes: usize,
    pub(crate) late_proposals: usize,
    pub(crate) older_disks: usize,
    pub(crate) crashes: usize,
}

impl Counts {
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            elections: self.elections + other.elections,
            committed: self.committed + other.committed,
            isr_changes: self.isr_changes + other.isr_changes,
            truncated: self.truncated + other.truncated,
            unknown_outcomes: self.unknown_outcomes + other.unknown_outcomes,
            late_proposals: self.late_proposals + other.late_proposals,
            older_disks: self.older_disks + other.older_disks,
            crashes: self.crashes + other.crashes,
        }
    }
}

/// What the controller committed, as brokers learn it one after the other.
#[derive(Debug, Clone)]
struct Metadata {
    assignment: Assignment,
    /// Alive, with their broker epochs.
    alive: BTreeMap<i32, i64>,
}

impl Cluster for Metadata {
    fn may_join(&self, node_id: i32) -> Option<i64> {
        self.alive.get(&node_id).copied()
    }
}

#[derive(Debug, Clone)]
enum Role {
    None,
    Leader(Box<Leader>),
    Follower { leader: i32 },
}

#[derive(Debug, Clone)]
struct Node {
    up: bool,
    broker_epoch: i64,
    log: Vec<Record>,
    high_watermark: i64,
    role: Role,
    leader_epoch: i32,
    /// Of the last fetch that it sent, and has no answer to.
    correlation_id: u64,
    /// Versions of the metadata that it knows.
    seen: usize,
}

impl Node {
    fn end(&self) -> i64 {
        self.log.len() as i64
    }

    fn local(&self) -> LocalLog {
        LocalLog {
            start_offset: 0,
            end_offset: self.end(),
            durable_offset: self.end(),
        }
    }

    fn last_epoch(&self) -> i32 {
        self.log.last().map_or(-1, |&(epoch, _)| epoch)
    }

    /// As the log's epochs have it: the largest epoch at most `epoch`, and where it ends.
    fn end_offset_for_epoch(&self, epoch: i32) -> Option<EpochEndOffset> {
        let end = self.log.partition_point(|&(it, _)| it <= epoch);
        let &(epoch, _) = self.log.get(end.checked_sub(1)?)?;
        Some(EpochEndOffset {
            epoch,
            end_offset: end as i64,
        })
    }

    /// KIP-595, on the leader.
    fn divergence(&self, last_fetched_epoch: i32, fetch_offset: i64) -> Option<EpochEndOffset> {
        if last_fetched_epoch < 0 {
            return None;
        }
        let ours = self
            .end_offset_for_epoch(last_fetched_epoch)
            .unwrap_or(EpochEndOffset {
                epoch: last_fetched_epoch,
                end_offset: 0,
            });
        (ours.epoch < last_fetched_epoch || ours.end_offset < fetch_offset).then_some(ours)
    }
}

#[derive(Debug, Clone)]
enum Message {
    Fetch {
        to: i32,
        fetch: FollowerFetch,
        leader_epoch: i32,
        last_fetched_epoch: i32,
        correlation_id: u64,
    },
    Fetched {
        to: i32,
        correlation_id: u64,
        answer: FetchedPartition,
        records: Vec<Record>,
    },
    Propose {
        from: i32,
        broker_epoch: i64,
        proposal: IsrProposal,
        given_up_ms: Option<i64>,
    },
    Answer {
        to: i32,
        broker_epoch: i64,
        proposal: IsrProposal,
        outcome: ProposalOutcome,
    },
}

pub(crate) struct World {
    now_ms: i64,
    nodes: Vec<Node>,
    /// Every version of the metadata; the last is the controller's.
    history: Vec<Metadata>,
    messages: Vec<Message>,
    min_insync: usize,
    /// What any leader ever called committed.
    committed: Vec<Record>,
    /// The high watermark of each leader epoch.
    high_watermarks: BTreeMap<i32, i64>,
    next_value: u64,
    next_broker_epoch: i64,
    pub(crate) counts: Counts,
}

impl World {
    pub(crate) fn new(nodes: usize, min_insync: usize) -> Self {
        let replicas: Vec<i32> = (0..nodes as i32).collect();
        let first = Metadata {
            assignment: Assignment {
                replicas: replicas.clone(),
                isr: replicas.clone(),
                leader: 0,
                leader_epoch: 0,
                partition_epoch: 0,
            },
            alive: replicas.iter().map(|&id| (id, i64::from(id))).collect(),
        };
        let nodes = replicas
            .iter()
            .map(|&id| Node {
                up: true,
                broker_epoch: i64::from(id),
                log: Vec::new(),
                high_watermark: 0,
                role: Role::None,
                leader_epoch: -1,
                correlation_id: 0,
                seen: 0,
            })
            .collect();
        let mut world = Self {
            now_ms: 1_000,
            nodes,
            history: vec![first],
            messages: Vec::new(),
            min_insync,
            committed: Vec::new(),
            high_watermarks: BTreeMap::new(),
            next_value: 0,
            next_broker_epoch: 100,
            counts: Counts::default(),
        };
        for &id in &replicas {
            world.learn(id, usize::MAX);
        }
        world
    }

    /// One event of a schedule.
    pub(crate) fn step(&mut self, what: u8, who: u8, how: u8) {
        let id = i32::from(who) % self.nodes.len() as i32;
        let leader = self.truth().assignment.leader.max(0);
        match what {
            0..=19 => self.append(if how.is_multiple_of(4) { id } else { leader }),
            20..=79 => self.send_fetch(id, how.is_multiple_of(8)),
            80..=184 => self.deliver(usize::from(who), how),
            185..=209 => self.learn(id, 1 + usize::from(how % 3)),
            210..=219 => self.tick(id, i64::from(how % 4)),
            220..=221 => self.fence(id),
            222..=223 => self.crash(id, how),
            224..=242 => {
                for id in self.ids() {
                    self.restart(id);
                    self.unfence(id);
                }
            }
            243..=244 => self.move_leadership(id),
            _ => self.give_up(usize::from(who)),
        }
        if self.messages.len() > MESSAGES_MAX {
            // Proposals are not lost without the leader being told.
            let is_fetch =
                |it: &Message| matches!(it, Message::Fetch { .. } | Message::Fetched { .. });
            if let Some(oldest) = self.messages.iter().position(is_fetch) {
                self.messages.remove(oldest);
            }
        }
        let now_ms = self.now_ms;
        // What an RPC's deadline does.
        self.messages.retain(|message| {
            !matches!(message, Message::Propose { given_up_ms: Some(at), .. }
                if now_ms - at >= LAG_TIME_MAX_MS)
        });
    }

    /// What must hold at every moment.
    pub(crate) fn check(&self) {
        let committed = self.committed.len();
        for &id in &self.truth().assignment.isr {
            let log = &self.nodes[id as usize].log;
            assert!(
                log.len() >= committed && log[..committed] == self.committed[..],
                "node {id} is in the ISR and lacks what is committed: {log:?} of {:?}",
                self.committed
            );
        }
        for (id, node) in self.nodes.iter().enumerate() {
            let below = node.high_watermark as usize;
            assert!(below <= committed, "node {id} knows more than there is");
            assert_eq!(
                node.log[..below],
                self.committed[..below],
                "node {id} differs below its high watermark"
            );
        }
    }

    /// Everything works from now on: in the end all are in sync and equal.
    pub(crate) fn heal(&mut self) {
        for id in self.ids() {
            self.restart(id);
            self.unfence(id);
        }
        for round in 0..12 * LAG_TIME_MAX_MS {
            for id in self.ids() {
                self.learn(id, usize::MAX);
                self.send_fetch(id, true);
            }
            if round == 3 * LAG_TIME_MAX_MS {
                let leader = self.truth().assignment.leader;
                self.append(leader);
            }
            while !self.messages.is_empty() {
                self.deliver(0, u8::MAX);
                self.check();
            }
            for id in self.ids() {
                self.tick(id, 0);
            }
            self.now_ms += 1;
        }
        let truth = self.truth().assignment.clone();
        let isr: BTreeSet<i32> = truth.isr.iter().copied().collect();
        assert_eq!(isr, self.ids().into_iter().collect(), "all are in sync");
        let leader = &self.nodes[truth.leader as usize];
        assert_eq!(leader.high_watermark, leader.end(), "all is committed");
        for node in &self.nodes {
            assert_eq!(node.log, leader.log);
            assert_eq!(node.high_watermark, leader.high_watermark);
        }
        self.counts.committed = self.committed.len();
    }

    fn ids(&self) -> Vec<i32> {
        (0..self.nodes.len() as i32).collect()
    }

    fn truth(&self) -> &Metadata {
        self.history.last().expect("never empty")
    }

    fn node(&mut self, id: i32) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    // Brokers.

    fn append(&mut self, id: i32) {
        let value = self.next_value;
        let Some(node) = self.nodes.get_mut(id as usize).filter(|node| node.up) else {
            return;
        };
        let Role::Leader(leader) = &node.role else {
            return;
        };
        let epoch = leader.leader_epoch();
        node.log.push((epoch, value));
        self.next_value += 1;
        self.lead(id, |leader, local, _, _| leader.appended(local));
    }

    fn tick(&mut self, id: i32, passed_ms: i64) {
        self.now_ms += passed_ms;
        if self.nodes[id as usize].up {
            self.lead(id, Leader::tick);
        }
    }

    /// Something happens to a leader; its effects are carried out.
    fn lead(
        &mut self,
        id: i32,
        happen: impl FnOnce(&mut Leader, LocalLog, &dyn Cluster, i64) -> Effects,
    ) {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[id as usize];
        let local = node.local();
        let metadata = &self.history[node.seen.saturating_sub(1)];
        let Role::Leader(leader) = &mut node.role else {
            return;
        };
        let effects = happen(leader, local, metadata, now_ms);
        let high_watermark = leader.high_watermark();
        assert_eq!(
            effects.high_watermark.unwrap_or(high_watermark),
            high_watermark
        );
        let (epoch, broker_epoch) = (leader.leader_epoch(), node.broker_epoch);
        self.led_to(id, epoch, high_watermark);
        if let Some(proposal) = effects.propose {
            self.messages.push(Message::Propose {
                from: id,
                broker_epoch,
                proposal,
                given_up_ms: None,
            });
        }
    }

    fn led_to(&mut self, id: i32, epoch: i32, high_watermark: i64) {
        let before = self.high_watermarks.entry(epoch).or_insert(0);
        assert!(*before <= high_watermark, "back within epoch {epoch}");
        *before = high_watermark;
        let node = &mut self.nodes[id as usize];
        node.high_watermark = high_watermark;
        let known = self.committed.len().min(high_watermark as usize);
        assert_eq!(node.log[..known], self.committed[..known], "by leader {id}");
        self.committed
            .extend_from_slice(&node.log[known..high_watermark as usize]);
    }

    /// Learns the next versions of the metadata.
    fn learn(&mut self, id: i32, versions: usize) {
        let (now_ms, min_insync) = (self.now_ms, self.min_insync);
        for _ in 0..versions {
            let node = &mut self.nodes[id as usize];
            let Some(metadata) = self.history.get(node.seen).filter(|_| node.up) else {
                return;
            };
            node.seen += 1;
            let assignment = &metadata.assignment;
            if assignment.leader_epoch < node.leader_epoch {
                continue;
            }
            let is_new = assignment.leader_epoch > node.leader_epoch;
            node.leader_epoch = assignment.leader_epoch;
            let settings = Settings {
                min_insync,
                lag_time_max_ms: LAG_TIME_MAX_MS,
            };
            if assignment.leader != id {
                node.role = if assignment.leader < 0 {
                    Role::None
                } else {
                    Role::Follower {
                        leader: assignment.leader,
                    }
                };
            } else if is_new {
                let committed = node.high_watermark;
                let local = node.local();
                let leader = Leader::new(id, assignment, settings, local, committed, now_ms);
                let (epoch, high_watermark) = (leader.leader_epoch(), leader.high_watermark());
                node.role = Role::Leader(Box::new(leader));
                self.led_to(id, epoch, high_watermark);
            } else {
                let assignment = assignment.clone();
                self.lead(id, |leader, local, _, now_ms| {
                    leader.assignment_changed(&assignment, settings, local, now_ms)
                });
            }
        }
    }

    /// One at a time; another one gives up on the one before.
    fn send_fetch(&mut self, id: i32, gives_up: bool) {
        self.next_value += 1;
        let node = &mut self.nodes[id as usize];
        if let Role::Follower { leader } = node.role
            && node.up
            && (gives_up || node.correlation_id == 0)
        {
            node.correlation_id = self.next_value;
            self.messages.push(Message::Fetch {
                to: leader,
                fetch: FollowerFetch {
                    node_id: id,
                    broker_epoch: node.broker_epoch,
                    fetch_offset: node.end(),
                    log_start_offset: 0,
                },
                leader_epoch: node.leader_epoch,
                last_fetched_epoch: node.last_epoch(),
                correlation_id: node.correlation_id,
            });
        }
    }

    /// A leader serves a fetch.
    fn serve(
        &mut self,
        id: i32,
        fetch: FollowerFetch,
        leader_epoch: i32,
        last_fetched_epoch: i32,
        correlation_id: u64,
        records_max: usize,
    ) {
        let now_ms = self.now_ms;
        let node = &self.nodes[id as usize];
        let mut answer = FetchedPartition {
            request_leader_epoch: leader_epoch,
            request_offset: fetch.fetch_offset,
            error: ErrorCode::None,
            high_watermark: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader_epoch: -1,
        };
        let mut records = Vec::new();
        if !node.up {
            return;
        } else if !matches!(node.role, Role::Leader(_)) {
            answer.error = ErrorCode::NotLeaderOrFollower;
            answer.current_leader_epoch = node.leader_epoch;
        } else if leader_epoch < node.leader_epoch {
            answer.error = ErrorCode::FencedLeaderEpoch;
        } else if leader_epoch > node.leader_epoch {
            answer.error = ErrorCode::UnknownLeaderEpoch;
        } else if let Some(diverging) = node.divergence(last_fetched_epoch, fetch.fetch_offset) {
            answer.diverging_epoch = Some(diverging);
        } else {
            let mut refused = None;
            self.lead(id, |leader, local, cluster, _| {
                leader
                    .fetched(fetch, local, cluster, now_ms)
                    .unwrap_or_else(|error| {
                        refused = Some(error.code());
                        Effects::default()
                    })
            });
            let node = &self.nodes[id as usize];
            answer.high_watermark = node.high_watermark;
            answer.log_start_offset = 0;
            if let Some(code) = refused {
                answer.error = code;
            } else {
                let from = fetch.fetch_offset as usize;
                let to = node.log.len().min(from + records_max);
                records.extend_from_slice(&node.log[from..to]);
            }
        }
        self.messages.push(Message::Fetched {
            to: fetch.node_id,
            correlation_id,
            answer,
            records,
        });
    }

    /// A follower takes an answer in.
    fn follow(&mut self, id: i32, answer: &FetchedPartition, records: &[Record]) {
        let node = &mut self.nodes[id as usize];
        if !matches!(node.role, Role::Follower { .. }) {
            return;
        }
        let log = |node: &Node| FollowerLog {
            leader_epoch: node.leader_epoch,
            start_offset: 0,
            end_offset: node.end(),
            high_watermark: node.high_watermark,
        };
        let step = next_step(&log(node), answer, |epoch| node.end_offset_for_epoch(epoch));
        match step {
            Step::Append => {
                node.log.extend_from_slice(records);
                node.high_watermark = progress_after_append(&log(node), answer).high_watermark;
            }
            Step::Truncate { to } => {
                assert!(
                    to >= node.high_watermark,
                    "elections are clean: {step:?} of {node:?} for {answer:?}"
                );
                self.counts.truncated += usize::from(to < node.end());
                node.log.truncate(to as usize);
            }
            Step::Retry | Step::WaitForMetadata => {}
            Step::Reset { .. } | Step::Failed(_) => panic!("node {id}: {step:?} for {answer:?}"),
        }
    }

    // The network.

    fn deliver(&mut self, which: usize, how: u8) {
        if self.messages.is_empty() {
            return;
        }
        let which = which % self.messages.len();
        let message = match how {
            // Lost. (A proposal is lost by giving it up.)
            200..=219
                if !matches!(
                    self.messages[which],
                    Message::Propose { .. } | Message::Answer { .. }
                ) =>
            {
                self.messages.remove(which);
                return;
            }
            // Again later. (Nobody answers a proposal twice.)
            220..=239 if !matches!(self.messages[which], Message::Answer { .. }) => {
                self.messages[which].clone()
            }
            _ => self.messages.remove(which),
        };
        match message {
            Message::Fetch {
                to,
                fetch,
                leader_epoch,
                last_fetched_epoch,
                correlation_id,
            } => {
                let records_max = match how {
                    u8::MAX => usize::MAX / 2,
                    _ => 1 + usize::from(how % 3),
                };
                self.serve(
                    to,
                    fetch,
                    leader_epoch,
                    last_fetched_epoch,
                    correlation_id,
                    records_max,
                );
            }
            Message::Fetched {
                to,
                correlation_id,
                answer,
                records,
            } => {
                let node = self.node(to);
                if node.up && node.correlation_id == correlation_id {
                    node.correlation_id = 0;
                    self.follow(to, &answer, &records);
                }
            }
            Message::Propose {
                from,
                broker_epoch,
                proposal,
                given_up_ms,
            } => {
                let outcome = self.alter(from, broker_epoch, &proposal);
                if given_up_ms.is_none() {
                    self.messages.push(Message::Answer {
                        to: from,
                        broker_epoch,
                        proposal,
                        outcome,
                    });
                } else if matches!(outcome, ProposalOutcome::Committed { .. }) {
                    self.counts.late_proposals += 1;
                }
            }
            Message::Answer {
                to,
                broker_epoch,
                proposal,
                outcome,
            } => {
                if self.is_incarnation(to, broker_epoch) {
                    self.lead(to, |leader, local, _, now_ms| {
                        leader.answered(&proposal, outcome, local, now_ms)
                    });
                }
            }
        }
    }

    fn is_incarnation(&self, id: i32, broker_epoch: i64) -> bool {
        let node = &self.nodes[id as usize];
        node.up && node.broker_epoch == broker_epoch
    }

    /// The leader hears nothing of its proposal, which may be anywhere.
    fn give_up(&mut self, which: usize) {
        let open: Vec<usize> = (0..self.messages.len())
            .filter(|&at| {
                matches!(
                    self.messages[at],
                    Message::Propose {
                        given_up_ms: None,
                        ..
                    } | Message::Answer { .. }
                )
            })
            .collect();
        if open.is_empty() {
            return;
        }
        let at = open[which % open.len()];
        let now_ms = self.now_ms;
        let (id, broker_epoch, proposal) = match &mut self.messages[at] {
            Message::Propose {
                from,
                broker_epoch,
                proposal,
                given_up_ms,
            } => {
                *given_up_ms = Some(now_ms);
                (*from, *broker_epoch, proposal.clone())
            }
            Message::Answer {
                to,
                broker_epoch,
                proposal,
                ..
            } => {
                let lost = (*to, *broker_epoch, proposal.clone());
                self.messages.remove(at);
                lost
            }
            _ => return,
        };
        self.counts.unknown_outcomes += 1;
        if self.is_incarnation(id, broker_epoch) {
            self.lead(id, |leader, local, _, now_ms| {
                leader.answered(&proposal, ProposalOutcome::Unknown, local, now_ms)
            });
        }
    }

    // The controller.

    fn commit(&mut self, change: impl FnOnce(&mut Metadata)) {
        let mut next = self.truth().clone();
        change(&mut next);
        next.assignment.partition_epoch += 1;
        self.history.push(next);
    }

    fn alter(&mut self, from: i32, broker_epoch: i64, proposal: &IsrProposal) -> ProposalOutcome {
        let truth = self.truth();
        let assignment = &truth.assignment;
        if truth.may_join(from) != Some(broker_epoch) {
            return ProposalOutcome::refused(ErrorCode::StaleBrokerEpoch);
        }
        if proposal.leader_epoch != assignment.leader_epoch {
            return ProposalOutcome::refused(ErrorCode::FencedLeaderEpoch);
        }
        if proposal.partition_epoch != assignment.partition_epoch {
            return ProposalOutcome::refused(ErrorCode::InvalidUpdateVersion);
        }
        assert_eq!(assignment.leader, from, "one leader in each epoch");
        let is_eligible = |&(id, epoch): &(i32, i64)| matches!(truth.may_join(id), Some(it) if epoch == -1 || it == epoch);
        if !proposal.new_isr.iter().all(is_eligible) {
            return ProposalOutcome::refused(ErrorCode::IneligibleReplica);
        }
        let isr: Vec<i32> = proposal.new_isr.iter().map(|&(id, _)| id).collect();
        assert!(isr.contains(&from));
        if isr != assignment.isr {
            self.counts.isr_changes += 1;
            self.commit(|metadata| metadata.assignment.isr = isr);
        }
        let assignment = &self.truth().assignment;
        ProposalOutcome::Committed {
            leader_epoch: assignment.leader_epoch,
            partition_epoch: assignment.partition_epoch,
            isr: assignment.isr.clone(),
        }
    }

    fn elect(&mut self, leader: i32) {
        if self.truth().assignment.leader == leader {
            return;
        }
        self.counts.elections += usize::from(leader >= 0);
        self.commit(|metadata| {
            metadata.assignment.leader = leader;
            metadata.assignment.leader_epoch += 1;
        });
    }

    /// The controller takes the node for dead, which it may not be.
    fn fence(&mut self, id: i32) {
        if !self.truth().alive.contains_key(&id) {
            return;
        }
        self.commit(|metadata| {
            metadata.alive.remove(&id);
            if metadata.assignment.isr.len() > 1 {
                metadata.assignment.isr.retain(|&member| member != id);
            }
        });
        if self.truth().assignment.leader == id {
            self.elect_anyone();
        }
    }

    fn elect_anyone(&mut self) {
        let truth = self.truth();
        let mut able = truth
            .assignment
            .isr
            .iter()
            .filter(|member| truth.alive.contains_key(member));
        let leader = able.next().copied().unwrap_or(-1);
        self.elect(leader);
    }

    fn unfence(&mut self, id: i32) {
        let node = &self.nodes[id as usize];
        if !node.up || self.truth().alive.contains_key(&id) {
            return;
        }
        let broker_epoch = node.broker_epoch;
        self.commit(|metadata| {
            metadata.alive.insert(id, broker_epoch);
        });
        if self.truth().assignment.leader < 0 {
            self.elect_anyone();
        }
    }

    fn move_leadership(&mut self, id: i32) {
        let truth = self.truth();
        if truth.assignment.isr.contains(&id) && truth.alive.contains_key(&id) {
            self.elect(id);
        }
    }

    /// The process ends. The log stays, unless the node is out of the ISR: then the end of it may go.
    fn crash(&mut self, id: i32, how: u8) {
        if !self.nodes[id as usize].up {
            return;
        }
        self.counts.crashes += 1;
        if how.is_multiple_of(2) {
            self.fence(id);
        }
        let may_lose = !self.truth().assignment.isr.contains(&id);
        let node = self.node(id);
        node.up = false;
        node.role = Role::None;
        node.correlation_id = 0;
        node.leader_epoch = -1;
        node.seen = 0;
        // The checkpoint of the high watermark lags.
        node.high_watermark -= node.high_watermark.min(i64::from(how % 4));
        if may_lose && how.is_multiple_of(4) {
            let keeps = node.log.len() - node.log.len().min(1 + usize::from(how / 4 % 8));
            node.log.truncate(keeps);
            node.high_watermark = node.high_watermark.min(keeps as i64);
            self.counts.older_disks += 1;
        }
    }

    /// It comes back with another broker epoch, and registers: fenced until it has caught up with the
    /// metadata, with no place in the ISR that it was out of.
    fn restart(&mut self, id: i32) {
        if self.nodes[id as usize].up {
            return;
        }
        self.fence(id);
        let broker_epoch = self.next_broker_epoch;
        self.next_broker_epoch += 1;
        let versions = self.history.len();
        let node = self.node(id);
        node.up = true;
        node.broker_epoch = broker_epoch;
        // A registered broker knows the metadata before it does anything. It never led the epoch that
        // it finds: whoever leads is alive, and it was fenced.
        node.seen = versions - 1;
        self.learn(id, 1);
    }
}
