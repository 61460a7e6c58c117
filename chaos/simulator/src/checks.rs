//! What must hold after every event.

mod partition;
mod quorum;

use std::collections::BTreeMap;

use foz_metadata::Image;
use foz_metadata::image::{NO_LEADER, Partition as Assigned};
use foz_metadata::rules::{min_insync_replicas, partition_min_insync};

use crate::context::Observation;
use crate::controller::Controller;
use crate::scenario::TOPIC;
use crate::world::BrokerNode;
use partition::Truth;
use quorum::QuorumTruth;

/// What was found to be wrong.
pub(crate) type Wrong = String;

#[derive(Debug, Default)]
pub(crate) struct Checks {
    quorum: QuorumTruth,
    /// The newest image that any controller has applied.
    pub(crate) newest: Image,
    /// Of `newest`: each partition, and how many replicas its leader waits for.
    assigned: Vec<(i32, Assigned, usize)>,
    partitions: BTreeMap<i32, Truth>,
    pub(crate) counts: Counted,
}

/// What the checks saw.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) leader_changes: usize,
    pub(crate) terms: usize,
    pub(crate) acknowledged: usize,
    pub(crate) truncations: usize,
    /// Looks of a leader at a follower that lacks something committed, where only the broker epoch kept it out.
    pub(crate) kept_out: usize,
    /// More was lost at once than replicas can bear.
    pub(crate) beyond: usize,
}

impl Checks {
    pub(crate) fn observe(
        &mut self,
        node_id: i32,
        observation: Observation,
        brokers: &BTreeMap<i32, BrokerNode>,
    ) -> Result<(), Wrong> {
        let log = |partition| brokers.get(&node_id).and_then(|node| node.log(partition));
        match observation {
            Observation::Applied { index, term, hash } => {
                return self.quorum.applied(node_id, index, (term, hash));
            }
            Observation::Leads {
                partition,
                leader_epoch,
            } => {
                let truth = self.partitions.entry(partition).or_default();
                return truth.leads(partition, node_id, leader_epoch);
            }
            Observation::Acknowledged { partition, offset } => {
                self.counts.acknowledged += 1;
                let truth = self.partitions.entry(partition).or_default();
                truth.agrees(
                    partition,
                    node_id,
                    log(partition),
                    offset + 1,
                    "acknowledged",
                )?;
                let mut assigned = self.assigned.iter();
                if let Some((.., min_insync)) = assigned.find(|(index, ..)| *index == partition) {
                    truth.is_held(partition, offset + 1, *min_insync, brokers)?;
                }
            }
            Observation::Read {
                partition,
                end_offset,
            } => {
                let truth = self.partitions.entry(partition).or_default();
                truth.agrees(partition, node_id, log(partition), end_offset, "read")?;
            }
            Observation::Truncated => self.counts.truncations += 1,
            Observation::KeptOutByEpoch {
                partition,
                follower,
            } => {
                let node = brokers.get(&follower);
                let truth = self.partitions.entry(partition).or_default();
                let lacks = |node: &BrokerNode| truth.lacks_committed(node.log(partition));
                self.counts.kept_out += usize::from(node.is_some_and(lacks));
            }
        }
        Ok(())
    }

    /// Whether it knows newer metadata than any did before.
    pub(crate) fn look_at_controller(&mut self, controller: &Controller) -> Result<bool, Wrong> {
        let replica = &controller.replica;
        if let Some(term) = replica.raft_leads() {
            self.quorum.leads(replica.raft_id(), term)?;
            self.counts.terms = self.quorum.terms();
        }
        let is_newer = replica.image.offset() > self.newest.offset();
        if is_newer {
            self.take(replica.image.clone());
        }
        Ok(is_newer)
    }

    fn take(&mut self, image: Image) {
        if let Some(topic) = image.topic(TOPIC) {
            let configured = min_insync_replicas(&image, topic);
            self.assigned.clear();
            for (index, after) in topic.indexed_partitions() {
                let truth = self.partitions.entry(index).or_default();
                if after.leader != NO_LEADER && truth.last_leader != after.leader {
                    self.counts.leader_changes += usize::from(truth.last_leader != NO_LEADER);
                    truth.last_leader = after.leader;
                }
                let min_insync = partition_min_insync(configured, after);
                self.assigned.push((index, after.clone(), min_insync));
            }
        }
        self.newest = image;
    }

    pub(crate) fn look_at_partitions(
        &mut self,
        brokers: &BTreeMap<i32, BrokerNode>,
    ) -> Result<(), Wrong> {
        for (index, assigned, min_insync) in &self.assigned {
            let truth = self.partitions.entry(*index).or_default();
            let was_beyond = truth.is_beyond();
            truth.look(*index, assigned, *min_insync, brokers)?;
            self.counts.beyond += usize::from(!was_beyond && truth.is_beyond());
        }
        Ok(())
    }

    /// More was lost than can be borne, and nobody leads since.
    pub(crate) fn needs_help(&self) -> bool {
        self.assigned.iter().any(|(index, assigned, _)| {
            let truth = self.partitions.get(index);
            truth.is_some_and(|truth| truth.needs_help(assigned))
        })
    }

    /// Whether this broker may lose what it did not flush, so that no partition has more than so many of those at once.
    pub(crate) fn may_lose(&self, node_id: i32, losses_max: usize) -> bool {
        let mut truths = self.partitions.values();
        truths.all(|truth| truth.losses_with(node_id) <= losses_max)
    }

    /// Everything is as it should be when nothing goes wrong; or what is not.
    pub(crate) fn is_whole(&self, brokers: &BTreeMap<i32, BrokerNode>) -> Result<(), Wrong> {
        if self.assigned.is_empty() {
            return Err("there is no topic".to_owned());
        }
        for (index, assigned, _) in &self.assigned {
            if assigned.isr.len() < assigned.replicas.len() {
                return Err(format!("partition {index} has ISR {:?}", assigned.isr));
            }
            let mut ends = assigned.replicas.iter().map(|id| {
                let log = brokers.get(id)?.log(*index)?;
                Some((log.end(), log.high_watermark(), log.chain_at(log.end())))
            });
            let first = ends.next().flatten();
            let first = first.ok_or(format!("partition {index} has no log"))?;
            if first.0 != first.1 || !ends.all(|end| end == Some(first)) {
                return Err(format!("the replicas of partition {index} differ"));
            }
        }
        Ok(())
    }
}
