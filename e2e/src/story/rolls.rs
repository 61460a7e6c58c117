//! Pods restarted one after the other: nobody notices, and where it would do harm, it waits and says why.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

pub(super) mod drain;
pub(super) mod kubectl_drain;
pub(super) mod under_load;
pub(super) mod watch;

use self::watch::{ROLL_LIMIT, check_order, watch_isrs};
pub(super) use self::watch::{changed, uids, watch_roll};
use super::messages;
use super::producing::while_producing;
use super::short_lived_topic::ShortLivedTopic;
use super::world::{CLUSTER, NAMESPACE, World, lines};
use crate::foz::ensure_same_messages;
use crate::objects::{condition, items};
use crate::progress::seconds;
use crate::wait::wait_until;

const PARTITIONS: u32 = 6;
const TOLD_LIMIT: Duration = Duration::from_secs(60);
/// Long enough for an operator that is about to restart another pod to do so.
const QUIET: Duration = Duration::from_secs(15);
/// Fewer looks at the ISRs would say nothing.
const LOOKS_LEAST: usize = 20;

/// The value of an annotation makes every pod anew while a Java producer with `acks=all` is at work. Then all of its
/// messages are there, once and in order, and no partition has had fewer than two replicas in sync.
pub(super) fn annotation(world: &World) -> Result<()> {
    while_produced(world, "rolled", |before| {
        ask_for_restart(world)?;
        let order = watch_roll(world, before)?;
        check_order(&order)?;
        Ok(format!("{} pods restarted", order.len()))
    })?;
    // The annotation may go again: that is no change of what the pods run from.
    let after = uids(world)?;
    world.run(&["annotate", CLUSTER, "foz.dev/restart-"])?;
    thread::sleep(QUIET);
    ensure!(
        uids(world)? == after,
        "pods restarted without the annotation"
    );
    Ok(())
}

/// The process of a broker is stopped, so that it has no lease; another one is to be restarted. That waits for the
/// broker which is not there, and says so. When people do not want it to be waited for, the quorum denies the restart,
/// and names the partition.
pub(super) fn denied(world: &World) -> Result<()> {
    const DOWN: &str = "demo-broker-1";
    const ASKED: &str = "demo-broker-0";
    await_settled(world)?;
    let before = uids(world)?;
    let pod = world.get(&format!("pod/{DOWN}"))?;
    let uid = pod["metadata"]["uid"]
        .as_str()
        .context("a pod without a UID")?;
    let pids = world.cluster()?.processes_of_pod(uid, "foz-broker");
    ensure!(
        pids.len() == 1,
        "{} processes foz-broker of {DOWN}",
        pids.len()
    );
    let stopped = Stopped::stop(pids)?;
    world.await_object(CLUSTER, "under-replicated", TOLD_LIMIT, |cluster| {
        cluster["status"]["underReplicatedPartitions"]
            .as_i64()
            .is_some_and(|count| count > 0)
    })?;
    let pod_asked = format!("pod/{ASKED}");
    world.run(&["annotate", &pod_asked, "foz.dev/restart="])?;
    await_progressing(world, "RollWaitsForPod", &[DOWN])?;

    hold(world, &[DOWN])?;
    let said = await_progressing(world, "RestartDenied", &[ASKED, "in-sync replicas"])?;
    let line = format!("        kubectl describe says: {said}");
    world.progress.line(&line);
    await_event(world, "RestartDenied", ASKED)?;
    // Not for long: the kubelet loses patience with a process that stands still after a minute.
    thread::sleep(QUIET / 3);
    ensure!(uids(world)? == before, "a pod was restarted all the same");

    drop(stopped);
    world.await_new_pod(ASKED, &json!(before[ASKED]))?;
    hold(world, &[])?;
    await_settled(world)?;
    let changed = changed(&before, &uids(world)?);
    // The kubelet may have lost patience with the process that was stopped: that makes no new pod.
    ensure!(changed == [ASKED], "{changed:?} were restarted");
    Ok(())
}

/// An image whose container cannot start takes one broker. The others go on, and when the spec is mended the roll goes
/// through.
pub(super) fn bad_template(world: &World) -> Result<()> {
    await_settled(world)?;
    // While a broker is missing there may be too few for a topic that is to be on three.
    let alive = ShortLivedTopic::make(world, "alive", 2)?;
    let before = uids(world)?;
    // The operator's image is on every node, and has no broker in it.
    let image = json!({"spec": {"image": world.images.operator.name()}});
    patch(world, &image)?;
    let cluster = world.await_object(CLUSTER, "in a roll that stopped", TOLD_LIMIT, |cluster| {
        condition(cluster, "Degraded").is_some_and(|it| {
            let message = it["message"].as_str().unwrap_or_default();
            it["status"] == "True" && message.contains("does not come up from the newest template")
        })
    })?;
    let degraded = condition(&cluster, "Degraded").context("no condition Degraded")?;
    world.progress.line(&format!(
        "        kubectl describe says: {}",
        degraded["message"]
    ));
    await_event(world, "RollStopped", "demo-broker-")?;
    thread::sleep(QUIET);
    let affected = changed(&before, &uids(world)?);
    let [affected] = affected.as_slice() else {
        anyhow::bail!("{affected:?} were restarted");
    };
    ensure!(affected.contains("broker"), "{affected} went first");

    // Clients go on.
    let other = before
        .keys()
        .find(|pod| pod.contains("broker") && *pod != affected)
        .context("no other broker")?;
    let sent = lines("while-stopped", 40);
    world.foz_in(other).produce(alive.name(), &sent)?;
    ensure_same_messages(&sent, &world.foz_in(other).consume(alive.name())?)?;

    // Mended, and at the same time something else that makes every pod anew: the roll goes through to its end.
    let mended = json!({
        "metadata": {"annotations": {"foz.dev/restart": now_ms()?.to_string()}},
        "spec": {"image": null},
    });
    patch(world, &mended)?;
    let order = watch_roll(world, &uids(world)?)?;
    ensure!(
        order.first().is_some_and(|(pod, _)| pod == affected),
        "{affected} did not go first: {order:?}"
    );
    await_settled(world)?;
    ensure_same_messages(&sent, &world.foz().consume(alive.name())?)?;
    alive.delete()
}

