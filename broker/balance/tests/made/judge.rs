//! Looks at a plan with eyes of its own: nothing here uses the crate but its types.

use std::collections::{BTreeMap, BTreeSet};

use foz_balance::{Broker, Move, Partition};

/// A cluster as lists, before and after moves.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) brokers: Vec<Broker>,
    pub(crate) partitions: Vec<Partition>,
}

impl World {
    pub(crate) fn broker(&self, node_id: i32) -> &Broker {
        let mut brokers = self.brokers.iter();
        brokers
            .find(|broker| broker.node_id == node_id)
            .expect("it is there")
    }

    pub(crate) fn after(&self, moves: &[Move]) -> Self {
        let mut after = self.clone();
        for one in moves {
            after.partition_mut(one).replicas.clone_from(&one.to);
        }
        after
    }

    pub(crate) fn partition_mut(&mut self, one: &Move) -> &mut Partition {
        let name = (one.topic, one.partition);
        let mut partitions = self.partitions.iter_mut();
        partitions
            .find(|partition| (partition.topic, partition.partition) == name)
            .expect("it is there")
    }

    pub(crate) fn count(&self, node_id: i32) -> usize {
        let on = |partition: &&Partition| partition.replicas.contains(&node_id);
        self.partitions.iter().filter(on).count()
    }

    pub(crate) fn leads(&self, node_id: i32) -> usize {
        let leads = |partition: &&Partition| partition.replicas[0] == node_id;
        self.partitions.iter().filter(leads).count()
    }

    pub(crate) fn bytes(&self, node_id: i32) -> u64 {
        let on = |partition: &&Partition| partition.replicas.contains(&node_id);
        self.partitions.iter().filter(on).map(|at| at.bytes).sum()
    }

    /// The name of the rack of a broker; its own without one.
    pub(crate) fn rack(&self, node_id: i32) -> String {
        let rack = self.broker(node_id).rack.clone();
        rack.unwrap_or_else(|| format!("of broker {node_id}"))
    }

