//! The replicas while a plan is being made, with the sums that decisions need, kept right by every change.

use crate::cluster::Cluster;

/// What brokers are compared by, in the order of importance. Indexes a [`Load`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    Replicas,
    Bytes,
    Leaders,
    /// Bytes per second into and out of a broker: what it leads is written and read there and copied from there,
    /// what it follows is written there.
    Traffic,
}

pub(crate) const MEASURES: [Measure; 4] = [
    Measure::Replicas,
    Measure::Bytes,
    Measure::Leaders,
    Measure::Traffic,
];

/// One number for each [`Measure`].
pub(crate) type Load = [i128; MEASURES.len()];

/// Which brokers may do what in a plan.
#[derive(Debug)]
pub(crate) struct Roles {
    /// Gets new replicas.
    pub(crate) may_receive: Vec<bool>,
    /// Is compared with the others, and may lead.
    pub(crate) counted: Vec<bool>,
    /// Is to lose all it has, to those that are compared.
    pub(crate) leaving: Vec<bool>,
    /// How many bytes it may have, `i128::MAX` where that is not known.
    pub(crate) room_bytes: Vec<i128>,
}

/// What a partition weighs on the brokers that have it.
#[derive(Debug, Clone, Copy)]
struct Weight {
    bytes: i128,
    following: i128,
    leading: i128,
    /// The same as floats: turning an `i128` into one takes long where it is done for each of many choices.
    rough: [f64; 3],
}

#[derive(Debug)]
pub(crate) struct Assignment<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) roles: &'a Roles,
    /// For each partition: it has a replica on a broker that is not alive, or that cannot use it. A move of it would not
    /// end before that one is back, so it stays as it is unless it has to move.
    pinned: Vec<bool>,
    weights: Vec<Weight>,
    /// For each slot, its broker.
    brokers: Vec<u32>,
    /// For each broker its slots, in no order that means anything.
    slots_on: Vec<Vec<u32>>,
    /// For each slot, where it is in `slots_on`.
    places: Vec<u32>,
    loads: Vec<Load>,
}

impl<'a> Assignment<'a> {
    pub(crate) fn new(cluster: &'a Cluster, roles: &'a Roles, brokers: Vec<u32>) -> Self {
        let weights = cluster
            .partitions()
            .iter()
            .map(|partition| {
                let written = i128::from(partition.bytes_in_per_second);
                let followers = partition.replicas.len() as i128 - 1;
                let bytes = i128::from(partition.bytes);
                let leading = i128::from(partition.bytes_out_per_second) + written * followers;
                Weight {
                    bytes,
                    following: written,
                    leading,
                    rough: [bytes as f64, written as f64, leading as f64],
                }
            })
            .collect();
        let alive = |slot: usize| cluster.brokers()[brokers[slot] as usize].alive;
        let pinned = (0..cluster.partitions().len())
            .map(|partition| {
                let offline = &cluster.partitions()[partition].offline;
                !offline.is_empty() || !cluster.slots(partition).all(alive)
            })
            .collect();
        let mut assignment = Self {
            cluster,
            roles,
            pinned,
            weights,
            slots_on: vec![Vec::new(); cluster.broker_count()],
            places: vec![0; brokers.len()],
            loads: vec![Load::default(); cluster.broker_count()],
            brokers,
        };
        for slot in 0..assignment.brokers.len() {
            let broker = assignment.broker(slot);
            assignment.list(slot, broker);
            assignment.add(broker, assignment.weight(slot));
        }
        assignment
    }

    pub(crate) fn into_brokers(self) -> Vec<u32> {
        self.brokers
    }

    pub(crate) fn brokers(&self) -> &[u32] {
        &self.brokers
    }

    pub(crate) fn broker(&self, slot: usize) -> usize {
        self.brokers[slot] as usize
    }

    pub(crate) fn slots_on(&self, broker: usize) -> &[u32] {
        &self.slots_on[broker]
    }

    pub(crate) fn load(&self, broker: usize, measure: Measure) -> i128 {
        self.loads[broker][measure as usize]
    }

    pub(crate) fn pinned(&self, partition: usize) -> bool {
        self.pinned[partition]
    }

