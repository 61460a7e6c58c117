//! A network namespace for each process and one for the clients, joined by a bridge, and the rules that
//! cut or thin the links between them.
//!
//! Namespaces have names, so that the next run finds those of one that was killed. The bridge lives in
//! the clients' namespace and every cable ends in another: when the namespaces go, everything goes.
//! Rules are set where packets arrive, as if the cable had lost them.

mod links;
mod sweep;

use std::fmt::Write;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub(crate) use links::{Direction, Links, Trouble};
pub(crate) use sweep::sweep;

use crate::external::{run, run_with_input};
use crate::layout::{NodeName, Place};

/// Every namespace's name begins so; the process id of the runner follows.
const PREFIX: &str = "fozchaos-";

/// The namespaces of one run. Dropping it removes them.
#[derive(Debug)]
pub(crate) struct Network {
    runner: u32,
}

impl Network {
    /// Makes all namespaces and cables and moves this thread, and all that it starts from now on, to the
    /// clients' place.
    pub(crate) fn create() -> Result<Self> {
        let network = Self {
            runner: std::process::id(),
        };
        for place in Place::all() {
            run("ip", &["netns", "add", &network.namespace(place)])?;
        }
        network.batch(Place::Clients, &network.clients_side())?;
        for name in NodeName::all() {
            network.batch(Place::Node(name), &node_side(name))?;
        }
        let path = network.path(Place::Clients);
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(LinkNameSpaceType::Network),
        )
        .context("cannot enter the clients' namespace")?;
        Ok(network)
    }

    /// The words that start a program at this place; it dies with the runner.
    pub(crate) fn prefix(&self, place: Place) -> Vec<String> {
        let path = self.path(place).display().to_string();
        let words = ["nsenter", &format!("--net={path}"), "--", "setpriv"];
        let mut words: Vec<String> = words.map(str::to_owned).into();
        words.extend(["--pdeathsig", "KILL", "--"].map(str::to_owned));
        words
    }

    /// Makes the rules of every node what these links need.
    pub(crate) fn apply(&self, links: &Links) -> Result<()> {
        for place in Place::all() {
            self.restore(place, &links.rules(place))?;
        }
        Ok(())
    }

    fn restore(&self, place: Place, rules: &str) -> Result<()> {
        let net = format!("--net={}", self.path(place).display());
        run_with_input(
            "nsenter",
            &[&net, "--", "iptables-restore", "--wait"],
            rules,
        )
    }

    fn batch(&self, place: Place, commands: &str) -> Result<()> {
        let name = self.namespace(place);
        run_with_input("ip", &["-netns", &name, "-batch", "-"], commands)
            .with_context(|| format!("the commands were\n{commands}"))
    }

    fn clients_side(&self) -> String {
        let mut batch = format!(
            "link set lo up\nlink add bridge type bridge\naddr add {}/24 dev bridge\n\
             link set bridge up\n",
            Place::Clients.address()
        );
        for name in NodeName::all() {
            let namespace = self.namespace(Place::Node(name));
            let _ = write!(
                batch,
                "link add {name} type veth peer name eth0 netns {namespace}\n\
                 link set {name} master bridge up\n"
            );
        }
        batch
    }

    fn namespace(&self, place: Place) -> String {
        format!("{PREFIX}{}-{place}", self.runner)
    }

    fn path(&self, place: Place) -> PathBuf {
        PathBuf::from("/run/netns").join(self.namespace(place))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for place in Place::all() {
            // The next run sweeps what is left.
            let _ = sweep::remove(&self.namespace(place));
        }
    }
}

fn node_side(name: NodeName) -> String {
    format!(
        "link set lo up\naddr add {}/24 dev eth0\nlink set eth0 up\n",
        Place::Node(name).address()
    )
}
