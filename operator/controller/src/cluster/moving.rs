//! Carries out the steps of [`scaling`](crate::cluster::scaling).

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use crate::cluster::execute::Executed;
use crate::cluster::owned::{ObjectKey, Owned};
use crate::cluster::reconcile::Pass;
use crate::cluster::scaling::asked::Answer;
use crate::cluster::scaling::{Step, refused, wording};
use crate::error::ReconcileError;
use crate::events::Notice;
use crate::names::Role;
use crate::quorum::rebalance::{Goal, Started};

/// Why a broker is not forgotten may be of a moment.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Takes a step.
pub(super) async fn take(
    pass: &Pass<'_>,
    step: &Step,
    executed: &mut Executed,
) -> Result<(), ReconcileError> {
    tracing::info!(cluster = %pass.name.name, namespace = %pass.name.namespace, ?step, "scales");
    match step {
        Step::Cordon { brokers, cordoned } => {
            pass.quorum()?.cordon(brokers, *cordoned).await?;
            let which = wording::brokers(brokers);
            executed.notices.push(if *cordoned {
                Notice::done("BrokersCordoned", format!("no new replicas for {which}"))
            } else {
                Notice::done("BrokersUncordoned", format!("replicas again for {which}"))
            });
        }
        Step::Start(goal) => start(pass, goal, executed).await?,
        Step::Cancel {
            rebalance_id,
            reason,
        } => {
            if pass.quorum()?.cancel_rebalance(*rebalance_id).await? {
                let notice = Notice::done("DrainCancelled", reason.clone());
                executed.notices.push(notice);
            }
        }
        Step::Unregister(node_id) => unregister(pass, *node_id, executed).await?,
        Step::RemoveService(ordinal) => remove_service(pass, *ordinal).await?,
    }
    Ok(())
}

async fn start(
    pass: &Pass<'_>,
    goal: &Goal,
    executed: &mut Executed,
) -> Result<(), ReconcileError> {
    let quorum = pass.quorum()?;
    // Nobody asked for this one: it begins with a reason.
    let only_if_uneven = *goal == Goal::Full;
    let started = quorum
        .start_rebalance(goal, pass.threshold_percent, only_if_uneven)
        .await?;
    if only_if_uneven {
        pass.context.looks.remember(&pass.uid, Instant::now());
    }
    let answer = match started {
        Started::Yes { moves, bytes, .. } => {
            let what = wording::partitions(moves);
            let copied = wording::bytes(bytes);
            let (reason, whereto) = match goal {
                Goal::DrainBrokers(drained) => {
                    ("DrainStarted", format!("off {}", wording::brokers(drained)))
                }
                Goal::AddedBrokers(added) => (
                    "RebalanceStarted",
                    format!("onto {}", wording::brokers(added)),
                ),
                Goal::Full => ("RebalanceStarted", "to even brokers out".to_owned()),
            };
            let note = format!("moves {what} {whereto}, {copied} to copy");
            executed.notices.push(Notice::done(reason, note));
            return Ok(());
        }
        Started::NothingToDo => Answer::NothingToDo,
        Started::Refused(why) => {
            let (needs_a_person, finding) = refused(goal, &why);
            let findings = if needs_a_person {
                &mut executed.outcome.degraded
            } else {
                &mut executed.outcome.progressing
            };
            findings.push(finding);
            Answer::Refused(why)
        }
    };
    tracing::info!(?goal, ?answer, "no replicas are moved");
    if let Some(view) = quorum.state().told() {
        let asked = &pass.context.asked;
        asked.remember(&pass.uid, goal, answer, view, Instant::now());
    }
    Ok(())
}

async fn unregister(
    pass: &Pass<'_>,
    node_id: i32,
    executed: &mut Executed,
) -> Result<(), ReconcileError> {
    match pass.quorum()?.unregister_broker(node_id).await? {
        Ok(()) => {
            let note = format!("broker {node_id} has left; its volumes stay");
            executed
                .notices
                .push(Notice::done("BrokerUnregistered", note));
        }
        Err(why) => {
            tracing::info!(node_id, why, "a broker is not forgotten yet");
            executed.look_again.get_or_insert(LOOK_AGAIN_AFTER);
        }
    }
    Ok(())
}

/// Nobody can be reached by it any more.
async fn remove_service(pass: &Pass<'_>, ordinal: i32) -> Result<(), ReconcileError> {
    let namespace = &pass.name.namespace;
    let key = ObjectKey {
        kind: Owned::Service,
        name: pass.name.pod(Role::Broker, ordinal),
    };
    let live = pass.context.world.owned(namespace, &key);
    let Some(uid) = live.and_then(|live| live["metadata"]["uid"].as_str().map(str::to_owned))
    else {
        return Ok(());
    };
    let api: Api<Service> = Api::namespaced(pass.context.client.clone(), namespace);
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&key.name, &parameters).await {
        Ok(_) => {}
        // Gone, or another one already.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        Err(error) => return Err(ReconcileError::kubernetes(key.to_string(), error)),
    }
    pass.context.deleted.remember(&uid);
    Ok(())
}
