//! A plan for the cluster as it is, or a sentence that says why there is none.

use std::sync::Arc;

use foz_balance::{Goal, Plan, Refusal, Thresholds, Uneven, UnevenOf};
use foz_metadata::Image;
use foz_metadata::image::{RebalanceGoal, Topic};
use foz_metadata::rules::PlannedRebalance;

use super::conversion::{Converted, convert};
use super::loads::Loads;

#[derive(Debug)]
pub(crate) struct Planned {
    pub(super) converted: Converted,
    pub(super) plan: Plan,
    knows_brokers: bool,
}

/// Takes some hundred milliseconds where there are 100,000 replicas. `threshold_percent`: how even is even; 0 for what is
/// usual.
pub(crate) fn plan(
    image: &Image,
    loads: &Loads,
    goal: &RebalanceGoal,
    threshold_percent: u32,
) -> Result<Planned, String> {
    let thresholds = Thresholds::of_percent(threshold_percent);
    let converted = convert(image, loads)
        .map_err(|invalid| format!("the metadata cannot be planned with: {invalid}"))?;
    let plan = foz_balance::plan(&converted.cluster, &balance(goal), &thresholds)
        .map_err(|refusal| sentence(&refusal, goal, &converted.topics))?;
    Ok(Planned {
        converted,
        plan,
        knows_brokers: loads.are_told(image),
    })
}

impl Planned {
    /// Why it should be carried out though nobody asks for it. Bytes and traffic are no reason while some brokers have
    /// not told theirs: the others would seem to have more than their share.
    pub(crate) fn uneven(&self) -> Option<Uneven> {
        let counts = |it: &Uneven| self.knows_brokers || it.of == UnevenOf::Replicas;
        self.plan.uneven.filter(counts)
    }

    /// As the rule that starts it takes it.
    pub(crate) fn summary(&self) -> PlannedRebalance {
        if self.plan.moves.is_empty() {
            return PlannedRebalance::Nothing;
        }
        PlannedRebalance::Moves {
            moves: u32::try_from(self.plan.moves.len()).unwrap_or(u32::MAX),
            bytes: self.plan.copied_bytes(),
        }
    }
}

fn balance(goal: &RebalanceGoal) -> Goal {
    match goal {
        RebalanceGoal::Full => Goal::Full,
        RebalanceGoal::AddedBrokers(named) => Goal::AddedBrokers(named.clone()),
        RebalanceGoal::DrainBrokers(named) => Goal::DrainBrokers(named.clone()),
    }
}

fn sentence(refusal: &Refusal, goal: &RebalanceGoal, topics: &[Arc<Topic>]) -> String {
    match refusal {
        Refusal::UnknownBroker { node_id } => {
            format!("broker_ids names {node_id}, which is not registered")
        }
        Refusal::Cordoned { .. } | Refusal::NotAlive { .. } => refusal.to_string(),
        Refusal::CannotDrain(cannot) => {
            let name = |topic: u32| {
                let topic = usize::try_from(topic).ok().and_then(|at| topics.get(at));
                topic.map_or("?", |topic| &*topic.name)
            };
            let first = cannot
                .first()
                .map(|it| format!("{}-{}: {}", name(it.topic), it.partition, it.reason));
            let others = match cannot.len().saturating_sub(1) {
                0 => String::new(),
                1 => "; and 1 more partition".to_owned(),
                more => format!("; and {more} more partitions"),
            };
            format!(
                "{goal} is not possible: {}{others}",
                first.unwrap_or_default()
            )
        }
    }
}
