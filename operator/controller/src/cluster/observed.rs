//! What a pass over a Cluster sees: everything was read before anything is decided.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod, PodSpec};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::cluster::owned::ObjectKey;
use crate::cluster::roll::input::Denial;
use crate::cluster::scaling::asked::Answer;
use crate::cluster::storage_classes::StorageClasses;
use crate::names::{
    CONTAINER, FORCE_RESTART_ANNOTATION, REPLACE_VOLUME_ANNOTATION, RESTART_ANNOTATION,
    RESTARTED_FOR_ANNOTATION, Role,
};
use crate::quorum::rebalance::{Goal, RebalanceView};
use crate::quorum::view::{BrokerView, GrantView, VotersView};
use crate::volume_id::VolumeId;
use crate::world::warnings::Warning;

/// The scheduler's: the node that a volume is made for.
const SELECTED_NODE_ANNOTATION: &str = "volume.kubernetes.io/selected-node";

/// Claims by role, ordinal and volume.
pub type Claims = BTreeMap<(Role, i32, VolumeId), ClaimState>;

/// Those of one pod.
pub fn claims_of(
    claims: &Claims,
    role: Role,
    ordinal: i32,
) -> impl Iterator<Item = (VolumeId, &ClaimState)> {
    let range = (role, ordinal, VolumeId::FIRST)..=(role, ordinal, VolumeId::LAST);
    claims.range(range).map(|((_, _, id), claim)| (*id, claim))
}

/// The world as one pass sees it.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// When it was looked.
    pub now: Timestamp,
    /// Owned objects that are there.
    pub live: BTreeMap<ObjectKey, Value>,
    /// What the API server made of objects that we applied: see [`crate::apply::Memory`].
    pub accepted: BTreeMap<ObjectKey, crate::apply::Accepted>,
    /// The StatefulSets.
    pub sets: BTreeMap<Role, SetState>,
    /// The pods, by role and ordinal.
    pub pods: BTreeMap<(Role, i32), PodState>,
    /// The claims.
    pub claims: Claims,
    /// The storage classes; none where we may not see them.
    pub storage_classes: StorageClasses,
    /// For how many controllers there are volumes, up to the last one; looked at only while no StatefulSet of them is there.
    pub controller_volumes: i32,
    /// The zones of nodes that have one.
    pub zones: BTreeMap<String, String>,
    /// The metadata quorum.
    pub quorum: QuorumState,
    /// By node id: restarts that the quorum has denied lately.
    pub denied: BTreeMap<i32, Denial>,
    /// By node id, of brokers whose volume may go: partitions that no other broker has in sync.
    pub only_copies: BTreeMap<i32, Vec<String>>,
    /// The topic whose partitions have most replicas, and how many; read while there are more brokers than wanted.
    pub widest_topic: Option<(String, i32)>,
    /// What the quorum answered lately when it was asked to move replicas.
    pub asked: BTreeMap<Goal, Answer>,
    /// It is time to ask whether brokers are uneven in what no event tells.
    pub look_is_due: bool,
    /// Brokers that approved Rebalances empty, or have emptied.
    pub drains: BTreeSet<i32>,
    /// An approved Rebalance that has not ended.
    pub rebalance_pending: Option<String>,
    /// Numbers of brokers that have a Service.
    pub broker_services: BTreeSet<i32>,
}

/// What is known of the metadata quorum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum QuorumState {
    /// Nobody has answered yet.
    #[default]
    Unknown,
    /// Answered once, and has not for a while; why.
    Lost(String),
    /// Does not answer just now, as during an election: what it last told.
    Reconnecting(Box<QuorumView>),
    /// Its events are followed.
    Followed(Box<QuorumView>),
}

/// The part of the view that a Cluster's pass needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuorumView {
    /// The cluster's id.
    pub cluster_id: String,
    /// The node id of the active controller; -1 while there is none.
    pub active_node_id: i32,
    /// Brokers by node id.
    pub brokers: BTreeMap<i32, BrokerView>,
    /// Who may stop, by node id.
    pub grants: BTreeMap<i32, GrantView>,
    /// What is set for all brokers.
    pub broker_config: BTreeMap<String, String>,
    /// Who votes in the quorum.
    pub voters: VotersView,
    /// The levels that are finalised, by feature.
    pub features: BTreeMap<String, i32>,
    /// Topics.
    pub topics: i64,
    /// Partitions of all topics.
    pub partitions: i64,
    /// Partitions without a leader.
    pub offline: i64,
    /// Partitions with fewer in-sync replicas than replicas.
    pub under_replicated: i64,
    /// By node id: replicas on a broker, also those that it is getting or losing. No entry for none.
    pub replicas: BTreeMap<i32, i64>,
    /// By node id: those of them that the broker cannot use. No entry for none.
    pub offline_replicas: BTreeMap<i32, i64>,
    /// Partitions that are on their way to other brokers.
    pub moving: i64,
    /// The newest rebalances, by their number; the last one may run.
    pub rebalances: BTreeMap<i64, RebalanceView>,
}

