//! Messages of every kind by Apache Kafka's Java client, and what they look like on disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::world::{BOOTSTRAP, NAMESPACE, World, replicated_topic_manifest};
use crate::java::tool;

/// One argument has at most 128 KiB (MAX_ARG_STRLEN of Linux), a path some 170 bytes.
const FILES_MAX: usize = 500;
/// Of mixed sizes up to 1 MB.
pub(super) const COUNT: u32 = 10_000;
pub(super) const TOPIC: &str = "messages";

const PRODUCE_LIMIT: Duration = Duration::from_secs(180);

pub(super) fn ten_thousand(world: &World) -> Result<()> {
    // Told again on the same cluster, the messages are there and must be what they were.
    if world.get(&format!("topic.foz.dev/{TOPIC}")).is_err() {
        // Their timestamps are of the year 2023: time must not delete them.
        let more = "config: {retention.ms: '-1'}";
        world.apply(&replicated_topic_manifest(TOPIC, 6, more))?;
        world.await_ready(&format!("topic.foz.dev/{TOPIC}"))?;
        produce(world, TOPIC, COUNT)?;
    }
    verify(world, TOPIC, COUNT)
}

/// Produces messages that are a function of their number; see `e2e/java/Messages.java`.
pub(super) fn produce(world: &World, topic: &str, count: u32) -> Result<()> {
    run(world, "produce", BOOTSTRAP, topic, count)
}

/// Consumes them from the beginning: each once, unchanged, in order.
pub(super) fn verify(world: &World, topic: &str, count: u32) -> Result<()> {
    verify_at(world, BOOTSTRAP, topic, count)
}

/// The same on another Cluster.
pub(super) fn verify_at(world: &World, bootstrap: &str, topic: &str, count: u32) -> Result<()> {
    run(world, "consume", bootstrap, topic, count)
}

fn run(world: &World, what: &str, bootstrap: &str, topic: &str, count: u32) -> Result<()> {
    let java = world
        .java("Messages.java")?
        .args([what, bootstrap, topic, &count.to_string()]);
    java.limit(PRODUCE_LIMIT).run().map(drop)
}

/// Kafka's own reader of logs on every segment of every partition of the stopped Cluster.
pub(super) fn dump_log(world: &World) -> Result<()> {
    let volumes = world.cluster()?.volumes();
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(&volumes)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("{NAMESPACE}-data-demo-broker-")) {
            find_logs(&entry.path(), &mut logs)?;
        }
    }
    ensure!(!logs.is_empty(), "no segment below {}", volumes.display());
    let bytes: u64 = logs
        .iter()
        .filter_map(|log| Some(log.metadata().ok()?.len()))
        .sum();
    ensure!(
        bytes > 10_000_000,
        "only {bytes} bytes of segments below {}",
        volumes.display()
    );
    for logs in logs.chunks(FILES_MAX) {
        let files = logs
            .iter()
            .map(|log| log.display().to_string())
            .collect::<Vec<_>>()
            .join(",");
        let dump = world
            .java(tool::DUMP_LOG)?
            .args(["--deep-iteration", "--files", &files]);
        let output = dump.limit(PRODUCE_LIMIT).run()?;
        let said = output.text() + &output.error_text();
        let complaint = said.lines().find(|line| is_complaint(line));
        ensure!(
            complaint.is_none(),
            "kafka-dump-log says: {}",
            complaint.unwrap_or_default()
        );
    }
    Ok(())
}

/// The tool ends well whatever it finds; what it finds wrong is in its words.
fn is_complaint(line: &str) -> bool {
    let words = [
        "isvalid: false",
        "Exception",
        "Mismatches",
        "Found timestamp mismatch",
        "corrupt",
    ];
    words.iter().any(|word| line.contains(word))
}

fn find_logs(folder: &Path, logs: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find_logs(&path, logs)?;
        } else if path
            .extension()
            .is_some_and(|it| it == "log" || it == "index" || it == "timeindex")
            && path.parent().is_some_and(is_partition)
        {
            logs.push(path);
        }
    }
    Ok(())
}

/// A partition's folder is called `<topic>-<number>`.
fn is_partition(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-')
        .is_some_and(|(_, number)| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_records() {
        assert!(is_complaint("baseOffset: 0 lastOffset: 3 isvalid: false"));
        assert!(!is_complaint("baseOffset: 0 lastOffset: 3 isvalid: true"));
    }

    #[test]
    fn partitions_are_told_from_other_folders() {
        assert!(is_partition(Path::new("/x/orders-11")));
        assert!(!is_partition(Path::new("/x/orders")));
        assert!(!is_partition(Path::new("/x/__cluster_metadata-x")));
    }
}
