//! What the calls about rebalances share.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use foz_api::v1;
use foz_metadata::image::RebalanceGoal;
use tonic::Status;

use crate::rebalance::{Planned, plan};
use crate::services::calls::Calls;

/// The goal of a request, or a sentence that says what is wrong with it.
pub(super) fn goal(goal: i32, broker_ids: &[i32]) -> Result<RebalanceGoal, String> {
    let named: BTreeSet<i32> = broker_ids.iter().copied().collect();
    let is_repeated = |at: &usize| broker_ids[..*at].contains(&broker_ids[*at]);
    if let Some(at) = (0..broker_ids.len()).find(is_repeated) {
        let id = broker_ids[at];
        return Err(format!(
            "broker_ids names {id} twice: name each broker once"
        ));
    }
    let goal = match v1::RebalanceGoal::try_from(goal) {
        Ok(v1::RebalanceGoal::Full) if named.is_empty() => return Ok(RebalanceGoal::Full),
        Ok(v1::RebalanceGoal::Full) => {
            return Err(format!(
                "broker_ids names {} brokers, but the goal FULL is about all of them: leave it empty",
                named.len()
            ));
        }
        Ok(v1::RebalanceGoal::AddedBrokers) => RebalanceGoal::AddedBrokers(named),
        Ok(v1::RebalanceGoal::DrainBrokers) => RebalanceGoal::DrainBrokers(named),
        Ok(v1::RebalanceGoal::Unspecified) | Err(_) => {
            return Err(format!(
                "goal is {goal}, which is none: it must be FULL, ADDED_BROKERS or DRAIN_BROKERS"
            ));
        }
    };
    if goal.broker_ids().next().is_none() {
        return Err("broker_ids is empty: name at least one broker".to_owned());
    }
    Ok(goal)
}

/// How even is even, by a request; 0 for what is usual.
pub(super) fn threshold(percent: i32) -> Result<u32, String> {
    u32::try_from(percent)
        .ok()
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| format!("threshold_percent is {percent}: it must be from 1 to 100, or 0"))
}

/// By what is committed; a refusal is a sentence. One plan at a time, whoever asks: each takes a processor for some
/// hundred milliseconds where there are 100,000 replicas.
pub(super) async fn plan_now(
    calls: &Calls,
    goal: &RebalanceGoal,
    threshold_percent: u32,
) -> Result<Result<Planned, String>, Status> {
    let shared = calls.shared.clone();
    let _turn = shared.planning.lock().await;
    let (image, loads) = (shared.metadata.image(), shared.loads.lock().clone());
    let goal = goal.clone();
    tokio::task::spawn_blocking(move || plan(&image, &loads, &goal, threshold_percent))
        .await
        .map_err(|error| Status::internal(format!("planning failed: {error}")))
}

/// Copied of late by a rebalance; 0: nothing was, or none ran.
pub(super) fn copied_bytes_per_second(calls: &Calls) -> u64 {
    calls.shared.copied_bytes_per_second.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_checked_field_by_field() {
        use v1::RebalanceGoal::{AddedBrokers, DrainBrokers, Full, Unspecified};
        let drained = RebalanceGoal::DrainBrokers([3, 4].into());
        assert_eq!(goal(Full.into(), &[]), Ok(RebalanceGoal::Full));
        assert_eq!(goal(DrainBrokers.into(), &[4, 3]), Ok(drained));
        let wrong = [
            (goal(Full.into(), &[1]), "leave it empty"),
            (goal(AddedBrokers.into(), &[]), "at least one"),
            (goal(AddedBrokers.into(), &[1, 2, 1]), "names 1 twice"),
            (goal(Unspecified.into(), &[]), "goal is 0"),
            (goal(9, &[]), "goal is 9"),
        ];
        for (goal, text) in wrong {
            let why = goal.unwrap_err();
            assert!(why.contains(text), "{why}");
        }
    }
}
