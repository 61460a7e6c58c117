//! What each broker should have of a measure, and which differences are worth a move.
//!
//! *Excess* is what a broker has beyond its share. Two brokers are even when their excesses differ by no more than
//! the tolerance. So what counts is the spread between brokers, not the distance from a mean that racks or a single
//! huge partition may put out of reach: brokers that cannot exchange anything are not compared.

use crate::assignment::{Assignment, MEASURES, Measure};
use crate::goal::Thresholds;

/// Shares are in this part of a unit, so that all arithmetic is on integers.
pub(crate) const UNIT: i128 = 1 << 10;

/// Shares of disks of different sizes, in this part of the largest.
const SHARE_PARTS: i128 = 1000;

/// Sizes this close to each other are the same: file systems differ by a little.
const SAME_SIZE_PERCENT: i128 = 90;

#[derive(Debug)]
pub(crate) struct Quota {
    measure: Measure,
    /// In units; for brokers that are compared.
    shares: Vec<Option<i128>>,
    mean: i128,
    /// In units. A difference up to this is no difference.
    pub(crate) tolerance: i128,
}

impl Quota {
    pub(crate) fn new(
        assignment: &Assignment<'_>,
        measure: Measure,
        thresholds: &Thresholds,
    ) -> Self {
        let (percent, least) = match measure {
            Measure::Replicas => (thresholds.replicas_percent, 1),
            Measure::Bytes => (thresholds.bytes_percent, thresholds.least_bytes.max(1)),
            Measure::Leaders => (thresholds.leaders_percent, 1),
            Measure::Traffic => (
                thresholds.traffic_percent,
                thresholds.least_bytes_per_second.max(1),
            ),
        };
        let shares = shares(assignment, measure, &parts(assignment, measure));
        let count = shares.iter().flatten().count().max(1) as i128;
        let mean = shares.iter().flatten().sum::<i128>() / count;
        Self {
            measure,
            shares,
            mean,
            tolerance: (mean * i128::from(percent) / 100).max(i128::from(least) * UNIT),
        }
    }

    pub(crate) fn of_all(
        assignment: &Assignment<'_>,
        thresholds: &Thresholds,
    ) -> [Self; MEASURES.len()] {
        MEASURES.map(|measure| Self::new(assignment, measure, thresholds))
    }

    pub(crate) fn measure(&self) -> Measure {
        self.measure
    }

    /// The mean share, in units.
    pub(crate) fn mean_units(&self) -> i128 {
        self.mean
    }

    pub(crate) fn compares(&self, broker: usize) -> bool {
        self.shares[broker].is_some()
    }

    /// In units; 0 for a broker that is not compared.
    pub(crate) fn excess(&self, assignment: &Assignment<'_>, broker: usize) -> i128 {
        self.shares[broker].map_or(0, |share| {
            assignment.load(broker, self.measure) * UNIT - share
        })
    }

    /// Brokers that are compared.
    pub(crate) fn compared(&self) -> impl Iterator<Item = usize> {
        (0..self.shares.len()).filter(|broker| self.compares(*broker))
    }

    /// The least and the most excess.
    pub(crate) fn range(&self, assignment: &Assignment<'_>) -> Option<(i128, i128)> {
        let excesses = self
            .compared()
            .map(|broker| self.excess(assignment, broker));
        excesses.fold(None, |range, excess| {
            let (least, most) = range.unwrap_or((excess, excess));
            Some((excess.min(least), excess.max(most)))
        })
    }

    /// How many whole pieces the broker lacks until it has its share.
    pub(crate) fn lacks(&self, assignment: &Assignment<'_>, broker: usize) -> i128 {
        (-self.excess(assignment, broker)).max(0) / UNIT
    }
}

/// How large the share of each broker is, compared with the others.
fn parts(assignment: &Assignment<'_>, measure: Measure) -> Vec<i128> {
    let brokers = assignment.cluster.brokers();
    let equal = vec![1; brokers.len()];
    if !matches!(measure, Measure::Replicas | Measure::Bytes) {
        return equal;
    }
    let counted = &assignment.roles.counted;
    let sizes: Option<Vec<i128>> = (0..brokers.len())
        .filter(|broker| counted[*broker])
        .map(|broker| brokers[broker].capacity_bytes.map(i128::from))
        .collect();
    let Some(sizes) = sizes else {
        return equal;
    };
    let least = sizes.iter().copied().min().unwrap_or_default();
    let most = sizes.iter().copied().max().unwrap_or_default();
    if least * 100 >= most * SAME_SIZE_PERCENT {
        return equal;
    }
    let part = |size: u64| (i128::from(size) * SHARE_PARTS / most).max(1);
    brokers
        .iter()
        .map(|broker| broker.capacity_bytes.map_or(1, part))
        .collect()
}

/// A cordoned broker with less than its share can only keep what it has, so the others share what is left.
fn shares(assignment: &Assignment<'_>, measure: Measure, parts: &[i128]) -> Vec<Option<i128>> {
    let leaving: i128 = (0..parts.len())
        .filter(|broker| assignment.roles.leaving[*broker])
        .map(|broker| assignment.load(broker, measure))
        .sum();
    let mut compared = assignment.roles.counted.clone();
    loop {
        let sum = |of: &dyn Fn(usize) -> i128| -> i128 {
            (0..parts.len()).filter(|at| compared[*at]).map(of).sum()
        };
        let total = leaving + sum(&|broker| assignment.load(broker, measure));
        let all_parts = sum(&|broker| parts[broker]).max(1);
        let share = |broker: usize| total * UNIT * parts[broker] / all_parts;
        let full = |broker: usize| {
            assignment.roles.may_receive[broker]
                || assignment.load(broker, measure) * UNIT >= share(broker)
        };
        if let Some(short) = (0..parts.len()).find(|at| compared[*at] && !full(*at)) {
            compared[short] = false;
            continue;
        }
        return (0..parts.len())
            .map(|broker| compared[broker].then(|| share(broker)))
            .collect();
    }
}
