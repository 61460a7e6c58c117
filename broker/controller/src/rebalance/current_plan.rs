//! What is left of a plan, and which of it is next.

use std::collections::BTreeMap;
use std::sync::Arc;

use foz_balance::{Limits, Move, MoveState, Observed, move_state, next_batch};
use foz_metadata::Image;
use foz_metadata::image::{NO_LEADER, Partition, Topic};
use foz_metadata::rules::{RebalanceMove, min_insync_replicas, waits_for_offline};

use super::limits::RebalanceLimits;
use super::loads::{Disk, Loads};
use super::planning::Planned;
use super::under_way::UnderWay;

#[derive(Debug)]
pub(super) struct CurrentPlan {
    /// That may still begin, in this order.
    moves: Vec<Move>,
    /// By their numbers in the moves.
    topics: Vec<Arc<Topic>>,
    was_empty: bool,
    has_begun: bool,
}

#[derive(Debug, Default)]
pub(super) struct NextBatch {
    pub(super) begin: Vec<RebalanceMove>,
    /// Position of a move that waits for room on a disk and for nothing else.
    pub(super) lacking_room: Option<usize>,
}

impl CurrentPlan {
    pub(super) fn new(planned: Planned) -> Self {
        let moves = planned.plan.moves;
        Self {
            was_empty: moves.is_empty(),
            moves,
            topics: planned.converted.topics,
            has_begun: false,
        }
    }

    /// As one that was empty.
    pub(super) fn without_moves(self) -> Self {
        Self {
            moves: Vec::new(),
            was_empty: true,
            ..self
        }
    }

    pub(super) fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// Whether there was nothing to do.
    pub(super) fn was_empty(&self) -> bool {
        self.was_empty
    }

    /// Whether any of its moves began.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether nothing of it may begin any more.
    pub(super) fn is_over(&self, image: &Image) -> bool {
        !self.moves.iter().any(|one| is_left(self.state(image, one)))
    }

    pub(super) fn topic_of(&self, one: &Move) -> &Arc<Topic> {
        &self.topics[one.topic as usize]
    }

    /// Forgets what began, was done or was overtaken; the states of the others, in their order.
    pub(super) fn take_stock(&mut self, image: &Image) -> Vec<MoveState> {
        let moves = std::mem::take(&mut self.moves);
        let mut states = Vec::with_capacity(moves.len());
        for one in moves {
            let state = self.state(image, &one);
            if is_left(state) {
                states.push(state);
                self.moves.push(one);
            }
        }
        states
    }

    /// Which moves begin now. `states` are those of [`take_stock`](Self::take_stock).
    pub(super) fn next_batch(
        &mut self,
        states: &[MoveState],
        under_way: &[UnderWay],
        image: &Image,
        loads: &Loads,
        limits: &RebalanceLimits,
    ) -> NextBatch {
        // What others move keeps brokers busy, too.
        let (mut moves, mut all_states): (Vec<Move>, Vec<MoveState>) = under_way
            .iter()
            .map(|it| (it.one.clone(), it.state))
            .unzip();
        let running = moves.len();
        moves.append(&mut self.moves);
        all_states.extend(states);
        let batch = next_batch(&moves, &all_states, &at_once(image, loads, limits));
        self.moves = moves.split_off(running);
        self.has_begun |= !batch.begin.is_empty();
        let begin = batch.begin.into_iter().map(|position| {
            let one = &self.moves[position - running];
            RebalanceMove {
                topic_id: self.topic_of(one).id,
                index: one.partition,
                from: one.from.clone(),
                to: one.to.clone(),
            }
        });
        NextBatch {
            begin: begin.collect(),
            lacking_room: batch.lacking_room.first().map(|at| at - running),
        }
    }

    fn state(&self, image: &Image, one: &Move) -> MoveState {
        let topic = image.topic_by_id(self.topic_of(one).id);
        let found = topic.and_then(|topic| Some((topic, topic.partition(one.partition)?)));
        let is_hopeless = found.is_some_and(|(_, partition)| {
            waits_for_offline(image, partition, &one.from, &one.to).is_some()
        });
        let observed = found.map(|(topic, partition)| observed(image, topic, partition));
        match move_state(one, observed.as_ref(), 0) {
            // One that restarts, or whose disk has no room, is planned for, and waited for.
            MoveState::Waiting { .. } if is_hopeless => MoveState::Overtaken,
            MoveState::Waiting { .. } if !one.adding().all(|id| image.can_take_over(id)) => {
                MoveState::Held
            }
            state => state,
        }
    }
}

fn is_left(state: MoveState) -> bool {
    matches!(state, MoveState::Waiting { .. } | MoveState::Held)
}

fn observed(image: &Image, topic: &Topic, partition: &Partition) -> Observed {
    let is_whole = partition.isr.len() == partition.replicas.len();
    Observed {
        replicas: partition.replicas.clone(),
        adding_replicas: partition.adding_replicas.clone(),
        removing_replicas: partition.removing_replicas.clone(),
        leader: (partition.leader != NO_LEADER).then_some(partition.leader),
        in_sync_count: partition.isr.len(),
        // All of them are enough for any minimum, and it takes a while to look it up.
        min_insync_replicas: if is_whole {
            0
        } else {
            min_insync_replicas(image, topic)
        },
    }
}

fn at_once(image: &Image, loads: &Loads, limits: &RebalanceLimits) -> Limits {
    let disks: Vec<(i32, Disk)> = image
        .brokers()
        .filter_map(|broker| Some((broker.node_id, loads.disk(broker.node_id)?)))
        .collect();
    let of_each = |bytes: fn(&Disk) -> u64| -> BTreeMap<i32, u64> {
        disks.iter().map(|(id, disk)| (*id, bytes(disk))).collect()
    };
    Limits {
        moves_per_broker: limits.moves_per_broker.max(1),
        bytes_per_broker: limits.bytes_per_broker,
        moves: limits.moves.max(1),
        order_moves: limits.order_moves.max(1),
        free_bytes: of_each(Disk::bytes_for_moves),
        replica_bytes_max: of_each(Disk::bytes_for_one_replica),
    }
}
