//! A rebalance goes on: moves begin, moves that cannot end are called off, and it is written how far it is.
//!
//! What to do was worked out a moment ago on an older image, off the task that runs rules. So everything is checked
//! again here, and what does not fit any more is left out: the next step sees what there is by then.

use uuid::Uuid;

use super::Decided;
use super::draft::Draft;
use super::min_insync::{effective_min_insync, min_insync_replicas};
use super::reassignment::begin;
use super::rebalance::{call_off, change, end_rebalance};
use super::replicas::check_replica_list;
use super::start_rebalance::is_drained;
use crate::image::{
    Image, NO_LEADER, Partition, Rebalance, RebalanceProgress, RebalanceState, Topic,
};
use crate::record::Fact;

/// A step of a rebalance.
#[derive(Debug, Clone, Default)]
pub struct ProgressRebalance {
    /// Another that runs by now is left alone.
    pub rebalance_id: i64,
    /// Moves of its own that cannot end, as (topic id, index).
    pub call_off: Vec<(Uuid, i32)>,
    /// Moves to begin.
    pub begin: Vec<RebalanceMove>,
    /// How far it is; `None`: it is too early to write that again.
    pub told: Option<(RebalanceProgress, String)>,
    /// Whether it is at its end.
    pub end: Option<RebalanceEnd>,
}

/// New replicas for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebalanceMove {
    /// Of the partition.
    pub topic_id: Uuid,
    /// Of the partition.
    pub index: i32,
    /// The replicas that the move was planned for.
    pub from: Vec<i32>,
    /// The replicas that it is to have, the preferred leader first.
    pub to: Vec<i32>,
}

/// How a rebalance ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebalanceEnd {
    /// Its goal is reached.
    Completed,
    /// A sentence: why it cannot go on.
    Failed(String),
}

/// What came of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebalanceStep {
    /// Moves that began.
    pub begun: usize,
    /// Moves that were called off.
    pub called_off: usize,
    /// Whether it is over.
    pub has_ended: bool,
}

/// Takes a rebalance one step further.
pub fn progress_rebalance(image: &Image, request: &ProgressRebalance) -> Decided<RebalanceStep> {
    let mut draft = Draft::new(image);
    let mut step = RebalanceStep::default();
    let running = image.running_rebalance();
    let Some(running) = running.filter(|running| running.id == request.rebalance_id) else {
        return Ok(draft.decide(step));
    };
    for (topic_id, index) in request.call_off.iter().copied() {
        let is_off = change(&mut draft, topic_id, index, |changed, _, partition| {
            if partition.rebalance_id == running.id {
                call_off(changed, partition);
            }
        });
        step.called_off += usize::from(is_off);
    }
    for wanted in &request.begin {
        let (topic_id, index) = (wanted.topic_id, wanted.index);
        let has_begun = change(&mut draft, topic_id, index, |changed, topic, partition| {
            if !fits(image, wanted, topic, partition) {
                return;
            }
            changed.reassign(begin(partition, &wanted.to));
            if wanted.to.iter().all(|id| wanted.from.contains(id)) {
                // Nothing has to be copied: this is the whole of the move.
                if image.can_take_over(wanted.to[0]) {
                    changed.prefer_if_in_sync(wanted.to[0]);
                }
            } else {
                changed.moved_by(running.id);
            }
        });
        step.begun += usize::from(has_begun);
    }
    let mut rebalance = Rebalance::clone(running);
    if let Some((progress, message)) = &request.told {
        rebalance.progress = *progress;
        rebalance.message.clone_from(message);
    }
    step.has_ended = write(&mut draft, running, rebalance, request.end.as_ref());
    Ok(draft.decide(step))
}

/// Whose replica a move of a rebalance would wait for because its broker cannot use it: a disk has failed, and nobody knows
/// for how long. Where the move takes a replica off a cordoned broker, as a drain does, one that stays is waited for.
pub fn waits_for_offline(
    image: &Image,
    partition: &Partition,
    from: &[i32],
    to: &[i32],
) -> Option<i32> {
    let is_new = |id: &i32| !from.contains(id);
    let mut leaving = from.iter().filter(|id| !to.contains(id));
    let is_needed = leaving.any(|id| image.is_cordoned(*id));
    let mut to = to.iter().copied();
    to.find(|id| partition.offline.contains(id) && (is_new(id) || !is_needed))
}

/// Whether it ended.
fn write(
    draft: &mut Draft,
    before: &Rebalance,
    mut now: Rebalance,
    end: Option<&RebalanceEnd>,
) -> bool {
    let image = draft.image();
    match end {
        Some(RebalanceEnd::Completed)
            if image.partitions_moved_by(now.id).next().is_none()
                && is_drained(image, &now.goal) =>
        {
            now.progress.seconds_left = Some(0);
            end_rebalance(
                draft,
                &now,
                RebalanceState::Completed,
                String::new(),
                |_| None,
            );
            true
        }
        Some(RebalanceEnd::Failed(why)) => {
            end_rebalance(draft, &now, RebalanceState::Failed, why.clone(), |_| None);
            true
        }
        Some(RebalanceEnd::Completed) | None => {
            if now != *before {
                draft.write(Fact::Rebalance(now.to_record()));
            }
            false
        }
    }
}

/// `image` is that of the start of the step, which changes nothing about brokers.
fn fits(image: &Image, wanted: &RebalanceMove, topic: &Topic, partition: &Partition) -> bool {
    let min_insync = min_insync_replicas(image, topic);
    let needed = effective_min_insync(min_insync, partition.replicas.len());
    let is_new = |id: &&i32| !partition.replicas.contains(id);
    !partition.is_reassigning()
        && partition.replicas == wanted.from
        && wanted.to.len() == wanted.from.len()
        && waits_for_offline(image, partition, &wanted.from, &wanted.to).is_none()
        && partition.leader != NO_LEADER
        && partition.isr.len() >= needed
        && check_replica_list(image, "a move", &wanted.to, &partition.replicas).is_ok()
        && wanted
            .to
            .iter()
            .filter(is_new)
            .all(|id| image.can_take_over(*id))
}
