//! Evens out everything, the more important first: racks, replicas, bytes, leaders, traffic. What comes later
//! leaves what came before as even as it is.

use crate::assignment::{Assignment, Measure};
use crate::counts::Levelling;
use crate::detours::level_by_detours;
use crate::exchange::exchange;
use crate::goal::Thresholds;
use crate::leaders::level_leaders;
use crate::quota::{Quota, UNIT};
use crate::racks::spread_over_racks;
use crate::settle::settle;

/// Brokers are not brought closer together than this part of the tolerance, or every small change would move
/// something where racks are of different sizes.
const CLOSEST_PART: i128 = 4;

pub(crate) fn even_out<'a>(start: Assignment<'a>, thresholds: &Thresholds) -> Assignment<'a> {
    settle(start, |assignment| {
        let quotas = Quota::of_all(assignment, thresholds);
        spread_over_racks(assignment, &quotas);
        // Replicas that left a cordoned broker are shared by the others.
        let quotas = Quota::of_all(assignment, thresholds);
        level_replicas(assignment, &quotas);
        level_by_exchange(assignment, &quotas, Measure::Bytes);
        level_leaders(assignment, &quotas[Measure::Leaders as usize]);
        level_by_exchange(assignment, &quotas, Measure::Leaders);
        level_by_exchange(assignment, &quotas, Measure::Traffic);
    })
}

fn level_replicas(assignment: &mut Assignment<'_>, quotas: &[Quota; 4]) {
    let [replicas, bytes, leaders, traffic] = quotas;
    let everyone = vec![true; assignment.cluster.broker_count()];
    // Where racks keep some brokers from exchanging anything with others, the ends may be too far apart still, and
    // those that can exchange something have to lie closer together.
    for (tolerance, ends_only) in [
        (replicas.tolerance, false),
        ((replicas.tolerance / CLOSEST_PART).max(UNIT), true),
    ] {
        let levelling = Levelling {
            gives: everyone.clone(),
            gets: everyone.clone(),
            tolerance,
            up_to_share: false,
            ends_only,
            replicas,
            bytes,
            traffic,
            leaders,
        };
        levelling.run(assignment);
    }
    level_by_detours(assignment, replicas);
}

fn level_by_exchange(assignment: &mut Assignment<'_>, quotas: &[Quota; 4], measure: Measure) {
    let quota = &quotas[measure as usize];
    for part in [1, 2, CLOSEST_PART] {
        if is_even(assignment, quota) {
            return;
        }
        exchange(
            assignment,
            quotas,
            measure,
            (quota.tolerance / part).max(UNIT),
        );
    }
}

fn is_even(assignment: &Assignment<'_>, quota: &Quota) -> bool {
    let range = quota.range(assignment);
    range.is_none_or(|(least, most)| most - least <= quota.tolerance)
}