/// Does something to the Cluster's pods, given their UIDs, while a Java producer with `acks=all` is at work. Then all of
/// its messages are there, once and in order, and no partition has had fewer than two replicas in sync. `act` hands back
/// what it has done.
fn while_produced(
    world: &World,
    prefix: &str,
    act: impl FnOnce(&BTreeMap<String, String>) -> Result<String>,
) -> Result<()> {
    await_settled(world)?;
    let topic = ShortLivedTopic::for_messages(world, prefix, PARTITIONS)?;
    let before = uids(world)?;

    let ((done, looks, took), produced) =
        while_producing(world, topic.name(), || under_watch(world, || act(&before)))?;
    ensure!(
        looks >= LOOKS_LEAST,
        "the ISRs were seen {looks} times only"
    );
    let took = seconds(took);
    world.progress.line(&format!(
        "        {done} in {took}, with {looks} looks at every ISR"
    ));

    await_settled(world)?;
    messages::verify(world, topic.name(), produced)?;
    topic.delete()
}

/// Looks at every ISR while something goes on: none has fewer than two. Hands back how often, and how long it took.
fn under_watch<T>(world: &World, act: impl FnOnce() -> Result<T>) -> Result<(T, usize, Duration)> {
    let watching = AtomicBool::new(true);
    thread::scope(|scope| {
        // The looking ends however the other does.
        let end = End(&watching);
        let looks = scope.spawn(|| watch_isrs(world, &watching));
        let begun = Instant::now();
        let acted = act();
        let took = begun.elapsed();
        drop(end);
        let looks = looks.join().map_err(|_| anyhow!("who looked panicked"))?;
        Ok((acted?, looks?, took))
    })
}

/// Ends the looking when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Processes that stand still, until this is dropped.
pub(super) struct Stopped(Vec<Pid>);

impl Stopped {
    pub(super) fn stop(pids: Vec<Pid>) -> Result<Self> {
        let stopped = Self(pids);
        for pid in &stopped.0 {
            kill_process(*pid, Signal::STOP).context("kill -STOP")?;
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            // The kubelet may have killed it meanwhile.
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

pub(super) fn now_ms() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())
}

pub(super) fn ask_for_restart(world: &World) -> Result<()> {
    let restart = format!("foz.dev/restart={}", now_ms()?);
    world
        .run(&["annotate", "--overwrite", CLUSTER, &restart])
        .map(drop)
}

fn patch(world: &World, change: &Value) -> Result<()> {
    let change = change.to_string();
    world
        .run(&["patch", CLUSTER, "--type=merge", "--patch", &change])
        .map(drop)
}

fn hold(world: &World, pods: &[&str]) -> Result<()> {
    patch(world, &json!({"spec": {"hold": pods}}))
}

/// Every pod is there, and nothing is under way.
pub(super) fn await_settled(world: &World) -> Result<()> {
    world.await_ready(CLUSTER)?;
    world.await_object(CLUSTER, "settled and in sync", ROLL_LIMIT, |cluster| {
        let is = |kind: &str, status: &str| {
            condition(cluster, kind).is_some_and(|it| it["status"] == status)
        };
        is("Ready", "True")
            && is("Progressing", "False")
            && cluster["status"]["underReplicatedPartitions"] == 0
    })?;
    // Two controllers of three are enough for a Cluster that is Ready, and one that was killed a few times waits for the
    // kubelet: it would be restarted first, whatever else is to be restarted.
    wait_until("every pod to be ready", ROLL_LIMIT, || {
        let unready = world.unready_pods()?;
        let is_met = unready.is_empty().then_some(());
        Ok(is_met.ok_or_else(|| format!("{unready:?} are not")))
    })
}

/// Waits until the condition Progressing holds all these words, the first reason being this one. Hands back what it
/// says.
fn await_progressing(world: &World, reason: &str, words: &[&str]) -> Result<String> {
    let says = |cluster: &Value| {
        let found = condition(cluster, "Progressing")?;
        let message = found["message"].as_str()?;
        let is_it = found["reason"] == reason && words.iter().all(|word| message.contains(word));
        is_it.then(|| message.to_owned())
    };
    let cluster = world.await_object(CLUSTER, reason, TOLD_LIMIT, |it| says(it).is_some())?;
    says(&cluster).context("the condition was there")
}

fn await_event(world: &World, reason: &str, word: &str) -> Result<()> {
    let what = format!("an Event {reason} that names {word}");
    wait_until(&what, TOLD_LIMIT, || {
        let selector = format!("--field-selector=reason={reason}");
        let events = world
            .kubectl()
            .get_json(["events", "--namespace", NAMESPACE, &selector])?;
        let says = |event: &Value| {
            event["message"]
                .as_str()
                .is_some_and(|message| message.contains(word))
        };
        Ok(if items(&events).any(says) {
            Ok(())
        } else {
            Err(events.to_string())
        })
    })
}
