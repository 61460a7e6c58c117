//! What was promised of many Topics, in figures: how soon they are made, changed, deleted and put right, and what
//! the operator costs with them at rest.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::figures::resident_bytes;
use super::second_pass::write_by;
use super::world::{NAMESPACE, World};
use crate::objects::{condition, items, name};
use crate::operator_release::NAMESPACE as OPERATOR_NAMESPACE;
use crate::wait::wait_until;

const FEW: usize = 250;
/// Made, changed and deleted, all together.
const FEW_LIMIT: Duration = Duration::from_secs(8);
/// As many kubectls delete at once.
const PARTS: usize = 4;
const MANY: usize = 2_000;
const MANY_LIMIT: Duration = Duration::from_secs(30);
const DRIFT_LIMIT: Duration = Duration::from_millis(500);
const REST: Duration = Duration::from_secs(30);
/// Without a write, and there is none to come.
const SILENCE: Duration = Duration::from_secs(3);
const REST_MEMORY_MAX: u64 = 150_000_000;
/// Of one core.
const REST_PROCESSOR_MAX: f64 = 0.01;
/// kubectl sends 300 requests at once, and 50 a second after that.
const TOPICS_OF_ONE_KUBECTL: usize = 250;
/// Until somebody gives up waiting, and fails with what was seen.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) fn few(world: &World) -> Result<()> {
    let begun = Instant::now();
    apply(world, "few", FEW, "604800000")?;
    await_all(world, "few", FEW, is_current)?;
    let made = begun.elapsed();
    apply(world, "few", FEW, "3600000")?;
    await_all(world, "few", FEW, |topic| {
        is_current(topic) && topic["metadata"]["generation"] == 2
    })?;
    let changed = begun.elapsed() - made;
    delete(world, "few")?;
    await_all(world, "few", 0, |_| true)?;
    let all = begun.elapsed();
    let deleted = all - made - changed;
    world.progress.line(&format!(
        "        {FEW} Topics made in {made:.1?}, changed in {changed:.1?}, deleted in {deleted:.1?}: {all:.1?} of at \
         most {FEW_LIMIT:?}"
    ));
    ensure!(all <= FEW_LIMIT, "{all:?} is too long");
    Ok(())
}

pub(super) fn many(world: &World) -> Result<()> {
    let begun = Instant::now();
    apply(world, "many", MANY, "604800000")?;
    await_all(world, "many", MANY, is_current)?;
    let made = begun.elapsed();
    world.progress.line(&format!(
        "        {MANY} Topics Ready in {made:.1?} of at most {MANY_LIMIT:?}"
    ));
    // What is told of once all are there: the Cluster's counts, and Events, at a pace.
    await_silence(world)?;
    let rested = rest(world);
    let drifted = drift(world, "many-0007");
    delete(world, "many")?;
    await_all(world, "many", 0, |_| true)?;
    rested?;
    drifted?;
    ensure!(made <= MANY_LIMIT, "{made:?} is too long");
    Ok(())
}

/// Until the operator has nothing more to write.
fn await_silence(world: &World) -> Result<()> {
    wait_until("the operator to be silent", PATIENCE, || {
        let begun_at = audit_length(world)?;
        thread::sleep(SILENCE);
        let (_, writes) = writes_since(world, begun_at)?;
        let said = format!("{} writes in {SILENCE:?}", writes.len());
        Ok(writes.is_empty().then_some(()).ok_or(said))
    })
}

