//! Apply: does what was planned, and says what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use foz_api::v1::{AssignRacksRequest, ResourceType};
use foz_crd::ClusterStatus;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde_json::Value;

use crate::apply::compare::{Difference, difference};
use crate::cluster::feature_levels::FOZ_VERSION;
use crate::cluster::moving;
use crate::cluster::owned::{ObjectKey, Owned};
use crate::cluster::plan::{Action, Scaled};
use crate::cluster::reconcile::Pass;
use crate::cluster::status::Outcome;
use crate::cluster::volumes::expansion;
use crate::conditions::Finding;
use crate::config_diff::ConfigDiff;
use crate::error::ReconcileError;
use crate::events::Notice;
use crate::names::{INSTANCE_LABEL, OPERATOR};

/// A controller that the quorum does not let go: the others may have caught up by then.
const REMOVE_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Executed {
    pub(super) outcome: Outcome,
    pub(super) notices: Vec<Notice>,
    /// The pass has to come again, and why.
    pub(super) retry: Option<ReconcileError>,
    /// Something was refused that may be allowed one day, of which no watch tells.
    pub(super) ask_again: bool,
    /// Something is to be looked at again, of which no watch may tell: a restart, or a broker that leaves.
    pub(super) look_again: Option<Duration>,
}

/// Does it, action by action. One that fails does not keep the others from being done.
pub(super) async fn execute(pass: &Pass<'_>, actions: &[Action]) -> Executed {
    let mut executed = Executed::default();
    let (mut created, mut corrected) = (Vec::new(), Vec::new());
    let mut stay_is_told = true;
    for action in actions {
        if !stay_is_told && changes_a_set(action) {
            continue;
        }
        pass.context.metrics.acted("Cluster", action.label());
        let done = match action {
            Action::Apply {
                key,
                manifest,
                patch_first,
                missing,
                scaled,
                reason,
            } => {
                tracing::info!(object = %key, reason, "applies");
                let done = apply(pass, key, manifest, patch_first.as_ref(), *missing).await;
                match (&done, scaled) {
                    (Err(_), _) => {}
                    (Ok(()), Some(Scaled { from, to })) => {
                        let note = format!("from {from} to {to} brokers");
                        let reason = if to < from { "ScaledDown" } else { "ScaledUp" };
                        executed.notices.push(Notice::done(reason, note));
                    }
                    (Ok(()), None) if *missing => created.push(key.to_string()),
                    (Ok(()), None) => corrected.push(format!("{key} ({reason})")),
                }
                done
            }
            Action::Orphan { name, uid, reason } => {
                orphan(pass, name, uid, reason, &mut executed).await
            }
            Action::ExpandVolumes { claims, size } => {
                expand(pass, claims, size, &mut executed).await
            }
            Action::RecordManagedKeys(keys) => record(pass, keys).await,
            Action::AlterConfigs(diff) => alter(pass, diff, &mut executed).await,
            Action::AssignRacks(racks) => assign(pass, racks, &mut executed.notices).await,
            Action::Scale(step) => moving::take(pass, step, &mut executed).await,
            Action::FinalizeFeatureLevel(level) => finalize(pass, *level, &mut executed).await,
            Action::AddVoters(node_ids) => add_voters(pass, node_ids).await,
            Action::RemoveVoter { node_id, pod } => {
                remove_voter(pass, *node_id, pod, &mut executed).await
            }
        };
        if let Err(error) = done {
            tracing::warn!(action = action.label(), %error, "an action failed");
            executed
                .outcome
                .degraded
                .push(Finding::new(error.reason(), error.to_string()));
            let is_order = matches!(action, Action::RecordManagedKeys(_));
            executed.retry.get_or_insert(error);
            // A broker that is evicted after what comes next might not come back.
            stay_is_told &= !keeps_brokers(action);
            // What is not written down must not be set.
            if is_order {
                break;
            }
        }
    }
    for (reason, objects) in [("Created", created), ("Corrected", corrected)] {
        if !objects.is_empty() {
            executed
                .notices
                .insert(0, Notice::done(reason, objects.join(", ")));
        }
    }
    executed
}

/// It says that no broker may be evicted.
fn keeps_brokers(action: &Action) -> bool {
    matches!(action, Action::Apply { key, manifest, .. }
        if key.kind == Owned::PodDisruptionBudget && manifest["spec"]["maxUnavailable"] == 0)
}

/// It makes a StatefulSet, changes one, or takes it away.
fn changes_a_set(action: &Action) -> bool {
    match action {
        Action::Apply { key, .. } => key.kind == Owned::StatefulSet,
        Action::Orphan { .. } => true,
        _ => false,
    }
}