    pub(crate) fn leads(&self, slot: usize) -> bool {
        self.cluster.slots(self.cluster.owner(slot)).start == slot
    }

    /// What the replica weighs where it is.
    pub(crate) fn weight(&self, slot: usize) -> Load {
        let partition = self.cluster.owner(slot);
        let Weight {
            bytes, following, ..
        } = self.weights[partition];
        let [_, _, leaders, leading] = self.leading_weight(partition);
        let leads = i128::from(self.leads(slot));
        [1, bytes, leaders * leads, following + leading * leads]
    }

    /// The same without the one replica, in floats: bytes, leaders, traffic.
    pub(crate) fn rough_weight(&self, slot: usize) -> [f64; 3] {
        let [bytes, following, leading] = self.weights[self.cluster.owner(slot)].rough;
        let leads = f64::from(u8::from(self.leads(slot)));
        [bytes, leads, following + leading * leads]
    }

    /// What goes with the leadership of a partition.
    pub(crate) fn leading_weight(&self, partition: usize) -> Load {
        [0, 0, 1, self.weights[partition].leading]
    }

    pub(crate) fn replica_on(&self, partition: usize, broker: usize) -> Option<usize> {
        self.cluster
            .slots(partition)
            .find(|slot| self.broker(*slot) == broker)
    }

    /// How much more evenly the partition would be spread over racks with this replica on `to`: the difference
    /// between the racks that lose and gain, 1 where nothing changes; below 1 it would be worse. `None` where it
    /// has a replica on `to`.
    ///
    /// Compared are counts by rack, not only how many racks there are: five replicas as 2, 2, 1 outlive more than
    /// as 3, 1, 1.
    pub(crate) fn rack_gain(&self, slot: usize, to: usize) -> Option<i32> {
        let from_rack = self.cluster.rack(self.broker(slot));
        let to_rack = self.cluster.rack(to);
        let (mut leaving, mut joining) = (0, 0);
        for other in self.cluster.slots(self.cluster.owner(slot)) {
            let broker = self.broker(other);
            if broker == to {
                return None;
            }
            let rack = self.cluster.rack(broker);
            leaving += i32::from(rack == from_rack);
            joining += i32::from(rack == to_rack);
        }
        Some(if from_rack == to_rack {
            1
        } else {
            leaving - joining
        })
    }

    /// Whether the replica may go to `to`, and how good that is for its racks. Its disk is a matter of its own.
    pub(crate) fn may_go(&self, slot: usize, to: usize) -> Option<i32> {
        if !self.roles.may_receive[to] || self.pinned[self.cluster.owner(slot)] {
            return None;
        }
        self.rack_gain(slot, to).filter(|gain| *gain >= 1)
    }

    pub(crate) fn has_room(&self, broker: usize, bytes: i128) -> bool {
        bytes <= 0 || self.load(broker, Measure::Bytes) + bytes <= self.roles.room_bytes[broker]
    }

    pub(crate) fn bytes(&self, slot: usize) -> i128 {
        self.weights[self.cluster.owner(slot)].bytes
    }

    /// Puts the replica on `to`. A leader takes its leadership along.
    pub(crate) fn replace(&mut self, slot: usize, to: usize) {
        let from = self.broker(slot);
        let weight = self.weight(slot);
        self.remove(from, weight);
        self.add(to, weight);
        self.unlist(slot, from);
        self.list(slot, to);
        self.brokers[slot] = u32::try_from(to).expect("brokers are counted in u32");
    }

    /// Puts the replica first among those of its partition, in the place of the one that was.
    pub(crate) fn lead(&mut self, slot: usize) {
        let partition = self.cluster.owner(slot);
        let first = self.cluster.slots(partition).start;
        if slot == first {
            return;
        }
        let (old, new) = (self.broker(first), self.broker(slot));
        let weight = self.leading_weight(partition);
        self.remove(old, weight);
        self.add(new, weight);
        self.brokers.swap(first, slot);
        self.places.swap(first, slot);
        self.slots_on[old][self.places[slot] as usize] = slot_number(slot);
        self.slots_on[new][self.places[first] as usize] = slot_number(first);
    }

