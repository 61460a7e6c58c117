//! A cluster, its operators, and all that may happen to them.

use std::collections::BTreeMap;

use foz_metadata::image::{Image, NO_LEADER, SupportedFeatures};
use foz_metadata::record::{Batch, Fact};
use foz_metadata::rules::{
    AcquireRestart, AlterPartitionReassignments, AlterPartitions, Answer, CreatePartitions,
    CreateTopics, DataDirectory, Decision, DeleteTopics, ErrorCode, Increase, IsrChange, NewTopic,
    QuorumHealth, Reassignment, Refusal, RegisterBroker, TopicRef, Unavailable,
    acquire_operator_epoch, acquire_restart, alter_partition_reassignments, alter_partitions,
    balance_leaders, create_partitions, create_topics, delete_topics, end_restart,
    end_restarts_done, fence_broker, found_cluster, register_broker, stop_broker, unfence_broker,
};
use uuid::Uuid;

use super::check::{Cover, Seen};
use super::random::Random;

pub(crate) const CONTROLLERS: usize = 3;
/// That come and go.
const EXTRA_TOPICS_MAX: usize = 2;

/// What a walk begins with.
pub(crate) struct Shape {
    pub(crate) brokers: usize,
    /// Replicas, `min.insync.replicas`, partitions.
    pub(crate) topics: &'static [(i32, usize, i32)],
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pub(crate) incarnation: u128,
    pub(crate) is_up: bool,
    /// It was asked to end.
    pub(crate) wants_to_stop: bool,
}

/// What an operator remembers.
#[derive(Debug, Clone, Default)]
struct Operator {
    epoch: i64,
    granted: Option<(i32, Uuid, i64)>,
}

pub(crate) struct World {
    pub(crate) image: Image,
    pub(crate) random: Random,
    pub(crate) brokers: Vec<Process>,
    pub(crate) controllers: Vec<Process>,
    operators: [Operator; 2],
    pub(crate) newest_grant: i64,
    topics_at_first: usize,
    /// Of the image.
    pub(crate) covers: Vec<Cover>,
    pub(crate) seen: Seen,
}

const UP: Process = Process {
    incarnation: 1,
    is_up: true,
    wants_to_stop: false,
};

impl World {
    pub(crate) fn new(seed: u64, shape: &Shape) -> Self {
        let mut world = Self {
            image: Image::default(),
            random: Random::new(seed),
            brokers: vec![UP; shape.brokers],
            controllers: vec![UP; CONTROLLERS],
            operators: Default::default(),
            newest_grant: 0,
            topics_at_first: shape.topics.len(),
            covers: Vec::new(),
            seen: Seen::default(),
        };
        let decision = found_cluster(&world.image, "c").unwrap();
        world.commit(decision, false);
        for node in 0..shape.brokers {
            world.register(node, true);
            world.unfence(node);
        }
        for (at, (replication_factor, min_insync, partitions)) in shape.topics.iter().enumerate() {
            let topic = topic(at, *replication_factor, *min_insync, *partitions);
            world.create(topic, seed).unwrap();
        }
        world
    }

    fn create(&mut self, topic: NewTopic, seed: u64) -> Result<(), Refusal> {
        let request = CreateTopics {
            topics: vec![topic],
            validate_only: false,
            operator_epoch: 0,
            seed,
        };
        let decision = create_topics(&self.image, &BTreeMap::new(), &request).unwrap();
        self.commit(decision, false).remove(0).map(|_| ())
    }

