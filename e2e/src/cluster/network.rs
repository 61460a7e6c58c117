//! Links, addresses and routes: a bridge in the control plane's namespace, a cable from it to every
//! node, and on every node a route to the pods of each other.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::addresses::{CONTROL_PLANE, NODES_MAX, node_address, node_pods};
use super::daemon::Inside;
use crate::external::External;

/// Connects the namespaces of the control plane and of the nodes, given by their anchors' pids; the
/// first is node 1.
pub fn connect(control_plane: u32, nodes: &[u32]) -> Result<()> {
    assert!(
        nodes.len() <= usize::from(NODES_MAX),
        "the number of nodes was checked before"
    );
    let numbered = || (1..).zip(nodes.iter().copied());
    ip(control_plane, &control_plane_side(numbered()))?;
    let numbers: Vec<u8> = numbered().map(|(number, _)| number).collect();
    for (number, pid) in numbered() {
        ip(pid, &node_side(number, &numbers))?;
    }
    for pid in std::iter::once(control_plane).chain(nodes.iter().copied()) {
        inside(pid)
            .args(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
            .run()?;
    }
    Ok(())
}

fn control_plane_side(nodes: impl Iterator<Item = (u8, u32)>) -> String {
    let mut batch = format!(
        "link set lo up\n\
         link add bridge type bridge\n\
         addr add {CONTROL_PLANE}/24 dev bridge\n\
         link set bridge up\n"
    );
    for (number, pid) in nodes {
        let (address, pods) = (node_address(number), node_pods(number));
        let _ = write!(
            batch,
            "link add node-{number} type veth peer name eth0 netns {pid}\n\
             link set node-{number} master bridge up\n\
             route add {pods} via {address}\n"
        );
    }
    batch
}

fn node_side(number: u8, all: &[u8]) -> String {
    let mut batch = format!(
        "link set lo up\n\
         addr add {}/24 dev eth0\n\
         link set eth0 up\n\
         route add default via {CONTROL_PLANE}\n",
        node_address(number)
    );
    for other in all.iter().copied().filter(|&other| other != number) {
        let _ = writeln!(
            batch,
            "route add {} via {}",
            node_pods(other),
            node_address(other)
        );
    }
    batch
}

fn ip(pid: u32, batch: &str) -> Result<()> {
    let run = inside(pid).args(["ip", "-batch", "-"]).stdin(batch).run();
    run.with_context(|| format!("setting up the network; the commands were\n{batch}"))
        .map(drop)
}

fn inside(pid: u32) -> External {
    let prefix = Inside::Network(pid).prefix();
    External::new(&prefix[0]).args(&prefix[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_route_to_every_other_nodes_pods_but_not_to_its_own() {
        let batch = node_side(2, &[1, 2, 3]);
        assert!(batch.contains("addr add 10.77.0.102/24 dev eth0"));
        assert!(batch.contains("route add 10.244.1.0/24 via 10.77.0.101"));
        assert!(batch.contains("route add 10.244.3.0/24 via 10.77.0.103"));
        assert!(!batch.contains("10.244.2.0"));
    }

    #[test]
    fn the_control_plane_has_a_cable_and_a_route_to_each_node() {
        let batch = control_plane_side([(1, 41), (2, 42)].into_iter());
        assert!(batch.contains("link add node-2 type veth peer name eth0 netns 42"));
        assert!(batch.contains("route add 10.244.1.0/24 via 10.77.0.101"));
    }
}
