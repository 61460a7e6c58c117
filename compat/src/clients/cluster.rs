//! Three brokers, each a controller too, on loopback.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use foz_e2e::build_cache::remove_folder;
use foz_e2e::external::External;
use foz_e2e::folders::write;

use crate::child::DIES_WITH_US;
use crate::clients::broker_apis::count_brokers;
use crate::clients::tools::Tools;
use crate::free_port::free_port;

const NODES: usize = 3;
const START_LIMIT: Duration = Duration::from_secs(120);
const FORMAT_LIMIT: Duration = Duration::from_secs(120);
/// Any id does; the clients show it.
const KAFKA_CLUSTER_ID: &str = "Zm96LWNvbXBhdC1rYWZrYQ";
/// Of a controller of Kafka's; its number stands in between.
const KAFKA_DIRECTORY_ID: &str = "Zm96LWNvbXBhdC1kaXJ";
const FIRST_CONTROLLER: usize = 1000;
/// What both products are given: no test waits for members that do not come, or for long until the next heartbeat, of which
/// the broker says when it is due (KIP-848; it is the time, too, after which librdkafka gives up on one); and no leader moves
/// unless it is asked to.
const COMMON: &str = "group.initial.rebalance.delay.ms=0\noffsets.topic.num.partitions=5\n\
                      group.consumer.heartbeat.interval.ms=1000\ngroup.consumer.min.heartbeat.interval.ms=1000\n\
                      auto.leader.rebalance.enable=false\n";

/// What is run.
#[derive(Debug)]
pub(crate) enum Product {
    /// The path of its binary.
    Foz(PathBuf),
    /// It is among the jars of the tools.
    Kafka(Tools),
}

/// It ends with this.
#[derive(Debug)]
pub(crate) struct Cluster {
    product: Product,
    folder: PathBuf,
    addresses: Vec<String>,
    bootstrap: String,
    /// None where one was killed on purpose.
    nodes: Mutex<Vec<Option<Child>>>,
}

/// Where one node listens.
#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    replication: u16,
    controller: u16,
    http: u16,
}

