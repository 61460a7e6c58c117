//! How even a cluster is.

use crate::assignment::{Assignment, Measure};
use crate::racks::lacking_racks;

/// Of brokers that are alive and not to be drained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// Partitions whose replicas could be in more racks than they are.
    pub partitions_lacking_racks: usize,
    pub replicas: SpreadOf,
    pub bytes: SpreadOf,
    /// By preferred leader.
    pub leaders: SpreadOf,
    /// Bytes per second in and out, of producers, consumers and followers.
    pub traffic: SpreadOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpreadOf {
    /// Of the broker that has least.
    pub least: u64,
    pub mean: u64,
    /// Of the broker that has most.
    pub most: u64,
}

impl Spread {
    pub(crate) fn of(assignment: &Assignment<'_>) -> Self {
        let of = |measure| spread_of(assignment, measure);
        Self {
            partitions_lacking_racks: lacking_racks(assignment),
            replicas: of(Measure::Replicas),
            bytes: of(Measure::Bytes),
            leaders: of(Measure::Leaders),
            traffic: of(Measure::Traffic),
        }
    }
}

fn spread_of(assignment: &Assignment<'_>, measure: Measure) -> SpreadOf {
    let loads: Vec<i128> = (0..assignment.cluster.broker_count())
        .filter(|broker| assignment.roles.counted[*broker])
        .map(|broker| assignment.load(broker, measure))
        .collect();
    let count = loads.len().max(1) as i128;
    let number = |load: i128| u64::try_from(load).unwrap_or(u64::MAX);
    SpreadOf {
        least: number(loads.iter().copied().min().unwrap_or_default()),
        mean: number(loads.iter().sum::<i128>() / count),
        most: number(loads.iter().copied().max().unwrap_or_default()),
    }
}
