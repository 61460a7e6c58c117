//! Rolls under half of the load that the cluster can carry, and what its clients feel of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::Pid;
use serde_json::Value;

use super::watch::{uids, watch_roll};
use super::{End, ask_for_restart, await_settled, now_ms, under_watch};
use crate::cluster::delay::Delay;
use crate::progress::seconds;
use crate::story::load::{Felt, Load};
use crate::story::short_lived_topic::ShortLivedTopic;
use crate::story::world::{NAMESPACE, World};

/// With these each of three brokers has 300 replicas and a few.
const PARTITIONS: u32 = 300;
const PARTITIONS_OF_LIBRDKAFKA: u32 = 3;
/// Before the roll, to compare with.
const BEFORE: Duration = Duration::from_secs(15);
/// Of a roll of all brokers and controllers.
const ROLL_MAX: Duration = Duration::from_secs(60);
/// From the grant, or from SIGTERM where that comes later, to the end of the process.
const STOP_MAX: Duration = Duration::from_millis(500);
/// From the start of the process to being in every ISR.
const BACK_MAX: Duration = Duration::from_millis(1500);
const ROLLS: usize = 20;
/// Its fetches are late.
const HELD_BACK: &str = "demo-broker-2";
const HELD_BACK_BY: Duration = Duration::from_secs(1);
/// The port that followers fetch from.
const REPLICATION_PORT: u16 = 9091;
/// Far below what a cluster carries whose records wait for a second for a follower.
const RECORDS_PER_SECOND_HELD_BACK: u64 = 500;
const LOOK_PAUSE: Duration = Duration::from_millis(5);
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// Every broker and controller is restarted while clients are at work.
pub(in crate::story) fn roll(world: &World) -> Result<()> {
    let felt = under_load(world, None, || {
        thread::sleep(BEFORE);
        let begun = now_ms()?;
        let took = roll_once(world)?;
        let line = format!("        every pod restarted in {}", seconds(took));
        world.progress.line(&line);
        Ok((begun, now_ms()?, took))
    })?;
    let (felt, (begun, ended, took)) = felt;
    say(world, &felt);
    let (before, during) = felt.p99_ms_before_and_during(BEFORE, begun, ended)?;
    world.progress.line(&format!(
        "        p99 of a second: {before:.1} ms before, {during:.1} ms during the roll (medians)"
    ));
    felt.ensure_clean()?;
    ensure!(took <= ROLL_MAX, "the roll took {}", seconds(took));
    Ok(())
}

/// Each broker is restarted by itself while clients are at work: how long it is away.
pub(in crate::story) fn blink(world: &World) -> Result<()> {
    let (felt, slowest) = under_load(world, None, || {
        let mut slowest = Away::default();
        for pod in world.pods("broker")? {
            let away = restart_one(world, &pod)?;
            world.progress.line(&format!(
                "        {pod}: {} ms from being told to end, with its grant, to its end; {} ms from its start to every ISR",
                away.stopped.as_millis(),
                away.back.as_millis()
            ));
            slowest.stopped = slowest.stopped.max(away.stopped);
            slowest.back = slowest.back.max(away.back);
            await_settled(world)?;
        }
        Ok(slowest)
    })?;
    say(world, &felt);
    felt.ensure_clean()?;
    let Away { stopped, back } = slowest;
    ensure!(stopped <= STOP_MAX, "one took {stopped:?} to end");
    ensure!(back <= BACK_MAX, "one took {back:?} to come back");
    Ok(())
}

/// Twenty rolls, with a follower whose fetches are late by a second.
pub(in crate::story) fn twenty(world: &World) -> Result<()> {
    let holding = AtomicBool::new(true);
    let rate = Some(RECORDS_PER_SECOND_HELD_BACK);
    thread::scope(|scope| {
        let end = End(&holding);
        let held = scope.spawn(|| hold_back(world, &holding));
        let (felt, ()) = under_load(world, rate, || {
            for number in 1..=ROLLS {
                let took = roll_once(world)?;
                let line = format!("        roll {number} of {ROLLS}: {}", seconds(took));
                world.progress.line(&line);
                await_settled(world)?;
            }
            Ok(())
        })?;
        drop(end);
        let times = held.join().map_err(|_| anyhow!("the thread panicked"))??;
        ensure!(
            times > ROLLS,
            "{HELD_BACK} was held back {times} times only"
        );
        say(world, &felt);
        felt.ensure_clean()
    })
}

