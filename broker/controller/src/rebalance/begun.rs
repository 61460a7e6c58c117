//! The moves of a rebalance that have begun, until they are done or came to nothing.

use std::collections::BTreeMap;

use foz_metadata::Image;
use foz_metadata::image::RebalanceProgress;
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Begun {
    /// By (topic id, index).
    moves: BTreeMap<(Uuid, i32), BegunMove>,
    pub(super) done_moves: u64,
    pub(super) done_bytes: u64,
}

#[derive(Debug)]
struct BegunMove {
    to: Vec<i32>,
    bytes: u64,
}

impl Begun {
    /// What an earlier active controller has done counts.
    pub(super) fn new(progress: &RebalanceProgress) -> Self {
        Self {
            moves: BTreeMap::new(),
            done_moves: progress.moves_done.into(),
            done_bytes: progress.bytes_done,
        }
    }

    /// For a move that is to begin, or that another active controller began.
    pub(super) fn add(&mut self, id: (Uuid, i32), to: Vec<i32>, bytes: u64) {
        self.moves.insert(id, BegunMove { to, bytes });
    }

    /// Takes in what became of them. One that did not begin, as it did not fit any more, is forgotten.
    pub(super) fn look(&mut self, image: &Image, rebalance_id: i64) {
        let (mut done_moves, mut done_bytes) = (0, 0_u64);
        self.moves.retain(|(topic_id, index), begun| {
            let topic = image.topic_by_id(*topic_id);
            let Some(partition) = topic.and_then(|topic| topic.partition(*index)) else {
                return false;
            };
            if partition.rebalance_id == rebalance_id {
                return true;
            }
            if !partition.is_reassigning() && partition.replicas == begun.to {
                done_moves += 1;
                done_bytes = done_bytes.saturating_add(begun.bytes);
            }
            false
        });
        self.done_moves += done_moves;
        self.done_bytes = self.done_bytes.saturating_add(done_bytes);
    }
}