/// No writes, little processor time and little memory.
fn rest(world: &World) -> Result<()> {
    let begun_at = audit_length(world)?;
    let pods = world
        .kubectl()
        .get_json(["pods", "--namespace", OPERATOR_NAMESPACE])?;
    let processor = || -> Result<Vec<f64>> {
        items(&pods)
            .map(|pod| processor_seconds(world, pod))
            .collect()
    };
    let before = processor()?;
    thread::sleep(REST);
    let after = processor()?;
    let shares = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before);
    let busiest = shares.fold(0.0, f64::max) / REST.as_secs_f64();
    let memory = items(&pods)
        .map(|pod| resident_bytes(world, pod, "foz-operator"))
        .collect::<Result<Vec<u64>>>()?;
    let largest = memory.into_iter().max().unwrap_or_default();
    world.progress.line(&format!(
        "        at rest with {MANY} Topics the operator takes {:.2} % of a core, of at most {:.0} %, and {:.1} MB, of \
         at most {:.0} MB",
        busiest * 100.0,
        REST_PROCESSOR_MAX * 100.0,
        largest as f64 / 1e6,
        REST_MEMORY_MAX as f64 / 1e6,
    ));
    let (leases, writes) = writes_since(world, begun_at)?;
    // Without this, a log that records nothing would pass.
    ensure!(
        !leases.is_empty(),
        "the operator did not even renew its Lease"
    );
    ensure!(writes.is_empty(), "the operator wrote: {writes:#?}");
    ensure!(busiest <= REST_PROCESSOR_MAX, "too busy: {busiest}");
    ensure!(largest <= REST_MEMORY_MAX, "too large: {largest} bytes");
    Ok(())
}

fn audit_length(world: &World) -> Result<u64> {
    Ok(std::fs::metadata(world.cluster()?.audit_log())?.len())
}

/// What the operator wrote since the audit log was so long: its Lease, and everything else.
fn writes_since(world: &World, length: u64) -> Result<(Vec<String>, Vec<String>)> {
    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:");
    let mut file = BufReader::new(std::fs::File::open(world.cluster()?.audit_log())?);
    file.seek(SeekFrom::Start(length))?;
    let mut writes = Vec::new();
    for line in file.lines() {
        let event = serde_json::from_str::<Value>(&line?).ok();
        writes.extend(event.and_then(|event| write_by(&event, &user)));
    }
    Ok(writes.into_iter().partition(|it| it.contains("/leases")))
}

/// Somebody changes a setting in Kafka. How long that is to be seen is not known better than a look takes: what counts
/// is the last look that still showed it.
fn drift(world: &World, topic: &str) -> Result<()> {
    let alter = ["topics", "alter", topic, "--config", "retention.ms=1"];
    world.foz().command(&alter).run()?;
    let altered = Instant::now();
    let mut seen = Duration::ZERO;
    wait_until("the setting to be put back", PATIENCE, || {
        let looked = altered.elapsed();
        let described = world.foz().command(&["topics", "describe", topic]).run()?;
        let described = described.text();
        if described.contains("retention.ms=604800000") {
            return Ok(Ok(()));
        }
        seen = looked;
        Ok(Err(described))
    })?;
    world.progress.line(&format!(
        "        drift was to be seen {seen:.1?} after it began, and then no more; of at most {DRIFT_LIMIT:?}"
    ));
    ensure!(seen <= DRIFT_LIMIT, "{seen:?} is too long");
    Ok(())
}

/// Applies so many Topics with several kubectls at once.
fn apply(world: &World, set: &str, count: usize, retention_ms: &str) -> Result<()> {
    let manifest = |number: usize| {
        let part = number % PARTS;
        format!(
            "apiVersion: foz.dev/v1alpha1\n\
             kind: Topic\n\
             metadata: {{name: {set}-{number:04}, labels: {{figures: {set}, part: part-{part}}}}}\n\
             spec: {{clusterRef: {{name: demo}}, partitions: 1, replicationFactor: 3, deletionPolicy: Delete, \
             config: {{retention.ms: \"{retention_ms}\"}}}}\n"
        )
    };
    let numbers: Vec<usize> = (0..count).collect();
    let arguments = [
        "--namespace",
        NAMESPACE,
        "apply",
        "--server-side",
        "--filename=-",
    ];
    thread::scope(|scope| {
        let kubectls: Vec<_> = numbers
            .chunks(TOPICS_OF_ONE_KUBECTL.min(count.div_ceil(4)))
            .map(|numbers| {
                let manifests: Vec<String> = numbers.iter().map(|it| manifest(*it)).collect();
                let command = world.kubectl().command(arguments).limit(PATIENCE);
                scope.spawn(move || command.stdin(manifests.join("---\n")).run().map(drop))
            })
            .collect();
        kubectls.into_iter().try_for_each(joined)
    })
}

