//! The running cluster, and the acts done to it.

mod damage;
mod node;
mod observe;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::fault::{Act, FsyncTrouble};
use crate::layout::{NodeName, Place};
use crate::network::{Links, Network, sweep};
use crate::subject::{Subject, data_folder};

pub(crate) use damage::segments;
use node::Node;
pub(crate) use observe::Observer;

/// A process that was asked to end has this long.
const TERMINATE_LIMIT: Duration = Duration::from_secs(90);

/// What an act came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Performed {
    Done,
    /// Done, and this is worth writing down.
    Note(String),
    /// Done, and the system under test did wrong.
    Wrong(String),
    /// Not possible yet: again a little later.
    Again,
}

/// All processes, links and injections. Dropping it ends everything.
#[derive(Debug)]
pub(crate) struct Stage {
    nodes: BTreeMap<NodeName, Node>,
    links: Links,
    /// Programs that make the flushes of a process go wrong.
    tracers: BTreeMap<NodeName, Child>,
    pub(crate) observer: Observer,
    pub(crate) subject: Subject,
    folder: PathBuf,
    // Last: the namespaces go after the processes in them.
    pub(crate) network: Network,
}

impl Stage {
    /// Removes what an earlier run left, makes the network and starts every node.
    pub(crate) fn build(subject: Subject, folder: &Path) -> Result<Self> {
        sweep()?;
        let network = Network::create()?;
        let observer = Observer::new(subject.name())?;
        let mut nodes = BTreeMap::new();
        for name in NodeName::all() {
            let node_folder = folder.join(name.to_string());
            subject.prepare(name, &node_folder)?;
            let (words, environment) = subject.command(name, &node_folder);
            let command = [network.prefix(Place::Node(name)), words].concat();
            nodes.insert(name, Node::new(name, node_folder, command, environment));
        }
        let mut stage = Self {
            nodes,
            links: Links::default(),
            tracers: BTreeMap::new(),
            observer,
            subject,
            folder: folder.to_owned(),
            network,
        };
        for node in stage.nodes.values_mut() {
            node.start()?;
        }
        Ok(stage)
    }

    /// Does one act of a fault.
    pub(crate) fn perform(&mut self, fault: u64, pick: u64, act: &Act) -> Result<Performed> {
        match act {
            Act::Kill(name) => self.node(*name).kill()?,
            Act::Terminate(name) => self.node(*name).terminate()?,
            Act::Pause(name) => self.node(*name).signal(Signal::STOP),
            Act::Resume(name) => self.node(*name).signal(Signal::CONT),
            Act::Start(name) => return self.start(*name),
            Act::Trouble(trouble) => {
                self.links.begin(fault, trouble.clone());
                self.network.apply(&self.links)?;
            }
            Act::Mend => {
                self.links.end(fault);
                self.network.apply(&self.links)?;
            }
            Act::Fsync(name, trouble) => return self.trace(*name, *trouble),
            Act::FsyncWell(name) => self.untrace(*name)?,
            Act::MustHaveEnded(name) => return self.must_have_ended(*name),
            Act::LoseUnflushed(name) => {
                return Ok(noted(damage::lose_unflushed(&self.data(*name), pick)?));
            }
            Act::FlipBits(name) => return Ok(noted(damage::flip_bits(&self.data(*name), pick)?)),
            Act::CopyVolume(name) => damage::copy(&self.data(*name), &self.copy(*name))?,
            Act::RestoreVolume(name) => damage::restore(&self.copy(*name), &self.data(*name))?,
            Act::EmptyVolume(name) => damage::empty(&self.data(*name))?,
        }
        Ok(Performed::Done)
    }

    /// The processes that ended and were not meant to; each is started again.
    pub(crate) fn unexpected_ends(&mut self) -> Result<Vec<String>> {
        let mut ends = Vec::new();
        for node in self.nodes.values_mut() {
            if let Some(status) = node.ended_by_itself()? {
                ends.push(format!(
                    "{} ended with {status}\n{}",
                    node.name,
                    node.log_tail()
                ));
                node.start()?;
            }
        }
        Ok(ends)
    }

    /// Nodes whose process runs and is not stopped.
    pub(crate) fn running(&self) -> impl Iterator<Item = NodeName> {
        let nodes = self.nodes.values().filter(|node| node.is_running());
        nodes.map(|node| node.name)
    }

