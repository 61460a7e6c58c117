//! What differs between the replicas before and after, in an order that is good to carry out.

use std::cmp::Reverse;

use crate::assignment::Assignment;
use crate::plan::Move;

/// How often all moves that wait for room on a disk are looked at again.
const MOST_ROUNDS: usize = 64;

/// What helps racks first. Then what leaves brokers, one broker after the other and the highest number first, so
/// that brokers that are drained become empty in the order in which a StatefulSet gives them up. What only changes
/// who leads comes last, when everybody has what it is to lead.
pub(crate) fn moves_in_order(assignment: &Assignment<'_>) -> Vec<Move> {
    let mut ordered: Vec<(_, usize, Move)> = (0..assignment.cluster.partitions().len())
        .filter_map(|partition| {
            let change = Change::of(assignment, partition)?;
            let leaving = change.leaving(assignment);
            let key = (
                change.adding.is_empty(),
                !change.helps_racks,
                Reverse(leaving),
            );
            Some((key, partition, change.into_move(assignment, partition)))
        })
        .collect();
    ordered.sort_by_key(|(key, partition, _)| (*key, *partition));
    let moves = ordered.into_iter().map(|(_, _, one)| one).collect();
    after_room_is_made(assignment, moves)
}

struct Change {
    adding: Vec<usize>,
    removing: Vec<usize>,
    helps_racks: bool,
}

impl Change {
    fn of(assignment: &Assignment<'_>, partition: usize) -> Option<Self> {
        let slots = assignment.cluster.slots(partition);
        let before = &assignment.cluster.placed()[slots.clone()];
        let after = &assignment.brokers()[slots];
        if before == after {
            return None;
        }
        let without = |of: &[u32], other: &[u32]| -> Vec<usize> {
            let missing = of.iter().filter(|broker| !other.contains(broker));
            missing.map(|broker| *broker as usize).collect()
        };
        let racks = |of: &[u32]| {
            let mut racks: Vec<_> = of
                .iter()
                .map(|broker| assignment.cluster.rack(*broker as usize))
                .collect();
            racks.sort_unstable();
            racks.dedup();
            racks.len()
        };
        Some(Self {
            adding: without(after, before),
            removing: without(before, after),
            helps_racks: racks(after) > racks(before),
        })
    }

    /// The highest broker that loses a replica and is to lose all.
    fn leaving(&self, assignment: &Assignment<'_>) -> Option<usize> {
        let leaving = &assignment.roles.leaving;
        let removing = self.removing.iter().copied();
        removing.filter(|broker| leaving[*broker]).max()
    }

    fn into_move(self, assignment: &Assignment<'_>, partition: usize) -> Move {
        let cluster = assignment.cluster;
        let at = &cluster.partitions()[partition];
        let to = assignment.brokers()[cluster.slots(partition)]
            .iter()
            .map(|broker| cluster.brokers()[*broker as usize].node_id)
            .collect();
        Move {
            topic: at.topic,
            partition: at.partition,
            from: at.replicas.clone(),
            to,
            bytes: at.bytes.saturating_mul(self.adding.len() as u64),
        }
    }
}

/// Puts moves behind those that make room for them. Where they wait for each other, they stay as they are at the
/// end, for [`crate::next_batch`] to hold back until there is room.
fn after_room_is_made(assignment: &Assignment<'_>, moves: Vec<Move>) -> Vec<Move> {
    let room = &assignment.roles.room_bytes;
    if room.iter().all(|room| *room == i128::MAX) {
        return moves;
    }
    let cluster = assignment.cluster;
    let mut used = vec![0i128; room.len()];
    for (slot, broker) in cluster.placed().iter().enumerate() {
        used[*broker as usize] += assignment.bytes(slot);
    }
    let position = |node_id: i32| {
        cluster
            .position(node_id)
            .expect("moves are of known brokers")
    };
    let mut ordered = Vec::with_capacity(moves.len());
    let mut waiting = moves;
    for _ in 0..MOST_ROUNDS {
        let before = waiting.len();
        waiting.retain(|one| {
            let copies = one.adding().count().max(1) as u64;
            let bytes = i128::from(one.bytes / copies);
            let fits = one.adding().all(|node_id| {
                let broker = position(node_id);
                used[broker] + bytes <= room[broker]
            });
            if fits {
                one.adding()
                    .for_each(|node_id| used[position(node_id)] += bytes);
                one.removing()
                    .for_each(|node_id| used[position(node_id)] -= bytes);
                ordered.push(one.clone());
            }
            !fits
        });
        if waiting.is_empty() || waiting.len() == before {
            break;
        }
    }
    ordered.extend(waiting);
    ordered
}
