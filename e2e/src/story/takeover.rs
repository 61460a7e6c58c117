//! The operator that acts is killed in the middle of a roll: the other one continues it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::rolls::{ask_for_restart, await_settled, changed, uids, watch_roll};
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
        let killed = kill(world, &holder)?;
        ensure!(killed == 1, "{killed} processes foz-operator in {holder}");
        let begun = Instant::now();
        wait_until("another operator to act", TAKEN_LIMIT, || {
            let now = self::holder(world)?;
            Ok(if now == holder { Err(now) } else { Ok(()) })
        })?;
        world.progress.line(&format!(
            "        the other operator acts {} after the kill",
            seconds(begun.elapsed())
        ));
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

/// kill -9. A Lease that is not released has to run out.
fn kill(world: &World, pod: &str) -> Result<usize> {
    let path = format!("pod/{pod}");
    let object = world
        .kubectl()
        .get_json([&path, "--namespace", NAMESPACE])?;
    let uid = object["metadata"]["uid"].as_str().context("no UID")?;
    world.cluster()?.kill_pod(uid, "foz-operator")
}