/// While a load goes on, of half of what the cluster can carry where no rate is said. Nothing may fall below
/// `min.insync.replicas` meanwhile.
pub(in crate::story) fn under_load<T>(
    world: &World,
    rate: Option<u64>,
    act: impl FnOnce() -> Result<T>,
) -> Result<(Felt, T)> {
    await_settled(world)?;
    let topic = ShortLivedTopic::make(world, "load", PARTITIONS)?;
    let second = ShortLivedTopic::make(world, "load-librdkafka", PARTITIONS_OF_LIBRDKAFKA)?;
    let load = Load::begin(world, topic.name(), second.name(), rate)?;
    let acted = under_watch(world, act);
    // What clients felt says more than what went wrong around them.
    let felt = load.end();
    topic.delete()?;
    second.delete()?;
    let (acted, looks, _) = acted?;
    let line = format!("        {looks} looks at every ISR: none below min.insync.replicas");
    world.progress.line(&line);
    Ok((felt?, acted))
}

pub(in crate::story) fn say(world: &World, felt: &Felt) {
    world.progress.line(&format!(
        "        {} records a second: {} sent, {} failed, {} lost, {} twice; the slowest took {:.0} ms",
        felt.records_per_second,
        felt.sent,
        felt.failed,
        felt.lost,
        felt.doubled,
        felt.max_ms()
    ));
}

fn roll_once(world: &World) -> Result<Duration> {
    let before = uids(world)?;
    let begun = Instant::now();
    ask_for_restart(world)?;
    watch_roll(world, &before)?;
    Ok(begun.elapsed())
}

