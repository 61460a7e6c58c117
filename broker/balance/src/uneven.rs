//! Whether a cluster is so uneven that it should be evened out though nobody asks for it.
//!
//! Two things keep that from beginning again and again. What has to be exceeded is more than what a plan leaves. And a
//! broker that exceeds it has to gain a good part of that difference by the plan: what racks, cordons or a single huge
//! partition put out of reach is no reason, nor are loads that shift a little.

use std::fmt;

use crate::assignment::{Assignment, Measure};
use crate::goal::Thresholds;
use crate::quota::{Quota, UNIT};

/// A broker that is far from its share, of which the plan brings it closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uneven {
    pub of: UnevenOf,
    pub node_id: i32,
    /// What it has beyond its share, in percent of the mean; negative: what it lacks.
    pub percent: i64,
}

/// Leaders are left out: giving leadership away costs nothing, and the rule of preferred leaders sees to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnevenOf {
    Replicas,
    Bytes,
    Traffic,
}

/// Of each that can be uneven: how many tenths of [`Thresholds::begin_percent`] have to be exceeded. For replicas as
/// it is; the others, by as much more than what a plan leaves as those numbers move by themselves.
const BEGIN: [(UnevenOf, Measure, i128); 3] = [
    (UnevenOf::Replicas, Measure::Replicas, 10),
    (UnevenOf::Bytes, Measure::Bytes, 25),
    (UnevenOf::Traffic, Measure::Traffic, 40),
];

/// So many times the difference that is never worth a copy.
const BEGIN_LEAST_BYTES: i128 = 2;
const BEGIN_LEAST_TRAFFIC: i128 = 8;

/// What a broker has to gain, at least: one part in so many of what a plan leaves.
const GAIN_PART: i128 = 4;

impl fmt::Display for Uneven {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.of {
            UnevenOf::Replicas => "replicas",
            UnevenOf::Bytes => "bytes",
            UnevenOf::Traffic => "traffic",
        };
        let (node_id, percent) = (self.node_id, self.percent.unsigned_abs());
        let which = if self.percent < 0 { "less" } else { "more" };
        write!(
            formatter,
            "broker {node_id} has {percent} % {which} than its share of {what}"
        )
    }
}

/// The first reason to carry out what leads from `before` to `after`, if there is one. The broker that is farthest from
/// its share is named.
pub(crate) fn uneven(
    before: &Assignment<'_>,
    after: &Assignment<'_>,
    thresholds: &Thresholds,
) -> Option<Uneven> {
    BEGIN.into_iter().find_map(|(of, measure, tenths)| {
        let quotas = [before, after].map(|it| Quota::new(it, measure, thresholds));
        let begin = quotas[0].mean_units() * i128::from(thresholds.begin_percent) * tenths / 1000;
        let least = UNIT
            * match of {
                UnevenOf::Replicas => 1,
                UnevenOf::Bytes => i128::from(thresholds.least_bytes) * BEGIN_LEAST_BYTES,
                UnevenOf::Traffic => {
                    i128::from(thresholds.least_bytes_per_second) * BEGIN_LEAST_TRAFFIC
                }
            };
        let gain = (quotas[0].tolerance / GAIN_PART).max(1);
        let excess = |broker: usize| quotas[0].excess(before, broker);
        let is_reason = |broker: &usize| {
            let distance = excess(*broker).abs();
            let left = quotas[1].excess(after, *broker).abs();
            distance > begin && distance >= least && distance - left >= gain
        };
        let farthest = quotas[0]
            .compared()
            .filter(is_reason)
            .max_by_key(|broker| (excess(*broker).abs(), excess(*broker), *broker))?;
        let percent = excess(farthest) * 100 / quotas[0].mean_units().max(1);
        Some(Uneven {
            of,
            node_id: before.cluster.brokers()[farthest].node_id,
            percent: i64::try_from(percent).unwrap_or(i64::MAX),
        })
    })
}
