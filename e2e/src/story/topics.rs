//! A Topic's life after its birth.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::world::{BOOTSTRAP, World, lines, topic_manifest};
use crate::foz::ensure_same_messages;
use crate::java::tool;
use crate::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn change(world: &World) -> Result<()> {
    let topic = world.fresh_topic("changing", 2)?;
    let object = format!("topic.foz.dev/{topic}");
    let patch = r#"{"spec":{"partitions":5,"config":{"retention.ms":"3600000"}}}"#;
    world.run(&["patch", &object, "--type=merge", "--patch", patch])?;
    world.await_object(&object, "of 5 partitions", LIMIT, |topic| {
        topic["status"]["partitions"] == 5
    })?;
    world.await_ready(&object)?;
    let described = describe(world, &topic)?;
    for word in ["PartitionCount: 5", "retention.ms=3600000"] {
        ensure!(described.contains(word), "kafka-topics says {described}");
    }
    // Drift: what somebody else changes in Kafka is put back.
    let alter = ["topics", "alter", &topic, "--config", "retention.ms=1"];
    world.foz().command(&alter).run()?;
    wait_until("the changed config to be put back", LIMIT, || {
        let described = describe(world, &topic)?;
        let back = described.contains("retention.ms=3600000");
        Ok(if back { Ok(()) } else { Err(described) })
    })
}

pub(super) fn deletion(world: &World) -> Result<()> {
    for (topic, policy) in [("kept", "Retain"), ("dropped", "Delete")] {
        world.apply(&topic_manifest(
            topic,
            1,
            &format!("deletionPolicy: {policy}"),
        ))?;
        let object = format!("topic.foz.dev/{topic}");
        world.await_ready(&object)?;
        world.foz().produce(topic, &lines(topic, 3))?;
        world.run(&["delete", &object, "--timeout=30s"])?;
    }
    ensure_same_messages(&lines("kept", 3), &world.foz().consume("kept")?)?;
    let left = world
        .java(tool::TOPICS)?
        .args(["--bootstrap-server", BOOTSTRAP, "--list"])
        .run()?;
    let left = left.text();
    ensure!(
        !left.lines().any(|line| line == "dropped"),
        "still there: {left}"
    );
    adopt(world)
}

pub(super) fn restoration(world: &World) -> Result<()> {
    let topic = world.fresh_topic("restored", 2)?;
    let manifest = topic_manifest(&topic, 2, "deletionPolicy: Delete");
    world.apply(&manifest)?;
    let object = format!("topic.foz.dev/{topic}");
    world.await_object(&object, "held by its finalizer", LIMIT, |topic| {
        topic["metadata"]["finalizers"].is_array()
    })?;
    world.foz().produce(&topic, &lines(&topic, 20))?;
    let id = world.get(&object)?["status"]["topicId"].clone();
    world.run(&["delete", &object, "--timeout=30s"])?;
    let deleted = world.foz_in("demo-controller-0");
    let deleted = deleted.command(&["topics", "deleted"]).run()?.text();
    let is_listed = |line: &str| line.starts_with(&topic) && line.contains("operator");
    ensure!(deleted.lines().any(is_listed), "foz lists {deleted}");

    let asks = "annotations: {foz.dev/restore-deleted: latest}";
    let name = format!("name: {topic}");
    world.apply(&manifest.replacen(&name, &format!("{name}, {asks}"), 1))?;
    let restored = world.await_ready(&object)?;
    ensure!(
        restored["status"]["topicId"] == id,
        "it had the id {id}, and is {restored}"
    );
    ensure_same_messages(&lines(&topic, 20), &world.foz().consume(&topic)?)
}

/// A Topic for a name that exists is refused until it says that it adopts it.
fn adopt(world: &World) -> Result<()> {
    world.apply(&topic_manifest("kept", 1, ""))?;
    let object = "topic.foz.dev/kept";
    world.await_object(object, "refused", LIMIT, |topic| {
        let ready = crate::objects::condition(topic, "Ready");
        ready.is_some_and(|it| it["status"] == "False")
    })?;
    let patch = r#"{"spec":{"adoptionPolicy":"Adopt"}}"#;
    world.run(&["patch", object, "--type=merge", "--patch", patch])?;
    world.await_ready(object)?;
    ensure_same_messages(&lines("kept", 3), &world.foz().consume("kept")?)
}

fn describe(world: &World, topic: &str) -> Result<String> {
    let tool = world
        .java(tool::TOPICS)?
        .args(["--bootstrap-server", BOOTSTRAP]);
    Ok(tool.args(["--describe", "--topic", topic]).run()?.text())
}