/// With a few requests at once: for one of them the API server deletes one object after the other.
fn delete(world: &World, set: &str) -> Result<()> {
    let delete = |part: usize| {
        let path = format!("{}%2Cpart%3Dpart-{part}", path_of(set));
        let delete = world.kubectl().command(["delete", "--raw", &path]);
        delete.limit(PATIENCE).run().map(drop)
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..PARTS)
            .map(|part| scope.spawn(move || delete(part)))
            .collect();
        parts.into_iter().try_for_each(joined)
    })
}

fn joined(kubectl: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    let ended = kubectl.join();
    ended.map_err(|_| anyhow::anyhow!("a kubectl was lost"))?
}

/// Watches them: asking again and again for so many objects would take from the processors what is measured.
fn await_all(
    world: &World,
    set: &str,
    count: usize,
    wanted: impl Fn(&Value) -> bool,
) -> Result<()> {
    let (mut there, mut right) = (BTreeSet::new(), BTreeSet::new());
    let path = path_of(set);
    let list = world.kubectl().command(["get", "--raw", &path]);
    let list: Value = serde_json::from_slice(&list.limit(PATIENCE).run()?.stdout)?;
    for topic in items(&list) {
        there.insert(name(topic).to_owned());
        if wanted(topic) {
            right.insert(name(topic).to_owned());
        }
    }
    if there.len() == count && right.len() == count {
        return Ok(());
    }
    let version = list["metadata"]["resourceVersion"].as_str();
    let version = version.context("a list without a version")?;
    let path = format!("{path}&watch=true&resourceVersion={version}");
    let watch = world.kubectl().command(["get", "--raw", &path]);
    let watched = watch.limit(PATIENCE).run_until(|line| {
        let event: Value = serde_json::from_str(line)?;
        let topic = &event["object"];
        let name = name(topic).to_owned();
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => {
                if wanted(topic) {
                    right.insert(name.clone());
                } else {
                    right.remove(&name);
                }
                there.insert(name);
            }
            Some("DELETED") => {
                there.remove(&name);
                right.remove(&name);
            }
            _ => bail!("the watch says {line}"),
        }
        Ok((there.len() == count && right.len() == count).then_some(()))
    });
    watched.with_context(|| {
        let (right, there) = (right.len(), there.len());
        format!("{count} Topics of the set {set}: {right} of {there} are as wanted")
    })
}

fn path_of(set: &str) -> String {
    format!("/apis/foz.dev/v1alpha1/namespaces/{NAMESPACE}/topics?labelSelector=figures%3D{set}")
}

/// Ready, and that is said of the spec as it is now.
fn is_current(topic: &Value) -> bool {
    condition(topic, "Ready").is_some_and(|ready| {
        ready["status"] == "True" && ready["observedGeneration"] == topic["metadata"]["generation"]
    })
}

/// What the one process of a pod of the operator has used so far.
fn processor_seconds(world: &World, pod: &Value) -> Result<f64> {
    let uid = pod["metadata"]["uid"].as_str().context("no UID")?;
    let processes = world.cluster()?.processes_of_pod(uid, "foz-operator");
    let pid = processes.first().context("no process")?;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    used_seconds(&stat).context("no times in /proc/<pid>/stat")
}

/// From the text of `/proc/<pid>/stat`, see proc(5): user and system time are fields 14 and 15, in hundredths of a
/// second. The name of the program, field 2, may hold anything, and ends with the last parenthesis.
fn used_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) / 100.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn processor_time_is_user_and_system_time() {
        let stat = "7 (foz) op) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(used_seconds(stat), Some(3.0));
        assert_eq!(used_seconds("7 (foz) S 1"), None);
    }

    #[test]
    fn ready_for_an_older_spec_is_not_ready() {
        let topic = |generation: u32| {
            let ready = json!({"type": "Ready", "status": "True", "observedGeneration": 1});
            json!({"metadata": {"generation": generation}, "status": {"conditions": [ready]}})
        };
        assert!(is_current(&topic(1)) && !is_current(&topic(2)));
    }
}
