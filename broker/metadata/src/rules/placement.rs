//! On which brokers new replicas go.

use std::collections::HashMap;

use crate::image::{Image, Partition};

/// Chooses brokers so that the partitions of one topic are spread first, and all partitions second.
///
/// Leaders: within a topic no broker gets a second partition before every other has one; what is left over
/// goes to the brokers that lead the fewest partitions of all topics. So from an even start the counts of all
/// brokers stay within one of each other, and a new, empty broker is not handed a whole topic.
///
/// The other replicas: first on racks that the partition is not on yet, then on brokers that live, then on those with
/// the fewest replicas of the topic, then with the fewest of all. Among equals the followers of one leader differ, so
/// that its load is shared when it fails. A broker without a rack counts as a rack of its own.
///
/// Brokers that are away (fenced, or about to stop) get replicas all the same, so that topics can be made while one
/// restarts, as in Kafka's `StripedReplicaPlacer` (KIP-631); but each partition begins with a leader that lives. A rack
/// is worth more than a broker that lives, as there: the replica follows when its broker is back, whereas nothing moves
/// it to another rack later. Two things differ from Kafka:
///
/// * A broker that is about to stop counts as away, where Kafka leaves it out. Else a topic with as many replicas as
///   there are brokers would be refused during every roll.
/// * A broker that is away can be the preferred leader of a partition that it has a replica of. Kafka prefers only who
///   lives, and then the broker that was away while a topic was made, or whose start was a second later than that of
///   the first, leads nothing of it for good.
///
/// A broker without room on its disk counts as away, while there is one that has room.
///
/// A cordoned broker gets nothing; what it has counts.
#[derive(Debug, Clone)]
pub(super) struct Placement {
    /// In the order in which equal brokers are chosen.
    brokers: Vec<Candidate>,
}

#[derive(Debug, Clone)]
struct Candidate {
    node_id: i32,
    /// The same number for brokers in the same rack.
    rack: usize,
    /// It is away otherwise.
    can_lead: bool,
    /// Gets new replicas.
    is_open: bool,
    /// Partitions that prefer it.
    preferred: usize,
    replicas: usize,
}

/// What a topic has where, by position among the candidates.
#[derive(Debug)]
pub(super) struct TopicCounts {
    /// Partitions that prefer it.
    preferred: Vec<usize>,
    /// Partitions that it leads while those that are away now are away.
    leads: Vec<usize>,
    replicas: Vec<usize>,
    /// By leader, then follower.
    pairs: HashMap<(usize, usize), usize>,
}

impl Placement {
    /// `seed` decides among equal brokers, so that many small topics do not all start on the same one.
    pub(super) fn new(image: &Image, seed: u64) -> Self {
        let mut racks = HashMap::new();
        let mut brokers: Vec<_> = image
            .brokers()
            .map(|broker| {
                let next = racks.len();
                let name = image.rack(broker.node_id).ok_or(broker.node_id);
                Candidate {
                    node_id: broker.node_id,
                    rack: *racks.entry(name).or_insert(next),
                    can_lead: broker.can_lead(),
                    is_open: !image.is_cordoned(broker.node_id),
                    preferred: image.preferred_count(broker.node_id),
                    replicas: image.replica_count(broker.node_id),
                }
            })
            .collect();
        let has_room = |broker: &Candidate| image.can_take_over(broker.node_id);
        if brokers
            .iter()
            .any(|broker| broker.is_open && has_room(broker))
        {
            for broker in &mut brokers {
                broker.can_lead = has_room(broker);
            }
        }
        if let Some(start) = seed.checked_rem(brokers.len() as u64) {
            brokers.rotate_left(usize::try_from(start).unwrap_or_default());
        }
        Self { brokers }
    }

    /// Nothing goes to brokers that are away.
    pub(super) fn only_on_living(mut self) -> Self {
        for broker in &mut self.brokers {
            broker.is_open &= broker.can_lead;
        }
        self
    }

    /// How many brokers replicas can be placed on: the most that a partition can have.
    pub(super) fn broker_count(&self) -> usize {
        self.open().count()
    }

    /// Whether there is a broker to lead what is placed.
    pub(super) fn has_leader(&self) -> bool {
        self.open().any(|at| self.brokers[at].can_lead)
    }