    /// A topic is made, or gets more partitions, or is gone: whoever is away at the moment, and whoever has a grant. Only
    /// the last topic changes, so that no other partition has another position.
    fn make_partitions(&mut self) {
        let count = self.image.topic_count();
        let last = self.image.topics().last().unwrap().clone();
        let is_extra = count > self.topics_at_first;
        if count < self.topics_at_first + EXTRA_TOPICS_MAX && self.random.percent(50) {
            let factor = 1 + self.random.below(self.brokers.len());
            let min_insync = 1 + self.random.below(factor);
            let replication_factor = id(factor);
            let partitions = id(1 + self.random.below(2));
            let mut topic = topic(count, replication_factor, min_insync, partitions);
            // Ids are never used again.
            topic.id = Uuid::from_u128(1_000 + self.image.offset() as u128);
            let seed = u64::try_from(self.seen.steps).unwrap();
            let made = self.create(topic, seed);
            self.check_made(&made, 0..self.partitions_of(count));
        } else if is_extra && last.partitions.len() < 4 {
            let before = id(last.partitions.len());
            let increase = Increase {
                name: last.name.to_string(),
                count: before + 1,
                assignments: vec![],
            };
            let request = CreatePartitions {
                topics: vec![increase],
                validate_only: false,
                operator_epoch: 0,
                seed: u64::try_from(self.seen.steps).unwrap(),
            };
            let decision = create_partitions(&self.image, &request).unwrap();
            let made = self.commit(decision, false).remove(0);
            self.check_made(&made, before..before + 1);
        } else if is_extra {
            let gone = TopicRef {
                name: last.name.to_string(),
                id: None,
            };
            let request = DeleteTopics {
                topics: vec![gone],
                now_ms: 0,
                operator_epoch: self.image.operator_epoch(),
            };
            let decision = delete_topics(&self.image, &BTreeMap::new(), &request).unwrap();
            self.commit(decision, false).remove(0).unwrap();
        }
    }

    fn partitions_of(&self, topic: usize) -> i32 {
        let topic = self.image.topic(&topic_name(topic));
        topic.map_or(0, |topic| id(topic.partitions.len()))
    }

    pub(crate) fn step(&mut self) {
        self.seen.steps += 1;
        if self.controllers.iter().filter(|it| it.is_up).count() <= CONTROLLERS / 2 {
            // Without a majority nothing is decided.
            let down = self.controllers.iter().position(|it| !it.is_up).unwrap();
            self.start_controller(down);
            return;
        }
        let node = self.random.below(self.brokers.len());
        let operator = self.random.below(2);
        match self.random.below(102) {
            0 => self.become_operator(operator),
            1..15 => self.operator_asks(operator, node),
            15..20 => self.operator_stops(operator),
            20 => self.operator_calls_off(operator),
            21..24 => self.brokers[node].wants_to_stop = self.brokers[node].is_up,
            24..34 => self.broker_asks(node),
            34 => self.crash(node),
            35..44 => self.lease_ends(node),
            44..54 => {
                let is_intact = self.random.percent(90);
                self.start(node, is_intact);
            }
            54..64 => self.unfence(node),
            64..76 => self.joins(usize::MAX),
            76 => self.lags(),
            77..80 => self.reassign(),
            80 => self.cancel(),
            81..88 => self.end_done(),
            88 => self.time_is_over(node),
            89 => self.balance(),
            90..94 => self.controller_asks(),
            94 => {
                let at = self.random.below(CONTROLLERS);
                self.controllers[at].is_up = false;
            }
            95..99 => {
                let at = self.random.below(CONTROLLERS);
                self.start_controller(at);
            }
            99 => self.fence(node),
            _ => self.make_partitions(),
        }
    }

    /// Somebody asks, and may not hear the answer.
    pub(crate) fn ask(&mut self, request: &AcquireRestart) -> Option<Answer> {
        let quorum = self.quorum();
        let decision = match acquire_restart(&self.image, request, &quorum) {
            Ok(decision) => decision,
            Err(refusal) => {
                assert_eq!(refusal.code, ErrorCode::StaleOperatorEpoch);
                assert_ne!(request.operator_epoch, self.image.operator_epoch());
                self.seen.refused_as_old += 1;
                return None;
            }
        };
        let is_old =
            request.operator_epoch != 0 && request.operator_epoch != self.image.operator_epoch();
        assert!(!is_old, "an old operator gets nothing");
        let mut records = decision.records.iter();
        let writes_grant =
            records.any(|record| matches!(record.record, Some(Fact::RestartGrant(_))));
        self.check_answer(request, &quorum, &decision.answer, writes_grant);
        let answer = self.commit(decision, request.insist);
        if self.random.percent(20) {
            self.seen.answers_lost += 1;
            return None;
        }
        Some(answer)
    }