impl Cluster {
    /// Starts it with its files in the folder, which is emptied before, and waits until every broker knows all.
    ///
    /// # Errors
    /// A node ends, or is not there in time; says where its log is.
    pub(crate) fn start(product: Product, folder: &Path) -> Result<Self> {
        remove_folder(folder)?;
        let mut ports = Vec::new();
        for _ in 0..NODES {
            ports.push(Ports {
                client: free_port(),
                replication: free_port(),
                controller: free_port(),
                http: free_port(),
            });
        }
        let addresses: Vec<String> = ports
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.client))
            .collect();
        let cluster = Self {
            bootstrap: addresses.join(","),
            product,
            folder: folder.to_owned(),
            addresses,
            nodes: Mutex::new(Vec::new()),
        };
        for number in 0..NODES {
            let context = || format!("starting node {number}");
            prepare(&cluster.product, number, &ports, folder).with_context(context)?;
            let node = cluster.spawn(number).with_context(context)?;
            cluster.nodes().push(Some(node));
        }
        cluster.await_brokers()?;
        Ok(cluster)
    }

    /// The brokers' addresses.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where the nodes have their files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// With SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn kill(&self, number: usize) -> Result<()> {
        let mut nodes = self.nodes();
        let node = nodes.get_mut(number).and_then(Option::take);
        let mut node = node.with_context(|| format!("node {number} does not run"))?;
        node.kill()?;
        node.wait()?;
        Ok(())
    }

    /// One that was killed, on the disk it had, until every broker knows all; the kernel kills it when the thread that calls
    /// this is gone.
    ///
    /// # Errors
    /// It runs, or cannot be started, or is not there in time.
    pub(crate) fn start_again(&self, number: usize) -> Result<()> {
        let mut nodes = self.nodes();
        let node = nodes.get_mut(number);
        let node = node.with_context(|| format!("there is no node {number}"))?;
        ensure!(node.is_none(), "node {number} runs");
        *node = Some(self.spawn(number)?);
        drop(nodes);
        self.await_brokers()
    }

    /// Starts nodes again that ended by themselves, as Kubernetes does: a controller ends that is to join under a new name.
    ///
    /// # Errors
    /// One cannot be started.
    pub(crate) fn revive(&self) -> Result<()> {
        for (number, node) in self.nodes().iter_mut().enumerate() {
            if let Some(process) = node
                && process.try_wait()?.is_some()
            {
                *process = self.spawn(number)?;
            }
        }
        Ok(())
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Option<Child>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until each of them knows all.
    fn await_brokers(&self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        for (number, address) in self.addresses.iter().enumerate() {
            let log = node_folder(&self.folder, number).join("log");
            while !count_brokers(address).is_ok_and(|count| count == NODES) {
                if let Some(node) = &mut self.nodes()[number]
                    && let Some(status) = node.try_wait()?
                {
                    bail!("node {number} ended with {status}: {}", log.display());
                }
                if Instant::now() > deadline {
                    bail!("node {number} does not know all: {}", log.display());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    fn spawn(&self, number: usize) -> Result<Child> {
        let folder = node_folder(&self.folder, number);
        let file = properties_file(&folder);
        let [setpriv, words @ ..] = DIES_WITH_US;
        let mut command = Command::new(setpriv);
        command.args(words);
        match &self.product {
            Product::Foz(broker) => {
                command.arg(broker).arg("--config").arg(&file);
                command.args(["--roles", "broker,controller", "--log-text"]);
            }
            Product::Kafka(tools) => {
                let words = tools.words("kafka.Kafka");
                command.arg("java").args(words).arg(&file);
            }
        }
        let log = folder.join("log");
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start setpriv")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes().iter_mut().flatten() {
            // What it has is of no use any more; it may have ended.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn node_folder(folder: &Path, number: usize) -> PathBuf {
    folder.join(number.to_string())
}

fn properties_file(node_folder: &Path) -> PathBuf {
    node_folder.join("server.properties")
}

/// Writes what it reads at its first start, and what `kafka-metadata-quorum add-controller` reads of it.
fn prepare(product: &Product, number: usize, ports: &[Ports], folder: &Path) -> Result<()> {
    let node = node_folder(folder, number);
    let file = properties_file(&node);
    let own = ports[number].controller;
    let (controller, metadata) = match product {
        Product::Foz(_) => (FIRST_CONTROLLER + number, node.join("metadata/controller")),
        Product::Kafka(_) => (number, node.join("data")),
    };
    let text = format!(
        "node.id={controller}\nprocess.roles=controller\nmetadata.log.dir={}\n\
         controller.listener.names=CONTROLLER\nlisteners=CONTROLLER://127.0.0.1:{own}\n",
        metadata.display()
    );
    write(
        folder.join(format!("controller-{controller}.properties")),
        text,
    )?;
    match product {
        Product::Foz(_) => write(&file, foz_properties(number, ports, &node)),
        Product::Kafka(tools) => {
            write(&file, kafka_properties(number, ports, &node))?;
            External::new("java")
                .args(tools.words("kafka.tools.StorageTool"))
                .args(["format", "-t", KAFKA_CLUSTER_ID, "-c"])
                .arg(&file)
                .args(["--initial-controllers", &kafka_controllers(ports)])
                .limit(FORMAT_LIMIT)
                .run()
                .map(drop)
        }
    }
}

fn foz_properties(number: usize, ports: &[Ports], folder: &Path) -> String {
    let own = ports[number];
    format!(
        "node.id={number}\nlog.dirs={}\nmetadata.log.dir={}\ncontroller.quorum.voters={}\n\
         controller.listener=127.0.0.1:{}\nfoz.http.listener=127.0.0.1:{}\n\
         listeners=PLAINTEXT://127.0.0.1:{},REPLICATION://127.0.0.1:{}\n{COMMON}",
        folder.join("data").display(),
        folder.join("metadata").display(),
        voters(ports),
        own.controller,
        own.http,
        own.client,
        own.replication
    )
}

/// Its voters are in the metadata, so that they can be changed (KIP-853).
fn kafka_properties(number: usize, ports: &[Ports], folder: &Path) -> String {
    let own = ports[number];
    let controllers: Vec<String> = ports
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.controller))
        .collect();
    format!(
        "process.roles=broker,controller\nnode.id={number}\nlog.dirs={}\ncontroller.quorum.bootstrap.servers={}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}\n\
         transaction.state.log.num.partitions=5\n{COMMON}",
        folder.join("data").display(),
        controllers.join(","),
        own.client,
        own.controller
    )
}

fn voters(ports: &[Ports]) -> String {
    let voters = ports.iter().enumerate();
    let voters: Vec<String> = voters
        .map(|(number, node)| {
            format!(
                "{}@127.0.0.1:{}",
                FIRST_CONTROLLER + number,
                node.controller
            )
        })
        .collect();
    voters.join(",")
}

/// With the ids of their directories, of which any do.
fn kafka_controllers(ports: &[Ports]) -> String {
    let voters = ports.iter().enumerate();
    let voters: Vec<String> = voters
        .map(|(number, node)| {
            format!(
                "{number}@127.0.0.1:{}:{KAFKA_DIRECTORY_ID}{number}Yw",
                node.controller
            )
        })
        .collect();
    voters.join(",")
}