    /// How many replicas are in each rack that has any, the most first.
    pub(crate) fn in_racks(&self, replicas: &[i32]) -> Vec<usize> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for node_id in replicas {
            *counts.entry(self.rack(*node_id)).or_default() += 1;
        }
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable_by(|one, other| other.cmp(one));
        counts
    }

    pub(crate) fn racks_of(&self, node_ids: impl Iterator<Item = i32>) -> usize {
        node_ids
            .map(|node_id| self.rack(node_id))
            .collect::<BTreeSet<_>>()
            .len()
    }

    pub(crate) fn may_receive(&self, node_id: i32, drained: &BTreeSet<i32>) -> bool {
        let broker = self.broker(node_id);
        broker.alive && !broker.cordoned && !drained.contains(&node_id)
    }

    pub(crate) fn limit_bytes(&self, node_id: i32, percent: u64) -> u64 {
        let capacity = self.broker(node_id).capacity_bytes;
        capacity.map_or(u64::MAX, |bytes| bytes / 100 * percent)
    }

    /// What must hold for the moves of any goal.
    pub(crate) fn assert_valid(&self, moves: &[Move], drained: &BTreeSet<i32>, percent: u64) {
        let mut seen = BTreeSet::new();
        for one in moves {
            assert!(
                seen.insert((one.topic, one.partition)),
                "moved once: {one:?}"
            );
            let partition = self.clone().partition_mut(one).clone();
            assert_eq!(one.from, partition.replicas);
            assert_ne!(one.from, one.to);
            assert_eq!(one.to.len(), one.from.len(), "{one:?}");
            let distinct: BTreeSet<i32> = one.to.iter().copied().collect();
            assert_eq!(distinct.len(), one.to.len(), "{one:?}");
            let adding: Vec<i32> = one.adding().collect();
            assert_eq!(one.bytes, partition.bytes * adding.len() as u64);
            for node_id in &adding {
                assert!(self.may_receive(*node_id, drained), "{one:?}");
            }
            self.assert_racks_kept(one, drained);
        }
        let after = self.after(moves);
        for broker in &self.brokers {
            let (before, after) = (self.bytes(broker.node_id), after.bytes(broker.node_id));
            let limit = self.limit_bytes(broker.node_id, percent);
            assert!(
                after <= before.max(limit),
                "{broker:?}: {before} to {after}"
            );
        }
    }

    fn assert_racks_kept(&self, one: &Move, drained: &BTreeSet<i32>) {
        let (before, after) = (self.in_racks(&one.from), self.in_racks(&one.to));
        let stays = |node_id: &i32| one.from.contains(node_id) && !drained.contains(node_id);
        let usable = self.brokers.iter().map(|broker| broker.node_id);
        let best = self
            .racks_of(usable.filter(|id| stays(id) || self.may_receive(*id, drained)))
            .min(one.from.len());
        assert!(after.len() >= before.len().min(best), "{one:?}");
        let forced = one.from.iter().any(|node_id| drained.contains(node_id));
        assert!(forced || after[0] <= before[0], "{one:?}");
        // While it goes on, the old and the new replicas are there.
        let both: Vec<i32> = one.from.iter().copied().chain(one.adding()).collect();
        assert!(self.in_racks(&both).len() >= before.len());
    }

    /// Whether a replica of the partition may go from one broker to the other, when nothing has to be drained.
    pub(crate) fn may_go(&self, partition: &Partition, from: i32, to: i32, percent: u64) -> bool {
        let mut replicas = partition.replicas.clone();
        let Some(at) = replicas.iter().position(|node_id| *node_id == from) else {
            return false;
        };
        let alive = replicas.iter().all(|node_id| self.broker(*node_id).alive);
        let before = self.in_racks(&replicas);
        if replicas.contains(&to) || !alive || !self.may_receive(to, &BTreeSet::new()) {
            return false;
        }
        replicas[at] = to;
        let room = self.bytes(to) + partition.bytes <= self.limit_bytes(to, percent);
        room && !more_crowded(&self.in_racks(&replicas), &before)
    }

    /// Whether the replica could go to a rack where the partition would be spread better.
    pub(crate) fn racks_could_be_better(&self, partition: &Partition, percent: u64) -> bool {
        let before = self.in_racks(&partition.replicas);
        partition.replicas.iter().any(|from| {
            self.brokers.iter().any(|broker| {
                let to = broker.node_id;
                let swap = |node_id: &i32| if node_id == from { to } else { *node_id };
                let after: Vec<i32> = partition.replicas.iter().map(swap).collect();
                self.may_go(partition, *from, to, percent)
                    && more_crowded(&before, &self.in_racks(&after))
            })
        })
    }

    /// The brokers that replicas can get to from `from`, one replica of some partition for each step.
    pub(crate) fn reachable(&self, from: i32, percent: u64) -> BTreeSet<i32> {
        let mut reached = BTreeSet::from([from]);
        let mut queue = vec![from];
        while let Some(at) = queue.pop() {
            for broker in &self.brokers {
                let to = broker.node_id;
                let way = |partition: &Partition| self.may_go(partition, at, to, percent);
                if !reached.contains(&to) && self.partitions.iter().any(way) {
                    reached.insert(to);
                    queue.push(to);
                }
            }
        }
        reached
    }
}

/// Whether the first spread over racks is worse: the most crowded racks together hold more of the replicas.
fn more_crowded(one: &[usize], other: &[usize]) -> bool {
    let mut sums = (0, 0);
    (0..one.len().max(other.len())).any(|at| {
        sums.0 += one.get(at).copied().unwrap_or_default();
        sums.1 += other.get(at).copied().unwrap_or_default();
        sums.0 > sums.1
    })
}

/// The fewest copies after which no two brokers differ by more than `tolerance`, when no replica can leave its group:
/// for each range of that width, what is above it has to leave, and what is missing below it has to come.
pub(crate) fn fewest_copies(groups: &[Vec<usize>], tolerance: usize) -> usize {
    let most = groups.iter().flatten().copied().max().unwrap_or_default();
    let in_group = |counts: &Vec<usize>, low: usize| {
        let above = counts
            .iter()
            .map(|count| count.saturating_sub(low + tolerance));
        let below = counts.iter().map(|count| low.saturating_sub(*count));
        above.sum::<usize>().max(below.sum())
    };
    (0..=most)
        .map(|low| groups.iter().map(|counts| in_group(counts, low)).sum())
        .min()
        .unwrap_or_default()
}
