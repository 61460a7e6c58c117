//! What a rebalance waits for, in a sentence.

use foz_balance::MoveState;
use foz_metadata::Image;
use foz_metadata::image::{NO_LEADER, RebalanceGoal};
use foz_metadata::rules::{effective_min_insync, min_insync_replicas};

use super::conversion::is_there;
use super::current_plan::CurrentPlan;
use super::under_way::UnderWay;

/// Where nothing of it is under way and nothing can begin. `lacking_room` is the position of a move of the plan.
/// `None`: it goes on in a moment.
pub(super) fn why_it_waits(
    image: &Image,
    goal: &RebalanceGoal,
    plan: Option<&CurrentPlan>,
    states: &[MoveState],
    lacking_room: Option<usize>,
    under_way: &[UnderWay],
) -> Option<String> {
    let plan = plan?;
    let held = states.iter().position(|it| matches!(it, MoveState::Held));
    if let Some(text) = held.and_then(|at| why_held(image, plan, at)) {
        return Some(text);
    }
    if let Some(at) = lacking_room {
        let one = &plan.moves()[at];
        let (name, index, bytes) = (&plan.topic_of(one).name, one.partition, one.bytes);
        let to: Vec<String> = one.adding().map(|id| id.to_string()).collect();
        return Some(format!(
            "broker {} has too little room on its disk for the {bytes} bytes of {name}-{index}",
            to.join(" or ")
        ));
    }
    if let Some(theirs) = under_way.iter().find(|it| it.rebalance_id == 0) {
        let name = &theirs.name;
        let is_needed = goal.drained().any(|id| theirs.one.from.contains(&id));
        if is_needed || !plan.was_empty() {
            return Some(format!("{name} is being moved by somebody else"));
        }
    }
    let away = match goal {
        RebalanceGoal::AddedBrokers(named) => {
            let mut named = named.iter().copied();
            named.find(|id| image.broker(*id).is_some() && !is_there(image, *id))
        }
        RebalanceGoal::Full | RebalanceGoal::DrainBrokers(_) => None,
    };
    away.map(|id| format!("broker {id} is not alive"))
}

fn why_held(image: &Image, plan: &CurrentPlan, at: usize) -> Option<String> {
    let one = plan.moves().get(at)?;
    let topic = image.topic_by_id(plan.topic_of(one).id)?;
    let partition = topic.partition(one.partition)?;
    let name = format!("{}-{}", topic.name, one.partition);
    if partition.leader == NO_LEADER {
        return Some(format!("{name} has no leader"));
    }
    let needed = effective_min_insync(min_insync_replicas(image, topic), partition.replicas.len());
    let in_sync = partition.isr.len();
    if in_sync < needed {
        return Some(format!(
            "{name} has {in_sync} of {} replicas in sync, and needs {needed}",
            partition.replicas.len()
        ));
    }
    if let Some(away) = one.adding().find(|id| !image.can_lead(*id)) {
        return Some(format!("broker {away} is restarting"));
    }
    let short = one.adding().find(|id| !image.can_take_over(*id))?;
    Some(format!("broker {short} has no room on its disk"))
}
