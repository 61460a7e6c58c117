//! A compacted topic, as Apache Kafka's Java consumer sees it. What it looks like on disk, `kafka-dump-log` reads at the
//! end of all stories.

use std::time::Duration;

use anyhow::Result;

use super::world::{BOOTSTRAP, World, replicated_topic_manifest};

const TOPIC: &str = "compacted";
const COUNT: u32 = 60_000;
/// Five hundred keys, and what is in the newest segment of each partition.
const KEPT_MOST: u32 = 4_000;
const LIMIT: Duration = Duration::from_secs(240);

pub(super) fn newest_values(world: &World) -> Result<()> {
    let object = format!("topic.foz.dev/{TOPIC}");
    if world.get(&object).is_err() {
        let config = "config: {cleanup.policy: compact, segment.bytes: '1048576', \
                      min.cleanable.dirty.ratio: '0.01', delete.retention.ms: '0'}";
        world.apply(&replicated_topic_manifest(TOPIC, 2, config))?;
        world.await_ready(&object)?;
        run(world, &["produce", BOOTSTRAP, TOPIC, &COUNT.to_string()])?;
    }
    let (count, kept_most) = (COUNT.to_string(), KEPT_MOST.to_string());
    let kept = run(world, &["consume", BOOTSTRAP, TOPIC, &count, &kept_most])?;
    world.progress.line(&format!(
        "        of {COUNT} records of 500 keys, and what closes their segments, compaction {}",
        kept.trim()
    ));
    Ok(())
}

fn run(world: &World, words: &[&str]) -> Result<String> {
    let java = world.java("Compacted.java")?.args(words);
    Ok(java.limit(LIMIT).run()?.text())
}
