//! The controllers become more and fewer, and nobody who uses the cluster notices.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::json;

use super::messages;
use super::producing::while_producing;
use super::rolls::watch;
use super::short_lived_topic::ShortLivedTopic;
use super::world::{CLUSTER, World};
use crate::objects::condition;
use crate::progress::seconds;
use crate::wait::wait_until;

const PARTITIONS: u32 = 6;
/// Pods start, join, and are Ready; or leave, and are gone.
const SCALE_LIMIT: Duration = Duration::from_secs(120);
const TOPIC_PAUSE: Duration = Duration::from_secs(2);
/// Fewer topics would say nothing.
const TOPICS_LEAST: usize = 5;

/// A Java producer with `acks=all` is at work, and topics are made, while the controllers become five, three, one and three
/// again. Every message is there, every topic became Ready, and no broker was made anew.
pub(super) fn scale(world: &World) -> Result<()> {
    await_controllers(world, 3)?;
    let brokers = uids(world, "broker")?;
    let topic = ShortLivedTopic::for_messages(world, "voted", PARTITIONS)?;
    let scaling = AtomicBool::new(true);
    let (topics, produced) = while_producing(world, topic.name(), || {
        thread::scope(|scope| {
            let topics = scope.spawn(|| make_topics(world, &scaling));
            let scaled = scale_to_all(world);
            scaling.store(false, Ordering::Release);
            let topics = topics.join();
            scaled?;
            topics.map_err(|_| anyhow!("who made topics panicked"))?
        })
    })?;
    ensure!(topics >= TOPICS_LEAST, "{topics} topics were made only");
    let line = format!("        {topics} topics were made meanwhile");
    world.progress.line(&line);
    messages::verify(world, topic.name(), produced)?;
    ensure!(uids(world, "broker")? == brokers, "a broker was made anew");
    topic.delete()
}

fn scale_to_all(world: &World) -> Result<()> {
    for count in [5, 3, 1, 3] {
        let before = uids(world, "controller")?;
        let begun = Instant::now();
        let change = json!({"spec": {"controllers": {"replicas": count}}}).to_string();
        world.run(&["patch", CLUSTER, "--type=merge", "--patch", &change])?;
        await_controllers(world, count)?;
        let after = uids(world, "controller")?;
        // Those that were there and are still there are the same.
        let other = before
            .iter()
            .find(|(pod, uid)| after.get(*pod).is_some_and(|now| now != *uid));
        ensure!(other.is_none(), "{other:?} was made anew");
        world.progress.line(&format!(
            "        {count} controllers after {}",
            seconds(begun.elapsed())
        ));
    }
    Ok(())
}

/// One after the other until it is told to stop. Says how many.
fn make_topics(world: &World, scaling: &AtomicBool) -> Result<usize> {
    let mut made = 0;
    while scaling.load(Ordering::Acquire) {
        ShortLivedTopic::make(world, "voters", 2)?.delete()?;
        made += 1;
        thread::sleep(TOPIC_PAUSE);
    }
    Ok(made)
}

/// So many pods, all Ready, which is to say that they vote; and nothing under way.
fn await_controllers(world: &World, count: usize) -> Result<()> {
    world
        .await_object(CLUSTER, "settled with its controllers", SCALE_LIMIT, |it| {
            let is = |kind: &str, status: &str| {
                condition(it, kind).is_some_and(|it| it["status"] == status)
            };
            it["status"]["readyControllers"] == count
                && it["status"]["observedGeneration"] == it["metadata"]["generation"]
                && is("Ready", "True")
                && is("Progressing", "False")
        })
        .map(drop)?;
    // Who has left the quorum may still be about to end.
    wait_until("the other controllers to be gone", SCALE_LIMIT, || {
        let pods = uids(world, "controller")?;
        let left = || format!("there are {:?}", pods.keys());
        Ok((pods.len() == count).then_some(()).ok_or_else(left))
    })
}

/// Of the pods of a role, by name.
fn uids(world: &World, role: &str) -> Result<BTreeMap<String, String>> {
    let mut all = watch::uids(world)?;
    all.retain(|pod, _| pod.contains(role));
    Ok(all)
}
