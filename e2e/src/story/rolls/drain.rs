//! Nobody asks for a grant before pods are stopped here: the budgets for evictions and the processes themselves see
//! to it that nothing is missed.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{QUIET, Stopped, TOLD_LIMIT, await_settled, while_produced};
use crate::foz::ensure_same_messages;
use crate::story::short_lived_topic::ShortLivedTopic;
use crate::story::world::{CLUSTER, World, lines};
use crate::wait::wait_until;

/// Until the one before is Ready again and back in every ISR, on a busy machine.
const EVICTION_LIMIT: Duration = Duration::from_secs(120);

/// Every pod of the Cluster is evicted, as `kubectl drain` does it on one node after the other, while a Java producer with
/// `acks=all` is at work. Nobody waits for a pod to be Ready before the next eviction is asked for.
pub(in crate::story) fn evictions(world: &World) -> Result<()> {
    while_produced(world, "drained", |before| {
        before
            .iter()
            .try_for_each(|(pod, uid)| evict_when_allowed(world, pod, uid))?;
        Ok(format!("{} pods evicted", before.len()))
    })
}

/// Asks until the budget allows it, and waits until the pod is another one.
fn evict_when_allowed(world: &World, pod: &str, uid: &str) -> Result<()> {
    wait_until(&format!("{pod} to be evicted"), EVICTION_LIMIT, || {
        // Most refusals are 429, the budget's; one that is not shows when time runs out.
        Ok(world.evict(pod).map_err(|refused| format!("{refused:#}")))
    })?;
    let another = |now: &Value| now["metadata"]["uid"] != uid;
    wait_until(&format!("another {pod}"), EVICTION_LIMIT, || {
        Ok(match world.get(&format!("pod/{pod}")) {
            Ok(now) if another(&now) => Ok(()),
            Ok(now) => Err(now["status"].to_string()),
            Err(gone) => Err(format!("{gone:#}")),
        })
    })
}

/// The process of one broker stands still, and somebody deletes the pod of another, which no budget keeps from it. That
/// pod stays and serves until the first one is back.
pub(in crate::story) fn needed(world: &World) -> Result<()> {
    const DOWN: &str = "demo-broker-1";
    const DELETED: &str = "demo-broker-0";
    await_settled(world)?;
    let topic = ShortLivedTopic::make(world, "needed", 2)?;
    let pod = world.get(&format!("pod/{DOWN}"))?;
    let uid = pod["metadata"]["uid"]
        .as_str()
        .context("a pod without a UID")?;
    let pids = world.cluster()?.processes_of_pod(uid, "foz-broker");
    ensure!(
        pids.len() == 1,
        "{} processes foz-broker of {DOWN}",
        pids.len()
    );
    let deleted = format!("pod/{DELETED}");
    let before = world.get(&deleted)?["metadata"]["uid"].clone();
    let stopped = Stopped::stop(pids)?;
    world.await_object(CLUSTER, "under-replicated", TOLD_LIMIT, |cluster| {
        cluster["status"]["underReplicatedPartitions"]
            .as_i64()
            .is_some_and(|count| count > 0)
    })?;
    world.run(&["delete", &deleted, "--wait=false"])?;
    let sent = lines("while-terminating", 40);
    let other = world.foz_in("demo-broker-2");
    other.produce(topic.name(), &sent)?;
    // Not for long: the kubelet loses patience with a process that stands still after a minute.
    thread::sleep(QUIET / 3);
    let now = world.get(&deleted)?;
    ensure!(
        now["metadata"]["uid"] == before && now["metadata"]["deletionTimestamp"] != json!(null),
        "{DELETED} is not on its way out: {}",
        now["metadata"]
    );
    ensure_same_messages(&sent, &other.consume(topic.name())?)?;
    let log = world.run(&["logs", DELETED, "--tail=50"])?;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    ensure!(
        log.contains("may not stop yet") && log.contains("in-sync replicas"),
        "{DELETED} does not say why it stays: {log}"
    );

    drop(stopped);
    world.await_new_pod(DELETED, &before)?;
    await_settled(world)?;
    ensure_same_messages(&sent, &world.foz().consume(topic.name())?)?;
    topic.delete()
}