    /// Mends, resumes and starts everything, whatever is going on.
    pub(crate) fn heal(&mut self) -> Result<()> {
        self.links.end_all();
        self.network.apply(&self.links)?;
        for name in NodeName::all() {
            self.untrace(name)?;
            self.node(name).signal(Signal::CONT);
            let limit = Instant::now() + TERMINATE_LIMIT;
            while self.start(name)? == Performed::Again && Instant::now() < limit {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Asks the brokers to end, then the controllers; returns who did not. All of a kind at once: Foz's wait for each
    /// other where one goes alone.
    pub(crate) fn stop(&mut self) -> Result<Vec<String>> {
        let mut wrong = self.end_all(NodeName::brokers().collect())?;
        wrong.extend(self.end_all(NodeName::controllers().collect())?);
        Ok(wrong)
    }

    fn end_all(&mut self, names: Vec<NodeName>) -> Result<Vec<String>> {
        for name in &names {
            self.node(*name).terminate()?;
        }
        let mut wrong = Vec::new();
        for name in names {
            let node = self.node(name);
            if !node.await_end(TERMINATE_LIMIT)? {
                wrong.push(format!(
                    "{name} did not end {} s after SIGTERM",
                    TERMINATE_LIMIT.as_secs()
                ));
                node.kill()?;
            }
        }
        Ok(wrong)
    }

    /// Where the node keeps its partitions.
    pub(crate) fn data(&self, name: NodeName) -> PathBuf {
        data_folder(&self.folder.join(name.to_string()))
    }

    /// The end of a node's log.
    pub(crate) fn log_tail(&self, name: NodeName) -> String {
        self.nodes[&name].log_tail()
    }

    fn copy(&self, name: NodeName) -> PathBuf {
        self.folder.join(name.to_string()).join("copy")
    }

    fn start(&mut self, name: NodeName) -> Result<Performed> {
        let node = self.node(name);
        if let Some(since) = node.ending_since()? {
            if since.elapsed() < TERMINATE_LIMIT {
                return Ok(Performed::Again);
            }
            node.kill()?;
            node.start()?;
            return Ok(Performed::Wrong(format!(
                "{name} did not end {} s after SIGTERM",
                TERMINATE_LIMIT.as_secs()
            )));
        }
        node.start()?;
        Ok(Performed::Done)
    }

    fn must_have_ended(&mut self, name: NodeName) -> Result<Performed> {
        let failed = self.injected(name);
        let node = self.node(name);
        let ended = node.has_ended()?;
        node.kill()?;
        Ok(match (failed, ended) {
            (0, _) => Performed::Note(format!("{name} did not flush: nothing failed")),
            (_, true) => Performed::Done,
            (times, false) => {
                Performed::Wrong(format!("{name} went on although {times} flushes failed"))
            }
        })
    }

    /// Attaches strace, which makes flushes slow or fail.
    fn trace(&mut self, name: NodeName, trouble: FsyncTrouble) -> Result<Performed> {
        let Some(pid) = self
            .node(name)
            .expect_end_if(trouble == FsyncTrouble::Fails)
        else {
            return Ok(Performed::Note(format!("{name} does not run")));
        };
        self.untrace(name)?;
        let how = match trouble {
            FsyncTrouble::DelayedMs(ms) => format!("delay_enter={}", ms * 1000),
            FsyncTrouble::Fails => "error=EIO".to_owned(),
        };
        let tracer = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=fsync,fdatasync"])
            .args(["-e", &format!("inject=fsync,fdatasync:{how}")])
            .arg("-o")
            .arg(self.trace_file(name))
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run strace")?;
        self.tracers.insert(name, tracer);
        Ok(Performed::Done)
    }

    fn untrace(&mut self, name: NodeName) -> Result<()> {
        if let Some(mut tracer) = self.tracers.remove(&name) {
            // SIGTERM makes strace let go of the process; SIGKILL would end the process, too.
            let pid = rustix::process::Pid::from_child(&tracer);
            let _ = rustix::process::kill_process(pid, Signal::TERM);
            tracer.wait()?;
        }
        Ok(())
    }

    /// How many flushes failed so far.
    fn injected(&self, name: NodeName) -> usize {
        let text = std::fs::read(self.trace_file(name)).unwrap_or_default();
        String::from_utf8_lossy(&text).matches("(INJECTED)").count()
    }

    fn trace_file(&self, name: NodeName) -> PathBuf {
        self.folder.join(name.to_string()).join("strace")
    }

    fn node(&mut self, name: NodeName) -> &mut Node {
        self.nodes
            .get_mut(&name)
            .expect("every node is made at the start")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for tracer in self.tracers.values_mut() {
            let _ = tracer.kill();
            let _ = tracer.wait();
        }
        for node in self.nodes.values_mut() {
            let _ = node.kill();
        }
    }
}

fn noted(note: String) -> Performed {
    Performed::Note(note)
}
