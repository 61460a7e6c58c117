//! A Cluster that is suspended, and has its data when it is resumed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::rolls::await_settled;
use super::world::{CLUSTER, World, lines};
use crate::foz::ensure_same_messages;
use crate::objects::condition;
use crate::progress::seconds;
use crate::wait::wait_until;

/// Every broker is asked at the same time, and lets go at once.
const STOPPED_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn and_resumed(world: &World) -> Result<()> {
    await_settled(world)?;
    let topic = world.fresh_topic("suspended", 3)?;
    let sent = lines("slept", 60);
    world.foz().produce(&topic, &sent)?;
    let claims = world.list("persistentvolumeclaims", "")?.len();
    let services = world.list("services", "")?.len();

    let begun = Instant::now();
    suspend(world, true)?;
    wait_until("all pods to stop", STOPPED_LIMIT, || {
        let left = [world.pods("broker")?, world.pods("controller")?].concat();
        Ok(if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        })
    })?;
    let took = seconds(begun.elapsed());
    let cluster = world.await_object(CLUSTER, "suspended", STOPPED_LIMIT, |cluster| {
        let is = |kind: &str, status: &str, reason: &str| {
            condition(cluster, kind)
                .is_some_and(|it| it["status"] == status && it["reason"] == reason)
        };
        is("Ready", "False", "Suspended")
            && is("Progressing", "False", "Settled")
            && is("Degraded", "False", "AsExpected")
    })?;
    ensure!(cluster["status"]["replicas"] == 0, "{cluster}");
    let object = format!("topic.foz.dev/{topic}");
    world.await_object(&object, "of a suspended Cluster", STOPPED_LIMIT, |topic| {
        condition(topic, "Ready").is_some_and(|it| it["reason"] == "ClusterSuspended")
    })?;
    ensure!(
        world.list("persistentvolumeclaims", "")?.len() == claims
            && world.list("services", "")?.len() == services,
        "volumes or Services went with the pods"
    );

    let begun = Instant::now();
    suspend(world, false)?;
    world.await_ready(CLUSTER)?;
    await_settled(world)?;
    world.progress.line(&format!(
        "        stopped in {took}, settled again in {}",
        seconds(begun.elapsed())
    ));
    world.await_ready(&object)?;
    ensure_same_messages(&sent, &world.foz().consume(&topic)?)
}

fn suspend(world: &World, suspend: bool) -> Result<()> {
    let change = json!({"spec": {"suspend": suspend}}).to_string();
    world
        .run(&["patch", CLUSTER, "--type=merge", "--patch", &change])
        .map(drop)
}
