use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{FREE, Owners};
use crate::assignor::{AssignorGroup, Subscription};

/// How often all topics are gone through. Where all subscribers of a topic have the same subscriptions, one
/// time is enough; overlapping ones come close to balance each time (Kafka has the same bound).
const PASSES_MAX: usize = 16;

/// Subscriptions differ: topics are handed out one after another, each partition to the subscriber with the
/// fewest, and then partitions move from those with many to those with few until no single move helps.
pub(super) fn fill(
    group: &AssignorGroup<'_>,
    subscriptions: &[Subscription],
    subscribed: &BTreeMap<Uuid, Vec<usize>>,
    owners: &mut Owners,
) {
    // Topics that are subscribed to alike have their members in common.
    let mut members: BTreeMap<&[usize], Vec<usize>> = BTreeMap::new();
    for positions in subscribed.values() {
        members.entry(positions).or_insert_with(|| {
            let members = positions.iter();
            let members = members.flat_map(|position| &subscriptions[*position].members);
            let mut members = Vec::from_iter(members.copied());
            members.sort_unstable();
            members
        });
    }
    let subscribers = |topic_id: &Uuid| &members[&*subscribed[topic_id]];
    let mut loads = vec![0usize; group.members.len()];
    for owner in owners.topics.values().flatten() {
        if *owner != FREE {
            loads[*owner] += 1;
        }
    }
    // Those with the most partitions for each subscriber first: what comes later evens them out.
    let mut topics = Vec::from_iter(owners.topics.iter_mut());
    topics.sort_by_cached_key(|(topic_id, owners)| {
        let subscriber_count = subscribers(topic_id).len();
        let partitions_per_subscriber = owners.len() as u64 * (1 << 32) / subscriber_count as u64;
        let key = (Reverse(partitions_per_subscriber), subscriber_count);
        (key, **topic_id)
    });
    for (topic_id, owners) in &mut topics {
        hand_out(subscribers(topic_id), owners, &mut loads);
    }
    for _ in 0..PASSES_MAX {
        let mut moved = false;
        for (topic_id, owners) in &mut topics {
            moved |= balance(subscribers(topic_id), owners, &mut loads);
        }
        if !moved {
            return;
        }
    }
}

/// Gives the free partitions of a topic to those who have the fewest.
fn hand_out(subscribers: &[usize], owners: &mut [usize], loads: &mut [usize]) {
    if !owners.contains(&FREE) {
        return;
    }
    let by_load = subscribers.iter().map(|member| (loads[*member], *member));
    let mut by_load = BTreeSet::from_iter(by_load);
    for owner in owners.iter_mut().filter(|owner| **owner == FREE) {
        let (load, member) = by_load.pop_first().expect("a topic has a subscriber");
        *owner = member;
        loads[member] = load + 1;
        by_load.insert((load + 1, member));
    }
}

/// Moves partitions of a topic between its subscribers while one has two more than another; says whether any
/// moved.
fn balance(subscribers: &[usize], owners: &mut [usize], loads: &mut [usize]) -> bool {
    let (least, most) = subscribers
        .iter()
        .map(|member| loads[*member])
        .fold((usize::MAX, 0), |(least, most), load| {
            (least.min(load), most.max(load))
        });
    if most - least < 2 {
        return false;
    }
    let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (partition, owner) in owners.iter().enumerate() {
        owned.entry(*owner).or_default().push(partition);
    }
    let givers = owned.keys().map(|member| (loads[*member], *member));
    let mut givers = BTreeSet::from_iter(givers);
    let takers = subscribers.iter().map(|member| (loads[*member], *member));
    let mut takers = BTreeSet::from_iter(takers);
    let mut moved = false;
    while let (Some(&(most, giver)), Some(&(least, taker))) = (givers.last(), takers.first()) {
        if most - least.min(most) < 2 {
            break;
        }
        givers.remove(&(most, giver));
        takers.remove(&(most, giver));
        takers.remove(&(least, taker));
        // A taker that gives as well has at least two fewer than the giver: it comes back below it.
        let taker_gives = givers.remove(&(least, taker));
        let partitions = owned.get_mut(&giver).expect("a giver owns some");
        let partition = partitions.pop().expect("a giver owns some");
        owners[partition] = taker;
        loads[giver] -= 1;
        loads[taker] += 1;
        if !partitions.is_empty() {
            givers.insert((loads[giver], giver));
        }
        takers.insert((loads[giver], giver));
        if taker_gives {
            givers.insert((loads[taker], taker));
        }
        takers.insert((loads[taker], taker));
        moved = true;
    }
    moved
}
