//! Brokers with one partition, and what a client was told.

mod check;
mod node;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use foz_metadata::image::{Image, Partition, Resource};
use foz_metadata::record::Batch;
use foz_metadata::rules::{
    AlterConfigs, AlterPartitionReassignments, AlterPartitions, AlterResource, ConfigChange,
    ConfigOperation, CreateTopics, Decision, ElectLeaders, ElectionKind, IsrChange, NewTopic,
    PartitionState, Reassignment, Refusal, ResourceName, alter_configs,
    alter_partition_reassignments, alter_partitions, balance_leaders, create_topics, elect_leaders,
    elect_unclean_where_allowed, fence_broker, found_cluster, min_insync_replicas,
    partition_min_insync, raise_internal_topics, report_space, stop_broker, unfence_broker,
};
use uuid::Uuid;

pub(crate) use node::Disk;
use node::{Lead, Node};
pub(crate) use step::Step;

pub(crate) const NODES: usize = 4;
const TOPIC: &str = "t";
const TOPIC_ID: Uuid = Uuid::from_u128(1);

pub(crate) struct World {
    history: Vec<Image>,
    nodes: Vec<Node>,
    acknowledged: Vec<u32>,
    next_record: u32,
    /// Nodes that lost data since enough others were in sync.
    lost: BTreeSet<usize>,
    /// Fewer losses than that lose nothing.
    bearable_below: usize,
    /// An administrator wants a leader, whatever is lost.
    is_by_will: bool,
    /// The newest leader epoch that began with an unclean election. What leaders of older ones acknowledge from then
    /// on is void.
    unclean_epoch: i32,
    /// Elected by will, and not yet aware of it: it may still follow somebody else, and lose more.
    is_unaware: Option<usize>,
}

