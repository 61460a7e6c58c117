//! A partition that Apache Kafka's own tool moves from one broker to another.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::world::{BOOTSTRAP, World, lines};
use crate::foz::ensure_same_messages;
use crate::java::tool;
use crate::wait::wait_until;

/// The tool starts a JVM for each look.
const MOVED_LIMIT: Duration = Duration::from_secs(60);

/// No Topic speaks of it: nobody puts back what the tool does.
pub(super) fn moves(world: &World) -> Result<()> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let topic = format!("moving-{}", since_1970.as_millis());
    let bootstrap = ["--bootstrap-server", BOOTSTRAP];
    let topics = |args: &[&str]| world.java(tool::TOPICS)?.args(bootstrap).args(args).run();
    topics(&["--create", "--topic", &topic, "--replica-assignment", "0"])?;
    let sent = lines("moving", 50);
    world.foz().produce(&topic, &sent)?;

    let folder = tempfile::tempdir().context("cannot make a folder for the tool's file")?;
    let file = folder.path().join("moves.json");
    let partition = json!({"topic": topic, "partition": 0, "replicas": [1]});
    let moves = json!({"version": 1, "partitions": [partition]});
    std::fs::write(&file, moves.to_string()).context("cannot write the tool's file")?;
    let file = file.display().to_string();
    let reassign = |what: &[&str]| -> Result<String> {
        let tool = world.java(tool::REASSIGN_PARTITIONS)?.args(bootstrap);
        let tool = tool.args(["--reassignment-json-file", &file]);
        Ok(tool.args(what).run()?.text())
    };
    let begun = reassign(&["--execute", "--throttle", "10000000"])?;
    ensure!(
        begun.contains("Successfully started partition reassignment"),
        "kafka-reassign-partitions --execute wrote {begun}"
    );
    wait_until("the partition to be on broker 1", MOVED_LIMIT, || {
        let verified = reassign(&["--verify"])?;
        let is_complete =
            verified.contains(&format!("Reassignment of partition {topic}-0 is completed"));
        Ok(if is_complete { Ok(()) } else { Err(verified) })
    })?;
    let described = topics(&["--describe", "--topic", &topic])?.text();
    for words in ["Leader: 1", "Replicas: 1", "Isr: 1"] {
        ensure!(described.contains(words), "kafka-topics says {described}");
    }
    ensure!(
        !described.contains("throttled"),
        "the throttle is still there: {described}"
    );
    ensure_same_messages(&sent, &world.foz().consume(&topic)?)?;
    topics(&["--delete", "--topic", &topic]).map(drop)
}
