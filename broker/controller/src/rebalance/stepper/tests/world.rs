//! A cluster that does what a rebalance says, as far as nothing comes between.

use std::collections::BTreeMap;
use std::time::Duration;

use foz_metadata::Image;
use foz_metadata::image::{Rebalance, RebalanceGoal, RebalanceState, SupportedFeatures, Topic};
use foz_metadata::record::Batch;
use foz_metadata::rules::{
    AlterPartitionReassignments, AlterPartitions, CreateTopics, DataDirectory, Decision,
    DeleteTopics, IsrChange, NewTopic, Reassignment, RegisterBroker, ReportOfflineReplicas,
    StartRebalance, StartedRebalance, TopicRef, alter_partition_reassignments, alter_partitions,
    cordon, create_topics, delete_topics, fence_broker, found_cluster, progress_rebalance,
    register_broker, report_offline_replicas, report_space, start_rebalance, unfence_broker,
};
use uuid::Uuid;

use crate::rebalance::RebalanceLimits;
use crate::rebalance::loads::{Disk, LoadedPartition, Loads, Report};
use crate::rebalance::planning::plan;
use crate::rebalance::stepper::{Step, Stepper};

/// A cluster, and the rebalance that runs there.
pub(super) struct World {
    pub(super) image: Image,
    pub(super) loads: Loads,
    pub(super) limits: RebalanceLimits,
    /// Of the next rebalance.
    pub(super) threshold_percent: u32,
    pub(super) stepper: Option<Stepper>,
    pub(super) now: Duration,
    /// The highest number of moves of its own at once.
    pub(super) most_under_way: usize,
}

impl World {
    pub(super) fn new(brokers: i32) -> Self {
        let mut world = Self {
            image: Image::default(),
            loads: Loads::default(),
            limits: RebalanceLimits {
                loads_wait: Duration::ZERO,
                ..RebalanceLimits::default()
            },
            threshold_percent: 0,
            stepper: None,
            now: Duration::ZERO,
            most_under_way: 0,
        };
        let decision = found_cluster(&world.image, "cluster-1").unwrap();
        world.commit(decision);
        (0..brokers).for_each(|node_id| world.join(node_id));
        world
    }

    pub(super) fn commit<A>(&mut self, decision: Decision<A>) -> A {
        if !decision.records.is_empty() {
            let batch = Batch {
                follows: self.image.offset(),
                term: 1,
                records: decision.records,
            };
            self.image = self.image.apply(&batch).unwrap();
        }
        decision.answer
    }

    pub(super) fn join(&mut self, node_id: i32) {
        let request = RegisterBroker {
            node_id,
            incarnation: Uuid::from_u128(self.image.offset() as u128),
            directories: vec![DataDirectory {
                id: Uuid::from_u128(100 + node_id as u128),
                disk_epoch: self.image.broker(node_id).map_or(-1, |it| it.epoch),
                intact: true,
                logs: self.logs_of(node_id),
            }],
            offline_directories: 0,
            in_doubt: Vec::new(),
            cluster_id: String::new(),
            host: "localhost".to_owned(),
            port: 9092,
            rack: None,
            version: "1".to_owned(),
            features: SupportedFeatures::of_this_program(),
            replication_host: "localhost".to_owned(),
            replication_port: 9091,
        };
        let epoch = self.commit(register_broker(&self.image, &request).unwrap());
        self.commit(unfence_broker(&self.image, node_id, epoch).unwrap());
    }

    fn logs_of(&self, node_id: i32) -> Vec<(Uuid, i32)> {
        let partitions = self.image.partitions();
        let held = partitions.filter(|(_, _, partition)| partition.replicas.contains(&node_id));
        held.map(|(topic, index, _)| (topic.id, index)).collect()
    }

    /// The disk of these partitions of a topic fails on that broker.
    pub(super) fn fail_disk(&mut self, node_id: i32, topic: &str, indexes: &[i32]) {
        let topic_id = self.topic(topic).id;
        let request = ReportOfflineReplicas {
            node_id,
            broker_epoch: self.epoch(node_id),
            replicas: indexes.iter().map(|index| (topic_id, *index)).collect(),
        };
        self.commit(report_offline_replicas(&self.image, &request).unwrap());
    }

