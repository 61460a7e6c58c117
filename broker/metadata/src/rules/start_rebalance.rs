//! A rebalance begins; the active controller carries it out.

use super::draft::Draft;
use super::rebalance::end_rebalance;
use super::{Decided, check_operator_epoch};
use crate::image::{Image, Partition, Rebalance, RebalanceGoal, RebalanceProgress, RebalanceState};
use crate::record::Fact;

/// A request to start a rebalance.
#[derive(Debug, Clone)]
pub struct StartRebalance {
    /// What it is for.
    pub goal: RebalanceGoal,
    /// What came of planning it a moment ago.
    pub planned: PlannedRebalance,
    /// How even is even, for the plans that are made as it goes on. 0: not said.
    pub threshold_percent: u32,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
}

/// What a plan says, as far as the metadata keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedRebalance {
    /// At least one.
    Moves {
        /// Partitions.
        moves: u32,
        /// To be copied.
        bytes: u64,
    },
    /// The goal is reached.
    Nothing,
    /// A sentence: why there is no plan.
    Impossible(String),
}

/// What came of a request to start a rebalance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartedRebalance {
    /// It runs, from now on or already.
    Started {
        /// Of the rebalance.
        rebalance_id: i64,
        /// Partitions.
        moves: u32,
        /// To be copied.
        bytes: u64,
    },
    /// Nothing was written.
    NothingToDo,
    /// A sentence for a person. Nothing was written.
    Refused(String),
}

/// Decides whether a rebalance begins. One runs at a time: asked for what runs already, the answer is that one; a drain
/// takes the place of another, for somebody waits for those brokers to be empty.
pub fn start_rebalance(image: &Image, request: &StartRebalance) -> Decided<StartedRebalance> {
    check_operator_epoch(image, request.operator_epoch)?;
    let draft = Draft::new(image);
    let running = image.running_rebalance();
    if let Some(same) = running.filter(|it| it.goal == request.goal) {
        let answer = StartedRebalance::Started {
            rebalance_id: same.id,
            moves: same.progress.moves_total,
            bytes: same.progress.bytes_total,
        };
        return Ok(draft.decide(answer));
    }
    let refusal = refuse_goal(image, &request.goal).or_else(|| {
        let running = running?;
        let is_replaced = matches!(request.goal, RebalanceGoal::DrainBrokers(_));
        (!is_replaced).then(|| {
            format!(
                "{} is under way as rebalance {}: wait for its end, or cancel it",
                running.goal, running.id
            )
        })
    });
    if let Some(refusal) = refusal {
        return Ok(draft.decide(StartedRebalance::Refused(refusal)));
    }
    let (moves, bytes) = match &request.planned {
        PlannedRebalance::Moves { moves, bytes } => (*moves, *bytes),
        PlannedRebalance::Impossible(why) => {
            return Ok(draft.decide(StartedRebalance::Refused(why.clone())));
        }
        // Others may be moving the last replicas away: the drain is done when they have gone.
        PlannedRebalance::Nothing if !is_drained(image, &request.goal) => (0, 0),
        PlannedRebalance::Nothing => return Ok(draft.decide(StartedRebalance::NothingToDo)),
    };
    Ok(begin(draft, request, moves, bytes))
}

/// Whether the brokers that are to be drained hold nothing any more.
pub(super) fn is_drained(image: &Image, goal: &RebalanceGoal) -> bool {
    goal.drained().all(|id| image.replica_count(id) == 0)
}

fn begin(
    mut draft: Draft,
    request: &StartRebalance,
    moves: u32,
    bytes: u64,
) -> super::Decision<StartedRebalance> {
    let rebalance_id = draft.image().offset() + 1;
    if let Some(running) = draft.image().running_rebalance().cloned() {
        let drained: Vec<i32> = request.goal.drained().collect();
        let passes_on =
            |partition: &Partition| takes_off(partition, &drained).then_some(rebalance_id);
        let message = format!("{} took its place", request.goal);
        end_rebalance(
            &mut draft,
            &running,
            RebalanceState::Cancelled,
            message,
            passes_on,
        );
    }
    let rebalance = Rebalance {
        id: rebalance_id,
        goal: request.goal.clone(),
        state: RebalanceState::Running,
        message: String::new(),
        progress: RebalanceProgress {
            moves_total: moves,
            bytes_total: bytes,
            ..RebalanceProgress::default()
        },
        operator_epoch: request.operator_epoch,
        threshold_percent: request.threshold_percent,
    };
    draft.write(Fact::Rebalance(rebalance.to_record()));
    draft.decide(StartedRebalance::Started {
        rebalance_id,
        moves,
        bytes,
    })
}

fn refuse_goal(image: &Image, goal: &RebalanceGoal) -> Option<String> {
    if !matches!(goal, RebalanceGoal::Full) && goal.broker_ids().next().is_none() {
        return Some("broker_ids is empty: name at least one broker".to_owned());
    }
    if let Some(id) = goal.broker_ids().find(|id| image.broker(*id).is_none()) {
        return Some(format!("broker_ids names {id}, which is not registered"));
    }
    let left = goal.drained().find(|id| !image.is_cordoned(*id))?;
    Some(format!(
        "broker {left} is not cordoned, so it would get new replicas while it is drained: cordon it first"
    ))
}

/// Whether a move under way leaves nothing of the partition on those brokers, and something was there.
fn takes_off(partition: &Partition, drained: &[i32]) -> bool {
    let is_on = |replicas: &[i32]| replicas.iter().any(|id| drained.contains(id));
    is_on(&partition.original_replicas()) && !is_on(&partition.target_replicas())
}
