//! The replicas, the controller, and what lies between them.

mod brokers;
mod controller;
mod network;

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
    /// A leader knew that nobody else had led a moment ago.
    pub(crate) confirmed: usize,
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
            confirmed: self.confirmed + other.confirmed,
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

    fn is_alive(&self, node_id: i32) -> bool {
        self.alive.contains_key(&node_id)
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
    /// When the answer was given that it has from the leader that it follows: its fetch session.
    answered_ms: Option<i64>,
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
        after_ms: Option<i64>,
    },
    Fetched {
        to: i32,
        correlation_id: u64,
        answered_ms: i64,
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
    /// When somebody began to lead in an epoch.
    began_ms: BTreeMap<i32, i64>,
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
                answered_ms: None,
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
            began_ms: BTreeMap::new(),
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
            if let Role::Leader(leader) = &node.role {
                let newer = self.began_ms.range(leader.leader_epoch() + 1..);
                for (epoch, &began_ms) in newer {
                    assert!(
                        !leader.led_at(began_ms),
                        "node {id} does not know that epoch {epoch} began"
                    );
                }
            }
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
}
