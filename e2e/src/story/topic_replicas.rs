//! Topics get more replicas and fewer while they serve, and belong to Clusters of other namespaces.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::world::{CLUSTER, NAMESPACE, READY_LIMIT, World, lines, topic_manifest};
use crate::foz::ensure_same_messages;
use crate::objects::{await_gone, await_object, await_ready, condition};

const LIMIT: Duration = Duration::from_secs(60);
const OTHER_NAMESPACE: &str = "stories-team-a";

pub(super) fn more_and_fewer(world: &World) -> Result<()> {
    let topic = world.fresh_topic("replicas", 4)?;
    let object = format!("topic.foz.dev/{topic}");
    let sent = lines("replicas", 100);
    world.foz().produce(&topic, &sent)?;
    // Partitions and replicas in one edit.
    edit(world, &object, r#"{"replicationFactor":3,"partitions":6}"#)?;
    await_factor(world, &object, 3)?;
    ensure_same_messages(&sent, &world.foz().consume(&topic)?)?;

    // More than there are brokers: the numbers are told, and it serves on.
    edit(world, &object, r#"{"replicationFactor":9}"#)?;
    world.await_object(&object, "refused with the numbers", LIMIT, |topic| {
        condition(topic, "Degraded").is_some_and(|it| {
            let message = it["message"].as_str().unwrap_or_default();
            it["reason"] == "InvalidReplicationFactor" && message.contains("replication factor 9")
        })
    })?;
    world.foz().produce(&topic, &lines("more", 10))?;

    // min.insync.replicas is 2 by default: fewer than that only where the topic says so itself.
    edit(world, &object, r#"{"replicationFactor":1}"#)?;
    world.await_object(&object, "refused for its minimum", LIMIT, |topic| {
        condition(topic, "Degraded").is_some_and(|it| {
            let message = it["message"].as_str().unwrap_or_default();
            message.contains("min.insync.replicas")
        })
    })?;
    let fewer = r#"{"replicationFactor":1,"config":{"min.insync.replicas":"1"}}"#;
    edit(world, &object, fewer)?;
    await_factor(world, &object, 1)?;
    ensure!(
        world.foz().consume(&topic)?.len() == 110,
        "messages were lost"
    );
    Ok(())
}

pub(super) fn other_namespaces(world: &World) -> Result<()> {
    let kubectl = world.kubectl();
    let namespace =
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {OTHER_NAMESPACE}}}\n");
    kubectl.apply(NAMESPACE, namespace)?;
    let topic = topic_manifest("of-team-a", 1, "deletionPolicy: Delete").replace(
        "{name: demo}",
        &format!("{{name: demo, namespace: {NAMESPACE}}}"),
    );
    kubectl.apply(OTHER_NAMESPACE, topic)?;
    let object = "topic.foz.dev/of-team-a";
    let not_allowed = |topic: &serde_json::Value| {
        condition(topic, "Ready").is_some_and(|it| it["reason"] == "NamespaceNotAllowed")
    };
    let (namespace, what) = (OTHER_NAMESPACE, "not allowed");
    await_object(kubectl, namespace, object, what, LIMIT, not_allowed)?;
    edit(
        world,
        CLUSTER,
        &format!(r#"{{"allowedNamespaces":["{OTHER_NAMESPACE}"]}}"#),
    )?;
    await_ready(kubectl, OTHER_NAMESPACE, object, READY_LIMIT)?;
    world.foz().produce("of-team-a", &lines("team", 3))?;
    // A namespace that is deleted takes its Topics along, and they the topics that they are to delete.
    let delete = ["delete", "namespace", OTHER_NAMESPACE, "--wait=false"];
    kubectl.run(delete)?;
    let gone = format!("namespace/{OTHER_NAMESPACE}");
    await_gone(kubectl, NAMESPACE, &gone, Duration::from_secs(30))?;
    let listed = world.foz().command(&["topics", "list"]).run()?.text();
    ensure!(!listed.contains("of-team-a"), "still there: {listed}");
    edit(world, CLUSTER, r#"{"allowedNamespaces":[]}"#)
}

fn edit(world: &World, object: &str, spec: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{spec}}}"#);
    let arguments = ["patch", object, "--type=merge", "--patch", &patch];
    world.run(&arguments).map(drop)
}

fn await_factor(world: &World, object: &str, factor: i32) -> Result<()> {
    let what = format!("Ready with replication factor {factor}");
    world
        .await_object(object, &what, LIMIT, |topic| {
            topic["status"]["replicationFactor"] == factor
                && condition(topic, "Ready").is_some_and(|it| it["status"] == "True")
                && condition(topic, "Progressing").is_some_and(|it| it["status"] == "False")
        })
        .map(drop)
}
