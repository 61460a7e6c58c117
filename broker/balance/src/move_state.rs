//! How far a move is, by what the metadata says about its partition.

use crate::plan::Move;

/// A partition as the metadata has it, in Kafka's terms: while it is reassigned, `replicas` are the old and the new
/// ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    pub removing_replicas: Vec<i32>,
    pub leader: Option<i32>,
    pub in_sync_count: usize,
    pub min_insync_replicas: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveState {
    /// It could begin; what is copied comes from `leader`.
    Waiting {
        leader: i32,
    },
    /// It must not begin: the partition has no leader, or fewer replicas in sync than it should. Those that come
    /// back need the disks and the network more.
    Held,
    /// `copied_bytes` of the bytes of the move are there already.
    Running {
        leader: i32,
        copied_bytes: u64,
    },
    Done,
    /// The partition is gone, or somebody else has changed its replicas or is about to: the move is not for what
    /// is there now.
    Overtaken,
}

/// `observed` is `None` when the partition does not exist. `copied_bytes` is what the new replicas have by now.
pub fn move_state(one: &Move, observed: Option<&Observed>, copied_bytes: u64) -> MoveState {
    let Some(observed) = observed else {
        return MoveState::Overtaken;
    };
    let reassigned = !observed.adding_replicas.is_empty() || !observed.removing_replicas.is_empty();
    if reassigned {
        let stays = |node_id: &&i32| !observed.removing_replicas.contains(node_id);
        let target = observed.replicas.iter().filter(stays);
        return match observed.leader {
            _ if !target.eq(&one.to) => MoveState::Overtaken,
            Some(leader) => MoveState::Running {
                leader,
                copied_bytes: copied_bytes.min(one.bytes),
            },
            // Nothing is copied before there is a leader, but nobody else may begin with it either.
            None => MoveState::Running {
                leader: one.from[0],
                copied_bytes: copied_bytes.min(one.bytes),
            },
        };
    }
    if observed.replicas == one.to {
        return MoveState::Done;
    }
    if observed.replicas != one.from {
        return MoveState::Overtaken;
    }
    let enough = observed.min_insync_replicas.min(observed.replicas.len());
    match observed.leader {
        Some(leader) if observed.in_sync_count >= enough => MoveState::Waiting { leader },
        _ => MoveState::Held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Move {
        Move {
            topic: 1,
            partition: 0,
            from: vec![1, 2, 3],
            to: vec![4, 2, 3],
            bytes: 100,
        }
    }

    fn observed(replicas: &[i32], adding: &[i32], removing: &[i32]) -> Observed {
        Observed {
            replicas: replicas.to_vec(),
            adding_replicas: adding.to_vec(),
            removing_replicas: removing.to_vec(),
            leader: Some(2),
            in_sync_count: 3,
            min_insync_replicas: 2,
        }
    }

    #[test]
    fn a_move_begins_runs_and_ends() {
        let before = observed(&[1, 2, 3], &[], &[]);
        let state = move_state(&one(), Some(&before), 0);
        assert_eq!(state, MoveState::Waiting { leader: 2 });
        let during = observed(&[4, 2, 3, 1], &[4], &[1]);
        let running = |copied_bytes| MoveState::Running {
            leader: 2,
            copied_bytes,
        };
        assert_eq!(move_state(&one(), Some(&during), 70), running(70));
        assert_eq!(move_state(&one(), Some(&during), 700), running(100));
        let after = observed(&[4, 2, 3], &[], &[]);
        assert_eq!(move_state(&one(), Some(&after), 100), MoveState::Done);
    }

    #[test]
    fn a_move_waits_for_a_partition_in_need() {
        let mut partition = observed(&[1, 2, 3], &[], &[]);
        partition.in_sync_count = 1;
        assert_eq!(move_state(&one(), Some(&partition), 0), MoveState::Held);
        partition.in_sync_count = 3;
        partition.leader = None;
        assert_eq!(move_state(&one(), Some(&partition), 0), MoveState::Held);
        // More than there are replicas: all of them are enough.
        partition.leader = Some(1);
        partition.min_insync_replicas = 9;
        let state = move_state(&one(), Some(&partition), 0);
        assert_eq!(state, MoveState::Waiting { leader: 1 });
    }

    #[test]
    fn what_others_change_overtakes_a_move() {
        let states = [
            None,
            Some(observed(&[1, 2], &[], &[])),
            Some(observed(&[2, 1, 3], &[], &[])),
            Some(observed(&[5, 2, 3, 1], &[5], &[1])),
        ];
        for observed in states {
            let state = move_state(&one(), observed.as_ref(), 0);
            assert_eq!(state, MoveState::Overtaken, "{observed:?}");
        }
    }
}
