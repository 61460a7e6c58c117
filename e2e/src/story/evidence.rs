//! What is written down when a story fails: the state of the cluster at that moment.

use std::path::Path;

use anyhow::Result;

use super::world::{NAMESPACE, World};
use crate::folders::write;
use crate::operator_release;

/// Writes objects, events and logs of the stories' and the operator's namespace to a file.
pub(super) fn collect(world: &World, file: &Path) -> Result<()> {
    let mut text = String::new();
    let mut show = |args: &[&str]| {
        let said = match world.kubectl().command(args).run_any() {
            Ok(output) => format!("{}\n{}", output.text(), output.error_text()),
            Err(error) => format!("{error:#}"),
        };
        text.push_str(&format!("\n$ kubectl {}\n{said}\n", args.join(" ")));
        said
    };
    show(&["get", "nodes", "--output=wide"]);
    for namespace in [NAMESPACE, operator_release::NAMESPACE] {
        let namespace = format!("--namespace={namespace}");
        let kinds = "all,persistentvolumeclaims,configmaps,poddisruptionbudgets,clusters,topics";
        show(&["get", kinds, &namespace, "--output=wide"]);
        show(&["get", "clusters,topics", &namespace, "--output=yaml"]);
        show(&["get", "events", &namespace, "--sort-by=.lastTimestamp"]);
        show(&["describe", "pods", &namespace]);
        let pods = show(&["get", "pods", &namespace, "--output=name"]);
        for pod in pods.lines().filter(|line| line.starts_with("pod/")) {
            show(&["logs", pod, &namespace, "--all-containers", "--tail=300"]);
            show(&[
                "logs",
                pod,
                &namespace,
                "--all-containers",
                "--tail=300",
                "--previous",
            ]);
        }
    }
    write(file, text)
}
