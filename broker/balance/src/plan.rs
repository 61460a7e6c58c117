//! From a cluster and a goal to moves, or to the reason why there are none.

use std::collections::BTreeSet;

use crate::added::fill;
use crate::assignment::{Assignment, Roles};
use crate::cluster::Cluster;
use crate::drain::drain;
use crate::full::even_out;
use crate::goal::{Goal, Thresholds};
use crate::order::moves_in_order;
use crate::quota::Quota;
use crate::refusal::Refusal;
use crate::spread::Spread;
use crate::uneven::{Uneven, uneven};

/// What is to be done, and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// At most one for each partition. Any order and any number at once keeps racks and the minimum in sync; in
    /// this order, one after the other, disks are not overfull on the way either.
    pub moves: Vec<Move>,
    pub before: Spread,
    pub after: Spread,
    /// Of [`Goal::Full`]: why it should be carried out though nobody asks for it. `None`: the cluster is even enough, or
    /// the plan does not help where it is not.
    pub uneven: Option<Uneven>,
}

/// New replicas for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub topic: u32,
    pub partition: i32,
    /// The replicas as they are, the preferred leader first.
    pub from: Vec<i32>,
    /// The replicas as they are to be. The same brokers in another order only change who is preferred to lead.
    pub to: Vec<i32>,
    /// What is copied: the bytes of each replica that is new.
    pub bytes: u64,
}

impl Move {
    /// Brokers that get a replica.
    pub fn adding(&self) -> impl Iterator<Item = i32> {
        let new = |node_id: &i32| !self.from.contains(node_id);
        self.to.iter().copied().filter(new)
    }

    /// Brokers that lose one.
    pub fn removing(&self) -> impl Iterator<Item = i32> {
        let old = |node_id: &i32| !self.to.contains(node_id);
        self.from.iter().copied().filter(old)
    }
}

impl Plan {
    /// How many replicas are copied.
    pub fn copied_replicas(&self) -> usize {
        self.moves.iter().map(|at| at.adding().count()).sum()
    }

    pub fn copied_bytes(&self) -> u64 {
        self.moves
            .iter()
            .fold(0, |sum, at| at.bytes.saturating_add(sum))
    }
}

/// The moves that bring `cluster` to `goal`; none where it is there.
pub fn plan(cluster: &Cluster, goal: &Goal, thresholds: &Thresholds) -> Result<Plan, Refusal> {
    let named = check(cluster, goal)?;
    let nobody = vec![false; cluster.broker_count()];
    let drained = match goal {
        Goal::DrainBrokers(_) => &named,
        Goal::AddedBrokers(_) | Goal::Full => &nobody,
    };
    let roles = roles(cluster, drained, thresholds);
    let assignment = Assignment::new(cluster, &roles, cluster.placed().to_vec());
    let before = Spread::of(&assignment);
    let assignment = match goal {
        Goal::AddedBrokers(_) => fill(assignment, thresholds, &named),
        Goal::DrainBrokers(_) => {
            let mut assignment = assignment;
            let quotas = Quota::of_all(&assignment, thresholds);
            drain(&mut assignment, &quotas, drained).map_err(Refusal::CannotDrain)?;
            assignment
        }
        Goal::Full => even_out(assignment, thresholds),
    };
    Ok(Plan {
        moves: moves_in_order(&assignment),
        before,
        after: Spread::of(&assignment),
        uneven: match goal {
            Goal::Full => {
                let start = Assignment::new(cluster, &roles, cluster.placed().to_vec());
                uneven(&start, &assignment, thresholds)
            }
            Goal::AddedBrokers(_) | Goal::DrainBrokers(_) => None,
        },
    })
}

/// For each broker: the goal names it.
fn check(cluster: &Cluster, goal: &Goal) -> Result<Vec<bool>, Refusal> {
    let none = BTreeSet::new();
    let named = match goal {
        Goal::AddedBrokers(named) | Goal::DrainBrokers(named) => named,
        Goal::Full => &none,
    };
    let mut positions = vec![false; cluster.broker_count()];
    for node_id in named.iter().copied() {
        let Some(position) = cluster.position(node_id) else {
            return Err(Refusal::UnknownBroker { node_id });
        };
        let broker = &cluster.brokers()[position];
        if matches!(goal, Goal::AddedBrokers(_)) {
            if broker.cordoned {
                return Err(Refusal::Cordoned { node_id });
            }
            if !broker.alive {
                return Err(Refusal::NotAlive { node_id });
            }
        }
        positions[position] = true;
    }
    Ok(positions)
}

fn roles(cluster: &Cluster, drained: &[bool], thresholds: &Thresholds) -> Roles {
    let brokers = || cluster.brokers().iter().zip(drained);
    Roles {
        may_receive: brokers()
            .map(|(broker, drained)| broker.alive && !broker.cordoned && !drained)
            .collect(),
        counted: brokers()
            .map(|(broker, drained)| broker.alive && !drained)
            .collect(),
        leaving: drained.to_vec(),
        room_bytes: brokers()
            .map(|(broker, _)| {
                broker.capacity_bytes.map_or(i128::MAX, |bytes| {
                    i128::from(bytes) * i128::from(thresholds.disk_limit_percent) / 100
                })
            })
            .collect(),
    }
}