/// Holds the follower back, each process of it anew. Says how many there were.
fn hold_back(world: &World, holding: &AtomicBool) -> Result<usize> {
    let mut held: Option<(Pid, Delay)> = None;
    let mut times = 0;
    while holding.load(Ordering::Acquire) {
        if let Some(pid) = process(world, HELD_BACK)
            && held.as_ref().is_none_or(|(of, _)| *of != pid)
        {
            held = None;
            // It may end meanwhile: then there will be another.
            if let Ok(delay) = Delay::begin(pid, REPLICATION_PORT, HELD_BACK_BY) {
                held = Some((pid, delay));
                times += 1;
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
    drop(held);
    // The rules in its network namespace go with the pod.
    world.run(&["delete", "pod", HELD_BACK])?;
    Ok(times)
}

fn process(world: &World, pod: &str) -> Option<Pid> {
    let pod = world.get(&format!("pod/{pod}")).ok()?;
    let uid = pod["metadata"]["uid"].as_str()?;
    let cluster = world.cluster().ok()?;
    cluster.processes_of_pod(uid, "foz-broker").first().copied()
}

/// How long a broker was away.
#[derive(Default)]
struct Away {
    /// From the grant, or from SIGTERM where that comes later, to the end of the process.
    stopped: Duration,
    /// From the start of the process to its being in every ISR.
    back: Duration,
}

fn restart_one(world: &World, pod: &str) -> Result<Away> {
    let uid = world.get(&format!("pod/{pod}"))?["metadata"]["uid"].clone();
    let pid = process(world, pod).context("the broker does not run")?;
    let node_id = pod.rsplit_once('-').context("a pod without a number")?.1;
    let asked = now_ms()?;
    let follow = [
        "--namespace",
        NAMESPACE,
        "logs",
        pod,
        "--follow",
        "--since=30s",
    ];
    let follow = world.kubectl().command(follow).limit(RESTART_LIMIT);
    // With the pod its log goes, too.
    let log = thread::spawn(move || follow.run());
    world.run(&["annotate", &format!("pod/{pod}"), "foz.dev/restart="])?;
    let ended = await_end(pid)?;
    let log = log.join().map_err(|_| anyhow!("the thread panicked"))??;
    let log = log.text();
    let told = log
        .lines()
        .filter_map(|line| said_at_ms(line, "asked to end"))
        .next_back()
        .with_context(|| format!("{pod} did not say that it was told to end: {log}"))?;
    world.await_new_pod(pod, &uid)?;
    await_settled(world)?;
    let pid = process(world, pod).context("the broker does not run")?;
    let started = started_ms(pid)?;
    let said = of_controllers(world)?;
    let node_id: i64 = node_id.parse()?;
    let at = |what: &str| {
        let times = said.lines().filter_map(|line| said_ms(line, what, node_id));
        let first = times.filter(|ms| *ms >= asked).min();
        first.with_context(|| format!("no controller said {what:?} of broker {node_id}"))
    };
    let granted = at("a restart is granted")?;
    let back = at("a broker is back")?;
    let between = |from: u128, to: u128| {
        Duration::from_millis(u64::try_from(to.saturating_sub(from)).unwrap_or(u64::MAX))
    };
    Ok(Away {
        stopped: between(granted.max(told), ended),
        back: between(started, back),
    })
}

fn await_end(pid: Pid) -> Result<u128> {
    let process = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let deadline = Instant::now() + RESTART_LIMIT;
    while Instant::now() < deadline {
        // A process that ended is a zombie until its parent has looked.
        match std::fs::read_to_string(&process) {
            Ok(stat) if !stat.contains(") Z ") => thread::sleep(LOOK_PAUSE),
            _ => return now_ms(),
        }
    }
    bail!("the process {} did not end", pid.as_raw_nonzero())
}

/// When a process started, in milliseconds since 1970: see proc(5).
fn started_ms(pid: Pid) -> Result<u128> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    let ticks = started_ticks(&stat).context("no start time in stat")?;
    let uptime = std::fs::read_to_string("/proc/uptime")?;
    let uptime: f64 = uptime
        .split(' ')
        .next()
        .context("an empty uptime")?
        .parse()?;
    // USER_HZ is 100 everywhere that Rust and Kubernetes run.
    let ago = uptime - ticks as f64 / 100.0;
    Ok(now_ms()? - Duration::from_secs_f64(ago.max(0.0)).as_millis())
}

/// The 22nd field. The second, the program's name, may hold blanks.
fn started_ticks(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

fn of_controllers(world: &World) -> Result<String> {
    let logs = world.pods("controller")?.into_iter().map(|pod| {
        let output = world.run(&["logs", &pod, "--since=5m"])?;
        Ok(output.text())
    });
    Ok(logs.collect::<Result<Vec<String>>>()?.join("\n"))
}

/// When this line of a log was written, if it says something that begins so of this node.
fn said_ms(line: &str, what: &str, node_id: i64) -> Option<u128> {
    let said: Value = serde_json::from_str(line).ok()?;
    (said["node_id"] == node_id).then(|| said_at_ms(line, what))?
}

/// When this line of a log was written, if it says something that begins so.
fn said_at_ms(line: &str, what: &str) -> Option<u128> {
    let said: Value = serde_json::from_str(line).ok()?;
    let time: jiff::Timestamp = said["timestamp"].as_str()?.parse().ok()?;
    let is_it = said["message"].as_str()?.starts_with(what);
    is_it.then(|| u128::try_from(time.as_millisecond()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_process_is_read() {
        let stat = "42 (foz) broker) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 5 0 123456 1 2";
        assert_eq!(started_ticks(stat), Some(123_456));
        assert_eq!(started_ticks(""), None);
    }

    #[test]
    fn what_a_controller_said_is_found_with_its_time() {
        let line = r#"{"timestamp":"2026-01-02T03:04:05.678901Z","level":"INFO","message":"a restart is granted","node_id":1}"#;
        assert_eq!(said_ms(line, "a restart is", 1), Some(1_767_323_045_678));
        assert_eq!(said_ms(line, "a restart is", 11), None);
        assert_eq!(said_ms(line, "a broker is back", 1), None);
        assert_eq!(said_ms("no JSON", "", 1), None);
        assert_eq!(said_at_ms(line, "a restart is"), Some(1_767_323_045_678));
        assert_eq!(said_at_ms(line, "asked"), None);
    }
}
