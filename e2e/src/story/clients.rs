//! Messages in and out by foz, kcat and Apache Kafka's console tools.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::world::{BOOTSTRAP, World, lines};
use crate::foz::ensure_same_messages;
use crate::java::tool;

pub(super) fn foz(world: &World) -> Result<()> {
    let topic = world.fresh_topic("by-foz", 3)?;
    let sent = lines("foz", 20);
    world.foz().produce(&topic, &sent)?;
    // Another pod than the one that it was produced through.
    ensure_same_messages(&sent, &world.foz_in("demo-broker-1").consume(&topic)?)?;
    let topics = world.foz().command(&["topics", "list"]).run()?.text();
    ensure!(topics.contains(&topic), "`foz topics list` wrote {topics}");
    Ok(())
}

pub(super) fn kcat(world: &World) -> Result<()> {
    let topic = world.fresh_topic("by-kcat", 3)?;
    let sent: Vec<String> = (0..100).map(|it| format!("key-{it}:value-{it}")).collect();
    let produce = [
        "-P",
        "-t",
        &topic,
        "-K:",
        "-H",
        "origin=kcat",
        "-X",
        "acks=all",
    ];
    world
        .kcat()?
        .args(produce)
        .stdin(sent.join("\n") + "\n")
        .run()?;
    let consume = [
        "-C",
        "-t",
        &topic,
        "-o",
        "beginning",
        "-e",
        "-q",
        "-f",
        "%h %k:%s\n",
    ];
    let received = world.kcat()?.args(consume).run()?.text();
    let expected: Vec<String> = sent
        .iter()
        .map(|line| format!("origin=kcat {line}"))
        .collect();
    ensure_same_messages(
        &expected,
        &received.lines().map(str::to_owned).collect::<Vec<_>>(),
    )?;
    ordered_by_key(world)?;
    compressed(world)
}

/// One key's messages stay in order, whatever partition they went to.
fn ordered_by_key(world: &World) -> Result<()> {
    let sent: Vec<String> = (0..500).map(|number| format!("same:{number}")).collect();
    let topic = world.fresh_topic("in-order", 3)?;
    let topic = ["-t", &topic];
    let produce = world.kcat()?.arg("-P").args(topic).arg("-K:");
    produce.stdin(sent.join("\n") + "\n").run()?;
    let consume = world.kcat()?.arg("-C").args(topic);
    let received = consume
        .args(["-o", "beginning", "-e", "-q", "-K:"])
        .run()?
        .text();
    let received: Vec<&str> = received.lines().collect();
    ensure!(received == sent, "one key's messages came as {received:?}");
    Ok(())
}

fn compressed(world: &World) -> Result<()> {
    let topic = world.fresh_topic("compressed", 1)?;
    let mut sent = Vec::new();
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let message = format!("{codec} {}end", "squeeze ".repeat(200));
        let produce = world.kcat()?.args(["-P", "-t", &topic, "-z", codec]);
        produce.stdin(format!("{message}\n")).run()?;
        sent.push(message);
    }
    let consume = world.kcat()?.args(["-C", "-t", &topic, "-o", "beginning"]);
    let received = consume.args(["-e", "-q"]).run()?.text();
    ensure!(
        received.lines().eq(sent.iter()),
        "the codecs' messages came as {received}"
    );
    Ok(())
}

pub(super) fn console(world: &World) -> Result<()> {
    let bootstrap = ["--bootstrap-server", BOOTSTRAP];
    let topic = ["--topic", "by-console"];
    let topics = |args: &[&str]| world.java(tool::TOPICS)?.args(bootstrap).args(args).run();
    topics(&["--create", "--topic", "by-console", "--partitions", "2"])?;
    let described = topics(&["--describe", "--topic", "by-console"])?.text();
    ensure!(
        described.contains("PartitionCount: 2"),
        "kafka-topics --describe wrote {described}"
    );

    let sent = lines("console", 50);
    let produce = world
        .java(tool::CONSOLE_PRODUCER)?
        .args(bootstrap)
        .args(topic);
    produce.stdin(sent.join("\n") + "\n").run()?;
    // In a group: the coordinator keeps the offsets, also when the next member speaks another protocol.
    let consume = |protocol: &str, count: usize| -> Result<Vec<String>> {
        let count = count.to_string();
        let protocol = format!("group.protocol={protocol}");
        let consumer = world
            .java(tool::CONSOLE_CONSUMER)?
            .args(bootstrap)
            .args(topic);
        let limits = ["--max-messages", &count, "--timeout-ms", "60000"];
        let group = ["--from-beginning", "--group", "console"];
        let group = group.into_iter().chain(["--command-property", &protocol]);
        let text = consumer.args(limits).args(group).run()?.text();
        Ok(text.lines().map(str::to_owned).collect())
    };
    let mut received = consume("classic", 20)?;
    received.extend(consume("consumer", 20)?);
    received.extend(consume("classic", 10)?);
    ensure_same_messages(&sent, &received)?;
    topics(&["--delete", "--topic", "by-console"])?;
    let left = topics(&["--list"])?.text();
    ensure!(
        !left.lines().any(|line| line == "by-console"),
        "kafka-topics deleted nothing: {left}"
    );
    Ok(())
}

pub(super) fn delete_records(world: &World) -> Result<()> {
    let topic = world.fresh_topic("deleted", 1)?;
    let sent = lines("deleted", 10);
    world.foz().produce(&topic, &sent)?;
    let folder = tempfile::tempdir().context("cannot make a folder for the tool's file")?;
    let file = folder.path().join("offsets.json");
    let before = json!({"topic": topic, "partition": 0, "offset": 6});
    let offsets = json!({"version": 1, "partitions": [before]});
    std::fs::write(&file, offsets.to_string()).context("cannot write the tool's file")?;
    let tool = world.java(tool::DELETE_RECORDS)?;
    let tool = tool.args(["--bootstrap-server", BOOTSTRAP]);
    let file = file.display().to_string();
    let told = tool.args(["--offset-json-file", &file]).run()?.text();
    ensure!(
        told.contains("low_watermark: 6"),
        "kafka-delete-records wrote {told}"
    );
    ensure_same_messages(&sent[6..], &world.foz().consume(&topic)?)?;

    let delete = ["topics", "delete-records", &topic, "0:8"];
    let told = world.foz().command(&delete).run()?.text();
    ensure!(told.contains("begins at offset 8"), "`foz` wrote {told}");
    ensure_same_messages(&sent[8..], &world.foz().consume(&topic)?)
}
