//! Processes killed and pods evicted: what was acknowledged is still there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::world::{CLUSTER, READY_LIMIT, World, lines, pod_is_ready};
use super::{kcat_messages, messages};
use crate::foz::ensure_same_messages;

const ELECTION_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn kill_broker(world: &World) -> Result<()> {
    let topic = world.fresh_topic("killed-broker", 4)?;
    let sent = lines("before", 40);
    world.foz().produce(&topic, &sent)?;
    kill_container(world, "demo-broker-1")?;
    ensure_same_messages(&sent, &world.foz().consume(&topic)?)
}

pub(super) fn kill_controller(world: &World) -> Result<()> {
    let cluster = world.get(CLUSTER)?;
    let active = cluster["status"]["activeController"]
        .as_str()
        .context("no active controller")?;
    let active = active.to_owned();
    let pod = controller_pod(&active)?;
    kill_container(world, &pod)?;
    world.await_object(CLUSTER, "led by a controller", ELECTION_LIMIT, |cluster| {
        cluster["status"]["activeController"].is_string()
    })?;
    // Metadata can be changed again, and nothing of it is lost.
    world.fresh_topic("after-election", 2)?;
    world.await_ready("topic.foz.dev/orders").map(drop)
}

pub(super) fn evict(world: &World) -> Result<()> {
    let topic = world.fresh_topic("evicted", 4)?;
    let sent = lines("evicted", 40);
    world.foz().produce(&topic, &sent)?;
    let uid = world.get("pod/demo-broker-2")?["metadata"]["uid"].clone();
    world.evict("demo-broker-2")?;
    world.await_new_pod("demo-broker-2", &uid)?;
    world.await_ready(CLUSTER)?;
    ensure_same_messages(&sent, &world.foz().consume(&topic)?)
}

pub(super) fn kill_all(world: &World) -> Result<()> {
    let pods = [world.pods("broker")?, world.pods("controller")?].concat();
    for pod in &pods {
        kill_container(world, pod)?;
    }
    messages::verify(world, messages::TOPIC, messages::COUNT)?;
    let before = pods
        .iter()
        .map(|pod| Ok((pod, world.get(&format!("pod/{pod}"))?)))
        .collect::<Result<Vec<(&String, Value)>>>()?;
    for (_, pod) in &before {
        kill_process_of(world, pod)?;
    }
    for (name, pod) in &before {
        await_restart(world, name, restarts(pod))?;
    }
    world.await_ready(CLUSTER)?;
    messages::verify(world, messages::TOPIC, messages::COUNT)?;
    kcat_messages::verify(world)
}

/// kill -9 of the container's process; waits until the kubelet has started it again and all is well.
fn kill_container(world: &World, name: &str) -> Result<()> {
    let pod = world.get(&format!("pod/{name}"))?;
    kill_process_of(world, &pod)?;
    await_restart(world, name, restarts(&pod))?;
    world.await_ready(CLUSTER).map(drop)
}

fn kill_process_of(world: &World, pod: &Value) -> Result<()> {
    let uid = pod["metadata"]["uid"]
        .as_str()
        .context("a pod without a UID")?;
    let killed = world.cluster()?.kill_pod(uid, "foz-broker")?;
    ensure!(
        killed == 1,
        "killed {killed} processes foz-broker of {}",
        pod["metadata"]["name"]
    );
    Ok(())
}

pub(super) fn await_restart(world: &World, name: &str, restarts_before: u64) -> Result<()> {
    let pod = format!("pod/{name}");
    world
        .await_object(&pod, "restarted and Ready", READY_LIMIT, |pod| {
            restarts(pod) > restarts_before && pod_is_ready(pod)
        })
        .map(drop)
}

pub(super) fn restarts(pod: &Value) -> u64 {
    let containers = pod["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten();
    containers
        .filter_map(|container| container["restartCount"].as_u64())
        .sum()
}

/// The pod of a controller that the status names by its address or by its node id.
fn controller_pod(active: &str) -> Result<String> {
    if let Some(name) = active
        .split(['.', ':'])
        .next()
        .filter(|it| it.starts_with("demo-"))
    {
        return Ok(name.to_owned());
    }
    let node_id: u32 = active
        .parse()
        .with_context(|| format!("active controller {active:?}"))?;
    Ok(format!("demo-controller-{}", node_id - 1000))
}
