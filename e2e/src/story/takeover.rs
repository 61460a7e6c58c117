//! The operator that acts stands still in the middle of a roll: the other one continues it, and the first one, when it
//! goes on, meddles with nothing. (One that is killed is started again in its pod at once, and still has the Lease.)

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::rolls::{Stopped, ask_for_restart, await_settled, changed, uids, watch_roll};
use super::world::World;
use crate::operator_release::NAMESPACE;
use crate::progress::seconds;
use crate::wait::wait_until;

const BEGUN_LIMIT: Duration = Duration::from_secs(60);
/// The Lease has to end first.
const TAKEN_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn in_a_roll(world: &World) -> Result<()> {
    await_settled(world)?;
    let before = uids(world)?;
    ask_for_restart(world)?;
    let order = thread::scope(|scope| {
        let roll = scope.spawn(|| watch_roll(world, &before));
        wait_until("the roll to begin", BEGUN_LIMIT, || {
            let gone = changed(&before, &uids(world)?);
            Ok(if gone.is_empty() {
                Err("no pod has gone".to_owned())
            } else {
                Ok(())
            })
        })?;
        let holder = holder(world)?;
        let stopped = stop(world, &holder)?;
        let begun = Instant::now();
        wait_until("another operator to act", TAKEN_LIMIT, || {
            let now = self::holder(world)?;
            Ok(if now == holder { Err(now) } else { Ok(()) })
        })?;
        world.progress.line(&format!(
            "        the other operator acts {} after the first one stood still",
            seconds(begun.elapsed())
        ));
        drop(stopped);
        roll.join().map_err(|_| anyhow!("who watched panicked"))?
    })?;
    // Every pod once.
    ensure!(order.len() == before.len(), "{order:?}");
    let after = uids(world)?;
    await_settled(world)?;
    ensure!(uids(world)? == after, "a pod was restarted twice");
    Ok(())
}

/// The pod of the operator that acts.
fn holder(world: &World) -> Result<String> {
    let leases =
        world
            .kubectl()
            .get_json(["leases.coordination.k8s.io", "--namespace", NAMESPACE])?;
    let mut holders = crate::objects::items(&leases)
        .filter_map(|lease| lease["spec"]["holderIdentity"].as_str())
        .filter(|holder| holder.contains("operator"));
    let holder = holders.next().context("nobody holds the Lease")?;
    Ok(holder.to_owned())
}

/// Its process stands still: a Lease that is not released has to run out.
fn stop(world: &World, pod: &str) -> Result<Stopped> {
    let path = format!("pod/{pod}");
    let object = world
        .kubectl()
        .get_json([&path, "--namespace", NAMESPACE])?;
    let uid = object["metadata"]["uid"].as_str().context("no UID")?;
    let pids = world.cluster()?.processes_of_pod(uid, "foz-operator");
    ensure!(
        pids.len() == 1,
        "{} processes foz-operator in {pod}",
        pids.len()
    );
    Stopped::stop(pids)
}
