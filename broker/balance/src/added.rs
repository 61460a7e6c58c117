//! Fills brokers that are new up to their share, from those with most, and gives them their share of leaders.

use crate::assignment::{Assignment, Measure};
use crate::counts::Levelling;
use crate::goal::Thresholds;
use crate::leaders::lead_on_added;
use crate::quota::{Quota, UNIT};

/// What replicas bring along may leave a broker without a share that others then have to spare; twice is the rule.
const MOST_PASSES: usize = 8;

pub(crate) fn fill<'a>(
    start: Assignment<'a>,
    thresholds: &Thresholds,
    added: &[bool],
) -> Assignment<'a> {
    let mut assignment = start;
    for _ in 0..MOST_PASSES {
        let before = assignment.brokers().to_vec();
        let quotas = Quota::of_all(&assignment, thresholds);
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
        levelling.run(&mut assignment);
        lead_on_added(&mut assignment, &quotas[Measure::Leaders as usize], added);
        if assignment.brokers() == before {
            break;
        }
        // From the very state that a later plan would start from, so that it finds nothing to do.
        assignment = Assignment::new(
            assignment.cluster,
            assignment.roles,
            assignment.into_brokers(),
        );
    }
    assignment
}
