//! `Cluster`: brokers, the controllers that keep their metadata, and the volumes of both.

#![allow(
    unreachable_pub,
    reason = "the schema derive copies each struct into a function body"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LocalObjectReference, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::balancing::{RebalancePolicy, ScalingStatus};
use crate::storage::{BrokerStorageSpec, StorageSpec};

/// Who wants to hold more of them wants `paused`.
const HOLD_MAX: u32 = 64;
/// Who wants to name more of them wants `*`.
const ALLOWED_NAMESPACES_MAX: u32 = 256;

/// What a person wants of a cluster.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "foz.dev",
    version = "v1alpha1",
    kind = "Cluster",
    namespaced,
    status = "ClusterStatus",
    derive = "PartialEq",
    shortname = "fc",
    category = "foz",
    doc = "A Foz cluster: brokers that any Kafka client can use, and the controllers that keep their metadata.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is ready or not, in a word"
    ),
    printcolumn(
        name = "Brokers",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Brokers that are ready"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "Brokers that are wanted"
    ),
    printcolumn(
        name = "Offline",
        type_ = "integer",
        json_path = ".status.offlinePartitions",
        description = "Partitions without a leader"
    ),
    printcolumn(
        name = "Under-Replicated",
        type_ = "integer",
        json_path = ".status.underReplicatedPartitions",
        description = "Partitions with fewer in-sync replicas than replicas"
    ),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    printcolumn(
        name = "Bootstrap",
        type_ = "string",
        json_path = ".status.bootstrap",
        priority = 1
    ),
    printcolumn(
        name = "Controller",
        type_ = "string",
        json_path = ".status.activeController",
        priority = 1
    ),
    printcolumn(
        name = "Scaling",
        type_ = "string",
        json_path = ".status.scaling.message",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("metadata.name must start with a letter, hold only lower case letters, digits and '-', and have at most 40 characters: the names of pods and Services are made from it"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("quantity(self.storage.size).compareTo(quantity(oldSelf.storage.size)) >= 0")
        .message("storage.size cannot shrink: volumes only grow"),
    validation = Rule::new("has(self.storage.className) == has(oldSelf.storage.className) && (!has(self.storage.className) || self.storage.className == oldSelf.storage.className)")
        .message("storage.className cannot change: a volume stays in the class that it was made in"),
    validation = Rule::new("quantity(self.controllers.storage.size).compareTo(quantity(oldSelf.controllers.storage.size)) >= 0")
        .message("controllers.storage.size cannot shrink: volumes only grow"),
    validation = Rule::new("has(self.controllers.storage.className) == has(oldSelf.controllers.storage.className) && (!has(self.controllers.storage.className) || self.controllers.storage.className == oldSelf.controllers.storage.className)")
        .message("controllers.storage.className cannot change: a volume stays in the class that it was made in"),
    validation = Rule::new("!has(self.config) || !('min.insync.replicas' in self.config) || !('default.replication.factor' in self.config) || !self.config['min.insync.replicas'].matches('^[0-9]{1,5}$') || !self.config['default.replication.factor'].matches('^[0-9]{1,5}$') || int(self.config['min.insync.replicas']) <= int(self.config['default.replication.factor'])")
        .message("config: min.insync.replicas is above default.replication.factor: no topic with that many replicas could be written to"),
    validation = Rule::new("!has(self.config) || !('default.replication.factor' in self.config) || !self.config['default.replication.factor'].matches('^[0-9]{1,5}$') || int(self.config['default.replication.factor']) <= self.replicas")
        .message("config: default.replication.factor is above replicas: there are not as many brokers to put a topic on"),
    validation = Rule::new("!has(self.config) || !('min.insync.replicas' in self.config) || !self.config['min.insync.replicas'].matches('^[0-9]{1,5}$') || int(self.config['min.insync.replicas']) <= self.replicas")
        .message("config: min.insync.replicas is above replicas: no topic could be written to"),
)]
pub struct ClusterSpec {
    /// How many brokers run. `kubectl scale` works on it. Raising it adds brokers, and replicas move onto them.
    /// Lowering it moves all replicas off the brokers with the highest numbers, which then stop; their volumes
    /// stay. Raising it again meanwhile cancels that. It is refused, with the reason in the status, while a topic
    /// has more replicas than brokers would be left.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: i32,

    /// The controllers: the processes that keep the cluster's metadata.
    #[serde(default)]
    pub controllers: ControllersSpec,

    /// The volumes of each broker.
    pub storage: BrokerStorageSpec,

