//! Who is in a cluster, and which address each has.

use std::fmt;
use std::net::Ipv4Addr;

/// Controllers of a cluster.
pub(crate) const CONTROLLERS: u8 = 3;
/// Brokers of a cluster.
pub(crate) const BROKERS: u8 = 3;
/// Controllers are numbered from here.
pub(crate) const CONTROLLER_ID_FIRST: i32 = 1000;

/// The port for clients.
pub(crate) const CLIENT_PORT: u16 = 9092;
/// The port for followers.
pub(crate) const REPLICATION_PORT: u16 = 9091;
/// The port of controllers.
pub(crate) const CONTROLLER_PORT: u16 = 9093;
/// The port of `/readyz` and `/metrics`.
pub(crate) const HTTP_PORT: u16 = 9644;

/// One process with a network namespace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum NodeName {
    /// By index from 0.
    Controller(u8),
    /// By index from 0, which is its node id, too.
    Broker(u8),
}

impl NodeName {
    /// All of them, controllers first.
    pub(crate) fn all() -> impl Iterator<Item = NodeName> {
        Self::controllers().chain(Self::brokers())
    }

    /// The controllers.
    pub(crate) fn controllers() -> impl Iterator<Item = NodeName> {
        (0..CONTROLLERS).map(NodeName::Controller)
    }

    /// The brokers.
    pub(crate) fn brokers() -> impl Iterator<Item = NodeName> {
        (0..BROKERS).map(NodeName::Broker)
    }

    /// The node with this id.
    pub(crate) fn of_id(node_id: i32) -> Option<NodeName> {
        Self::all().find(|name| name.id() == node_id)
    }

    /// Its node id.
    pub(crate) fn id(self) -> i32 {
        match self {
            NodeName::Controller(index) => CONTROLLER_ID_FIRST + i32::from(index),
            NodeName::Broker(index) => i32::from(index),
        }
    }

    /// Whether it is a broker.
    pub(crate) fn is_broker(self) -> bool {
        matches!(self, NodeName::Broker(_))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeName::Controller(index) => write!(formatter, "c{index}"),
            NodeName::Broker(index) => write!(formatter, "b{index}"),
        }
    }
}

/// An end of a cable: a node, or all clients together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// Producers, consumers and this program.
    Clients,
    /// A process of the cluster.
    Node(NodeName),
}

impl Place {
    /// Everywhere.
    pub(crate) fn all() -> impl Iterator<Item = Place> {
        std::iter::once(Place::Clients).chain(NodeName::all().map(Place::Node))
    }

    /// Its address on the bridge.
    pub(crate) fn address(self) -> Ipv4Addr {
        let last = match self {
            Place::Clients => 1,
            Place::Node(NodeName::Controller(index)) => 11 + index,
            Place::Node(NodeName::Broker(index)) => 21 + index,
        };
        Ipv4Addr::new(10, 78, 0, last)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Clients => formatter.write_str("cl"),
            Place::Node(name) => name.fmt(formatter),
        }
    }
}

/// Where clients begin.
pub(crate) fn bootstrap() -> String {
    let addresses =
        NodeName::brokers().map(|name| format!("{}:{CLIENT_PORT}", Place::Node(name).address()));
    addresses.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_address_and_no_name_is_given_twice() {
        let addresses: BTreeSet<_> = Place::all().map(Place::address).collect();
        let names: BTreeSet<_> = Place::all().map(|place| place.to_string()).collect();
        assert_eq!(addresses.len(), 7);
        assert_eq!(names.len(), 7);
    }

    #[test]
    fn a_node_is_found_by_its_id() {
        for name in NodeName::all() {
            assert_eq!(NodeName::of_id(name.id()), Some(name));
        }
        assert_eq!(NodeName::of_id(3), None);
    }
}
