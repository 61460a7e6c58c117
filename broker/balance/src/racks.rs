//! Spreads each partition over racks as evenly as the brokers allow, where it is not.

use crate::assignment::{Assignment, Measure};
use crate::drain::load_beside;
use crate::quota::Quota;

pub(crate) fn spread_over_racks(assignment: &mut Assignment<'_>, quotas: &[Quota; 4]) {
    let mut counts = vec![0; assignment.cluster.rack_count()];
    for partition in 0..assignment.cluster.partitions().len() {
        if assignment.pinned(partition) {
            continue;
        }
        while crowded(assignment, partition, &mut counts)
            && let Some((slot, to)) = best_move(assignment, quotas, partition)
        {
            assignment.replace(slot, to);
        }
    }
}

/// How many partitions could be on more racks than they are.
pub(crate) fn lacking_racks(assignment: &Assignment<'_>) -> usize {
    let cluster = assignment.cluster;
    let mut usable = vec![false; cluster.rack_count()];
    for broker in 0..cluster.broker_count() {
        usable[cluster.rack(broker)] |= assignment.roles.may_receive[broker];
    }
    let racks = usable.iter().filter(|usable| **usable).count();
    let mut counts = vec![0; cluster.rack_count()];
    (0..cluster.partitions().len())
        .filter(|partition| {
            let slots = cluster.slots(*partition);
            let best = slots.len().min(racks);
            let used = count(assignment, *partition, &mut counts);
            uncount(assignment, *partition, &mut counts);
            used < best
        })
        .count()
}

/// Two replicas are in one rack. That a partition with one in each has nothing to gain is what makes this quick.
fn crowded(assignment: &Assignment<'_>, partition: usize, counts: &mut [u32]) -> bool {
    let used = count(assignment, partition, counts);
    uncount(assignment, partition, counts);
    used < assignment.cluster.slots(partition).len()
}

fn count(assignment: &Assignment<'_>, partition: usize, counts: &mut [u32]) -> usize {
    let mut used = 0;
    for slot in assignment.cluster.slots(partition) {
        let rack = assignment.cluster.rack(assignment.broker(slot));
        used += usize::from(counts[rack] == 0);
        counts[rack] += 1;
    }
    used
}

fn uncount(assignment: &Assignment<'_>, partition: usize, counts: &mut [u32]) {
    for slot in assignment.cluster.slots(partition) {
        counts[assignment.cluster.rack(assignment.broker(slot))] = 0;
    }
}

/// The most gain for racks; then off the broker with most replicas, to the broker that suits best.
fn best_move(
    assignment: &Assignment<'_>,
    quotas: &[Quota; 4],
    partition: usize,
) -> Option<(usize, usize)> {
    let mut best = None;
    let mut least = (0, 0, 0.0);
    for slot in assignment.cluster.slots(partition) {
        let bytes = assignment.bytes(slot);
        let given = -quotas[Measure::Replicas as usize].excess(assignment, assignment.broker(slot));
        for to in 0..assignment.cluster.broker_count() {
            let Some(gain) = assignment.may_go(slot, to).filter(|gain| *gain >= 2) else {
                continue;
            };
            let rated = (-gain, given, load_beside(assignment, quotas, slot, to));
            if assignment.has_room(to, bytes) && (best.is_none() || rated < least) {
                least = rated;
                best = Some((slot, to));
            }
        }
    }
    best
}
