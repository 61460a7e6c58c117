//! What a Cluster says about where replicas are: when they are moved by themselves, and how far a move has got.

#![allow(
    unreachable_pub,
    reason = "the schema derive copies each struct into a function body"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When replicas are moved so that brokers have equally many.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RebalancePolicy {
    /// Automatic: when brokers were added, and when one has far more or far less than the others, of replicas, of
    /// bytes, or of traffic. Manual: the status says what could be moved, and a Rebalance does it. Brokers that are
    /// taken away are emptied in either mode.
    #[serde(default)]
    pub mode: RebalancePolicyMode,

    /// By how many percent the replicas of a broker may differ from the average of all before any is moved; its bytes
    /// by two and a half times as much, and its traffic by four times. Then brokers are brought so close to each other
    /// that the end of it is no new beginning: a smaller number moves more, and more often.
    #[serde(default = "default_threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub threshold: i32,
}

/// Who begins to move replicas.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum RebalancePolicyMode {
    #[default]
    Automatic,
    Manual,
}

/// How far scaling, or a rebalance, has got.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// The number of brokers when it began.
    pub from: i32,

    /// The number of brokers that there are to be.
    pub to: i32,

    /// Node ids of brokers that are being emptied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub draining: Vec<i32>,

    /// The rebalance that the brokers are carrying out, or carried out last for this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance_id: Option<i64>,

    /// Partitions that have been moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<i32>,

    /// Partitions that are still to be moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<i32>,

    /// Bytes that are still to be copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_left: Option<i64>,

    /// An estimate of how long that takes; unset while nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<i64>,

    /// All of this in a sentence.
    pub message: String,
}

impl Default for RebalancePolicy {
    fn default() -> Self {
        Self {
            mode: RebalancePolicyMode::default(),
            threshold: default_threshold(),
        }
    }
}

const fn default_threshold() -> i32 {
    10
}
