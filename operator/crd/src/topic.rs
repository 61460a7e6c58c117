//! `Topic`: a topic of a cluster, in the same namespace or in one that the Cluster allows.

#![allow(
    unreachable_pub,
    reason = "the schema derive copies each struct into a function body"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a person wants of a topic.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "foz.dev",
    version = "v1alpha1",
    kind = "Topic",
    namespaced,
    status = "TopicStatus",
    derive = "PartialEq",
    shortname = "ft",
    category = "foz",
    doc = "A topic of a Foz cluster. The object decides: what is changed by other means is put back.",
    selectable = ".spec.clusterRef.name",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions"),
    printcolumn(name = "Replication", type_ = "integer", json_path = ".status.replicationFactor"),
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName", priority = 1),
    printcolumn(
        name = "Desired-Replication",
        type_ = "integer",
        json_path = ".spec.replicationFactor",
        description = "On how many brokers each partition is to be, where this object says so",
        priority = 1
    ),
    printcolumn(
        name = "Cluster-Namespace",
        type_ = "string",
        json_path = ".spec.clusterRef.namespace",
        description = "Where the Cluster is, if not in this namespace",
        priority = 1
    ),
    printcolumn(name = "Deletion", type_ = "string", json_path = ".spec.deletionPolicy", priority = 1),
    validation = Rule::new("has(self.spec.topicName) || size(self.metadata.name) <= 249")
        .message("metadata.name is longer than the 249 characters that Kafka allows for a topic: set spec.topicName"),
    validation = Rule::new("(has(self.spec.topicName) ? self.spec.topicName : self.metadata.name) == (has(oldSelf.spec.topicName) ? oldSelf.spec.topicName : oldSelf.metadata.name)")
        .message("spec.topicName cannot change: a topic cannot be renamed; make another Topic"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.clusterRef == oldSelf.clusterRef")
        .message("clusterRef cannot change: a topic cannot move to another cluster; make another Topic"),
    validation = Rule::new("!has(oldSelf.partitions) || (has(self.partitions) && self.partitions >= oldSelf.partitions)")
        .message("partitions cannot decrease or be unset: the records of a partition would be lost"),
    validation = Rule::new("!has(self.replicationFactor) || !has(self.config) || !('min.insync.replicas' in self.config) || !self.config['min.insync.replicas'].matches('^[0-9]{1,5}$') || int(self.config['min.insync.replicas']) <= self.replicationFactor")
        .message("config: min.insync.replicas is above replicationFactor: the topic could not be written to"),
)]
pub struct TopicSpec {
    /// The Cluster that the topic is in. Cannot change.
    pub cluster_ref: ClusterRef,

    /// The topic's name in Kafka. Default: the name of this object. Kafka allows names that Kubernetes
    /// does not: upper case letters and `_`. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-zA-Z0-9._-]{1,249}$') && self != '.' && self != '..'")
            .message("topicName must have 1 to 249 characters, only ASCII letters, digits, '.', '_' and '-', and be neither '.' nor '..'"),
        validation = Rule::new("!(self in ['__consumer_offsets', '__transaction_state'])")
            .message("topicName is that of an internal topic, which the brokers make and keep themselves"),
    )]
    pub topic_name: Option<String>,

    /// How many partitions the topic has. It can be raised, never lowered. Default: the cluster's
    /// `num.partitions` at the moment of creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub partitions: Option<i32>,

    /// On how many brokers each partition is; a Cluster has 1000 at most. A topic is made once as many brokers run.
    /// It can be raised and lowered while the topic serves: on which brokers the replicas are is decided by the
    /// cluster, by racks first. Editing it back cancels what is under way. Not below min.insync.replicas. Default:
    /// the cluster's `default.replication.factor` at the moment of creation, and from then on what there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replication_factor: Option<i32>,

    /// Settings of the topic under Kafka's names, for example `retention.ms: "604800000"`. A key taken
    /// out here goes back to the cluster's value; keys set by other means are left alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::maps::config_schema")]
    #[x_kube(validation = Rule::new("self.all(key, key.matches('^[A-Za-z0-9][A-Za-z0-9._-]{0,248}$'))")
        .message("config holds a key that no setting can have: keys are Kafka's, letters, digits, '.', '_' and '-', for example retention.ms"))]
    pub config: BTreeMap<String, String>,

    /// What deleting this object does to the topic: `Retain` leaves it and its records, `Delete`
    /// deletes them.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// What happens when the topic exists and was not made by this object: `Fail` leaves it alone and
    /// says so, `Adopt` takes it over as it is and brings its settings to this object's.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
}

/// A Cluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// The name of the Cluster.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')")
        .message("clusterRef.name must be a name that a Cluster can have: a letter, then lower case letters, digits and '-', 40 characters at most"))]
    pub name: String,

    /// The namespace of the Cluster. Default: that of this object. The Cluster of another namespace has to name this
    /// one in its spec.allowedNamespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("clusterRef.namespace must be the name of a namespace: lower case letters, digits and '-', 63 characters at most"))]
    pub namespace: Option<String>,
}

/// What deleting the object does to the topic.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[schemars(inline)]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
}

/// What happens when the topic exists and was not made by this object.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[schemars(inline)]
pub enum AdoptionPolicy {
    #[default]
    Fail,
    Adopt,
}

/// What the operator sees of a topic.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The generation of the object that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`: the topic is as the spec says and every partition has a leader. `Progressing`:
    /// something is under way. `Degraded`: something needs a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The topic's name in Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,

    /// The id of the topic that this object made or adopted, in Kafka's way of writing. Never given to
    /// another topic: one of the same name with another id is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,

    /// Partitions of the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,

    /// Replicas of each partition (of the one that has fewest). Those that are still being copied do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i32>,

    /// The replication factor that this object has asked for, while partitions are on their way to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor_under_way: Option<i32>,

    /// Partitions without a leader: nobody can write to them or read from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_partitions: Option<i32>,

    /// Partitions with fewer in-sync replicas than replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_replicated_partitions: Option<i32>,

    /// Config keys that this object has set on the topic. One that leaves the spec is deleted there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub managed_config_keys: Vec<String>,
}

impl Topic {
    /// The topic's name in Kafka.
    #[must_use]
    pub fn topic_name(&self) -> &str {
        let object_name = || self.metadata.name.as_deref().unwrap_or_default();
        self.spec.topic_name.as_deref().unwrap_or_else(object_name)
    }
}
