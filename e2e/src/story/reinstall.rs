//! Everything taken away but the volumes, and made again.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::messages;
use super::world::{CLUSTER, NAMESPACE, READY_LIMIT, World};
use crate::objects::await_gone;
use crate::operator_release;
use crate::wait::wait_until;

const GONE_LIMIT: Duration = Duration::from_secs(120);

pub(super) fn reinstall(world: &World) -> Result<()> {
    let before = world.get(CLUSTER)?;
    let claims_before = claims(world)?;
    // The Cluster first: its Topics' finalizers must let go although it is going.
    world.run(&["delete", CLUSTER, "--wait=false"])?;
    world.run(&["delete", "topic.foz.dev", "--all", "--timeout=25s"])?;
    await_gone(world.kubectl(), NAMESPACE, CLUSTER, GONE_LIMIT)?;
    wait_until("the Cluster's pods to go", GONE_LIMIT, || {
        let left = [world.pods("broker")?, world.pods("controller")?].concat();
        Ok(if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        })
    })?;
    operator_release::uninstall(&world.kubernetes)?;
    ensure!(
        claims(world)? == claims_before,
        "claims of volumes went: {:?}",
        claims(world)?
    );

    operator_release::install(&world.kubernetes, &world.folders, &world.images)?;
    let manifest = serde_json::json!({
        "apiVersion": "foz.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "demo"},
        "spec": before["spec"],
    });
    world.apply(&manifest.to_string())?;
    let after = world.await_object(CLUSTER, "Ready again", READY_LIMIT, |cluster| {
        cluster["status"]["readyReplicas"] == before["spec"]["replicas"]
    })?;
    let cluster_id = |cluster: &serde_json::Value| cluster["status"]["clusterId"].clone();
    ensure!(
        cluster_id(&before) == cluster_id(&after),
        "another cluster id: {after}"
    );
    messages::verify(world, messages::TOPIC, messages::COUNT)?;
    stop_for_the_next_story(world)
}

/// The next story reads the files of brokers that were stopped cleanly.
fn stop_for_the_next_story(world: &World) -> Result<()> {
    world.run(&["delete", CLUSTER, "--wait=false"])?;
    await_gone(world.kubectl(), NAMESPACE, CLUSTER, GONE_LIMIT)?;
    wait_until("the brokers to stop", GONE_LIMIT, || {
        let left = world.pods("broker")?;
        Ok(if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        })
    })
}

fn claims(world: &World) -> Result<Vec<String>> {
    let claims = world.list("persistentvolumeclaims", "")?;
    let mut names: Vec<String> = claims
        .iter()
        .map(|claim| crate::objects::name(claim).to_owned())
        .collect();
    names.sort();
    Ok(names)
}
