//! Which moves to begin now.

use std::collections::BTreeMap;

use crate::move_state::MoveState;
use crate::plan::Move;

/// How much may go on at once. A broker takes part in a move as the leader that the records are copied from, or as
/// one that gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// At least 1, or nothing ever begins.
    pub moves_per_broker: usize,
    /// Left to copy, by all moves that a broker takes part in. A move that is larger runs when its brokers take
    /// part in no other.
    pub bytes_per_broker: u64,
    /// Moves that copy, in the whole cluster.
    pub moves: usize,
    /// Moves that copy nothing and only change who is preferred to lead, of one call.
    pub order_moves: usize,
    /// What a broker may still get. Those not named have room enough.
    pub free_bytes: BTreeMap<i32, u64>,
    /// The largest replica that finds a place on one of its disks. Those not named have place for any.
    pub replica_bytes_max: BTreeMap<i32, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Positions of the moves to begin.
    pub begin: Vec<usize>,
    /// Positions of moves that wait for room on a disk and for nothing else. When nothing begins and nothing runs,
    /// these need somebody to make room.
    pub lacking_room: Vec<usize>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Work {
    moves: usize,
    left_bytes: u64,
    /// What is still to come to this broker.
    coming_bytes: u64,
}

/// `states` are those of `moves`, in their order. Asked again whenever one changes; what it answers is not running
/// before the states say so, so the caller begins a batch before it asks again.
///
/// Moves begin in their order, but one whose brokers are busy holds up no other.
pub fn next_batch(moves: &[Move], states: &[MoveState], limits: &Limits) -> Batch {
    assert_eq!(moves.len(), states.len(), "each move has a state");
    let mut work: BTreeMap<i32, Work> = BTreeMap::new();
    let mut running = 0;
    for (one, state) in moves.iter().zip(states) {
        if let MoveState::Running {
            leader,
            copied_bytes,
        } = state
            && one.adding().next().is_some()
        {
            running += 1;
            take(
                &mut work,
                one,
                *leader,
                one.bytes.saturating_sub(*copied_bytes),
            );
        }
    }
    let mut batch = Batch::default();
    let mut orders = 0;
    for (position, (one, state)) in moves.iter().zip(states).enumerate() {
        if running >= limits.moves && orders >= limits.order_moves {
            break;
        }
        let MoveState::Waiting { leader } = state else {
            continue;
        };
        if one.adding().next().is_none() {
            if orders < limits.order_moves {
                orders += 1;
                batch.begin.push(position);
            }
            continue;
        }
        if running >= limits.moves || !is_free(&work, one, *leader, limits) {
            continue;
        }
        if has_room(&work, one, limits) {
            running += 1;
            take(&mut work, one, *leader, one.bytes);
            batch.begin.push(position);
        } else {
            batch.lacking_room.push(position);
        }
    }
    batch
}

fn take(work: &mut BTreeMap<i32, Work>, one: &Move, leader: i32, left_bytes: u64) {
    let each = left_bytes / one.adding().count().max(1) as u64;
    for (node_id, bytes) in shares(one, leader, left_bytes, each) {
        let work = work.entry(node_id).or_default();
        work.moves += 1;
        work.left_bytes = work.left_bytes.saturating_add(bytes);
        if node_id != leader {
            work.coming_bytes = work.coming_bytes.saturating_add(bytes);
        }
    }
}

fn is_free(work: &BTreeMap<i32, Work>, one: &Move, leader: i32, limits: &Limits) -> bool {
    let each = each(one);
    shares(one, leader, one.bytes, each).all(|(node_id, bytes)| {
        let work = work.get(&node_id).copied().unwrap_or_default();
        let fits = work.left_bytes.saturating_add(bytes) <= limits.bytes_per_broker;
        work.moves < limits.moves_per_broker && (fits || work.moves == 0)
    })
}

fn has_room(work: &BTreeMap<i32, Work>, one: &Move, limits: &Limits) -> bool {
    one.adding().all(|node_id| {
        let coming = work.get(&node_id).map_or(0, |work| work.coming_bytes);
        let of = |bytes: &BTreeMap<i32, u64>| bytes.get(&node_id).copied().unwrap_or(u64::MAX);
        each(one) <= of(&limits.replica_bytes_max)
            && coming.saturating_add(each(one)) <= of(&limits.free_bytes)
    })
}

