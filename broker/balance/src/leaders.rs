//! Evens out who leads by the order of replicas alone: nothing is copied.

use std::collections::VecDeque;

use crate::assignment::{Assignment, Measure};
use crate::quota::{Quota, UNIT};

/// Where one broker shares no partition with another, leadership goes on through brokers between: along the
/// shortest way, each step the leadership of another partition.
pub(crate) fn level_leaders(assignment: &mut Assignment<'_>, quota: &Quota) {
    debug_assert_eq!(quota.measure(), Measure::Leaders);
    // A broker whose search led nowhere is not searched from again.
    let mut stuck = vec![false; assignment.cluster.broker_count()];
    loop {
        let giver = quota
            .compared()
            .filter(|broker| !stuck[*broker])
            .max_by_key(|broker| (quota.excess(assignment, *broker), *broker));
        let (Some(giver), Some((least, _))) = (giver, quota.range(assignment)) else {
            return;
        };
        if quota.excess(assignment, giver) - least <= quota.tolerance {
            return;
        }
        match find(assignment, quota, giver) {
            Some(path) => path.into_iter().for_each(|slot| assignment.lead(slot)),
            None => stuck[giver] = true,
        }
    }
}

/// Gives brokers that are new their share of leaders, of the partitions that they have; and takes from them what came with replicas beyond their share.
pub(crate) fn lead_on_added(assignment: &mut Assignment<'_>, quota: &Quota, added: &[bool]) {
    for broker in (0..added.len()).filter(|broker| added[*broker] && quota.compares(*broker)) {
        while quota.lacks(assignment, broker) > 0
            && let Some(slot) = most_loaded_leader(assignment, quota, broker)
        {
            assignment.lead(slot);
        }
        while quota.excess(assignment, broker) >= UNIT
            && let Some(slot) = least_loaded_follower(assignment, quota, broker)
        {
            assignment.lead(slot);
        }
    }
}

/// The slots that are to lead, so that `giver` leads one less and a broker that leads much less one more.
fn find(assignment: &Assignment<'_>, quota: &Quota, giver: usize) -> Option<Vec<usize>> {
    let cluster = assignment.cluster;
    let most = quota.excess(assignment, giver);
    // For each broker that is reached: from which, and the slot there that would lead.
    let mut come_from: Vec<Option<(usize, usize)>> = vec![None; cluster.broker_count()];
    let mut queue = VecDeque::from([giver]);
    while let Some(at) = queue.pop_front() {
        let mut lowest: Option<(i128, usize)> = None;
        for slot in led_by(assignment, at) {
            for follower in cluster.slots(cluster.owner(slot)).skip(1) {
                let to = assignment.broker(follower);
                if to == giver || come_from[to].is_some() || !quota.compares(to) {
                    continue;
                }
                come_from[to] = Some((at, follower));
                queue.push_back(to);
                let candidate = (quota.excess(assignment, to), to);
                lowest = Some(lowest.map_or(candidate, |lowest| lowest.min(candidate)));
            }
        }
        let Some((least, mut to)) = lowest else {
            continue;
        };
        if most - least > quota.tolerance {
            let mut path = Vec::new();
            while let Some((from, slot)) = come_from[to] {
                path.push(slot);
                to = from;
            }
            return Some(path);
        }
    }
    None
}

fn led_by(assignment: &Assignment<'_>, broker: usize) -> impl Iterator<Item = usize> {
    let slots = assignment
        .slots_on(broker)
        .iter()
        .map(|slot| *slot as usize);
    slots.filter(|slot| {
        assignment.leads(*slot) && !assignment.pinned(assignment.cluster.owner(*slot))
    })
}

fn most_loaded_leader(assignment: &Assignment<'_>, quota: &Quota, broker: usize) -> Option<usize> {
    let own = quota.excess(assignment, broker);
    let slots = assignment
        .slots_on(broker)
        .iter()
        .map(|slot| *slot as usize);
    slots
        .filter_map(|slot| {
            let partition = assignment.cluster.owner(slot);
            let leader = assignment.broker(assignment.cluster.slots(partition).start);
            let excess = quota.excess(assignment, leader);
            let gives = leader != broker && quota.compares(leader) && !assignment.pinned(partition);
            (gives && excess - own > UNIT).then_some((excess, slot))
        })
        .max()
        .map(|(_, slot)| slot)
}

fn least_loaded_follower(
    assignment: &Assignment<'_>,
    quota: &Quota,
    broker: usize,
) -> Option<usize> {
    let own = quota.excess(assignment, broker);
    led_by(assignment, broker)
        .flat_map(|slot| {
            let cluster = assignment.cluster;
            cluster.slots(cluster.owner(slot)).skip(1)
        })
        .filter(|slot| quota.compares(assignment.broker(*slot)))
        .map(|slot| (quota.excess(assignment, assignment.broker(slot)), slot))
        .filter(|(excess, _)| own - excess > UNIT)
        .min()
        .map(|(_, slot)| slot)
}
