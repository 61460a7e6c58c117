//! What a plan starts from: brokers and partitions, checked once.

use std::collections::{BTreeMap, HashMap, HashSet};

/// A broker that is registered, alive or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub node_id: i32,
    /// A broker without a rack counts as a rack of its own.
    pub rack: Option<String>,
    /// Size of the disk. Where all brokers say it, and the sizes differ, a larger one gets a larger share.
    pub capacity_bytes: Option<u64>,
    /// It keeps what it has and gets no new replica.
    pub cordoned: bool,
    /// Registered and not fenced.
    pub alive: bool,
}

/// A partition as it is. While its replicas are being reassigned, as it will be when that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The caller's number for the topic; plans name it and do nothing else with it.
    pub topic: u32,
    pub partition: i32,
    /// The preferred leader first.
    pub replicas: Vec<i32>,
    /// Brokers that are alive and cannot use the replica that they have: its disk has failed.
    pub offline: Vec<i32>,
    /// Of one replica.
    pub bytes: u64,
    /// What producers write.
    pub bytes_in_per_second: u64,
    /// What consumers read; what followers read follows from what is written.
    pub bytes_out_per_second: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCluster {
    #[error("broker {node_id} is listed twice")]
    RepeatedBroker { node_id: i32 },
    #[error("partition {partition} of topic {topic} is listed twice")]
    RepeatedPartition { topic: u32, partition: i32 },
    #[error("partition {partition} of topic {topic} has no replicas")]
    NoReplicas { topic: u32, partition: i32 },
    #[error("partition {partition} of topic {topic} has two replicas on broker {node_id}")]
    RepeatedReplica {
        topic: u32,
        partition: i32,
        node_id: i32,
    },
    #[error(
        "partition {partition} of topic {topic} has a replica on broker {node_id}, which is not registered"
    )]
    UnknownBroker {
        topic: u32,
        partition: i32,
        node_id: i32,
    },
    #[error("there are more than {} replicas", u32::MAX)]
    TooManyReplicas,
}

/// Brokers and partitions that fit together.
///
/// Inside, a broker is its position among `brokers`, and a replica is its *slot*: its position in the lists of
/// replicas of all partitions, one after the other.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// By node id.
    brokers: Vec<Broker>,
    /// By topic and number.
    partitions: Vec<Partition>,
    /// For each broker; the same number for brokers in the same rack.
    racks: Vec<usize>,
    rack_count: usize,
    /// For each slot, its broker.
    placed: Vec<u32>,
    /// For each slot, its partition.
    owners: Vec<u32>,
    /// For each partition its first slot; one more at the end.
    starts: Vec<u32>,
}

impl Cluster {
    /// The order of either list means nothing.
    pub fn new(
        mut brokers: Vec<Broker>,
        mut partitions: Vec<Partition>,
    ) -> Result<Self, InvalidCluster> {
        brokers.sort_by_key(|broker| broker.node_id);
        partitions.sort_by_key(|partition| (partition.topic, partition.partition));
        if let Some(two) = brokers
            .windows(2)
            .find(|two| two[0].node_id == two[1].node_id)
        {
            let node_id = two[0].node_id;
            return Err(InvalidCluster::RepeatedBroker { node_id });
        }
        let name = |partition: &Partition| (partition.topic, partition.partition);
        if let Some(two) = partitions
            .windows(2)
            .find(|two| name(&two[0]) == name(&two[1]))
        {
            let (topic, partition) = name(&two[0]);
            return Err(InvalidCluster::RepeatedPartition { topic, partition });
        }
        let slots: usize = partitions
            .iter()
            .map(|partition| partition.replicas.len())
            .sum();
        if u32::try_from(slots).is_err() || u32::try_from(brokers.len()).is_err() {
            return Err(InvalidCluster::TooManyReplicas);
        }
        let (racks, rack_count) = number_racks(&brokers);
        let mut cluster = Self {
            brokers,
            partitions: Vec::new(),
            racks,
            rack_count,
            placed: Vec::with_capacity(slots),
            owners: Vec::with_capacity(slots),
            starts: vec![0],
        };
        cluster.place(&partitions)?;
        cluster.partitions = partitions;
        Ok(cluster)
    }

    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    pub(crate) fn broker_count(&self) -> usize {
        self.brokers.len()
    }

    pub(crate) fn rack(&self, broker: usize) -> usize {
        self.racks[broker]
    }

    pub(crate) fn rack_count(&self) -> usize {
        self.rack_count
    }

    pub(crate) fn placed(&self) -> &[u32] {
        &self.placed
    }

    pub(crate) fn owner(&self, slot: usize) -> usize {
        self.owners[slot] as usize
    }

    pub(crate) fn slots(&self, partition: usize) -> std::ops::Range<usize> {
        self.starts[partition] as usize..self.starts[partition + 1] as usize
    }

    pub(crate) fn position(&self, node_id: i32) -> Option<usize> {
        self.brokers
            .binary_search_by_key(&node_id, |broker| broker.node_id)
            .ok()
    }

    fn place(&mut self, partitions: &[Partition]) -> Result<(), InvalidCluster> {
        let positions: HashMap<i32, u32> = (0u32..)
            .zip(&self.brokers)
            .map(|(position, broker)| (broker.node_id, position))
            .collect();
        for (owner, partition) in (0u32..).zip(partitions) {
            let (topic, number) = (partition.topic, partition.partition);
            if partition.replicas.is_empty() {
                return Err(InvalidCluster::NoReplicas {
                    topic,
                    partition: number,
                });
            }
            if let Some(node_id) = repeated(&partition.replicas) {
                return Err(InvalidCluster::RepeatedReplica {
                    topic,
                    partition: number,
                    node_id,
                });
            }
            for node_id in &partition.replicas {
                let position = positions
                    .get(node_id)
                    .ok_or(InvalidCluster::UnknownBroker {
                        topic,
                        partition: number,
                        node_id: *node_id,
                    })?;
                self.placed.push(*position);
                self.owners.push(owner);
            }
            let end = u32::try_from(self.placed.len()).expect("the number of slots was checked");
            self.starts.push(end);
        }
        Ok(())
    }
}

fn number_racks(brokers: &[Broker]) -> (Vec<usize>, usize) {
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = 0;
    let mut fresh = || {
        count += 1;
        count - 1
    };
    let racks = brokers
        .iter()
        .map(|broker| match &broker.rack {
            Some(name) => *named.entry(name).or_insert_with(&mut fresh),
            None => fresh(),
        })
        .collect();
    (racks, count)
}

fn repeated(replicas: &[i32]) -> Option<i32> {
    // Nearly all lists are of three: comparing is quicker than hashing.
    if replicas.len() > 16 {
        let mut seen = HashSet::new();
        return replicas
            .iter()
            .copied()
            .find(|node_id| !seen.insert(*node_id));
    }
    (1..replicas.len()).find_map(|at| {
        replicas[..at]
            .contains(&replicas[at])
            .then_some(replicas[at])
    })
}
