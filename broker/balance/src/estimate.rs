//! What is done of a plan, what is left, and how long that takes.

use crate::move_state::MoveState;
use crate::plan::Move;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Estimate {
    pub done_moves: usize,
    /// Waiting, held or running.
    pub left_moves: usize,
    /// Given up, since others have changed their partitions.
    pub overtaken_moves: usize,
    pub copied_bytes: u64,
    pub left_bytes: u64,
    /// `None` while bytes are left and nothing is copied.
    pub left_seconds: Option<u64>,
}

impl Estimate {
    /// `bytes_per_second` is what all moves together copied of late. `states` are those of `moves`, in their order.
    pub fn new(moves: &[Move], states: &[MoveState], bytes_per_second: u64) -> Self {
        assert_eq!(moves.len(), states.len(), "each move has a state");
        let mut estimate = Self::default();
        for (one, state) in moves.iter().zip(states) {
            let copied = match state {
                MoveState::Overtaken => {
                    estimate.overtaken_moves += 1;
                    continue;
                }
                MoveState::Done => one.bytes,
                MoveState::Running { copied_bytes, .. } => (*copied_bytes).min(one.bytes),
                MoveState::Waiting { .. } | MoveState::Held => 0,
            };
            if matches!(state, MoveState::Done) {
                estimate.done_moves += 1;
            } else {
                estimate.left_moves += 1;
            }
            estimate.copied_bytes = estimate.copied_bytes.saturating_add(copied);
            estimate.left_bytes = estimate.left_bytes.saturating_add(one.bytes - copied);
        }
        estimate.left_seconds = match (estimate.left_bytes, bytes_per_second) {
            (0, _) => Some(0),
            (_, 0) => None,
            (left, rate) => Some(left.div_ceil(rate)),
        };
        estimate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_its_time() {
        let one = |bytes| Move {
            topic: 0,
            partition: 0,
            from: vec![1],
            to: vec![2],
            bytes,
        };
        let moves = [one(100), one(100), one(100), one(50), one(7)];
        let running = MoveState::Running {
            leader: 1,
            copied_bytes: 30,
        };
        let waiting = MoveState::Waiting { leader: 1 };
        let states = [
            MoveState::Done,
            running,
            waiting,
            MoveState::Held,
            MoveState::Overtaken,
        ];
        let estimate = Estimate::new(&moves, &states, 100);
        let expected = Estimate {
            done_moves: 1,
            left_moves: 3,
            overtaken_moves: 1,
            copied_bytes: 130,
            left_bytes: 220,
            left_seconds: Some(3),
        };
        assert_eq!(estimate, expected);
        assert_eq!(Estimate::new(&moves, &states, 0).left_seconds, None);
        assert_eq!(Estimate::new(&[], &[], 0).left_seconds, Some(0));
        let huge = [one(u64::MAX), one(u64::MAX)];
        let all = Estimate::new(&huge, &[waiting; 2], 1);
        assert_eq!(all.left_bytes, u64::MAX);
    }
}
