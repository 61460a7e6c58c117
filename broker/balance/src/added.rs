//! Fills brokers that are new up to their share, from those with most, and gives them their share of leaders.
//!
//! What replicas bring along may leave a broker without a share that others then have to spare, so it is done again.

use crate::assignment::{Assignment, Measure};
use crate::counts::Levelling;
use crate::goal::Thresholds;
use crate::leaders::lead_on_added;
use crate::quota::{Quota, UNIT};
use crate::settle::settle;

pub(crate) fn fill<'a>(
    start: Assignment<'a>,
    thresholds: &Thresholds,
    added: &[bool],
) -> Assignment<'a> {
    settle(start, |assignment| {
        let quotas = Quota::of_all(assignment, thresholds);
        let [replicas, bytes, leaders, traffic] = &quotas;
        let levelling = Levelling {
            gives: added.iter().map(|added| !added).collect(),
            gets: added.to_vec(),
            tolerance: UNIT,
            up_to_share: true,
            ends_only: false,
            replicas,
            bytes,
            traffic,
            leaders,
        };
        levelling.run(assignment);
        lead_on_added(assignment, &quotas[Measure::Leaders as usize], added);
    })
}
