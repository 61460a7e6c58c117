//! From nothing to a Cluster that is Ready.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::world::{CLUSTER, NAMESPACE, World, pod_is_ready};
use crate::operator_release;
use crate::progress::seconds;

const STORIES: &str = include_str!("stories.yaml");
const TOPIC: &str = "topic.foz.dev/orders";

pub(super) fn install(world: &World) -> Result<()> {
    let chart = world.folders.repository.join("charts/foz-operator");
    let typo = world.kubernetes.helm(["template", "typo"]).arg(&chart);
    let refused = typo.args(["--set", "replcias=1"]).run_any()?;
    ensure!(!refused.status.success(), "helm took the value `replcias`");
    let said = refused.error_text();
    ensure!(
        said.contains("replcias"),
        "helm's error does not name `replcias`: {said}"
    );
    operator_release::install(&world.kubernetes, &world.folders, &world.images)
}

pub(super) fn ready(world: &World) -> Result<()> {
    let begun = Instant::now();
    world.apply(STORIES)?;
    let cluster = world.await_ready(CLUSTER)?;
    world.progress.line(&format!(
        "        from kubectl apply to a Cluster that is Ready: {}",
        seconds(begun.elapsed())
    ));
    world.await_ready(TOPIC)?;
    ensure!(
        cluster["status"]["clusterId"].is_string(),
        "no cluster id in {}",
        cluster["status"]
    );
    for role in ["broker", "controller"] {
        let pods = world.pods(role)?;
        ensure!(pods.len() == 3, "{role}s: {pods:?}");
        for pod in pods {
            let pod = world.get(&format!("pod/{pod}"))?;
            ensure!(
                pod_is_ready(&pod),
                "{} is not Ready",
                pod["metadata"]["name"]
            );
        }
    }
    spread_over_zones(world)
}

/// One broker and one controller on each of the three nodes, which are the three zones.
fn spread_over_zones(world: &World) -> Result<()> {
    if !world.kubernetes.is_own() {
        return Ok(());
    }
    for role in ["broker", "controller"] {
        let selector = format!("app.kubernetes.io/component={role}");
        let pods = world.list("pods", &selector)?;
        let mut nodes: Vec<&str> = pods
            .iter()
            .filter_map(|pod| pod["spec"]["nodeName"].as_str())
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        ensure!(nodes.len() == 3, "the {role}s are on {nodes:?}");
    }
    Ok(())
}

pub(super) fn dry_run(world: &World) -> Result<()> {
    for chart in ["foz-operator", "foz-cluster"] {
        let folder = world.folders.repository.join("charts").join(chart);
        let render = world
            .kubernetes
            .helm(["template", "dry", "--namespace", NAMESPACE]);
        let rendered = render.arg(folder).run()?;
        let apply = [
            "apply",
            "--dry-run=server",
            "--namespace",
            NAMESPACE,
            "-f",
            "-",
        ];
        let applied = world
            .kubectl()
            .command(apply)
            .stdin(rendered.stdout)
            .run()?;
        ensure!(
            applied.text().contains("(server dry run)"),
            "{chart} renders nothing"
        );
    }
    Ok(())
}