impl QuorumView {
    /// The rebalance that runs.
    #[must_use]
    pub fn rebalancing(&self) -> Option<&RebalanceView> {
        let (_, newest) = self.rebalances.last_key_value()?;
        Some(newest).filter(|newest| newest.runs())
    }

    /// Replicas on a broker.
    #[must_use]
    pub fn replicas_on(&self, node_id: i32) -> i64 {
        self.replicas.get(&node_id).copied().unwrap_or_default()
    }
}

impl QuorumState {
    /// What it told last, if that is not long ago: good enough to report.
    #[must_use]
    pub fn told(&self) -> Option<&QuorumView> {
        match self {
            Self::Followed(view) | Self::Reconnecting(view) => Some(view),
            Self::Unknown | Self::Lost(_) => None,
        }
    }

    /// What is now: good enough to act on.
    #[must_use]
    pub fn current(&self) -> Option<&QuorumView> {
        match self {
            Self::Followed(view) => Some(view),
            Self::Unknown | Self::Lost(_) | Self::Reconnecting(_) => None,
        }
    }
}

/// A StatefulSet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetState {
    /// How many pods it should have.
    pub replicas: i32,
    /// The revision of the newest template, when Kubernetes has seen it.
    pub update_revision: Option<String>,
    /// The image of the newest template.
    pub image: Option<String>,
    /// What the newest template says of [`RESTART_ANNOTATION`] on the Cluster.
    pub restarted_for: Option<String>,
    /// The volumes that it makes claims for.
    pub volumes: BTreeSet<VolumeId>,
    /// What Kubernetes warns of, the newest first: why it cannot make a pod, for example.
    pub warnings: Vec<Warning>,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodState {
    /// Its uid: a pod of the same name may be another one.
    pub uid: String,
    /// The revision of the template it was made from.
    pub revision: Option<String>,
    /// It can serve.
    pub ready: bool,
    /// Since when, in whole seconds.
    pub ready_since: Option<Timestamp>,
    /// The container's process runs.
    pub running: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// Where it runs.
    pub node: Option<String>,
    /// Its address.
    pub ip: Option<String>,
    /// Why it does not run, where Kubernetes says so: a reason and a message.
    pub trouble: Option<(String, String)>,
    /// How often its container has been started anew.
    pub container_restarts: i32,
    /// Its image.
    pub image: Option<String>,
    /// What its template said of [`RESTART_ANNOTATION`] on the Cluster.
    pub restarted_for: Option<String>,
    /// Somebody has put [`RESTART_ANNOTATION`] on it: restart it when that does no harm.
    pub restart_asked: bool,
    /// Somebody has put [`FORCE_RESTART_ANNOTATION`] on it: restart it whatever it costs.
    pub force_asked: bool,
    /// The value of [`REPLACE_VOLUME_ANNOTATION`] that somebody has put on it: give it an empty volume.
    pub replace_asked: Option<String>,
    /// The volumes that it was made with.
    pub volumes: BTreeSet<VolumeId>,
}

/// A claim of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimState {
    /// The size asked for, as text.
    pub requested: String,
    /// Its storage class.
    pub class_name: Option<String>,
    /// The size of the volume, once there is one.
    pub capacity: Option<String>,
    /// It is being deleted.
    pub deleting: bool,
    /// Its uid: a claim of the same name may be another one.
    pub uid: String,
    /// `Pending`, `Bound`, or `Lost`: its volume does not exist any more.
    pub phase: Option<String>,
    /// What the storage says of growing it.
    pub answers: Vec<StorageAnswer>,
    /// The newest that Kubernetes warns of.
    pub warning: Option<Warning>,
    /// The node that its volume was made for.
    pub node: Option<String>,
    /// That node does not exist any more, as far as we see.
    pub node_is_gone: bool,
    /// When it was made, in whole seconds.
    pub created: Option<Timestamp>,
}

/// What the storage says about a claim that is to grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageAnswer {
    /// In CamelCase.
    pub reason: String,
    /// In its own words; may be empty.
    pub message: String,
    /// It does not go on by itself.
    pub failed: bool,
}

impl StorageAnswer {
    /// To be read.
    #[must_use]
    pub fn words(&self) -> String {
        if self.message.is_empty() {
            self.reason.clone()
        } else {
            format!("{}: {}", self.reason, self.message)
        }
    }
}