impl World {
    pub(crate) fn new(replicas: usize, min_insync: usize, directories: usize) -> Self {
        let mut world = Self {
            history: vec![Image::default()],
            nodes: (0..NODES)
                .map(|node| Node::new(node, directories))
                .collect(),
            acknowledged: Vec::new(),
            next_record: 0,
            lost: BTreeSet::new(),
            bearable_below: 0,
            is_by_will: false,
            unclean_epoch: 0,
            is_unaware: None,
        };
        let decision = found_cluster(world.image(), "c").unwrap();
        world.commit(decision);
        for node in 0..NODES {
            world.take(Step::Register {
                node,
                directory: 0,
                disks: [Disk::Same; 2],
                answer_lost: false,
            });
            world.take(Step::Unfence { node });
        }
        let topic = NewTopic {
            name: TOPIC.to_owned(),
            id: TOPIC_ID,
            partitions: 1,
            replication_factor: i32::try_from(replicas).unwrap(),
            config: [("min.insync.replicas".to_owned(), min_insync.to_string())].into(),
            // So that it gets more replicas on the way.
            internal: true,
            ..NewTopic::default()
        };
        let request = CreateTopics {
            topics: vec![topic],
            validate_only: false,
            operator_epoch: 0,
            seed: 0,
        };
        let decision = create_topics(world.image(), &BTreeMap::new(), &request).unwrap();
        world.commit(decision).remove(0).unwrap();
        world.check();
        world
    }

    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Crash {
                node,
                power_loss,
                loses,
            } => {
                self.nodes[node].is_up = false;
                if power_loss {
                    self.lose_power(node, loses);
                }
            }
            Step::Fence { node } => {
                let decided = fence_broker(self.image(), id(node), self.epoch(node));
                self.commit_if_allowed(decided);
            }
            Step::Register {
                node,
                directory,
                disks,
                answer_lost,
            } => self.register(node, directory, disks, answer_lost),
            Step::Copy { node, directory } => self.nodes[node].copy(directory),
            Step::Fail { node, directory } => self.fail(node, directory),
            Step::Report { node } => self.report(node),
            Step::Unfence { node } => {
                let seen = &self.history[self.nodes[node].seen];
                let epoch = self.epoch(node);
                let knows_itself = seen
                    .broker(id(node))
                    .is_some_and(|known| known.epoch == epoch);
                if self.nodes[node].is_up && knows_itself {
                    let decided = unfence_broker(self.image(), id(node), epoch);
                    self.commit_if_allowed(decided);
                }
            }
            Step::Stop { node } => {
                if self.nodes[node].is_up {
                    let decided = stop_broker(self.image(), id(node), self.epoch(node));
                    self.commit_if_allowed(decided);
                }
            }
            Step::Space { node, is_short } => {
                if self.nodes[node].is_up {
                    let epoch = self.epoch(node);
                    let decided = report_space(self.image(), id(node), epoch, is_short);
                    self.commit_if_allowed(decided);
                }
            }
            Step::See { node, batches } => {
                let seen = (self.nodes[node].seen + batches).min(self.history.len() - 1);
                self.see(node, seen);
            }
            Step::Append { node } => {
                if self.leads(node) {
                    self.nodes[node].log.push(self.next_record);
                    self.next_record += 1;
                }
            }
            Step::Fetch {
                leader,
                follower,
                records,
            } => self.fetch(leader, follower, records),
            Step::Acknowledge { node } => self.acknowledge(node),
            Step::Join {
                leader,
                member,
                answer_lost,
            } => self.join(leader, member, answer_lost),
            Step::Leave {
                leader,
                member,
                answer_lost,
            } => self.leave(leader, member, answer_lost),
            Step::Elect(kind) => {
                self.is_by_will = kind == ElectionKind::Unclean;
                let request = ElectLeaders {
                    kind,
                    partitions: None,
                    operator_epoch: 0,
                };
                let decided = elect_leaders(self.image(), &request);
                self.commit_if_allowed(decided);
                self.is_by_will = false;
            }
            Step::Tick => {
                let properties = BTreeMap::new();
                for rule in [
                    balance_leaders,
                    raise_internal_topics,
                    elect_unclean_where_allowed,
                ] {
                    let decided = rule(self.image(), &properties);
                    self.commit_if_allowed(decided).unwrap();
                }
            }
            Step::SetMinInsync { min_insync } => self.set_min_insync(min_insync),
            Step::Reassign { first, count } => {
                self.reassign((first..first + count).map(|at| id(at % NODES)).collect());
            }
            Step::MakeAnew { node } => self.make_anew(node),
            Step::Flow => self.flow(),
            Step::Restart {
                node,
                power_loss,
                loses,
                directory,
                disks,
            } => {
                self.take(Step::Crash {
                    node,
                    power_loss,
                    loses,
                });
                self.take(Step::Fence { node });
                self.take(Step::Register {
                    node,
                    directory,
                    disks,
                    answer_lost: false,
                });
                self.take(Step::Unfence { node });
            }
        }
        self.check();
    }

    fn flow(&mut self) {
        let everybody_sees = |world: &mut Self| {
            for node in 0..NODES {
                let batches = world.history.len();
                world.take(Step::See { node, batches });
            }
        };
        everybody_sees(self);
        let leader = self.image().partition(TOPIC, 0).unwrap().leader;
        let Ok(leader) = usize::try_from(leader) else {
            return;
        };
        self.take(Step::Append { node: leader });
        let replicas = self.image().partition(TOPIC, 0).unwrap().replicas.clone();
        for member in replicas.into_iter().map(at) {
            let records = usize::MAX;
            self.take(Step::Fetch {
                leader,
                follower: member,
                records,
            });
            self.take(Step::Join {
                leader,
                member,
                answer_lost: false,
            });
        }
        everybody_sees(self);
        self.take(Step::Acknowledge { node: leader });
    }

    /// The broker that leads, as the newest metadata says; else `other`.
    pub(crate) fn leader_or(&self, other: usize) -> usize {
        let leader = self.image().partition(TOPIC, 0).unwrap().leader;
        usize::try_from(leader).unwrap_or(other)
    }

    fn see(&mut self, node: usize, position: usize) {
        self.nodes[node].seen = position.max(self.nodes[node].seen);
        let Some(partition) = self.seen(node).cloned() else {
            return;
        };
        let seeing = &mut self.nodes[node];
        if seeing.lead.leader_epoch != partition.leader_epoch {
            seeing.lead = Lead {
                leader_epoch: partition.leader_epoch,
                start: seeing.log.len(),
                ..Lead::default()
            };
        }
        // A broker deletes what it has no replica of any more, and makes what it has none of yet.
        if !partition.replicas.contains(&id(node)) {
            seeing.delete_log();
        } else if seeing.may_make_log() && !partition.offline.contains(&id(node)) {
            seeing.make_log();
        }
        // What was proposed has succeeded or never will.
        seeing.lead.proposed = seeing
            .lead
            .proposed
            .take()
            .filter(|(partition_epoch, _)| *partition_epoch == partition.partition_epoch);
    }

    fn fetch(&mut self, leader: usize, follower: usize, records: usize) {
        let can_fetch = self.nodes[follower].is_up && self.nodes[follower].has_log();
        if leader == follower || !self.leads(leader) || !can_fetch {
            return;
        }
        let Some(seen) = self.seen(follower) else {
            return;
        };
        if seen.leader != id(leader) || seen.leader_epoch != self.nodes[leader].lead.leader_epoch {
            return;
        }
        // A leader hears only those that it knows to have a replica.
        let known = self.seen(leader).unwrap();
        if !known.replicas.contains(&id(follower)) {
            return;
        }
        let from = self.nodes[leader].log.clone();
        let fetching = &mut self.nodes[follower];
        let common = common_prefix(&from, &fetching.log);
        fetching.log.truncate(common);
        fetching.log.extend(from[common..].iter().take(records));
        let said = (fetching.log.len(), fetching.epoch);
        self.nodes[leader].lead.fetched.insert(id(follower), said);
    }

    /// How far the high watermark could move now.
    fn on_all_in_sync(&self, node: usize) -> Option<usize> {
        let partition = self.seen(node)?;
        let image = &self.history[self.nodes[node].seen];
        if !self.leads(node) || partition.isr.len() < min_insync(image, partition) {
            return None;
        }
        let lead = &self.nodes[node].lead;
        let proposed = lead.proposed.iter().flat_map(|(_, members)| members);
        let members: BTreeSet<i32> = partition.isr.iter().chain(proposed).copied().collect();
        let end_of = |member: &i32| {
            if *member == id(node) {
                self.nodes[node].log.len()
            } else {
                lead.fetched.get(member).map_or(0, |(end, _)| *end)
            }
        };
        members.iter().map(end_of).min()
    }

    fn acknowledge(&mut self, node: usize) {
        let Some(end) = self.on_all_in_sync(node) else {
            return;
        };
        self.nodes[node].lead.high_watermark = end.max(self.nodes[node].lead.high_watermark);
        if self.nodes[node].lead.leader_epoch < self.unclean_epoch {
            return;
        }
        let log = &self.nodes[node].log[..end];
        let common = common_prefix(log, &self.acknowledged);
        assert!(
            common == end.min(self.acknowledged.len()),
            "{log:?} is acknowledged beside {:?}",
            self.acknowledged
        );
        if end > self.acknowledged.len() {
            self.acknowledged = log.to_vec();
        }
    }

    fn join(&mut self, leader: usize, member: usize, answer_lost: bool) {
        let lead = &self.nodes[leader].lead;
        let Some((end, epoch)) = lead.fetched.get(&id(member)).copied() else {
            return;
        };
        let known = self.seen(leader).unwrap();
        let is_caught_up = end >= lead.start && end >= lead.high_watermark;
        if !is_caught_up || known.isr.contains(&id(member)) {
            return;
        }
        let mut isr = self.isr_with_epochs(leader);
        isr.push((id(member), epoch));
        self.propose(leader, isr, answer_lost);
    }

    fn leave(&mut self, leader: usize, member: usize, answer_lost: bool) {
        if leader != member && self.leads(leader) {
            let mut isr = self.isr_with_epochs(leader);
            isr.retain(|(node_id, _)| *node_id != id(member));
            self.propose(leader, isr, answer_lost);
        }
    }

    fn isr_with_epochs(&self, leader: usize) -> Vec<(i32, i64)> {
        let image = &self.history[self.nodes[leader].seen];
        let isr = &self.seen(leader).unwrap().isr;
        let epoch = |node_id: &i32| image.broker(*node_id).map_or(-1, |broker| broker.epoch);
        isr.iter()
            .map(|node_id| (*node_id, epoch(node_id)))
            .collect()
    }

    fn propose(&mut self, leader: usize, new_isr: Vec<(i32, i64)>, answer_lost: bool) {
        if !self.leads(leader) || self.nodes[leader].lead.proposed.is_some() {
            return;
        }
        let members = new_isr.iter().map(|(node_id, _)| *node_id).collect();
        let known = self.seen(leader).unwrap().clone();
        self.nodes[leader].lead.proposed = Some((known.partition_epoch, members));
        let request = AlterPartitions {
            broker_id: id(leader),
            broker_epoch: self.nodes[leader].epoch,
            partitions: vec![IsrChange {
                topic_id: TOPIC_ID,
                index: 0,
                leader_epoch: known.leader_epoch,
                partition_epoch: known.partition_epoch,
                new_isr,
            }],
        };
        let decided = alter_partitions(self.image(), &request);
        let results: Option<Vec<Result<PartitionState, Refusal>>> = self.commit_if_allowed(decided);
        if answer_lost {
            return;
        }
        match results.map(|mut results| results.remove(0)) {
            Some(Ok(_)) => self.see(leader, self.history.len() - 1),
            Some(Err(_)) | None => self.nodes[leader].lead.proposed = None,
        }
    }

    fn set_min_insync(&mut self, min_insync: usize) {
        let change = ConfigChange {
            key: "min.insync.replicas".to_owned(),
            operation: ConfigOperation::Set,
            value: min_insync.to_string(),
        };
        let resource = AlterResource {
            name: ResourceName::Topic(TOPIC.to_owned()),
            changes: vec![change],
        };
        let request = AlterConfigs {
            resources: vec![resource],
            replaces: false,
            validate_only: false,
            operator_epoch: 0,
        };
        let decision = alter_configs(self.image(), &BTreeMap::new(), &request).unwrap();
        self.commit(decision).remove(0).unwrap();
        let set = self
            .image()
            .config(&Resource::topic(TOPIC), "min.insync.replicas");
        assert_eq!(set, Some(min_insync.to_string().as_str()));
    }

    fn make_anew(&mut self, node: usize) {
        let replicas = self.image().partition(TOPIC, 0).unwrap().target_replicas();
        let others = replicas.iter().copied().filter(|other| *other != id(node));
        let others: Vec<i32> = others.collect();
        let Some(directory) = self.nodes[node].place() else {
            return;
        };
        if others.is_empty() || others.len() == replicas.len() {
            return;
        }
        self.take(Step::Restart {
            node,
            power_loss: false,
            loses: 0,
            directory,
            disks: [Disk::Failed, Disk::Untouched],
        });
        for target in [others, replicas] {
            self.take(Step::Flow);
            self.reassign(target);
            self.check();
            self.take(Step::Flow);
        }
    }

    fn reassign(&mut self, target: Vec<i32>) {
        let count = target.len();
        let request = AlterPartitionReassignments {
            partitions: vec![Reassignment {
                topic: TOPIC.to_owned(),
                index: 0,
                replicas: (count > 0).then_some(target),
            }],
            allow_replication_factor_change: true,
            operator_epoch: 0,
        };
        let decision = alter_partition_reassignments(self.image(), &request).unwrap();
        // A cancellation may have nothing to cancel, or cost data.
        let result = self.commit(decision).remove(0).2;
        assert!(count == 0 || result.is_ok());
    }

    /// Whether a broker believes that it leads.
    fn leads(&self, node: usize) -> bool {
        let believes = self
            .seen(node)
            .is_some_and(|partition| partition.leader == id(node));
        self.nodes[node].is_up && self.nodes[node].has_log() && believes
    }

    /// The partition as a broker sees it.
    fn seen(&self, node: usize) -> Option<&Partition> {
        self.history[self.nodes[node].seen].partition(TOPIC, 0)
    }

    fn image(&self) -> &Image {
        self.history.last().unwrap()
    }

    fn epoch(&self, node: usize) -> i64 {
        self.image()
            .broker(id(node))
            .map_or(-1, |broker| broker.epoch)
    }

    fn commit<A>(&mut self, decision: Decision<A>) -> A {
        if !decision.records.is_empty() {
            let batch = Batch {
                follows: self.image().offset(),
                term: 1,
                records: decision.records,
            };
            self.history.push(self.image().apply(&batch).unwrap());
            self.check_change();
        }
        decision.answer
    }

    fn commit_if_allowed<A>(&mut self, decided: Result<Decision<A>, Refusal>) -> Option<A> {
        decided.ok().map(|decision| self.commit(decision))
    }
}

fn min_insync(image: &Image, partition: &Partition) -> usize {
    let configured = min_insync_replicas(image, image.topic(TOPIC).unwrap());
    partition_min_insync(configured, partition)
}

fn common_prefix(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

fn id(node: usize) -> i32 {
    i32::try_from(node).unwrap()
}

fn at(node_id: i32) -> usize {
    usize::try_from(node_id).unwrap()
}
