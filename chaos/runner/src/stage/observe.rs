//! Looks at the cluster from the clients' place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, ensure};
use foz_api::v1::DescribeQuorumRequest;
use foz_api::v1::admin_client::AdminClient;
use kafka_protocol::messages::BrokerId;
use tonic::transport::Endpoint;

use crate::fault::{PartitionView, View};
use crate::layout::{CLIENT_PORT, CONTROLLER_PORT, HTTP_PORT, NodeName, Place};
use crate::subject::SubjectName;
use crate::wire::{self, NewTopic};

/// A node that is stopped or cut off answers nobody.
const LOOK_LIMIT: Duration = Duration::from_millis(700);
const CHANGE_LIMIT: Duration = Duration::from_secs(15);

/// Asks nodes how things are.
#[derive(Debug)]
pub(crate) struct Observer {
    subject: SubjectName,
    runtime: tokio::runtime::Runtime,
}

impl Observer {
    /// To be made inside the clients' namespace.
    pub(super) fn new(subject: SubjectName) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self { subject, runtime })
    }

    /// These topics as the brokers among `running` see them: of each partition what belongs to the newest
    /// leader epoch. Requests in flight are not known here.
    pub(crate) fn view(&self, topics: &[String], running: &[NodeName]) -> View {
        let mut view = View {
            running: running.iter().copied().collect(),
            ..View::default()
        };
        for broker in running.iter().filter(|name| name.is_broker()) {
            if let Ok(partitions) = partitions_at(*broker, topics) {
                merge(&mut view.partitions, partitions);
            }
        }
        view.active_controller = self.active_controller(running);
        view
    }

    /// What is not as it should be in the eyes of any node: not ready, a leader or a replica missing.
    pub(crate) fn unsettled(
        &self,
        topics: &[String],
        partitions: usize,
        replicas: u8,
    ) -> Vec<String> {
        let mut unsettled = Vec::new();
        if self.subject == SubjectName::Foz {
            for name in NodeName::all() {
                let address = wire::socket(Place::Node(name).address(), HTTP_PORT);
                let answer = wire::http_get(address, "/readyz", LOOK_LIMIT);
                if !answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                    unsettled.push(format!("{name} is not ready"));
                }
            }
        }
        for broker in NodeName::brokers() {
            match partitions_at(broker, topics) {
                Ok(found) => {
                    let view = View {
                        partitions: found,
                        ..View::default()
                    };
                    if view.partitions.len() < partitions {
                        unsettled.push(format!("{broker} does not know all partitions"));
                    }
                    let seen = view.unsettled(usize::from(replicas));
                    unsettled.extend(seen.into_iter().map(|what| format!("{broker} sees {what}")));
                }
                Err(error) => unsettled.push(format!("{broker}: {error:#}")),
            }
        }
        unsettled
    }

    /// Makes a topic through the first broker that does it.
    pub(crate) fn create_topic(&self, topic: &NewTopic, running: &[NodeName]) -> Result<()> {
        self.create_topic_within(topic, running, CHANGE_LIMIT)
    }

    /// The same, waiting so long for each broker.
    pub(crate) fn create_topic_within(
        &self,
        topic: &NewTopic,
        running: &[NodeName],
        limit: Duration,
    ) -> Result<()> {
        let mut last = None;
        for broker in running.iter().filter(|name| name.is_broker()) {
            match wire::create_topic(client_address(*broker), topic, limit) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no broker runs")))
    }

    fn active_controller(&self, running: &[NodeName]) -> Option<NodeName> {
        let id = match self.subject {
            SubjectName::Foz => {
                let controllers = running.iter().filter(|name| !name.is_broker());
                let seen = controllers.filter_map(|name| self.describe_quorum(*name).ok());
                seen.max()?.1
            }
            SubjectName::Kafka => {
                let brokers = running.iter().filter(|name| name.is_broker());
                let mut leaders = brokers
                    .filter_map(|name| wire::quorum_leader(client_address(*name), LOOK_LIMIT).ok());
                leaders.next()?
            }
        };
        NodeName::of_id(id)
    }

    /// The term and the active controller, as this one sees it.
    fn describe_quorum(&self, controller: NodeName) -> Result<(i64, i32)> {
        let address = Place::Node(controller).address();
        let endpoint = Endpoint::from_shared(format!("http://{address}:{CONTROLLER_PORT}"))?
            .connect_timeout(LOOK_LIMIT)
            .timeout(LOOK_LIMIT);
        self.runtime.block_on(async {
            let mut client = AdminClient::new(endpoint.connect().await?);
            let answer = client
                .describe_quorum(DescribeQuorumRequest {})
                .await?
                .into_inner();
            ensure!(answer.active_node_id >= 0, "no controller is active");
            Ok((answer.term, answer.active_node_id))
        })
    }
}

fn client_address(broker: NodeName) -> std::net::SocketAddr {
    wire::socket(Place::Node(broker).address(), CLIENT_PORT)
}

fn partitions_at(
    broker: NodeName,
    topics: &[String],
) -> Result<BTreeMap<(String, i32), PartitionView>> {
    let answer = wire::metadata(client_address(broker), topics, LOOK_LIMIT)?;
    let mut found = BTreeMap::new();
    for topic in answer.topics {
        let name = topic
            .name
            .map_or_else(String::new, |name| name.0.to_string());
        for partition in topic.partitions {
            let view = PartitionView {
                leader: NodeName::of_id(partition.leader_id.0),
                leader_epoch: partition.leader_epoch,
                replicas: names(&partition.replica_nodes),
                in_sync: names(&partition.isr_nodes),
                in_flight: 0,
            };
            found.insert((name.clone(), partition.partition_index), view);
        }
    }
    Ok(found)
}

fn names(nodes: &[BrokerId]) -> BTreeSet<NodeName> {
    let names = nodes.iter().filter_map(|node| NodeName::of_id(node.0));
    names.collect()
}

fn merge(
    into: &mut BTreeMap<(String, i32), PartitionView>,
    seen: BTreeMap<(String, i32), PartitionView>,
) {
    for (key, partition) in seen {
        let known = into.get(&key).map(|known| known.leader_epoch);
        if known.is_none_or(|epoch| epoch < partition.leader_epoch) {
            into.insert(key, partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_leader_epoch_wins() {
        let seen = |leader, leader_epoch| {
            let partition = PartitionView {
                leader: Some(NodeName::Broker(leader)),
                leader_epoch,
                ..PartitionView::default()
            };
            BTreeMap::from([(("t".to_owned(), 0), partition)])
        };
        let mut view = seen(0, 4);
        merge(&mut view, seen(1, 5));
        merge(&mut view, seen(2, 3));
        assert_eq!(view, seen(1, 5));
    }
}
