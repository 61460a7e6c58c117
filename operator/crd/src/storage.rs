//! Volumes as a Cluster asks for them.

#![allow(
    unreachable_pub,
    reason = "the schema derive copies each struct into a function body"
)]

use kube::{KubeSchema, core::Rule};
use serde::{Deserialize, Serialize};

/// The volume of each controller.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = size_is_a_quantity())]
pub struct StorageSpec {
    /// The size of the volume, for example 10Gi. It can grow, where the storage class allows it, and
    /// never shrinks.
    #[schemars(length(min = 1, max = 32))]
    pub size: String,

    /// The storage class. Default: the default class of the Kubernetes cluster. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = class_is_a_name())]
    pub class_name: Option<String>,
}

/// The volumes of each broker: one, and perhaps further ones.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = size_is_a_quantity(),
    validation = Rule::new("!has(self.volumes) || !has(oldSelf.volumes) || self.volumes.all(it, oldSelf.volumes.all(old, old.id != it.id || quantity(it.size).compareTo(quantity(old.size)) >= 0))")
        .message("the size of storage.volumes cannot shrink: volumes only grow"),
)]
pub struct BrokerStorageSpec {
    /// The size of the first volume, for example 10Gi. It can grow, where the storage class allows it, and
    /// never shrinks.
    #[schemars(length(min = 1, max = 32))]
    pub size: String,

    /// The storage class of the first volume. Default: the default class of the Kubernetes cluster. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = class_is_a_name())]
    pub class_name: Option<String>,

    /// Further volumes, each a disk of its own: one that fails takes its replicas along and not the broker. They may be
    /// added at any time, which restarts the brokers one after the other, and grow. One that brokers have stays, with its
    /// class, also when it is taken out here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 15))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub volumes: Vec<FurtherVolumeSpec>,
}

/// A further volume of each broker.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = size_is_a_quantity())]
pub struct FurtherVolumeSpec {
    /// Which volume, 1 to 15: the claim of the pod demo-broker-0 for volume 1 is called data-1-demo-broker-0. Volume 0
    /// is the first one.
    #[schemars(range(min = 1, max = 15))]
    pub id: i32,

    /// The size of the volume, for example 10Gi. It can grow, where the storage class allows it, and
    /// never shrinks.
    #[schemars(length(min = 1, max = 32))]
    pub size: String,

    /// The storage class. Default: the default class of the Kubernetes cluster. It has to be there when the volume is
    /// added, and stays once brokers have the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = class_is_a_name())]
    pub class_name: Option<String>,
}

fn size_is_a_quantity() -> Rule {
    Rule::new("isQuantity(self.size) && quantity(self.size).compareTo(quantity('16Mi')) >= 0").message(
        "size must be a quantity of at least 16Mi, for example 10Gi: a number without a unit counts bytes",
    )
}

fn class_is_a_name() -> Rule {
    Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
        .message("className must be the name of a storage class: lower case letters, digits, '-' and '.'")
}
