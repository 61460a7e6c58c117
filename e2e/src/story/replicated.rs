//! Partitions on three brokers: one of them is taken away while messages come in, and nobody notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::chaos::{await_restart, restarts};
use super::messages;
use super::producing::while_producing;
use super::short_lived_topic::ShortLivedTopic;
use super::world::{CLUSTER, World, pod_is_ready};
use crate::progress::seconds;

const BROKER: &str = "demo-broker-1";
const PARTITIONS: u32 = 6;
/// All of [`messages::TOPIC`], with the start of a JVM. Waiting until the broker is back takes longer.
const READ_LIMIT: Duration = Duration::from_secs(45);
/// From the broker being back to its replicas having caught up.
const CAUGHT_UP_LIMIT: Duration = Duration::from_secs(90);
/// Shorter than a process takes to start.
const KILL_PAUSE: Duration = Duration::from_millis(20);

/// A broker is killed while a Java producer with `acks=all` is at work, and is kept from coming back while
/// a consumer reads everything that was there before. Then all of the producer's messages are there, once
/// and in order.
pub(super) fn broker_down(world: &World) -> Result<()> {
    let topic = ShortLivedTopic::for_messages(world, "replicated", PARTITIONS)?;
    let pod = world.get(&format!("pod/{BROKER}"))?;

    let ((), produced) = while_producing(world, topic.name(), || {
        let down = AtomicBool::new(true);
        thread::scope(|scope| {
            // Lets the broker come back however the reading ends.
            let release = Release(&down);
            let held = scope.spawn(|| hold_down(world, &pod, &down));
            let read = read_without_it(world);
            drop(release);
            let kills = held.join().map_err(|_| anyhow!("the killer panicked"))??;
            ensure!(kills > 0, "there was no process to kill");
            read
        })?;
        await_restart(world, BROKER, restarts(&pod))
    })?;

    world.await_ready(CLUSTER)?;
    messages::verify(world, topic.name(), produced)?;
    world.await_object(CLUSTER, "fully replicated", CAUGHT_UP_LIMIT, |cluster| {
        cluster["status"]["underReplicatedPartitions"] == 0
    })?;
    topic.delete()
}

struct Release<'a>(&'a AtomicBool);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The kubelet starts a killed container again at once: it is killed again before it serves, which the
/// kubelet takes as a reason to wait longer each time. Says how often.
fn hold_down(world: &World, pod: &Value, down: &AtomicBool) -> Result<usize> {
    let uid = pod["metadata"]["uid"]
        .as_str()
        .context("a pod without a UID")?;
    let cluster = world.cluster()?;
    let mut kills = 0;
    while down.load(Ordering::Acquire) {
        // One that ends by itself meanwhile is as good.
        kills += cluster.kill_pod(uid, "foz-broker").unwrap_or_default();
        thread::sleep(KILL_PAUSE);
    }
    Ok(kills)
}

fn read_without_it(world: &World) -> Result<()> {
    let begun = Instant::now();
    messages::verify(world, messages::TOPIC, messages::COUNT)?;
    let took = begun.elapsed();
    let pod = world.get(&format!("pod/{BROKER}"))?;
    ensure!(
        !pod_is_ready(&pod),
        "the broker was up: this says nothing about reading without it"
    );
    world.progress.line(&format!(
        "        {} messages were read in {} while a broker was down",
        messages::COUNT,
        seconds(took)
    ));
    ensure!(
        took <= READ_LIMIT,
        "reading took {}, more than {}",
        seconds(took),
        seconds(READ_LIMIT)
    );
    Ok(())
}