    pub(crate) fn request(node_id: i32, incarnation: Uuid) -> AcquireRestart {
        AcquireRestart {
            node_id,
            incarnation,
            reason: "it is asked to end".to_owned(),
            operator_epoch: 0,
            unavailable: Unavailable::Allow,
            insist: false,
        }
    }

    fn quorum(&self) -> QuorumHealth {
        let up = (1000..).zip(&self.controllers).filter(|(_, it)| it.is_up);
        let reachable: std::collections::BTreeSet<i32> = up.map(|(id, _)| id).collect();
        QuorumHealth {
            voters: (1000..).take(CONTROLLERS).collect(),
            active: *reachable.first().unwrap(),
            reachable,
        }
    }

    fn become_operator(&mut self, operator: usize) {
        let decision = acquire_operator_epoch(&self.image, "me").unwrap();
        self.operators[operator].epoch = self.commit(decision, false);
    }

    fn operator_asks(&mut self, operator: usize, node: usize) {
        // It knows pods, and sometimes one that is gone.
        let late = u128::from(self.random.percent(5));
        let incarnation = Uuid::from_u128(self.brokers[node].incarnation - late);
        let unavailable = if self.random.percent(80) {
            Unavailable::Allow
        } else {
            Unavailable::Deny
        };
        let request = AcquireRestart {
            operator_epoch: self.operators[operator].epoch,
            unavailable,
            ..Self::request(id(node), incarnation)
        };
        if let Some(Answer::Granted { grant_epoch, .. }) = self.ask(&request) {
            self.operators[operator].granted = Some((id(node), incarnation, grant_epoch));
        }
    }

    /// A pod is deleted by its UID, and only while its grant lasts.
    fn operator_stops(&mut self, operator: usize) {
        let Some((node_id, incarnation, epoch)) = self.operators[operator].granted.take() else {
            return;
        };
        let lasts = self
            .image
            .grant(node_id)
            .is_some_and(|it| it.epoch == epoch);
        if lasts && Uuid::from_u128(self.brokers[at(node_id)].incarnation) == incarnation {
            self.stop(at(node_id));
        }
    }

    fn operator_calls_off(&mut self, operator: usize) {
        let Operator { epoch, granted } = self.operators[operator].clone();
        let Some((node_id, _, grant_epoch)) = granted else {
            return;
        };
        match end_restart(&self.image, node_id, grant_epoch, epoch) {
            Ok(decision) => self.seen.called_off += usize::from(self.commit(decision, false)),
            Err(refusal) => assert_eq!(refusal.code, ErrorCode::StaleOperatorEpoch),
        }
    }

    fn broker_asks(&mut self, node: usize) {
        let process = self.brokers[node];
        if !process.wants_to_stop || !process.is_up {
            return;
        }
        let request = AcquireRestart {
            insist: self.random.percent(6),
            ..Self::request(id(node), Uuid::from_u128(process.incarnation))
        };
        if let Some(Answer::Granted { .. }) = self.ask(&request) {
            self.stop(node);
        }
    }

    /// A controlled shutdown with a grant.
    pub(crate) fn stop(&mut self, node: usize) {
        let registered = self.image.broker(id(node)).unwrap();
        let is_registered =
            registered.incarnation == Uuid::from_u128(self.brokers[node].incarnation);
        if !self.brokers[node].is_up || !is_registered {
            return;
        }
        assert!(self.image.grant(id(node)).is_some());
        let covers = self.covers.clone();
        let epoch = registered.epoch;
        let decision = stop_broker(&self.image, id(node), epoch).unwrap();
        self.commit(decision, false);
        self.brokers[node].is_up = false;
        if self.random.percent(80) {
            let decision = fence_broker(&self.image, id(node), epoch).unwrap();
            self.commit(decision, false);
        }
        self.check_stop(&covers);
    }

    fn crash(&mut self, node: usize) {
        self.seen.crashed += usize::from(self.brokers[node].is_up);
        self.brokers[node].is_up = false;
    }

    pub(crate) fn lease_ends(&mut self, node: usize) {
        if !self.brokers[node].is_up {
            self.fence(node);
        }
    }

