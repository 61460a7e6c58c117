//! More brokers and fewer, while messages come in.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::messages;
use super::producing::while_producing;
use super::short_lived_topic::ShortLivedTopic;
use super::world::{BOOTSTRAP, CLUSTER, NAMESPACE, World};
use crate::java::tool;
use crate::objects::{await_gone, condition, items, name};
use crate::progress::seconds;
use crate::wait::wait_until;

/// Brokers start, and partitions move to them, on a machine that is busy with a whole cluster.
const SCALED_LIMIT: Duration = Duration::from_secs(300);
const TOLD_LIMIT: Duration = Duration::from_secs(30);
const GONE_LIMIT: Duration = Duration::from_secs(60);
const LOOK_PAUSE: Duration = Duration::from_millis(300);
/// Of the topic that is moved about; each has three replicas.
const PARTITIONS: u32 = 300;
/// Of the topic that is written to meanwhile.
const WRITTEN_PARTITIONS: u32 = 6;
const TIMES: usize = 5;
const CANCELLED_TIME: usize = 3;
/// Brokers may differ by so many percent of the average when replicas have been evened out.
const UNEVEN_PERCENT: i64 = 10;

/// Nothing is left of the topics and claims of a story, however it ends.
pub(super) struct Tidy<'world> {
    world: &'world World,
    pub(super) wide: ShortLivedTopic<'world>,
    pub(super) written: ShortLivedTopic<'world>,
}

impl Drop for Tidy<'_> {
    fn drop(&mut self) {
        for broker in 3..6 {
            let claim = format!("pvc/data-demo-broker-{broker}");
            let _ = self
                .world
                .run(&["delete", &claim, "--ignore-not-found", "--wait=false"]);
        }
    }
}

/// From 3 to 6 brokers and back, under a producer that loses nothing.
pub(super) fn up_and_down(world: &World) -> Result<()> {
    let tidy = topics(world)?;
    let (wide, written) = (tidy.wide.name(), tidy.written.name());
    let begun = Instant::now();
    let ((), produced) = while_producing(world, written, || {
        scale(world, 6)?;
        settles_at(world, 6)?;
        let up = begun.elapsed();
        even(world, wide, 6)?;
        told(world, "ScaledUp", "from 3 to 6 brokers")?;
        scale(world, 3)?;
        shrinks_only_when_empty(world, 3)?;
        settles_at(world, 3)?;
        let figures = format!(
            "3 to 6 brokers with {PARTITIONS} partitions in {}, back in {}",
            seconds(up),
            seconds(begun.elapsed() - up)
        );
        world.progress.line(&figures);
        even(world, wide, 3)
    })?;
    messages::verify(world, written, produced)?;
    for broker in 3..6 {
        told(
            world,
            "BrokerUnregistered",
            &format!("broker {broker} has left"),
        )?;
        let service = format!("service/demo-broker-{broker}");
        await_gone(world.kubectl(), NAMESPACE, &service, GONE_LIMIT)?;
        world
            .get(&format!("pvc/data-demo-broker-{broker}"))
            .context("the volume of a broker that has left")?;
    }
    Ok(())
}

/// From 3 to 5 brokers, half way back, and to 5 again: nobody has gone. Then to 3.
pub(super) fn cancelled(world: &World) -> Result<()> {
    let tidy = topics(world)?;
    let (wide, written) = (tidy.wide.name(), tidy.written.name());
    scale(world, 5)?;
    settles_at(world, 5)?;
    even(world, wide, 5)?;
    let ((), produced) = while_producing(world, written, || drain_half_and_cancel(world, wide))?;
    messages::verify(world, written, produced)?;
    scale(world, 3)?;
    shrinks_only_when_empty(world, 3)?;
    settles_at(world, 3)
}

