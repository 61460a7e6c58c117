//! Dereference: all that a pass over a Rebalance reads, from memory.

use std::time::Instant;

use foz_crd::{Rebalance, RebalanceStatus};
use kube::ResourceExt as _;

use crate::cluster::scaling::asked::Answer;
use crate::context::Context;
use crate::quorum::rebalance::Goal;
use crate::rebalance::FINALIZER;
use crate::rebalance::claim::{Claim, claims, cluster_of};
use crate::rebalance::plan::Observed;
use crate::topic::plan::ClusterState;

/// Reads the world around a Rebalance.
#[must_use]
pub fn dereference(
    rebalance: &Rebalance,
    goal: Option<&Goal>,
    status: &RebalanceStatus,
    context: &Context,
) -> Observed {
    let cluster = cluster_of(rebalance);
    let found = context.world.cluster(&cluster);
    let found = found.as_deref().map(|guarded| &guarded.0);
    let state = match found {
        None => ClusterState::Missing,
        Some(Ok(found)) if found.metadata.deletion_timestamp.is_some() => ClusterState::Missing,
        Some(Ok(found)) if found.spec.paused => ClusterState::Paused,
        Some(Ok(found)) if found.spec.suspend => ClusterState::Suspended,
        Some(_) => ClusterState::Present,
    };
    let quorum = context.quorums.get(&cluster);
    let told = quorum.map(|quorum| quorum.state());
    let view = told.as_ref().and_then(|told| told.current()).cloned();
    let uid = rebalance.uid().unwrap_or_default();
    let generation = rebalance.metadata.generation.unwrap_or_default();
    let now = Instant::now();
    let scales_down_to = found.and_then(|found| {
        let wanted = found.as_ref().ok()?.spec.replicas;
        let last = view.as_ref()?.brokers.keys().last()?;
        (*last >= wanted).then_some(wanted)
    });
    let plan_is_current = view
        .as_ref()
        .is_some_and(|view| context.planned.is_current(&uid, generation, view, now));
    let refused = view.as_ref().zip(goal).and_then(|(view, goal)| {
        let (answers, _) = context.asked.recent(&uid, view, now);
        match answers.get(goal) {
            Some(Answer::Refused(why)) => Some(why.clone()),
            Some(Answer::NothingToDo) | None => None,
        }
    });
    let own = Claim::of(rebalance, Some(status));
    let others = claims(&cluster, context).into_iter();
    let ahead = others
        .filter(|other| other.uid != own.uid && other.is_pending() && *other < own)
        .min();
    Observed {
        deleting: rebalance.metadata.deletion_timestamp.is_some(),
        finalizer: rebalance.finalizers().iter().any(|it| it == FINALIZER),
        approved: rebalance.spec.approved,
        cluster: state,
        view,
        scales_down_to,
        ahead: ahead.map(|ahead| ahead.name),
        plan_is_current,
        refused,
    }
}