    /// A failure, unless the broker may go.
    fn fence(&mut self, node: usize) {
        if self.image.is_alive(id(node)) && (!self.brokers[node].is_up || self.random.percent(20)) {
            let epoch = self.image.broker(id(node)).unwrap().epoch;
            let decision = fence_broker(&self.image, id(node), epoch).unwrap();
            self.commit(decision, self.image.grant(id(node)).is_none());
        }
    }

    pub(crate) fn start(&mut self, node: usize, is_intact: bool) {
        if !self.brokers[node].is_up && !self.image.is_alive(id(node)) {
            let incarnation = self.brokers[node].incarnation + 1;
            self.brokers[node] = Process { incarnation, ..UP };
            self.register(node, is_intact);
        }
    }

    fn register(&mut self, node: usize, log_intact: bool) {
        let request = RegisterBroker {
            node_id: id(node),
            incarnation: Uuid::from_u128(self.brokers[node].incarnation),
            directories: vec![DataDirectory {
                id: Uuid::from_u128(1 + node as u128),
                disk_epoch: self.image.broker(id(node)).map_or(-1, |known| known.epoch),
                intact: log_intact,
                logs: Vec::new(),
            }],
            offline_directories: 0,
            in_doubt: Vec::new(),
            cluster_id: "c".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
            replication_host: "localhost".to_owned(),
            replication_port: 9091,
            rack: None,
            version: "1".to_owned(),
            features: SupportedFeatures::of_this_program(),
        };
        let decision = register_broker(&self.image, &request).unwrap();
        self.commit(decision, false);
    }

    pub(crate) fn unfence(&mut self, node: usize) {
        let registered = self.image.broker(id(node)).unwrap();
        if self.brokers[node].is_up && registered.fenced {
            let decision = unfence_broker(&self.image, id(node), registered.epoch).unwrap();
            self.commit(decision, false);
        }
    }

    /// A leader lets followers in, so many at most.
    pub(crate) fn joins(&mut self, members_max: usize) {
        let at = self.random.below(self.covers.len());
        self.joins_at(at, members_max);
    }

    pub(crate) fn joins_at(&mut self, at: usize, members_max: usize) {
        let (_, _, partition) = self.image.partitions().nth(at).unwrap();
        let mut isr = partition.isr.clone();
        let outside = partition.replicas.iter().filter(|id| !isr.contains(id));
        let join = outside.copied().filter(|id| self.image.can_lead(*id));
        let join: Vec<i32> = join.take(members_max).collect();
        if !join.is_empty() {
            isr.extend(join);
            self.propose(at, &isr, false);
        }
    }

    fn lags(&mut self) {
        let at = self.random.below(self.covers.len());
        let (_, _, partition) = self.image.partitions().nth(at).unwrap();
        let mut isr = partition.isr.clone();
        let followers: Vec<i32> = isr
            .iter()
            .copied()
            .filter(|id| *id != partition.leader)
            .collect();
        if let Some(follower) = self.random.choose(&followers) {
            isr.retain(|id| *id != follower);
            self.propose(at, &isr, true);
            self.seen.lagged += 1;
        }
    }

    fn propose(&mut self, at: usize, isr: &[i32], is_failure: bool) {
        let (topic, index, partition) = self.image.partitions().nth(at).unwrap();
        let leader = partition.leader;
        if leader == NO_LEADER || !self.brokers[self::at(leader)].is_up {
            return;
        }
        let epoch = |node_id: i32| self.image.broker(node_id).unwrap().epoch;
        let request = AlterPartitions {
            broker_id: leader,
            broker_epoch: epoch(leader),
            partitions: vec![IsrChange {
                topic_id: topic.id,
                index,
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                new_isr: isr.iter().map(|id| (*id, epoch(*id))).collect(),
            }],
        };
        let decision = alter_partitions(&self.image, &request).unwrap();
        self.commit(decision, is_failure).remove(0).unwrap();
    }

    fn reassign(&mut self) {
        let at = self.random.below(self.covers.len());
        let (_, _, partition) = self.image.partitions().nth(at).unwrap();
        let mut factor = partition.target_replicas().len();
        if self.random.percent(20) {
            factor = 1 + self.random.below(3);
        }
        let target = self.random.some_of(self.brokers.len(), factor);
        self.alter_reassignment(at, Some(target)).unwrap();
        self.seen.reassigned += 1;
    }