    fn add(&mut self, broker: usize, weight: Load) {
        for (sum, value) in self.loads[broker].iter_mut().zip(weight) {
            *sum += value;
        }
    }

    fn remove(&mut self, broker: usize, weight: Load) {
        self.add(broker, weight.map(|value| -value));
    }

    fn list(&mut self, slot: usize, broker: usize) {
        self.places[slot] = slot_number(self.slots_on[broker].len());
        self.slots_on[broker].push(slot_number(slot));
    }

    fn unlist(&mut self, slot: usize, broker: usize) {
        let place = self.places[slot];
        self.slots_on[broker].swap_remove(place as usize);
        if let Some(moved) = self.slots_on[broker].get(place as usize) {
            self.places[*moved as usize] = place;
        }
    }
}

fn slot_number(slot: usize) -> u32 {
    u32::try_from(slot).expect("slots are counted in u32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Broker, Partition};

    fn cluster() -> Cluster {
        let broker = |(node_id, rack): (i32, &str)| Broker {
            node_id,
            rack: Some(rack.to_owned()),
            capacity_bytes: None,
            cordoned: false,
            alive: true,
        };
        let brokers = [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c")].map(broker);
        let partition = |(partition, replicas): (i32, &[i32])| Partition {
            topic: 7,
            partition,
            replicas: replicas.to_vec(),
            offline: Vec::new(),
            bytes: 10,
            bytes_in_per_second: 3,
            bytes_out_per_second: 4,
        };
        let partitions = [(0, &[1, 3, 5][..]), (1, &[1, 2][..]), (2, &[5, 4, 1][..])];
        Cluster::new(brokers.to_vec(), partitions.map(partition).to_vec()).expect("valid")
    }

    fn roles() -> Roles {
        Roles {
            may_receive: vec![true; 5],
            counted: vec![true; 5],
            leaving: vec![false; 5],
            room_bytes: vec![i128::MAX; 5],
        }
    }

    /// The sums and lists after changes are those of a fresh start from the same replicas.
    fn assert_kept(assignment: &Assignment<'_>) {
        let fresh = Assignment::new(
            assignment.cluster,
            assignment.roles,
            assignment.brokers.clone(),
        );
        assert_eq!(assignment.loads, fresh.loads);
        for broker in 0..5 {
            let mut slots = assignment.slots_on[broker].clone();
            slots.sort_unstable();
            assert_eq!(slots, fresh.slots_on[broker]);
            for (place, slot) in assignment.slots_on[broker].iter().enumerate() {
                assert_eq!(assignment.places[*slot as usize] as usize, place);
            }
        }
    }

    #[test]
    fn changes_keep_sums_and_lists() {
        let (cluster, roles) = (cluster(), roles());
        let mut assignment = Assignment::new(&cluster, &roles, cluster.placed().to_vec());
        // Broker 1 leads two of its three: 2 × (4 + 3 × followers) and 3 × 3 written.
        assert_eq!(assignment.loads[0], [3, 30, 2, (4 + 6) + (4 + 3) + 9]);
        assert_kept(&assignment);
        assignment.replace(0, 1);
        assert_kept(&assignment);
        assignment.lead(4);
        assert_kept(&assignment);
        assignment.lead(7);
        assignment.lead(7);
        assignment.replace(5, 3);
        assert_kept(&assignment);
        assert_eq!(assignment.replica_on(0, 0), None);
        assert_eq!(assignment.replica_on(0, 1), Some(0));
    }

    #[test]
    fn racks_are_compared_by_count() {
        let (cluster, roles) = (cluster(), roles());
        let assignment = Assignment::new(&cluster, &roles, cluster.placed().to_vec());
        assert_eq!(assignment.rack_gain(0, 1), Some(1), "within a rack");
        assert_eq!(assignment.rack_gain(0, 3), Some(0), "b has one already");
        assert_eq!(assignment.rack_gain(0, 4), None, "it is there already");
        assert_eq!(assignment.rack_gain(3, 2), Some(2), "two in a, none in b");
        assert_eq!(assignment.may_go(0, 3), None);
    }
}
