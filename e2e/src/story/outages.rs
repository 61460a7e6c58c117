//! What Kubernetes itself may do: a node that nobody reaches, an API server that does not answer. Clients notice nothing.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;
use serde_json::Value;

use super::chaos::restarts;
use super::rolls::Stopped;
use super::rolls::under_load::{say, under_load};
use super::world::{OF_CLUSTER, World};
use crate::external::External;
use crate::objects::{condition, items, name};
use crate::wait::wait_until;

const CUT_OFF_FOR: Duration = Duration::from_secs(60);
const API_SERVER_AWAY_FOR: Duration = Duration::from_secs(5 * 60);
/// From the end of an outage to everything being as it was.
const BACK_LIMIT: Duration = Duration::from_secs(120);

/// A node with a broker is cut off from all others for a minute, while clients are at work.
pub(super) fn node_cut_off(world: &World) -> Result<()> {
    let (node, broker) = node_to_cut(world)?;
    let kubelet = world.cluster()?.process("kubelet", &node);
    let kubelet = kubelet.with_context(|| format!("no kubelet of {node}"))?;
    world
        .progress
        .line(&format!("        {node} is cut off, with {broker} on it"));
    let (felt, ()) = under_load(world, None, || {
        let cut = Cut::begin(kubelet)?;
        thread::sleep(CUT_OFF_FOR);
        cut.end()?;
        await_ready_again(world)
    })?;
    say(world, &felt);
    felt.ensure_clean()
}

/// The API server stands still for five minutes, while clients are at work: no pod is touched.
pub(super) fn api_server_away(world: &World) -> Result<()> {
    let before = lives(world)?;
    let api_server = world.cluster()?.process("kube-apiserver", "");
    let api_server = api_server.context("no API server")?;
    let (felt, ()) = under_load(world, None, || {
        let stopped = Stopped::stop(vec![api_server])?;
        thread::sleep(API_SERVER_AWAY_FOR);
        drop(stopped);
        await_ready_again(world)
    })?;
    say(world, &felt);
    felt.ensure_clean()?;
    let after = lives(world)?;
    ensure!(before == after, "pods were {before:?} and are {after:?}");
    Ok(())
}

/// Clients run on the first node, and are not cut off.
fn node_to_cut(world: &World) -> Result<(String, String)> {
    let pods = world.list("pods", OF_CLUSTER)?;
    let found = pods.iter().find_map(|pod| {
        let node = pod["spec"]["nodeName"].as_str()?;
        let is_it = name(pod).contains("broker") && node != "node-1";
        is_it.then(|| (node.to_owned(), name(pod).to_owned()))
    });
    found.context("no broker on another node than the first")
}

/// The UID of each pod, and how often its container was started anew.
fn lives(world: &World) -> Result<BTreeMap<String, (Value, u64)>> {
    let pods = world.list("pods", OF_CLUSTER)?;
    let life = |pod: &Value| (pod["metadata"]["uid"].clone(), restarts(pod));
    let each = pods.iter().map(|pod| (name(pod).to_owned(), life(pod)));
    Ok(each.collect())
}

fn await_ready_again(world: &World) -> Result<()> {
    wait_until("every node and pod to be Ready again", BACK_LIMIT, || {
        let Ok(nodes) = world.kubectl().get_json(["nodes"]) else {
            return Ok(Err("the API server does not answer".to_owned()));
        };
        let away: Vec<&str> = items(&nodes)
            .filter(|node| condition(node, "Ready").is_none_or(|it| it["status"] != "True"))
            .map(name)
            .collect();
        let unready = world.unready_pods()?;
        Ok(if away.is_empty() && unready.is_empty() {
            Ok(())
        } else {
            Err(format!("not Ready: {away:?} {unready:?}"))
        })
    })?;
    super::rolls::await_settled(world)
}

/// Nothing comes to a node or its pods and nothing goes from them, until this is dropped.
struct Cut {
    inside: Pid,
    is_over: bool,
}

impl Cut {
    const RULES: [[&str; 3]; 4] = [
        ["INPUT", "-i", "eth0"],
        ["OUTPUT", "-o", "eth0"],
        ["FORWARD", "-i", "eth0"],
        ["FORWARD", "-o", "eth0"],
    ];

    /// In the network namespace of this process.
    fn begin(inside: Pid) -> Result<Self> {
        let cut = Self {
            inside,
            is_over: false,
        };
        Self::RULES
            .iter()
            .try_for_each(|rule| cut.run("-I", rule))?;
        Ok(cut)
    }

    fn end(mut self) -> Result<()> {
        self.is_over = true;
        Self::RULES.iter().try_for_each(|rule| self.run("-D", rule))
    }

    fn run(&self, what: &str, rule: &[&str]) -> Result<()> {
        let target = format!("--target={}", self.inside.as_raw_nonzero());
        let iptables = External::new("nsenter").args([&target, "--net", "--", "iptables", what]);
        iptables.args(rule).args(["-j", "DROP"]).run().map(drop)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if !self.is_over {
            for rule in &Self::RULES {
                // One that was never made cannot be taken away.
                let _ = self.run("-D", rule);
            }
        }
    }
}
