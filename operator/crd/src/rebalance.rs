//! `Rebalance`: replicas that are moved between brokers once, planned first and then approved.

#![allow(
    unreachable_pub,
    reason = "the schema derive copies each struct into a function body"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "columns are of the same type, and each is an attribute of its own"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A Cluster has no more brokers: controllers' ids begin there.
const BROKERS_MAX: u32 = 1000;

/// What a person wants moved.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "foz.dev",
    version = "v1alpha1",
    kind = "Rebalance",
    namespaced,
    status = "RebalanceStatus",
    derive = "PartialEq",
    shortname = "fr",
    category = "foz",
    doc = "Moves replicas between the brokers of a Foz cluster, once: the status shows the plan, spec.approved carries it out, deleting the object cancels it.",
    selectable = ".spec.clusterRef.name",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterRef.name"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Approved", type_ = "boolean", json_path = ".spec.approved"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Moves",
        type_ = "integer",
        json_path = ".status.plan.moves",
        description = "Partitions that the plan moves"
    ),
    printcolumn(
        name = "Moved",
        type_ = "integer",
        json_path = ".status.progress.moved",
        description = "Partitions that have been moved"
    ),
    printcolumn(
        name = "Left",
        type_ = "integer",
        json_path = ".status.progress.left",
        description = "Partitions that are still to be moved"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.mode == 'Full') == (!has(self.brokers) || size(self.brokers) == 0)")
        .message("brokers names which brokers were added or are to be emptied: it is needed with mode AddedBrokers and DrainBrokers, and says nothing with mode Full"),
    validation = Rule::new("self.clusterRef.name == oldSelf.clusterRef.name")
        .message("clusterRef cannot change: make another Rebalance"),
    validation = Rule::new("!oldSelf.approved || self.approved")
        .message("approved cannot be taken back: delete the Rebalance to cancel it"),
    validation = Rule::new("!oldSelf.approved || (self.mode == oldSelf.mode && has(self.brokers) == has(oldSelf.brokers) && (!has(self.brokers) || self.brokers == oldSelf.brokers))")
        .message("mode and brokers cannot change once it is approved: make another Rebalance"),
)]
pub struct RebalanceSpec {
    /// The Cluster whose replicas are moved. Cannot change.
    pub cluster_ref: LocalClusterRef,

    /// What the moves are for. Full: all brokers get equally many replicas, by racks first. AddedBrokers: replicas
    /// move onto the brokers of that list, and nowhere else. DrainBrokers: the brokers of that list are emptied, and
    /// get no replicas as long as this object is there.
    pub mode: RebalanceMode,

    /// Node ids of brokers: with AddedBrokers those that were added, with DrainBrokers those that are emptied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "brokers_schema")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub brokers: Vec<i32>,

    /// Whether the plan may be carried out. Look at it in the status first, or set it at once. Cannot be taken back:
    /// deleting the object cancels what it has begun.
    #[serde(default)]
    pub approved: bool,
}

/// A Cluster in the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalClusterRef {
    /// The name of the Cluster.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("clusterRef.name must be a name that a Cluster can have: a letter, then lower case letters, digits and '-', 40 characters at most"))]
    pub name: String,
}

/// What the moves are for.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[schemars(inline)]
pub enum RebalanceMode {
    Full,
    AddedBrokers,
    DrainBrokers,
}

/// How far a Rebalance has got.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[schemars(inline)]
pub enum RebalancePhase {
    Planned,
    Running,
    Completed,
    Cancelled,
    Failed,
    Refused,
}

/// What the operator sees of a Rebalance.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RebalanceStatus {
    /// The generation of the object that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`: the plan is there, or when it is approved: all is moved. `Progressing`: something is under way.
    /// `Degraded`: something needs a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// `Planned`: the plan is in the status, and waits for `spec.approved` or for its turn. `Running`: it is carried
    /// out. `Completed`, `Cancelled`, `Failed`: it has ended. `Refused`: there is no such plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RebalancePhase>,

    /// What is, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// What would be moved, or when it was begun was to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,

    /// How far it has got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RebalanceProgress>,

    /// The number under which the brokers carry it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance_id: Option<i64>,

    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

/// What a plan moves.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// Partitions that change.
    pub moves: i32,

    /// Of them those that get another preferred leader only, which copies nothing.
    pub leader_moves: i32,

    /// Bytes that are copied.
    pub bytes: i64,

    /// An estimate of how long it takes; unset while nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,

    /// What each broker has now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<BrokerLoad>,

    /// What each broker has afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<BrokerLoad>,

    /// The first of the moves: partition, brokers that have it, brokers that will have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_moves: Vec<String>,
}

/// What a broker has.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BrokerLoad {
    /// Its node id.
    pub broker: i32,

    /// Replicas.
    pub replicas: i32,

    /// Of them those that are preferred leaders.
    pub leaders: i32,

    /// Bytes of all replicas, as far as they are known.
    pub bytes: i64,
}

/// How far the moves have got.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RebalanceProgress {
    /// Partitions that have been moved.
    pub moved: i32,

    /// Partitions that are still to be moved.
    pub left: i32,

    /// Bytes that have been copied.
    pub bytes_moved: i64,

    /// Bytes that are still to be copied.
    pub bytes_left: i64,

    /// An estimate of how long that takes; unset while nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<i64>,
}

/// Has a bound on all that the rule goes through: the API server takes no other.
fn brokers_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": BROKERS_MAX,
        "items": {"type": "integer", "format": "int32", "minimum": 0, "maximum": BROKERS_MAX - 1},
    })
}