    /// The container image of brokers and controllers. Default: the one that the operator was
    /// installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([A-Za-z0-9._:/@-]*[A-Za-z0-9])?$')")
        .message("image must be the name of an image, for example registry.example.com/foz-broker:0.1.0: no blanks, and no ':' or '/' at its end"))]
    pub image: Option<String>,

    /// Settings of all brokers under Kafka's names, for example `min.insync.replicas: "2"`. They take
    /// effect in the running cluster, without a restart where the setting allows it. A key taken out
    /// here goes back to its default; keys set by other means are left alone. Where nobody says them,
    /// `default.replication.factor` is the number of brokers, 3 at most, and `min.insync.replicas` is 2
    /// from three brokers on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::maps::config_schema")]
    #[x_kube(
        validation = Rule::new("self.all(key, key.matches('^[A-Za-z0-9][A-Za-z0-9._-]{0,248}$'))")
            .message("config holds a key that no setting can have: keys are Kafka's, letters, digits, '.', '_' and '-', for example min.insync.replicas"),
        validation = Rule::new("!self.exists(key, key in ['node.id', 'broker.id', 'process.roles', 'broker.rack', 'log.dir', 'log.dirs', 'listeners', 'advertised.listeners', 'inter.broker.listener.name', 'controller.listener', 'controller.listener.names', 'controller.quorum.voters', 'controller.quorum.bootstrap.servers', 'foz.node.id.base', 'foz.http.listener'])")
            .message("config holds a key that the operator gives to each pod itself: node.id, broker.id, process.roles, broker.rack, log.dirs, listeners, advertised.listeners, inter.broker.listener.name, controller.* and foz.http.listener cannot be set here"),
    )]
    pub config: BTreeMap<String, String>,

    /// Processor and memory of each broker. Default: requests of 250m and 256Mi, a limit of 1Gi of
    /// memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// Additions to the pods of brokers and controllers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_overrides: Option<PodOverrides>,

    /// How pods are restarted, one after the other, when their template changes or a setting needs it.
    #[serde(default)]
    pub rollout: RolloutSpec,

    /// When replicas are moved so that brokers have equally many.
    #[serde(default)]
    pub rebalance: RebalancePolicy,

    /// Names of pods that the operator does not restart and does not wait for, for example demo-broker-1:
    /// to look at one in peace. The others go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "pod_names_schema")]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(name, name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?-(broker|controller)-(0|[1-9][0-9]{0,2})$'))")
            .message("hold must name pods of this Cluster, for example demo-broker-1 or demo-controller-0"),
    )]
    pub hold: Vec<String>,

    /// Other namespaces of which Topics may be topics of this cluster; `*` for all. Default: none. Whoever may make
    /// Topics there can then make, adopt, change and delete topics that no older Topic names. A namespace that is
    /// taken out again keeps its topics; the operator just does not touch them any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "namespaces_schema")]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(name, name == '*' || name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))")
            .message("allowedNamespaces must be names of namespaces, lower case letters, digits and '-', or '*' for all"),
        validation = Rule::new("size(self) == 1 || !('*' in self)")
            .message("allowedNamespaces: '*' stands for all namespaces, and allows no other beside it"),
    )]
    pub allowed_namespaces: Vec<String>,

    /// While true, the operator changes nothing of this cluster and only reports its status.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,

    /// While true, no broker and no controller runs. Volumes and Services stay: set back to false, the
    /// cluster is there again with its data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

impl Cluster {
    /// Whether Topics of this namespace may be topics of the cluster.
    #[must_use]
    pub fn allows(&self, namespace: &str) -> bool {
        let allowed = &self.spec.allowed_namespaces;
        self.metadata.namespace.as_deref() == Some(namespace)
            || allowed.iter().any(|name| name == "*" || name == namespace)
    }
}

/// The controllers of a cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.replicas in [1, 3, 5]")
    .message("controllers.replicas must be 1, 3 or 5: an even number survives no more failures than the odd number below it"))]
pub struct ControllersSpec {
    /// How many controllers run: 1, 3 or 5. With 3, one may fail; with 5, two. It may be changed while the
    /// cluster serves: controllers join the metadata quorum, or leave it one by one.
    #[serde(default = "default_controller_replicas")]
    pub replicas: i32,

    /// The volume of each controller. Default: 1Gi of the default storage class.
    #[serde(default = "default_controller_storage")]
    pub storage: StorageSpec,

    /// Processor and memory of each controller. Default: requests of 100m and 128Mi, a limit of 512Mi
    /// of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

impl Default for ControllersSpec {
    fn default() -> Self {
        Self {
            replicas: default_controller_replicas(),
            storage: default_controller_storage(),
            resources: None,
        }
    }
}

/// How pods are restarted.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// What about partitions that nobody can write to while a broker is away, even with all replicas in
    /// sync: those with one replica, or with as many as min.insync.replicas. Allow: they hold up no restart,
    /// and an Event names them. Deny: no broker that has such a partition is restarted, nor a single
    /// controller.
    #[serde(default)]
    pub unavailable: Unavailable,
}

/// What about partitions that no waiting would keep available.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Unavailable {
    #[default]
    Allow,
    Deny,
}