async fn apply(
    pass: &Pass<'_>,
    key: &ObjectKey,
    manifest: &Value,
    patch_first: Option<&Value>,
    missing: bool,
) -> Result<(), ReconcileError> {
    let namespace = &pass.name.namespace;
    let resource = key.kind.api_resource();
    let api: Api<DynamicObject> =
        Api::namespaced_with(pass.context.client.clone(), namespace, &resource);
    let in_error = |error| ReconcileError::kubernetes(key.to_string(), error);
    if missing && let Some(found) = api.get_opt(&key.name).await.map_err(in_error)? {
        if !is_ours(&found, pass) {
            return Err(ReconcileError::NameTaken(key.to_string()));
        }
        let found = serde_json::to_value(&found).unwrap_or_default();
        if difference(manifest, &found) == Difference::None {
            return Ok(());
        }
    }
    if let Some(patch) = patch_first {
        let parameters = PatchParams {
            field_manager: Some(OPERATOR.to_owned()),
            ..PatchParams::default()
        };
        api.patch(&key.name, &parameters, &Patch::Merge(patch))
            .await
            .map_err(in_error)?;
    }
    let parameters = PatchParams::apply(OPERATOR).force();
    let live = api
        .patch(&key.name, &parameters, &Patch::Apply(manifest))
        .await
        .map_err(in_error)?;
    let live = serde_json::to_value(&live).unwrap_or_default();
    pass.context.memory.set(namespace, key, manifest, &live);
    Ok(())
}

/// An object that the watch does not show may be there without our label: one of ours that a hand has
/// changed, or one of somebody else that only has the name.
fn is_ours(found: &DynamicObject, pass: &Pass<'_>) -> bool {
    let metadata = &found.metadata;
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let label = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(INSTANCE_LABEL));
    owners.iter().any(|owner| owner.uid == pass.uid)
        || (owners.is_empty() && label.is_some_and(|label| *label == pass.name.name))
}

/// How long a process that has a restart grant, or asks for it, may take to stop: as its pod says.
pub(super) const GRACE_OF_POD: Option<u32> = None;
/// The same, of one that nobody waits for: it may not be able to hear of any grant.
pub(super) const GRACE_OF_REPLACED: Option<u32> = Some(30);

/// Deletes a pod, so that its StatefulSet makes it anew from the newest template. Says whether it was there still.
pub(super) async fn delete_pod(
    pass: &Pass<'_>,
    pod: &str,
    uid: &str,
    grace_seconds: Option<u32>,
) -> Result<bool, ReconcileError> {
    let deletion = DeleteParams {
        grace_period_seconds: grace_seconds,
        ..of_uid(uid)
    };
    delete::<Pod>(pass, pod, uid, &deletion).await
}

/// Deletes a claim, and with it, when its pod is gone, what is on the volume.
pub(super) async fn delete_claim(
    pass: &Pass<'_>,
    claim: &str,
    uid: &str,
) -> Result<bool, ReconcileError> {
    delete::<PersistentVolumeClaim>(pass, claim, uid, &of_uid(uid)).await
}

/// Deletes the object of this uid, and no other. Says whether it was there still.
async fn delete<K>(
    pass: &Pass<'_>,
    name: &str,
    uid: &str,
    deletion: &DeleteParams,
) -> Result<bool, ReconcileError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(pass.context.client.clone(), &pass.name.namespace);
    match api.delete(name, deletion).await {
        // Gone, or another one already.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
            pass.context.deleted.remember(uid);
            Ok(false)
        }
        Err(error) => {
            let what = format!("{}/{name}", K::kind(&()));
            Err(ReconcileError::kubernetes(what, error))
        }
        Ok(_) => {
            pass.context.deleted.remember(uid);
            Ok(true)
        }
    }
}

/// Deletes a StatefulSet and leaves its pods. The pass that sees it gone makes it anew.
async fn orphan(
    pass: &Pass<'_>,
    name: &str,
    uid: &str,
    reason: &str,
    executed: &mut Executed,
) -> Result<(), ReconcileError> {
    if pass.context.deleted.contains(uid) {
        return Ok(());
    }
    let api: Api<StatefulSet> = Api::namespaced(pass.context.client.clone(), &pass.name.namespace);
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..of_uid(uid)
    };
    tracing::info!(name, reason, "deletes a StatefulSet and leaves its pods");
    match api.delete(name, &parameters).await {
        // Gone, or another one already: the watch tells.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        Err(error) => {
            return Err(ReconcileError::kubernetes(
                format!("StatefulSet/{name}"),
                error,
            ));
        }
        Ok(_) => {
            let note = format!(
                "{name} is made anew around its pods, none of which restarts by that: {reason}"
            );
            let notice = Notice::done("StatefulSetReplaced", note);
            executed.notices.push(notice);
        }
    }
    pass.context.deleted.remember(uid);
    Ok(())
}

fn of_uid(uid: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    }
}