    /// Where replicas may go, by position.
    fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.brokers.len()).filter(|at| self.brokers[*at].is_open)
    }

    /// The replicas of `count` new partitions of a topic that has some already, the preferred leader first. The first
    /// of them that lives is to lead.
    pub(super) fn place(
        &mut self,
        existing: &[Partition],
        count: usize,
        replication_factor: usize,
    ) -> Vec<Vec<i32>> {
        assert!(
            (1..=self.broker_count()).contains(&replication_factor) && self.has_leader(),
            "the caller knows how many brokers there are"
        );
        let mut topic = self.counts_of(existing);
        (0..count)
            .map(|_| {
                let leader = self.next_leader(&topic);
                self.count(&mut topic, leader, leader);
                let mut chosen = vec![leader];
                while chosen.len() < replication_factor {
                    let next = self
                        .next_follower(&topic, leader, &chosen, &[])
                        .expect("there are as many brokers as replicas");
                    self.count(&mut topic, leader, next);
                    chosen.push(next);
                }
                self.prefer(&mut topic, &mut chosen);
                chosen.iter().map(|at| self.brokers[*at].node_id).collect()
            })
            .collect()
    }

    /// The replicas of the partition at `index` of a topic, and new ones behind them until there are
    /// `replication_factor`, or as many as there are brokers for.
    pub(super) fn extend(
        &mut self,
        existing: &[Partition],
        index: usize,
        replication_factor: usize,
    ) -> Vec<i32> {
        let mut topic = self.counts_of(existing);
        let replicas = existing[index].replicas.clone();
        self.grow(&mut topic, replicas, &[], replication_factor)
    }

    /// `replicas`, and others behind them until there are `replication_factor`, or as many as there are brokers
    /// for. Who is among `holders` has a replica already, so that it needs not be copied: of brokers that live, and whose
    /// racks are equally good, it comes first.
    pub(super) fn grow(
        &mut self,
        topic: &mut TopicCounts,
        mut replicas: Vec<i32>,
        holders: &[i32],
        replication_factor: usize,
    ) -> Vec<i32> {
        let mut chosen: Vec<usize> = replicas.iter().filter_map(|id| self.at(*id)).collect();
        let leader = chosen.first().copied().unwrap_or_default();
        while replicas.len() < replication_factor
            && let Some(next) = self.next_follower(topic, leader, &chosen, holders)
        {
            let node_id = self.brokers[next].node_id;
            if !holders.contains(&node_id) {
                self.count(topic, leader, next);
            }
            chosen.push(next);
            replicas.push(node_id);
        }
        replicas
    }

    /// Takes one replica after the other from `replicas` until `replication_factor` are left, in this order: who cannot use
    /// its log; who is not in sync; who is on a broker that is cordoned, or not there any more; who shares its rack with most others; who
    /// is not the preferred leader; who has most of the topic, then of all. The leader goes last. Where the preferred
    /// leader goes, the leader takes its place.
    pub(super) fn shrink(
        &mut self,
        topic: &mut TopicCounts,
        replicas: &[i32],
        leader: i32,
        in_sync: &[i32],
        offline: &[i32],
        replication_factor: usize,
    ) -> Vec<i32> {
        let mut left = replicas.to_vec();
        while left.len() > replication_factor {
            let Some(next) = (0..left.len()).max_by_key(|position| {
                let node_id = left[*position];
                let at = self.at(node_id);
                let is_closed = at.is_none_or(|at| !self.brokers[at].is_open);
                let load = at.map(|at| (topic.replicas[at], self.brokers[at].replicas));
                (
                    node_id != leader,
                    offline.contains(&node_id) && !in_sync.contains(&node_id),
                    !in_sync.contains(&node_id),
                    is_closed,
                    self.sharing_rack(at, &left),
                    replicas.first() != Some(&node_id),
                    load,
                    *position,
                )
            }) else {
                break;
            };
            if let Some(at) = self.at(left.remove(next)) {
                self.brokers[at].replicas = self.brokers[at].replicas.saturating_sub(1);
                topic.replicas[at] = topic.replicas[at].saturating_sub(1);
            }
        }
        let has_preferred = left.first() == replicas.first();
        if let Some(at) = left.iter().position(|node_id| *node_id == leader)
            && !has_preferred
        {
            left[..=at].rotate_right(1);
        }
        left
    }

    /// How many of `replicas` are in the rack of the broker at a position, its own included.
    fn sharing_rack(&self, at: Option<usize>, replicas: &[i32]) -> usize {
        let rack_of = |at: usize| self.brokers[at].rack;
        let in_rack = |rack: usize| {
            let racks = replicas.iter().filter_map(|id| self.at(*id)).map(rack_of);
            racks.filter(|other| *other == rack).count()
        };
        at.map_or(1, |at| in_rack(rack_of(at)))
    }

    fn next_leader(&self, topic: &TopicCounts) -> usize {
        self.open()
            .filter(|at| self.brokers[*at].can_lead)
            .min_by_key(|at| (topic.leads[*at], self.brokers[*at].preferred))
            .expect("the caller knows that a broker can lead")
    }

    /// Of `chosen`, of which the first can lead, the one that fewest partitions prefer becomes the first. While nobody
    /// is away it is that already.
    fn prefer(&mut self, topic: &mut TopicCounts, chosen: &mut [usize]) {
        let load = |at: usize| (topic.preferred[at], self.brokers[at].preferred);
        let first = (0..chosen.len()).min_by_key(|position| load(chosen[*position]));
        chosen[..=first.unwrap_or_default()].rotate_right(1);
        let first = chosen[0];
        self.brokers[first].preferred += 1;
        topic.preferred[first] += 1;
        if let Some(leader) = chosen.iter().find(|at| self.brokers[**at].can_lead) {
            topic.leads[*leader] += 1;
        }
    }

    fn next_follower(
        &self,
        topic: &TopicCounts,
        leader: usize,
        chosen: &[usize],
        holders: &[i32],
    ) -> Option<usize> {
        let count = self.brokers.len();
        let load = |at: usize| {
            let broker = &self.brokers[at];
            let same_rack = |other: &&usize| self.brokers[**other].rack == broker.rack;
            let in_rack = chosen.iter().filter(same_rack).count();
            let has_none = !holders.contains(&broker.node_id);
            (
                in_rack,
                !broker.can_lead,
                has_none,
                topic.replicas[at],
                broker.replicas,
            )
        };
        let mut least = None;
        let mut equal = Vec::new();
        for at in self.open().filter(|at| !chosen.contains(at)) {
            let load = load(at);
            if least.is_none_or(|least| load < least) {
                least = Some(load);
                equal.clear();
            }
            if least == Some(load) {
                equal.push(at);
            }
        }
        equal.into_iter().min_by_key(|at| {
            let together = topic.pairs.get(&(leader, *at)).copied();
            (together.unwrap_or_default(), (at + count - leader) % count)
        })
    }

    /// `leader` itself is counted as its own follower.
    fn count(&mut self, topic: &mut TopicCounts, leader: usize, at: usize) {
        self.brokers[at].replicas += 1;
        topic.replicas[at] += 1;
        if leader != at {
            *topic.pairs.entry((leader, at)).or_default() += 1;
        }
    }

    /// What a topic with these partitions has where.
    pub(super) fn counts_of(&self, partitions: &[Partition]) -> TopicCounts {
        let mut counts = TopicCounts {
            preferred: vec![0; self.brokers.len()],
            leads: vec![0; self.brokers.len()],
            replicas: vec![0; self.brokers.len()],
            pairs: HashMap::new(),
        };
        for partition in partitions {
            let leader = self.at(partition.preferred_leader());
            if let Some(leader) = leader {
                counts.preferred[leader] += 1;
            }
            let mut replicas = partition.replicas.iter().filter_map(|id| self.at(*id));
            if let Some(leads) = replicas.find(|at| self.brokers[*at].can_lead) {
                counts.leads[leads] += 1;
            }
            for (position, node_id) in partition.replicas.iter().enumerate() {
                let Some(at) = self.at(*node_id) else {
                    continue;
                };
                counts.replicas[at] += 1;
                if let Some(leader) = leader.filter(|_| position > 0) {
                    *counts.pairs.entry((leader, at)).or_default() += 1;
                }
            }
        }
        counts
    }

    fn at(&self, node_id: i32) -> Option<usize> {
        self.brokers
            .iter()
            .position(|broker| broker.node_id == node_id)
    }
}
