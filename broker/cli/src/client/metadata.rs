//! What a client knows of the cluster.

use std::collections::BTreeMap;

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::MetadataResponse;
use uuid::Uuid;

/// A snapshot of the cluster, as one Metadata response gave it.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The broker to send changes to; -1 when it is not known.
    pub controller_id: i32,
    /// `host:port` by node id.
    pub brokers: BTreeMap<i32, String>,
    /// By name.
    pub topics: BTreeMap<String, Topic>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// What is wrong with it, when something is.
    pub error: ErrorCode,
    /// Its id; nil from a broker without ids.
    pub id: Uuid,
    /// Made by the brokers for themselves.
    pub is_internal: bool,
    /// By index.
    pub partitions: BTreeMap<i32, Partition>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What is wrong with it, when something is.
    pub error: ErrorCode,
    /// -1 when it has none.
    pub leader: i32,
    /// -1 when the broker does not say.
    pub leader_epoch: i32,
    /// Node ids, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Node ids.
    pub isr: Vec<i32>,
    /// Node ids: replicas that cannot be used, as their broker is down or one of its disks has failed.
    pub offline_replicas: Vec<i32>,
}

impl Cluster {
    /// From a response.
    #[must_use]
    pub fn from_response(response: &MetadataResponse) -> Self {
        let brokers = response
            .brokers
            .iter()
            .map(|broker| (broker.node_id.0, format_address(&broker.host, broker.port)))
            .collect();
        let topics = response
            .topics
            .iter()
            .filter_map(|topic| {
                let name = topic.name.as_ref()?.to_string();
                let partitions = topic
                    .partitions
                    .iter()
                    .map(|partition| {
                        let ids = |ids: &[kafka_protocol::messages::BrokerId]| {
                            ids.iter().map(|id| id.0).collect()
                        };
                        let known = Partition {
                            error: ErrorCode::from(partition.error_code),
                            leader: partition.leader_id.0,
                            leader_epoch: partition.leader_epoch,
                            replicas: ids(&partition.replica_nodes),
                            isr: ids(&partition.isr_nodes),
                            offline_replicas: ids(&partition.offline_replicas),
                        };
                        (partition.partition_index, known)
                    })
                    .collect();
                let known = Topic {
                    error: ErrorCode::from(topic.error_code),
                    id: topic.topic_id,
                    is_internal: topic.is_internal,
                    partitions,
                };
                Some((name, known))
            })
            .collect();
        Self {
            cluster_id: response.cluster_id.as_ref().map(ToString::to_string),
            controller_id: response.controller_id.0,
            brokers,
            topics,
        }
    }

    /// The leader of a partition, when there is one that can be reached.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let leader = self.topics.get(topic)?.partitions.get(&partition)?.leader;
        self.brokers.contains_key(&leader).then_some(leader)
    }

    /// The epoch of that leader, -1 when it is not known.
    #[must_use]
    pub fn leader_epoch(&self, topic: &str, partition: i32) -> i32 {
        let topic = self.topics.get(topic);
        topic
            .and_then(|topic| topic.partitions.get(&partition))
            .map_or(-1, |it| it.leader_epoch)
    }
}

/// IPv6 addresses need brackets in front of a port.
fn format_address(host: &str, port: i32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