/// From 3 to 5 brokers and back, again and again under one producer, and once cancelled half way.
pub(super) fn five_times(world: &World) -> Result<()> {
    let tidy = topics(world)?;
    let (wide, written) = (tidy.wide.name(), tidy.written.name());
    let ((), produced) = while_producing(world, written, || {
        for number in 1..=TIMES {
            let begun = Instant::now();
            scale(world, 5)?;
            settles_at(world, 5)?;
            even(world, wide, 5)?;
            if number == CANCELLED_TIME {
                drain_half_and_cancel(world, wide)?;
            }
            scale(world, 3)?;
            shrinks_only_when_empty(world, 3)?;
            settles_at(world, 3)?;
            even(world, wide, 3)?;
            world.progress.line(&format!(
                "        3 to 5 to 3 brokers, time {number} of {TIMES}: {}",
                seconds(begun.elapsed())
            ));
        }
        Ok(())
    })?;
    messages::verify(world, written, produced)
}

/// From five brokers to three, and half way to five again.
fn drain_half_and_cancel(world: &World, wide: &str) -> Result<()> {
    let pods = uids(world)?;
    scale(world, 3)?;
    world.await_object(CLUSTER, "half drained", SCALED_LIMIT, |cluster| {
        let scaling = &cluster["status"]["scaling"];
        let number = |field: &str| scaling[field].as_i64().unwrap_or_default();
        number("to") == 3 && number("moved") > 0 && number("left") > 0
    })?;
    scale(world, 5)?;
    settles_at(world, 5)?;
    even(world, wide, 5)?;
    told(world, "DrainCancelled", "brokers 3 and 4 stay")?;
    let now = uids(world)?;
    ensure!(now == pods, "a pod was made anew: {now:?}");
    Ok(())
}

/// A topic has three replicas: two brokers are too few, and nothing is touched.
pub(super) fn refused(world: &World) -> Result<()> {
    let tidy = topics(world)?;
    let before = world.get("statefulset/demo-broker")?["spec"].clone();
    scale(world, 2)?;
    world.await_object(
        CLUSTER,
        "refusing, with the reason",
        TOLD_LIMIT,
        |cluster| {
            condition(cluster, "Degraded").is_some_and(|it| {
                let message = it["message"].as_str().unwrap_or_default();
                let names_a_topic =
                    message.contains("topic ") && message.contains("has 3 replicas");
                it["status"] == "True"
                    && names_a_topic
                    && message.contains("set replicas back to 3")
            })
        },
    )?;
    told(
        world,
        "ScaleDownRefused",
        "has 3 replicas of each partition",
    )?;
    let after = world.get("statefulset/demo-broker")?["spec"].clone();
    ensure!(before == after, "the StatefulSet was touched: {after}");
    scale(world, 3)?;
    world.await_object(CLUSTER, "at ease again", TOLD_LIMIT, |cluster| {
        condition(cluster, "Degraded").is_some_and(|it| it["status"] == "False")
    })?;
    drop(tidy);
    Ok(())
}

/// One with many partitions, and one to write to.
pub(super) fn topics(world: &World) -> Result<Tidy<'_>> {
    Ok(Tidy {
        world,
        wide: ShortLivedTopic::make(world, "wide", PARTITIONS)?,
        written: ShortLivedTopic::for_messages(world, "written", WRITTEN_PARTITIONS)?,
    })
}

pub(super) fn scale(world: &World, replicas: u32) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    world.run(&["scale", CLUSTER, &replicas]).map(drop)
}

/// So many brokers are ready, nobody else is there, and nothing moves.
pub(super) fn settles_at(world: &World, brokers: usize) -> Result<()> {
    let what = format!("settled with {brokers} brokers");
    world.await_object(CLUSTER, &what, SCALED_LIMIT, |cluster| {
        let status = &cluster["status"];
        let is = |type_: &str, status: &str| {
            condition(cluster, type_).is_some_and(|it| it["status"] == status)
        };
        status["readyReplicas"] == brokers
            && status["replicas"] == brokers
            && status["scaling"].is_null()
            && status["underReplicatedPartitions"] == 0
            && is("Ready", "True")
            && is("Progressing", "False")
    })?;
    let pods = world.pods("broker")?;
    ensure!(pods.len() == brokers, "there are {pods:?}");
    Ok(())
}

