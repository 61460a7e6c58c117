//! Partitions that Apache Kafka's own tool moves from one broker to another.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::rolls::now_ms;
use super::rolls::under_load::{say, under_load};
use super::world::{BOOTSTRAP, World, lines};
use crate::external::{External, Output};
use crate::foz::ensure_same_messages;
use crate::java::tool;
use crate::progress::seconds;
use crate::wait::wait_until;

/// The tool starts a JVM for each look.
const MOVED_LIMIT: Duration = Duration::from_secs(60);
const PARTITIONS: i64 = 100;
const BYTES_OF_PARTITION: i64 = 50_000_000;
const RECORD_BYTES: i64 = 10_000;
const FILL_LIMIT: Duration = Duration::from_secs(300);
/// Of all of [`PARTITIONS`].
const MOVE_MAX: Duration = Duration::from_secs(60);
/// The p99 of clients may become so many times what it was.
const P99_TIMES_MAX: f64 = 2.0;
/// Before the moves, to compare with.
const BEFORE: Duration = Duration::from_secs(20);

/// No Topic speaks of it: nobody puts back what the tool does.
pub(super) fn moves(world: &World) -> Result<()> {
    let topic = format!("moving-{}", now_ms()?);
    topics(world, &["--create", "--topic", &topic])?
        .args(["--replica-assignment", "0"])
        .run()?;
    let sent = lines("moving", 50);
    world.foz().produce(&topic, &sent)?;

    let moves = Moves::new(world, &topic, &BTreeMap::from([(0, 1)]))?;
    moves.execute(&["--throttle", "10000000"])?;
    wait_until("the partition to be on broker 1", MOVED_LIMIT, || {
        let verified = moves.tool(&["--verify"])?.text();
        let is_complete =
            verified.contains(&format!("Reassignment of partition {topic}-0 is completed"));
        Ok(if is_complete { Ok(()) } else { Err(verified) })
    })?;
    let described = topics(world, &["--describe", "--topic", &topic])?
        .run()?
        .text();
    for words in ["Leader: 1", "Replicas: 1", "Isr: 1"] {
        ensure!(described.contains(words), "kafka-topics says {described}");
    }
    ensure!(
        !described.contains("throttled"),
        "the throttle is still there: {described}"
    );
    ensure_same_messages(&sent, &world.foz().consume(&topic)?)?;
    delete(world, &topic)
}

/// Every broker gives all of its partitions of a topic of 5 GB to the next one, under half of the load that the cluster
/// carries: in a minute, and the p99 of its clients at most doubles.
pub(super) fn under_half_load(world: &World) -> Result<()> {
    let topic = format!("heavy-{}", now_ms()?);
    let on = |shift: i64| -> BTreeMap<i64, i64> {
        let broker = |partition: i64| (partition, (partition + shift) % 3);
        (0..PARTITIONS).map(broker).collect()
    };
    let (from, to) = (on(0), on(1));
    let assignment: Vec<String> = from.values().map(i64::to_string).collect();
    topics(world, &["--create", "--topic", &topic])?
        .args(["--replica-assignment", &assignment.join(",")])
        .run()?;
    let told = fill(world, &topic).and_then(|()| {
        let (felt, (began, ended, took)) = under_load(world, None, || {
            let moves = Moves::new(world, &topic, &to)?;
            thread::sleep(BEFORE);
            let (began, begun) = (now_ms()?, Instant::now());
            moves.execute(&[])?;
            wait_until("all to be on the next broker", MOVE_MAX * 4, || {
                let on = brokers(world, &topic)?;
                let left = || {
                    let there = on.iter().filter(|(partition, _)| to[*partition] == on[*partition]);
                    format!("{} of {PARTITIONS} are there", there.count())
                };
                Ok((on == to).then_some(()).ok_or_else(left))
            })?;
            Ok((began, now_ms()?, begun.elapsed()))
        })?;
        say(world, &felt);
        let (before, during) = felt.p99_ms_before_and_during(BEFORE, began, ended)?;
        world.progress.line(&format!(
            "        {PARTITIONS} partitions of {} MB were moved in {}; p99 of a second: {before:.1} ms before, \
             {during:.1} ms meanwhile (medians)",
            BYTES_OF_PARTITION / 1_000_000,
            seconds(took)
        ));
        felt.ensure_clean()?;
        ensure!(took <= MOVE_MAX, "{} is too long", seconds(took));
        ensure!(during <= before * P99_TIMES_MAX, "the p99 has more than doubled");
        Ok(())
    });
    let deleted = delete(world, &topic);
    told.and(deleted)
}