impl ClaimState {
    /// It has no volume yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.phase.as_deref() == Some("Pending")
    }

    /// There is a volume with something on it, or was.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.deleting && !self.is_pending() && !self.requested.is_empty()
    }
}

impl From<&StatefulSet> for SetState {
    fn from(set: &StatefulSet) -> Self {
        let replicas = set
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let current = set.status.as_ref().filter(|status| {
            set.metadata.generation.is_none_or(|generation| {
                status
                    .observed_generation
                    .is_some_and(|observed| observed >= generation)
            })
        });
        let template = set.spec.as_ref().map(|spec| &spec.template);
        Self {
            replicas,
            update_revision: current.and_then(|status| status.update_revision.clone()),
            image: template
                .and_then(|template| template.spec.as_ref())
                .and_then(image),
            restarted_for: template
                .and_then(|template| template.metadata.as_ref())
                .and_then(|metadata| metadata.annotations.as_ref())
                .and_then(|annotations| annotations.get(RESTARTED_FOR_ANNOTATION).cloned()),
            volumes: volumes_of_set(set),
            warnings: Vec::new(),
        }
    }
}

impl From<&Pod> for PodState {
    fn from(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let conditions = status
            .and_then(|status| status.conditions.as_deref())
            .unwrap_or_default();
        let condition = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_);
        let container = status
            .and_then(|status| status.container_statuses.as_ref())
            .and_then(|containers| containers.iter().find(|it| it.name == CONTAINER));
        let unschedulable = condition("PodScheduled")
            .filter(|condition| condition.status == "False")
            .map(|condition| {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                (text(&condition.reason), text(&condition.message))
            });
        let ready = condition("Ready").filter(|condition| condition.status == "True");
        let labels = pod.metadata.labels.as_ref();
        let annotation = |key: &str| pod.metadata.annotations.as_ref()?.get(key);
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            revision: labels.and_then(|labels| labels.get("controller-revision-hash").cloned()),
            ready: ready.is_some(),
            ready_since: ready
                .and_then(|condition| condition.last_transition_time.as_ref())
                .map(|time| time.0),
            running: container
                .and_then(|container| container.state.as_ref())
                .is_some_and(|state| state.running.is_some()),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            ip: status.and_then(|status| status.pod_ip.clone()),
            trouble: container.and_then(waiting).or(unschedulable),
            container_restarts: container.map_or(0, |container| container.restart_count),
            image: pod.spec.as_ref().and_then(image),
            restarted_for: annotation(RESTARTED_FOR_ANNOTATION).cloned(),
            restart_asked: annotation(RESTART_ANNOTATION).is_some(),
            force_asked: annotation(FORCE_RESTART_ANNOTATION).is_some(),
            replace_asked: annotation(REPLACE_VOLUME_ANNOTATION).cloned(),
            volumes: pod.spec.as_ref().map(volumes_of_pod).unwrap_or_default(),
        }
    }
}

fn volumes_of_set(set: &StatefulSet) -> BTreeSet<VolumeId> {
    let templates = set
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_claim_templates.as_ref());
    let names = templates
        .into_iter()
        .flatten()
        .filter_map(|it| it.metadata.name.as_ref());
    names
        .filter_map(|name| VolumeId::of_template(name))
        .collect()
}

fn volumes_of_pod(pod: &PodSpec) -> BTreeSet<VolumeId> {
    let volumes = pod.volumes.iter().flatten();
    let claimed = volumes.filter(|volume| volume.persistent_volume_claim.is_some());
    claimed
        .filter_map(|volume| VolumeId::of_template(&volume.name))
        .collect()
}

fn image(pod: &PodSpec) -> Option<String> {
    let mut containers = pod.containers.iter();
    containers.find(|it| it.name == CONTAINER)?.image.clone()
}

impl From<&PersistentVolumeClaim> for ClaimState {
    fn from(claim: &PersistentVolumeClaim) -> Self {
        let requested = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.resources.as_ref())
            .and_then(|resources| resources.requests.as_ref())
            .and_then(|requests| requests.get("storage"));
        let capacity = claim
            .status
            .as_ref()
            .and_then(|status| status.capacity.as_ref())
            .and_then(|capacity| capacity.get("storage"));
        Self {
            requested: requested
                .map(|quantity| quantity.0.clone())
                .unwrap_or_default(),
            class_name: claim
                .spec
                .as_ref()
                .and_then(|spec| spec.storage_class_name.clone()),
            capacity: capacity.map(|quantity| quantity.0.clone()),
            deleting: claim.metadata.deletion_timestamp.is_some(),
            uid: claim.metadata.uid.clone().unwrap_or_default(),
            phase: claim.status.as_ref().and_then(|it| it.phase.clone()),
            answers: answers(claim),
            warning: None,
            node: claim
                .metadata
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(SELECTED_NODE_ANNOTATION).cloned()),
            node_is_gone: false,
            created: claim.metadata.creation_timestamp.as_ref().map(|it| it.0),
        }
    }
}