/// Looks at every size that the StatefulSet has on its way: who has gone had nothing.
pub(super) fn shrinks_only_when_empty(world: &World, brokers: i64) -> Result<()> {
    let begun = Instant::now();
    let size = || -> Result<i64> {
        let set = world.get("statefulset/demo-broker")?;
        set["spec"]["replicas"].as_i64().context("no number")
    };
    let mut seen = size()?;
    while seen > brokers {
        ensure!(
            begun.elapsed() < SCALED_LIMIT,
            "the StatefulSet stays at {seen}"
        );
        thread::sleep(LOOK_PAUSE);
        let now = size()?;
        if now < seen {
            let counts = replicas(world, None)?;
            let gone = counts.range(now..).find(|(_, count)| **count > 0);
            ensure!(
                gone.is_none(),
                "{now} brokers are left, and {gone:?} has replicas"
            );
        }
        seen = now;
    }
    Ok(())
}

pub(super) fn even(world: &World, topic: &str, brokers: i64) -> Result<()> {
    let all = replicas(world, None)?;
    let of_topic = replicas(world, Some(topic))?;
    let on: BTreeSet<i64> = of_topic.keys().copied().collect();
    ensure!(on == (0..brokers).collect(), "{topic} is on {of_topic:?}");
    for rack in racks(world)? {
        let count = |broker: &i64| all.get(broker).copied().unwrap_or_default();
        let size = i64::try_from(rack.len())?;
        let average = rack.iter().map(count).sum::<i64>() / size;
        let slack = (average * UNEVEN_PERCENT + 99) / 100 + 1;
        for broker in &rack {
            ensure!(
                (count(broker) - average).abs() <= slack,
                "broker {broker} has {} replicas, and the average is {average}: {all:?}, in racks as {rack:?}",
                count(broker)
            );
        }
    }
    Ok(())
}

/// The brokers that are to be even: those of each zone where zones differ in size, for each of three zones has a
/// replica of every partition; else all.
fn racks(world: &World) -> Result<Vec<Vec<i64>>> {
    let selector = "app.kubernetes.io/instance=demo,app.kubernetes.io/component=broker";
    let mut of_node: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for pod in world.list("pods", selector)? {
        let (_, number) = name(&pod).rsplit_once('-').context("no number")?;
        let node = pod["spec"]["nodeName"].as_str().context("not scheduled")?;
        of_node
            .entry(node.to_owned())
            .or_default()
            .push(number.parse()?);
    }
    let racks: Vec<Vec<i64>> = of_node.into_values().collect();
    let is_even = racks.windows(2).all(|pair| pair[0].len() == pair[1].len());
    Ok(if is_even { vec![racks.concat()] } else { racks })
}

/// By broker, as Apache Kafka's own tool counts them.
pub(super) fn replicas(world: &World, topic: Option<&str>) -> Result<BTreeMap<i64, i64>> {
    let tool = world
        .java(tool::TOPICS)?
        .args(["--bootstrap-server", BOOTSTRAP, "--describe"]);
    let tool = match topic {
        Some(topic) => tool.args(["--topic", topic]),
        None => tool,
    };
    let described = tool.run()?.text();
    let mut counts = BTreeMap::new();
    let lists = described.lines().filter_map(|line| {
        let (_, rest) = line.split_once("Replicas: ")?;
        rest.split_whitespace().next()
    });
    for id in lists.flat_map(|list| list.split(',')) {
        let id: i64 = id.parse().with_context(|| format!("no node id: {id}"))?;
        *counts.entry(id).or_default() += 1;
    }
    ensure!(!counts.is_empty(), "kafka-topics wrote {described}");
    Ok(counts)
}

/// An Event with this reason says so.
pub(super) fn told(world: &World, reason: &str, words: &str) -> Result<()> {
    let what = format!("an Event {reason} that says {words:?}");
    let selector = format!("--field-selector=reason={reason}");
    wait_until(&what, TOLD_LIMIT, || {
        let events = world
            .kubectl()
            .get_json(["events", "--namespace", NAMESPACE, &selector])?;
        let says = |event: &Value| {
            let message = event["message"].as_str();
            message.is_some_and(|message| message.contains(words))
        };
        Ok(if items(&events).any(says) {
            Ok(())
        } else {
            Err(events.to_string())
        })
    })
}

fn uids(world: &World) -> Result<BTreeSet<String>> {
    let selector = "app.kubernetes.io/instance=demo,app.kubernetes.io/component=broker";
    let pods = world.list("pods", selector)?;
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
    Ok(pods.iter().filter_map(uid).collect())
}