/// The brokers that take part, and the bytes that each sends or gets.
fn shares(one: &Move, leader: i32, sent_bytes: u64, each: u64) -> impl Iterator<Item = (i32, u64)> {
    let getting = one.adding().map(move |node_id| (node_id, each));
    std::iter::once((leader, sent_bytes)).chain(getting)
}

fn each(one: &Move) -> u64 {
    one.bytes / one.adding().count().max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(from: &[i32], to: &[i32], bytes: u64) -> Move {
        Move {
            topic: 0,
            partition: 0,
            from: from.to_vec(),
            to: to.to_vec(),
            bytes,
        }
    }

    fn limits() -> Limits {
        Limits {
            moves_per_broker: 2,
            bytes_per_broker: 100,
            moves: 10,
            order_moves: 10,
            free_bytes: BTreeMap::new(),
            replica_bytes_max: BTreeMap::new(),
        }
    }

    fn waiting(moves: &[Move]) -> Vec<MoveState> {
        let state = |one: &Move| MoveState::Waiting {
            leader: one.from[0],
        };
        moves.iter().map(state).collect()
    }

    #[test]
    fn a_broker_takes_part_in_few_moves_and_bytes_at_once() {
        let moves = [
            one(&[1], &[5], 10),
            one(&[2], &[5], 10),
            one(&[3], &[5], 10),
            one(&[3], &[6], 90),
            one(&[4], &[6], 20),
            one(&[4], &[7], 500),
            one(&[8], &[7], 1),
        ];
        let mut states = waiting(&moves);
        // The third finds broker 5 busy, the fifth too many bytes for 6, the last too many for 7.
        assert_eq!(next_batch(&moves, &states, &limits()).begin, [0, 1, 3, 5]);
        for at in [0, 1, 3, 5] {
            states[at] = MoveState::Running {
                leader: moves[at].from[0],
                copied_bytes: 0,
            };
        }
        assert_eq!(next_batch(&moves, &states, &limits()), Batch::default());
        // A good part of it is there: room for the next.
        states[3] = MoveState::Running {
            leader: 3,
            copied_bytes: 20,
        };
        states[1] = MoveState::Done;
        states[5] = MoveState::Done;
        assert_eq!(next_batch(&moves, &states, &limits()).begin, [2, 4, 6]);
    }

    #[test]
    fn the_leader_of_today_sends() {
        let moves = [one(&[1, 2], &[3, 2], 60), one(&[2, 4], &[2, 5], 60)];
        let mut states = waiting(&moves);
        assert_eq!(next_batch(&moves, &states, &limits()).begin, [0, 1]);
        states[0] = MoveState::Waiting { leader: 2 };
        assert_eq!(next_batch(&moves, &states, &limits()).begin, [0]);
    }

    #[test]
    fn a_disk_without_room_holds_back_what_would_fill_it() {
        let moves = [
            one(&[1], &[5], 30),
            one(&[2], &[5], 30),
            one(&[3, 9], &[5, 6], 20),
        ];
        let mut limits = limits();
        limits.moves_per_broker = 9;
        limits.free_bytes.insert(5, 45);
        let batch = next_batch(&moves, &waiting(&moves), &limits);
        // The last copies 10 to each of two.
        assert_eq!(batch.begin, [0, 2]);
        assert_eq!(batch.lacking_room, [1]);
    }

    #[test]
    fn orders_copy_nothing_and_wait_for_nobody() {
        let moves = [
            one(&[1], &[5], 30),
            one(&[1, 2], &[2, 1], 0),
            one(&[1, 3], &[3, 1], 0),
            one(&[1], &[6], 30),
        ];
        let mut limits = limits();
        limits.moves = 1;
        limits.order_moves = 1;
        assert_eq!(next_batch(&moves, &waiting(&moves), &limits).begin, [0, 1]);
    }

    #[test]
    fn what_is_held_or_overtaken_does_not_begin() {
        let moves = [one(&[1], &[5], 30), one(&[1], &[6], 30)];
        let states = [MoveState::Held, MoveState::Overtaken];
        assert_eq!(next_batch(&moves, &states, &limits()), Batch::default());
    }
}