/// Grows volumes. A refusal (mostly: the storage class does not allow it) is remembered for a while:
/// asking again with every pass would change nothing.
async fn expand(
    pass: &Pass<'_>,
    claims: &[String],
    size: &str,
    executed: &mut Executed,
) -> Result<(), ReconcileError> {
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(pass.context.client.clone(), &pass.name.namespace);
    let parameters = PatchParams {
        field_manager: Some(OPERATOR.to_owned()),
        ..PatchParams::default()
    };
    let names = claims.join(", ");
    let question = format!("{}/{names} to {size}", pass.name.namespace);
    let mut refusal = pass.context.refusals.recent(&question);
    if refusal.is_none() {
        for claim in claims {
            match api
                .patch(claim, &parameters, &Patch::Merge(expansion(size)))
                .await
            {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_forbidden() || status.is_invalid() => {
                    refusal = Some(status.message.clone());
                    pass.context
                        .refusals
                        .remember(&question, status.message.clone());
                    break;
                }
                Err(error) => {
                    return Err(ReconcileError::kubernetes(format!("claim {claim}"), error));
                }
            }
        }
    }
    match refusal {
        None => {
            let note = format!("{names} to {size}");
            executed.notices.push(Notice::done("VolumesExpanded", note));
        }
        Some(message) => {
            executed.ask_again = true;
            let message = format!("these volumes do not grow to {size}: {names}; {message}");
            let finding = Finding::new("VolumeExpansionRefused", message);
            executed.outcome.degraded.push(finding);
        }
    }
    Ok(())
}

async fn record(pass: &Pass<'_>, keys: &[String]) -> Result<(), ReconcileError> {
    let status = ClusterStatus {
        managed_config_keys: keys.to_vec(),
        ..pass.previous.clone()
    };
    pass.write_status(&status).await
}

async fn alter(
    pass: &Pass<'_>,
    diff: &ConfigDiff,
    executed: &mut Executed,
) -> Result<(), ReconcileError> {
    let altered = pass.quorum()?.alter(ResourceType::Broker, "", diff).await?;
    if !altered.refused.is_empty() {
        let message = format!(
            "the brokers refuse settings of this Cluster: {}",
            altered.refused.join("; ")
        );
        executed
            .outcome
            .degraded
            .push(Finding::new("ConfigInvalid", message));
    }
    if !altered.changed.is_empty() {
        let keys: Vec<String> = altered.changed.into_iter().collect();
        executed
            .notices
            .push(Notice::done("ConfigChanged", keys.join(", ")));
    }
    executed.outcome.deleted = altered.deleted;
    executed.outcome.needs_restart = altered.needs_restart;
    Ok(())
}

/// Says that every node knows the level. When one does not, nothing tells when it does.
async fn finalize(
    pass: &Pass<'_>,
    level: i32,
    executed: &mut Executed,
) -> Result<(), ReconcileError> {
    let quorum = pass.quorum()?;
    match quorum.finalize_feature_level(FOZ_VERSION, level).await? {
        None => {
            let note = format!("{FOZ_VERSION} is {level}: no version before can read the metadata");
            executed
                .notices
                .push(Notice::done("FeatureLevelFinalised", note));
        }
        Some(refusal) => {
            let finding = Finding::new("FeatureLevelNotFinalised", refusal);
            executed.outcome.degraded.push(finding);
            executed.ask_again = true;
        }
    }
    Ok(())
}

/// Lets controllers that were removed come back.
async fn add_voters(pass: &Pass<'_>, node_ids: &[i32]) -> Result<(), ReconcileError> {
    let quorum = pass.quorum()?;
    for node_id in node_ids {
        quorum.add_voter(*node_id).await?;
    }
    Ok(())
}

/// Takes a controller out of the quorum. When the quorum refuses, it is asked again soon: nothing else may change.
async fn remove_voter(
    pass: &Pass<'_>,
    node_id: i32,
    pod: &str,
    executed: &mut Executed,
) -> Result<(), ReconcileError> {
    match pass.quorum()?.remove_voter(node_id).await? {
        None => {
            tracing::info!(pod, "is no member of the quorum any more");
            let note = format!("{pod} does not vote any more");
            executed.notices.push(Notice::done("VoterRemoved", note));
        }
        Some(refusal) => {
            tracing::info!(pod, refusal, "stays in the quorum for now");
            let finding = Finding::new("VoterNotRemoved", format!("{pod}: {refusal}"));
            executed.outcome.degraded.push(finding);
            executed.look_again = Some(REMOVE_AGAIN_AFTER);
        }
    }
    Ok(())
}

async fn assign(
    pass: &Pass<'_>,
    racks: &BTreeMap<i32, String>,
    notices: &mut Vec<Notice>,
) -> Result<(), ReconcileError> {
    let request = AssignRacksRequest {
        racks: racks
            .iter()
            .map(|(node_id, rack)| (*node_id, rack.clone()))
            .collect(),
        operator_epoch: 0,
    };
    pass.quorum()?
        .change(|mut client, operator_epoch| {
            let request = AssignRacksRequest {
                operator_epoch,
                ..request.clone()
            };
            async move { client.assign_racks(request).await }
        })
        .await?;
    let each: Vec<String> = racks
        .iter()
        .map(|(node_id, rack)| format!("broker {node_id} in {rack}"))
        .collect();
    notices.push(Notice::done("RacksAssigned", each.join(", ")));
    Ok(())
}