/// What the tool is to do.
struct Moves<'world> {
    world: &'world World,
    /// Of `file`, and gone with this.
    _folder: TempDir,
    file: String,
}

impl<'world> Moves<'world> {
    /// Each partition to one broker.
    fn new(world: &'world World, topic: &str, to: &BTreeMap<i64, i64>) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for the tool's file")?;
        let file = folder.path().join("moves.json");
        let partitions: Vec<Value> = to
            .iter()
            .map(|(partition, broker)| {
                json!({"topic": topic, "partition": partition, "replicas": [broker]})
            })
            .collect();
        let moves = json!({"version": 1, "partitions": partitions});
        std::fs::write(&file, moves.to_string()).context("cannot write the tool's file")?;
        Ok(Self {
            world,
            file: file.display().to_string(),
            _folder: folder,
        })
    }

    fn execute(&self, more: &[&str]) -> Result<()> {
        let begun = self.tool(&[&["--execute"], more].concat())?.text();
        ensure!(
            begun.contains("Successfully started partition reassignment"),
            "kafka-reassign-partitions --execute wrote {begun}"
        );
        Ok(())
    }

    fn tool(&self, arguments: &[&str]) -> Result<Output> {
        let tool = self.world.java(tool::REASSIGN_PARTITIONS)?;
        let tool = tool.args(["--bootstrap-server", BOOTSTRAP]);
        let tool = tool.args(["--reassignment-json-file", &self.file]);
        tool.args(arguments).run()
    }
}

fn topics(world: &World, arguments: &[&str]) -> Result<External> {
    let tool = world
        .java(tool::TOPICS)?
        .args(["--bootstrap-server", BOOTSTRAP]);
    Ok(tool.args(arguments))
}

fn delete(world: &World, topic: &str) -> Result<()> {
    topics(world, &["--delete", "--topic", topic])?
        .run()
        .map(drop)
}

/// By Apache Kafka's own tool, evenly.
fn fill(world: &World, topic: &str) -> Result<()> {
    let records = PARTITIONS * BYTES_OF_PARTITION / RECORD_BYTES;
    let tool = world.java(tool::PRODUCER_PERFORMANCE)?;
    let tool = tool.args(["--topic", topic, "--throughput", "-1"]);
    let tool = tool.args(["--num-records", &records.to_string()]);
    let tool = tool.args(["--record-size", &RECORD_BYTES.to_string()]);
    let bootstrap = format!("bootstrap.servers={BOOTSTRAP}");
    let tool = tool.args(["--producer-props", &bootstrap, "acks=1"]);
    tool.limit(FILL_LIMIT).run().map(drop)
}

/// The one broker that each partition is on; -1 while there are others.
fn brokers(world: &World, topic: &str) -> Result<BTreeMap<i64, i64>> {
    let said = world.kcat()?.args(["-L", "-J", "-t", topic]).run()?;
    let said: Value = serde_json::from_slice(&said.stdout)?;
    let partitions = said["topics"][0]["partitions"].as_array();
    let on = |partition: &Value| {
        let replicas = partition["replicas"].as_array()?;
        let broker = match replicas.as_slice() {
            [alone] => alone["id"].as_i64()?,
            _ => -1,
        };
        Some((partition["partition"].as_i64()?, broker))
    };
    let all: Option<BTreeMap<i64, i64>> = partitions.and_then(|all| all.iter().map(on).collect());
    all.with_context(|| format!("kcat says {said}"))
}