/// Conditions of the claim that hold, and how far its resizing has got where Kubernetes says that it cannot be done
/// (KEP-1790).
fn answers(claim: &PersistentVolumeClaim) -> Vec<StorageAnswer> {
    let Some(status) = &claim.status else {
        return Vec::new();
    };
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let holds = conditions.iter().filter(|it| it.status == "True");
    let mut answers: Vec<StorageAnswer> = holds
        .map(|condition| StorageAnswer {
            reason: condition.type_.clone(),
            message: condition.message.clone().unwrap_or_default(),
            failed: condition.type_.ends_with("Error"),
        })
        .collect();
    let stages = status.allocated_resource_statuses.as_ref();
    if let Some(stage) = stages.and_then(|stages| stages.get("storage"))
        && stage.ends_with("Infeasible")
        && !answers.iter().any(|answer| answer.failed)
    {
        answers.push(StorageAnswer {
            reason: stage.clone(),
            message: String::new(),
            failed: true,
        });
    }
    answers
}

/// A container that waits for something that will not come by itself, with what its last run said.
fn waiting(container: &ContainerStatus) -> Option<(String, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone().unwrap_or_default();
    if matches!(
        reason.as_str(),
        "" | "ContainerCreating" | "PodInitializing"
    ) {
        return None;
    }
    let last_words = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref())
        .and_then(|terminated| terminated.message.as_deref())
        .and_then(|message| message.trim().lines().last());
    let message = last_words
        .map(str::to_owned)
        .or_else(|| waiting.message.clone());
    Some((reason, message.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::{PodState, SetState};
    use serde_json::json;

    fn pod(status: &serde_json::Value) -> PodState {
        let pod = serde_json::from_value(json!({
            "metadata": {
                "uid": "u",
                "labels": {"controller-revision-hash": "r1"},
                "annotations": {"foz.dev/restarted-for": "monday", "foz.dev/restart": ""},
            },
            "spec": {
                "containers": [{"name": "envoy", "image": "e"}, {"name": "foz", "image": "foz:1"}],
                "nodeName": "node-1",
            },
            "status": status,
        }));
        PodState::from(&pod.expect("a pod"))
    }

    #[test]
    fn a_pod_that_serves() {
        let state = pod(&json!({
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "envoy", "image": "", "imageID": "", "ready": true, "restartCount": 9},
                {"name": "foz", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}},
            ],
        }));
        assert!(state.ready && state.running && state.trouble.is_none());
        assert_eq!(state.container_restarts, 0);
        assert_eq!(state.revision.as_deref(), Some("r1"));
        assert_eq!(state.image.as_deref(), Some("foz:1"));
        assert_eq!(state.restarted_for.as_deref(), Some("monday"));
        assert!(state.restart_asked && !state.force_asked);
    }

    #[test]
    fn the_last_words_of_a_container_that_keeps_dying_are_told() {
        let state = pod(&json!({"containerStatuses": [{
            "name": "foz", "image": "", "imageID": "", "ready": false, "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 1, "message": "starting\nthe volume belongs to cluster a, expected b\n"}},
        }]}));
        let trouble = Some((
            "CrashLoopBackOff".to_owned(),
            "the volume belongs to cluster a, expected b".to_owned(),
        ));
        assert_eq!(state.trouble, trouble);
        assert!(!state.running);
        assert_eq!(state.container_restarts, 4);
    }

    #[test]
    fn a_pod_without_a_node_says_why() {
        let state = pod(&json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"},
        ]}));
        assert_eq!(
            state.trouble,
            Some(("Unschedulable".to_owned(), "no room".to_owned()))
        );
    }

    #[test]
    fn a_revision_that_kubernetes_has_not_computed_yet_does_not_count() {
        let set = |generation: i64| {
            let set = serde_json::from_value(json!({
                "metadata": {"generation": generation},
                "spec": {"replicas": 3, "selector": {}, "serviceName": "s", "template": {
                    "metadata": {"annotations": {"foz.dev/restarted-for": "monday"}},
                    "spec": {"containers": [{"name": "foz", "image": "foz:2"}]},
                }},
                "status": {"observedGeneration": 2, "replicas": 3, "updateRevision": "r2"},
            }));
            SetState::from(&set.expect("a set"))
        };
        assert_eq!(set(2).update_revision.as_deref(), Some("r2"));
        let newer = set(3);
        assert_eq!(newer.update_revision, None);
        assert_eq!(newer.image.as_deref(), Some("foz:2"));
        assert_eq!(newer.restarted_for.as_deref(), Some("monday"));
    }
}
