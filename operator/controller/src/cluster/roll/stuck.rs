//! Pods that Kubernetes does not make, or that nobody can mend, before another has been restarted, which does not go on by
//! itself. Pure.

use crate::cluster::roll::node::Node;
use crate::cluster::roll::{Next, Waiting};
use crate::conditions::Finding;

/// Says so, and what a person can do: see [`crate::cluster::further_volumes`].
pub(super) fn stuck(nodes: &[Node<'_>], next: &Next) -> Option<Finding> {
    let first = nodes.iter().find(|node| !node.lacks.is_empty())?;
    // Brokers that are added come behind the others, and nobody misses them yet.
    let behind = nodes.iter().filter(|node| {
        let is_behind = node.role == first.role && node.ordinal > first.ordinal;
        is_behind && !node.serves() && !node.is_unknown_broker
    });
    let behind: Vec<&str> = behind.map(|node| node.name.as_str()).collect();
    let name = &first.name;
    let is_denied = |denied: &[(String, String)]| denied.iter().any(|(pod, _)| pod == name);
    let (why, remedy) = match next {
        _ if first.held => ("it is held", format!("take {name} off spec.hold")),
        // What it alone has would be lost with a claim that goes: what keeps it is told with the denial.
        Next::Wait(Waiting::Denied(denied))
            if is_denied(denied) && first.volumes.iter().all(|lost| lost.delete) =>
        {
            let remedy = format!(
                "where these do not come back by themselves, the annotation foz.dev/force-restart on pod {name} restarts it all the same, and partitions have too few members in sync until it is back"
            );
            ("its restart is denied", remedy)
        }
        _ => return None,
    };
    (!behind.is_empty()).then(|| {
        let message = format!(
            "Kubernetes makes no pod behind {name} before that one has been restarted with its new volumes, and {why}; these do not serve meanwhile, and are not restarted: {}; {remedy}",
            behind.join(", ")
        );
        Finding::new("PodsWaitForVolumes", message)
    })
}
