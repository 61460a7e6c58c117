//! The cluster as far as faults choose by it.

use std::collections::{BTreeMap, BTreeSet};

use crate::layout::NodeName;

/// One moment of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// By topic and index.
    pub(crate) partitions: BTreeMap<(String, i32), PartitionView>,
    pub(crate) active_controller: Option<NodeName>,
    /// Processes that run and are not stopped.
    pub(crate) running: BTreeSet<NodeName>,
}

/// One partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PartitionView {
    pub(crate) leader: Option<NodeName>,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: BTreeSet<NodeName>,
    pub(crate) in_sync: BTreeSet<NodeName>,
    /// Records sent and not yet answered.
    pub(crate) in_flight: u64,
}

impl View {
    /// A running broker that leads partitions with requests in flight; else one that leads any, else any.
    pub(crate) fn leader(&self, pick: u64) -> Option<NodeName> {
        let loaded = self.leaders(|partition| partition.in_flight > 0);
        let any = self.leaders(|_| true);
        choose(&loaded, pick)
            .or_else(|| choose(&any, pick))
            .or_else(|| choose(&self.running(NodeName::is_broker), pick))
    }

    /// The running broker that leads least.
    pub(crate) fn follower(&self, pick: u64) -> Option<NodeName> {
        let leads = |node: &NodeName| self.led_by(*node).count();
        let brokers = self.running(NodeName::is_broker);
        let least = brokers.iter().map(leads).min()?;
        let idlest: Vec<NodeName> = brokers
            .into_iter()
            .filter(|node| leads(node) == least)
            .collect();
        choose(&idlest, pick)
    }

    /// Any running controller.
    pub(crate) fn controller(&self, pick: u64) -> Option<NodeName> {
        choose(&self.running(|node| !node.is_broker()), pick)
    }

    /// The active controller, or any.
    pub(crate) fn active_controller(&self, pick: u64) -> Option<NodeName> {
        let active = self.active_controller;
        active
            .filter(|node| self.running.contains(node))
            .or_else(|| self.controller(pick))
    }

    /// Another running broker.
    pub(crate) fn other_broker(&self, than: NodeName, pick: u64) -> Option<NodeName> {
        choose(&self.running(|node| node.is_broker() && node != than), pick)
    }

    /// Whether this node leads a partition with requests in flight.
    pub(crate) fn is_loaded_leader(&self, node: NodeName) -> bool {
        self.led_by(node)
            .any(|(_, partition)| partition.in_flight > 0)
    }

    /// The partitions that this node leads.
    pub(crate) fn led_by(
        &self,
        node: NodeName,
    ) -> impl Iterator<Item = (&(String, i32), &PartitionView)> {
        self.partitions
            .iter()
            .filter(move |(_, partition)| partition.leader == Some(node))
    }

    /// What is not as it should be when all is well: a partition without leader, or a replica not in sync.
    pub(crate) fn unsettled(&self, replicas: usize) -> Vec<String> {
        let partitions = self.partitions.iter();
        partitions
            .filter(|(_, partition)| {
                partition.leader.is_none() || partition.in_sync.len() < replicas
            })
            .map(|((topic, index), partition)| {
                let names = |node: &NodeName| node.to_string();
                let in_sync: Vec<String> = partition.in_sync.iter().map(names).collect();
                let leader = partition.leader.as_ref().map_or("none".to_owned(), names);
                format!(
                    "{topic}-{index}: leader {leader}, in sync {}",
                    in_sync.join(" ")
                )
            })
            .collect()
    }

    fn leaders(&self, wanted: impl Fn(&PartitionView) -> bool) -> Vec<NodeName> {
        let leading = self
            .partitions
            .values()
            .filter(|partition| wanted(partition));
        let nodes: BTreeSet<NodeName> = leading.filter_map(|partition| partition.leader).collect();
        nodes.intersection(&self.running).copied().collect()
    }

    fn running(&self, wanted: impl Fn(NodeName) -> bool) -> Vec<NodeName> {
        let running = self.running.iter().copied();
        running.filter(|node| wanted(*node)).collect()
    }
}

fn choose(nodes: &[NodeName], pick: u64) -> Option<NodeName> {
    let at = pick.checked_rem(nodes.len() as u64)?;
    nodes.get(at as usize).copied()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Broker 0 leads a loaded partition, broker 1 an idle one, broker 2 none.
    pub(in crate::fault) fn loaded() -> View {
        let partition = |leader, in_flight| PartitionView {
            leader: Some(NodeName::Broker(leader)),
            leader_epoch: 1,
            replicas: NodeName::brokers().collect(),
            in_sync: NodeName::brokers().collect(),
            in_flight,
        };
        View {
            partitions: BTreeMap::from([
                (("t".to_owned(), 0), partition(0, 9)),
                (("t".to_owned(), 1), partition(1, 0)),
            ]),
            active_controller: Some(NodeName::Controller(2)),
            running: NodeName::all().collect(),
        }
    }

    #[test]
    fn a_leader_with_requests_in_flight_comes_first() {
        let mut view = loaded();
        assert!((0..9).all(|pick| view.leader(pick) == Some(NodeName::Broker(0))));
        assert!(view.is_loaded_leader(NodeName::Broker(0)));
        assert!(!view.is_loaded_leader(NodeName::Broker(1)));
        view.running.remove(&NodeName::Broker(0));
        assert_eq!(view.leader(4), Some(NodeName::Broker(1)));
        view.partitions.clear();
        assert!(view.leader(4).is_some());
        view.running.clear();
        assert_eq!(view.leader(4), None);
    }

    #[test]
    fn a_follower_is_who_leads_least() {
        assert_eq!(loaded().follower(5), Some(NodeName::Broker(2)));
    }

    #[test]
    fn an_active_controller_that_does_not_run_is_not_struck() {
        let mut view = loaded();
        assert_eq!(view.active_controller(0), Some(NodeName::Controller(2)));
        view.running.remove(&NodeName::Controller(2));
        assert_ne!(view.active_controller(0), Some(NodeName::Controller(2)));
    }

    #[test]
    fn what_is_not_in_sync_is_named() {
        let mut view = loaded();
        assert!(view.unsettled(3).is_empty());
        let partition = view.partitions.get_mut(&("t".to_owned(), 1)).unwrap();
        partition.in_sync.remove(&NodeName::Broker(2));
        partition.leader = None;
        assert_eq!(view.unsettled(3), ["t-1: leader none, in sync b0 b1"]);
    }
}
