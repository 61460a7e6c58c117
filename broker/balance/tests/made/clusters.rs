//! Clusters to plan for, made from a number.

use foz_balance::{Broker, Partition};

/// SplitMix64 (Steele, Lea and Flood, 2014): one number after another from a seed.
#[derive(Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) brokers: i32,
    /// 0: no racks.
    pub(crate) racks: i32,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: usize,
    /// How many of the last brokers have nothing yet.
    pub(crate) empty_brokers: i32,
    /// The first half of the brokers gets this many times as much as the second; 1 is even.
    pub(crate) skew: u64,
    /// All partitions weigh the same.
    pub(crate) equal_partitions: bool,
}

pub(crate) fn brokers(shape: &Shape) -> Vec<Broker> {
    let broker = |node_id: i32| Broker {
        node_id,
        rack: (shape.racks > 0).then(|| format!("rack-{}", node_id % shape.racks)),
        capacity_bytes: None,
        cordoned: false,
        alive: true,
    };
    (0..shape.brokers).map(broker).collect()
}

pub(crate) fn partitions(shape: &Shape, numbers: &mut Numbers) -> Vec<Partition> {
    let filled = shape.brokers - shape.empty_brokers;
    (0..shape.partitions)
        .map(|at| {
            let size = 1 << numbers.below(10);
            let [bytes, written, read] = if shape.equal_partitions {
                [1 << 30, 1 << 10, 1 << 10]
            } else {
                [
                    (1 << 20) * size,
                    numbers.below(1 << 20),
                    numbers.below(1 << 21),
                ]
            };
            Partition {
                topic: (at / 16) as u32,
                partition: at % 16,
                replicas: replicas(shape, filled, numbers),
                offline: Vec::new(),
                bytes,
                bytes_in_per_second: written,
                bytes_out_per_second: read,
            }
        })
        .collect()
}

/// On as many racks as possible, the first on a broker that is drawn.
fn replicas(shape: &Shape, filled: i32, numbers: &mut Numbers) -> Vec<i32> {
    let mut replicas: Vec<i32> = Vec::new();
    let mut tries = 0;
    while replicas.len() < shape.replication_factor.min(filled as usize) {
        tries += 1;
        let half = i32::from(numbers.below(shape.skew + 1) == 0 && filled > 1);
        let size = if half == 1 {
            filled / 2
        } else {
            (filled + 1) / 2
        };
        let node_id = numbers.below(size as u64) as i32 + half * ((filled + 1) / 2);
        let rack = |node_id: i32| {
            if shape.racks > 0 {
                node_id % shape.racks
            } else {
                node_id
            }
        };
        let fresh = replicas.iter().all(|other| rack(*other) != rack(node_id));
        if (fresh || tries > 50) && !replicas.contains(&node_id) {
            replicas.push(node_id);
        }
    }
    replicas
}