/// Processor and memory of a container.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.requests) ? self.requests : {}, has(self.limits) ? self.limits : {}].all(part, part.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || name.startsWith('hugepages-') || name.contains('/')))")
        .message("resources must be cpu, memory, ephemeral-storage, hugepages-<size>, or one with a domain such as example.com/disk"),
    validation = Rule::new("!has(self.requests) || !has(self.limits) || ['cpu', 'memory', 'ephemeral-storage'].all(name, !(name in self.requests) || !(name in self.limits) || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)")
        .message("a request is above its limit: no pod could be made"),
    validation = Rule::new("!has(self.limits) || !('memory' in self.limits) || quantity(string(self.limits['memory'])).compareTo(quantity('32Mi')) >= 0")
        .message("limits.memory must be at least 32Mi: no process could start with less (512m is half a byte)"),
)]
pub struct Resources {
    /// What the scheduler sets aside, for example `cpu: 500m` and `memory: 1Gi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::quantity::quantities_schema")]
    pub requests: BTreeMap<String, Quantity>,

    /// What the container may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::quantity::quantities_schema")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Additions to pods.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodOverrides {
    /// Labels added to the pods. The operator's own labels win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::maps::labels_schema")]
    #[x_kube(
        validation = Rule::new("self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self[key].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$'))")
            .message("labels holds what is not a label: letters, digits, '-', '_' and '.', 63 characters at most, the key perhaps after a domain and '/'"),
    )]
    pub labels: BTreeMap<String, String>,

    /// Annotations added to the pods. Those whose keys begin with foz.dev/ are the operator's own, and left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::maps::annotations_schema")]
    #[x_kube(validation = Rule::new("self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))")
        .message("annotations holds a key that is none: letters, digits, '-', '_' and '.', 63 characters at most, perhaps after a domain and '/'"))]
    pub annotations: BTreeMap<String, String>,

    /// Labels that a node must have to run the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::maps::labels_schema")]
    #[x_kube(
        validation = Rule::new("self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self[key].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$'))")
            .message("nodeSelector holds what is not a label: letters, digits, '-', '_' and '.', 63 characters at most, the key perhaps after a domain and '/'"),
    )]
    pub node_selector: BTreeMap<String, String>,

    /// Taints of nodes that the pods put up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new("self.all(it, (!has(it.operator) || it.operator in ['', 'Exists', 'Equal']) && (!has(it.effect) || it.effect in ['', 'NoSchedule', 'PreferNoSchedule', 'NoExecute']))")
        .message("tolerations: operator must be Exists or Equal, and effect NoSchedule, PreferNoSchedule or NoExecute"))]
    pub tolerations: Vec<Toleration>,

    /// The priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
        .message("priorityClassName must be the name of a priority class: lower case letters, digits, '-' and '.'"))]
    pub priority_class_name: Option<String>,

    /// Secrets that the image is pulled with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.all(it, size(it.name) > 0)")
        .message("imagePullSecrets: an entry names no Secret"))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// What the operator sees of a cluster.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// The generation of the object that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`: clients can use the cluster. `Progressing`: something is under way. `Degraded`:
    /// something needs a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Broker pods that exist.
    #[serde(default)]
    pub replicas: i32,

    /// Broker pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,

    /// Controller pods that are ready.
    #[serde(default)]
    pub ready_controllers: i32,

    /// The label selector of the broker pods, for the scale subresource and autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// The cluster's id. It was made when the controllers first formed a quorum and lives on their
    /// volumes; this is a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,

    /// Where clients inside the Kubernetes cluster connect first, `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<String>,

    /// The pod of the active controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_controller: Option<String>,

    /// The version that the brokers run; several, while they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// Topics, internal ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<i64>,

    /// Partitions of all topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i64>,

    /// Partitions without a leader: nobody can write to them or read from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_partitions: Option<i64>,

    /// Partitions with fewer in-sync replicas than replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_replicated_partitions: Option<i64>,

    /// Replicas that their brokers cannot use: a disk has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_replicas: Option<i64>,

    /// Since when there have been under-replicated partitions; unset while there are none. `Degraded`
    /// says `UnderReplicated` once that has lasted for 30 seconds: a broker that restarts is back by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_replicated_since: Option<Time>,

    /// How far scaling, or a rebalance, has got; unset while no replicas are moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,

    /// Config keys that this object has set on the brokers. One that leaves the spec is deleted there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub managed_config_keys: Vec<String>,

    /// Config keys whose new value waits for brokers to restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub config_pending_restart: Vec<PendingRestart>,
}

/// A config key whose new value waits for brokers to restart.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingRestart {
    /// The config key.
    pub key: String,

    /// The brokers that still run with the old value: node id, and the incarnation (hexadecimal) of
    /// the process that has to go.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub incarnations: BTreeMap<String, String>,
}

/// Has a bound on all that the rule goes through: the API server takes no other.
fn pod_names_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": HOLD_MAX,
        "items": {"type": "string", "maxLength": 63},
    })
}

fn namespaces_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": ALLOWED_NAMESPACES_MAX,
        "items": {"type": "string", "maxLength": 63},
    })
}

fn default_replicas() -> i32 {
    3
}

fn default_controller_replicas() -> i32 {
    3
}

fn default_controller_storage() -> StorageSpec {
    StorageSpec {
        size: "1Gi".into(),
        class_name: None,
    }
}