    fn cancel(&mut self) {
        let at = self.random.below(self.covers.len());
        match self.alter_reassignment(at, None) {
            Ok(()) => self.seen.cancelled += 1,
            Err(refusal) => assert!(matches!(
                refusal.code,
                ErrorCode::NoReassignmentInProgress | ErrorCode::InvalidReplicaAssignment
            )),
        }
    }

    fn alter_reassignment(&mut self, at: usize, replicas: Option<Vec<i32>>) -> Result<(), Refusal> {
        let (topic, index, _) = self.image.partitions().nth(at).unwrap();
        let request = AlterPartitionReassignments {
            partitions: vec![Reassignment {
                topic: topic.name.to_string(),
                index,
                replicas,
            }],
            allow_replication_factor_change: true,
            operator_epoch: 0,
        };
        let decision = alter_partition_reassignments(&self.image, &request).unwrap();
        self.commit(decision, false).remove(0).2
    }

    pub(crate) fn end_done(&mut self) {
        let decision = end_restarts_done(&self.image).unwrap();
        for node_id in self.commit(decision, false) {
            self.seen.ended_when_back += 1;
            for (_, _, partition) in self.image.partitions_on(node_id) {
                let could_lead = partition.preferred_leader() == node_id
                    && partition.isr.contains(&node_id)
                    && self.image.can_lead(node_id);
                assert!(!could_lead || partition.leader == node_id, "{partition:?}");
            }
        }
    }

    /// The duty of the active controller.
    pub(crate) fn time_is_over(&mut self, node: usize) {
        if let Some(grant) = self.image.grant(id(node)) {
            let decision = end_restart(&self.image, id(node), grant.epoch, 0).unwrap();
            assert!(self.commit(decision, false));
            self.seen.ended_by_time += 1;
        }
    }

    fn balance(&mut self) {
        let decision = balance_leaders(&self.image, &BTreeMap::new()).unwrap();
        self.commit(decision, false);
    }

    fn controller_asks(&mut self) {
        let at = self.random.below(CONTROLLERS);
        let process = self.controllers[at];
        if !process.is_up {
            return;
        }
        let operator = self.random.below(2);
        let operator_epoch = self.operators[operator].epoch * i64::from(self.random.percent(50));
        let request = AcquireRestart {
            operator_epoch,
            ..Self::request(1000 + id(at), Uuid::from_u128(process.incarnation))
        };
        if let Some(Answer::Granted { .. }) = self.ask(&request) {
            self.controllers[at].is_up = false;
        }
    }

    /// Once it has caught up, the active controller ends its grant.
    pub(crate) fn start_controller(&mut self, at: usize) {
        if !self.controllers[at].is_up {
            let incarnation = self.controllers[at].incarnation + 1;
            self.controllers[at] = Process { incarnation, ..UP };
        }
        if let Some(grant) = self.image.grant(1000 + id(at))
            && grant.incarnation != Uuid::from_u128(self.controllers[at].incarnation)
        {
            let decision = end_restart(&self.image, grant.node_id, grant.epoch, 0).unwrap();
            assert!(self.commit(decision, false));
        }
    }

    pub(crate) fn commit<A>(&mut self, decision: Decision<A>, is_failure: bool) -> A {
        if !decision.records.is_empty() {
            let batch = Batch {
                follows: self.image.offset(),
                term: 1,
                records: decision.records,
            };
            let after = self.image.apply(&batch).unwrap();
            let before = std::mem::replace(&mut self.image, after);
            self.check_change(&before, is_failure);
        }
        decision.answer
    }
}

fn topic_name(at: usize) -> String {
    format!("t{at}")
}

fn topic(at: usize, replication_factor: i32, min_insync: usize, partitions: i32) -> NewTopic {
    NewTopic {
        name: topic_name(at),
        id: Uuid::from_u128(1 + at as u128),
        partitions,
        replication_factor,
        config: [("min.insync.replicas".to_owned(), min_insync.to_string())].into(),
        ..NewTopic::default()
    }
}

pub(crate) fn id(node: usize) -> i32 {
    i32::try_from(node).unwrap()
}

fn at(node_id: i32) -> usize {
    usize::try_from(node_id).unwrap()
}
