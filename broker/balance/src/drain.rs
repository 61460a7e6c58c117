//! Takes every replica off some brokers. Each goes where its partition's racks are spread best, then where it
//! adds least to what is loaded already. The heavy ones first: the light ones even out what is left.

use std::cmp::Reverse;
use std::ops::Range;

use crate::assignment::{Assignment, Measure};
use crate::quota::{Quota, UNIT};
use crate::refusal::{CannotDrain, CannotDrainReason};

/// The replicas on `drained` are moved, and nothing else.
pub(crate) fn drain(
    assignment: &mut Assignment<'_>,
    quotas: &[Quota; 4],
    drained: &[bool],
) -> Result<(), Vec<CannotDrain>> {
    let cluster = assignment.cluster;
    let mut partitions: Vec<usize> = (0..cluster.partitions().len())
        .filter(|partition| {
            let mut slots = cluster.slots(*partition);
            slots.any(|slot| drained[assignment.broker(slot)])
        })
        .collect();
    let mut refused = Vec::new();
    let mut refuse = |partition: usize, reason| {
        let at = &cluster.partitions()[partition];
        refused.push((
            partition,
            CannotDrain {
                topic: at.topic,
                partition: at.partition,
                reason,
            },
        ));
    };
    partitions.retain(|partition| {
        let cannot = cannot_move(assignment, drained, *partition);
        cannot.map(|reason| refuse(*partition, reason)).is_none()
    });
    partitions
        .sort_by_key(|partition| (Reverse(cluster.partitions()[*partition].bytes), *partition));
    for partition in partitions {
        if let Err(reason) = move_off(assignment, quotas, drained, partition) {
            refuse(partition, reason);
        }
    }
    refused.sort_by_key(|(partition, _)| *partition);
    if refused.is_empty() {
        return Ok(());
    }
    Err(refused.into_iter().map(|(_, refused)| refused).collect())
}

/// How much `to` is loaded already of what the replica weighs: 0 where it weighs nothing or `to` has its share.
///
/// Adding a weight to a load adds twice their product to the square of the load, so the broker where this is least
/// is the one that keeps the sum of squares least.
pub(crate) fn load_beside(
    assignment: &Assignment<'_>,
    quotas: &[Quota; 4],
    slot: usize,
    to: usize,
) -> f64 {
    let [bytes, _, traffic] = assignment.rough_weight(slot);
    [
        (Measure::Replicas, 1.0),
        (Measure::Bytes, bytes),
        (Measure::Traffic, traffic),
    ]
    .into_iter()
    .map(|(measure, weight)| {
        let quota = &quotas[measure as usize];
        let scale = quota.mean_units().max(1) as f64;
        weight / scale * (quota.excess(assignment, to) as f64 / scale)
    })
    .sum()
}

fn cannot_move(
    assignment: &Assignment<'_>,
    drained: &[bool],
    partition: usize,
) -> Option<CannotDrainReason> {
    let cluster = assignment.cluster;
    let slots = cluster.slots(partition);
    let replicas = slots.len();
    let offline = &cluster.partitions()[partition].offline;
    let mut brokers = slots.map(|slot| &cluster.brokers()[assignment.broker(slot)]);
    if !brokers.any(|broker| broker.alive && !offline.contains(&broker.node_id)) {
        return Some(CannotDrainReason::NothingToCopyFrom);
    }
    let possible = (0..cluster.broker_count())
        .filter(|broker| {
            let stays = || assignment.replica_on(partition, *broker).is_some();
            !drained[*broker] && (assignment.roles.may_receive[*broker] || stays())
        })
        .count();
    (possible < replicas).then_some(CannotDrainReason::TooFewBrokers {
        replicas,
        brokers: possible,
    })
}

/// On an error some replicas may have moved: the whole plan is refused then.
fn move_off(
    assignment: &mut Assignment<'_>,
    quotas: &[Quota; 4],
    drained: &[bool],
    partition: usize,
) -> Result<(), CannotDrainReason> {
    let slots = assignment.cluster.slots(partition);
    let leader_moves = drained[assignment.broker(slots.start)];
    for slot in slots.clone() {
        if !drained[assignment.broker(slot)] {
            continue;
        }
        let no_room = CannotDrainReason::NoRoom {
            bytes: assignment.cluster.partitions()[partition].bytes,
        };
        let candidates: Vec<(usize, f64, usize)> = (0..assignment.cluster.broker_count())
            .filter(|to| assignment.roles.may_receive[*to])
            .filter(|to| assignment.replica_on(partition, *to).is_none())
            .map(|to| {
                let in_rack = staying_in_rack(assignment, drained, slots.clone(), to);
                (in_rack, load_beside(assignment, quotas, slot, to), to)
            })
            .collect();
        let (in_rack, _, to) = candidates
            .iter()
            .copied()
            .filter(|(_, _, to)| assignment.has_room(*to, assignment.bytes(slot)))
            .min_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)))
            .ok_or(no_room.clone())?;
        // A full disk is no reason to put replicas together in one rack.
        if in_rack > 0 && candidates.iter().any(|(in_rack, _, _)| *in_rack == 0) {
            return Err(no_room);
        }
        assignment.replace(slot, to);
    }
    if leader_moves {
        // Among equals the first that has the records already.
        let leaders = &quotas[Measure::Leaders as usize];
        let was = assignment.cluster.placed();
        let next = slots
            .filter(|slot| leaders.compares(assignment.broker(*slot)))
            .min_by_key(|slot| {
                // The one that leads now carries this partition already.
                let counted = i128::from(assignment.leads(*slot)) * UNIT;
                let excess = leaders.excess(assignment, assignment.broker(*slot)) - counted;
                let fresh = was[*slot] as usize != assignment.broker(*slot);
                (excess, fresh, *slot)
            });
        if let Some(next) = next {
            assignment.lead(next);
        }
    }
    Ok(())
}

fn staying_in_rack(
    assignment: &Assignment<'_>,
    drained: &[bool],
    slots: Range<usize>,
    to: usize,
) -> usize {
    let cluster = assignment.cluster;
    slots
        .map(|slot| assignment.broker(slot))
        .filter(|broker| !drained[*broker] && cluster.rack(*broker) == cluster.rack(to))
        .count()
}