    /// It comes back with all its disks.
    pub(super) fn restart(&mut self, node_id: i32) {
        self.die(node_id);
        self.join(node_id);
    }

    pub(super) fn epoch(&self, node_id: i32) -> i64 {
        self.image.broker(node_id).unwrap().epoch
    }

    pub(super) fn die(&mut self, node_id: i32) {
        let decision = fence_broker(&self.image, node_id, self.epoch(node_id)).unwrap();
        self.commit(decision);
    }

    pub(super) fn come_back(&mut self, node_id: i32) {
        let decision = unfence_broker(&self.image, node_id, self.epoch(node_id)).unwrap();
        self.commit(decision);
    }

    pub(super) fn report_space(&mut self, node_id: i32, is_short: bool) {
        let epoch = self.epoch(node_id);
        self.commit(report_space(&self.image, node_id, epoch, is_short).unwrap());
    }

    pub(super) fn set_cordoned(&mut self, node_id: i32, cordoned: bool) {
        let decision = cordon(&self.image, &[node_id].into(), cordoned, 0).unwrap();
        self.commit(decision);
    }

    pub(super) fn create(&mut self, name: &str, partitions: i32, replication_factor: i32) {
        self.create_with(NewTopic {
            partitions,
            replication_factor,
            config: BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]),
            ..named(name)
        });
    }

    pub(super) fn create_on(&mut self, name: &str, assignments: &[&[i32]]) {
        self.create_with(NewTopic {
            partitions: -1,
            replication_factor: -1,
            assignments: assignments.iter().map(|it| it.to_vec()).collect(),
            ..named(name)
        });
    }

    pub(super) fn create_with(&mut self, topic: NewTopic) {
        let request = CreateTopics {
            topics: vec![topic],
            validate_only: false,
            operator_epoch: 0,
            seed: 1,
        };
        let decision = create_topics(&self.image, &BTreeMap::new(), &request).unwrap();
        self.commit(decision).remove(0).unwrap();
    }

    pub(super) fn delete(&mut self, name: &str) {
        let request = DeleteTopics {
            topics: vec![TopicRef {
                name: name.to_owned(),
                id: None,
            }],
            now_ms: 0,
            operator_epoch: 0,
        };
        let decision = delete_topics(&self.image, &BTreeMap::new(), &request).unwrap();
        self.commit(decision).remove(0).unwrap();
    }

    /// Somebody else moves a partition.
    pub(super) fn reassign(&mut self, topic: &str, index: i32, replicas: &[i32]) {
        let request = AlterPartitionReassignments {
            partitions: vec![Reassignment {
                topic: topic.to_owned(),
                index,
                replicas: Some(replicas.to_vec()),
            }],
            allow_replication_factor_change: false,
            operator_epoch: 0,
        };
        let decision = alter_partition_reassignments(&self.image, &request).unwrap();
        self.commit(decision).remove(0).2.unwrap();
    }

    /// Each of so many bytes, and disks of a terabyte.
    pub(super) fn tell_loads(&mut self, bytes: u64) {
        let load = LoadedPartition {
            bytes,
            ..LoadedPartition::default()
        };
        self.tell(1 << 40, || load);
    }

    /// Each broker tells of a disk of so many bytes, all free, and one of them of every partition.
    pub(super) fn tell(&mut self, disk_bytes: u64, mut load: impl FnMut() -> LoadedPartition) {
        let all = self.image.partitions();
        let mut partitions: Vec<_> = all
            .map(|(topic, index, _)| ((topic.id, index), load()))
            .collect();
        for broker in self.image.brokers() {
            let report = Report {
                node_id: broker.node_id,
                partitions: std::mem::take(&mut partitions),
                disk: Some(Disk {
                    bytes_total: disk_bytes,
                    bytes_free: disk_bytes,
                    roomiest_bytes_total: disk_bytes,
                    roomiest_bytes_free: disk_bytes,
                    ..Disk::default()
                }),
                copies: Vec::new(),
            };
            self.loads.report(1, &self.image, report);
        }
    }

    pub(super) fn drain(&mut self, node_ids: &[i32]) {
        for node_id in node_ids {
            self.set_cordoned(*node_id, true);
        }
        self.start(RebalanceGoal::DrainBrokers(
            node_ids.iter().copied().collect(),
        ));
    }

    pub(super) fn start(&mut self, goal: RebalanceGoal) {
        let threshold_percent = self.threshold_percent;
        let planned = plan(&self.image, &self.loads, &goal, threshold_percent).unwrap();
        let request = StartRebalance {
            goal,
            planned: planned.summary(),
            threshold_percent,
            operator_epoch: 0,
        };
        let started = self.commit(start_rebalance(&self.image, &request).unwrap());
        assert!(
            matches!(started, StartedRebalance::Started { .. }),
            "{started:?}"
        );
    }

    pub(super) fn rebalance(&self) -> &Rebalance {
        self.image.rebalance().unwrap()
    }

    /// What one step does; a second passes.
    pub(super) fn step(&mut self) -> Step {
        let rebalance = self.rebalance().clone();
        let limits = self.limits.clone();
        let stepper = self
            .stepper
            .get_or_insert_with(|| Stepper::new(&rebalance, limits));
        let step = stepper.step(&self.image, &self.loads, &rebalance, self.now);
        self.commit(progress_rebalance(&self.image, &step.request).unwrap());
        let own = self.image.partitions_moved_by(rebalance.id).count();
        self.most_under_way = self.most_under_way.max(own);
        self.now += Duration::from_secs(1);
        step
    }

    /// Whoever is alive gets in sync.
    pub(super) fn catch_up(&mut self) {
        let behind: Vec<_> = self
            .image
            .partitions()
            .filter(|(_, _, it)| it.leader >= 0 && it.isr.len() < it.replicas.len())
            .map(|(topic, index, it)| (topic.id, index, it.clone()))
            .collect();
        for (topic_id, index, partition) in behind {
            let alive = partition.replicas.iter().copied();
            let alive = alive.filter(|id| self.image.can_lead(*id) || partition.isr.contains(id));
            let alive = alive.filter(|id| !partition.offline.contains(id));
            let request = AlterPartitions {
                broker_id: partition.leader,
                broker_epoch: self.epoch(partition.leader),
                partitions: vec![IsrChange {
                    topic_id,
                    index,
                    leader_epoch: partition.leader_epoch,
                    partition_epoch: partition.partition_epoch,
                    new_isr: alive.map(|id| (id, self.epoch(id))).collect(),
                }],
            };
            let decision = alter_partitions(&self.image, &request).unwrap();
            self.commit(decision).remove(0).unwrap();
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.image.running_rebalance().is_some()
    }

    /// To its end; what came between is done by `between`, before each step.
    pub(super) fn run(&mut self, mut between: impl FnMut(&mut Self, usize)) {
        for number in 0..300 {
            if !self.is_running() {
                return;
            }
            between(self, number);
            let before = self.rebalance().progress;
            self.step();
            let after = self.rebalance().progress;
            assert!(
                after.moves_done >= before.moves_done,
                "{before:?} {after:?}"
            );
            assert!(after.moves_done <= after.moves_total, "{after:?}");
            assert!(after.bytes_done <= after.bytes_total, "{after:?}");
            self.catch_up();
        }
        panic!("it does not end: {:?}", self.rebalance());
    }

    /// To a step after which it waits, and why.
    pub(super) fn wait(&mut self) -> String {
        for _ in 0..20 {
            self.step();
            self.catch_up();
            if !self.rebalance().message.is_empty() {
                return self.rebalance().message.clone();
            }
        }
        panic!("it does not wait: {:?}", self.rebalance());
    }

    /// Whether a new topic may be put there.
    pub(super) fn may_get(&self, node_id: i32) -> bool {
        self.image.can_lead(node_id) && !self.image.is_cordoned(node_id)
    }

    pub(super) fn held(&self, node_id: i32) -> usize {
        self.image.replica_count(node_id)
    }

    pub(super) fn state(&self) -> RebalanceState {
        self.rebalance().state
    }

    pub(super) fn topic(&self, name: &str) -> &Topic {
        self.image.topic(name).unwrap()
    }
}

fn named(name: &str) -> NewTopic {
    let id = name
        .bytes()
        .fold(1, |id: u128, byte| id.wrapping_mul(257) + u128::from(byte));
    NewTopic {
        name: name.to_owned(),
        id: Uuid::from_u128(id),
        ..NewTopic::default()
    }
}
