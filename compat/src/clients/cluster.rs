//! Three brokers, each a controller too, on loopback.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
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
/// What both products are given: no test waits for members that do not come.
const COMMON: &str = "group.initial.rebalance.delay.ms=0\noffsets.topic.num.partitions=5\n";

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
    nodes: Vec<Child>,
    bootstrap: String,
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
    pub(crate) fn start(product: &Product, folder: &Path) -> Result<Self> {
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
        let mut cluster = Self {
            nodes: Vec::new(),
            bootstrap: addresses.join(","),
        };
        for number in 0..NODES {
            let node_folder = folder.join(number.to_string());
            let node = spawn(product, number, &ports, &node_folder)
                .with_context(|| format!("starting node {number}"))?;
            cluster.nodes.push(node);
        }
        cluster.await_brokers(&addresses, folder)?;
        Ok(cluster)
    }

    /// The brokers' addresses.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Until each of them knows all.
    fn await_brokers(&mut self, addresses: &[String], folder: &Path) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        for (number, address) in addresses.iter().enumerate() {
            let log = folder.join(number.to_string()).join("log");
            while !count_brokers(address).is_ok_and(|count| count == NODES) {
                if let Some(status) = self.nodes[number].try_wait()? {
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
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // What it has is of no use any more; it may have ended.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn spawn(product: &Product, number: usize, ports: &[Ports], folder: &Path) -> Result<Child> {
    let file = folder.join("server.properties");
    let [setpriv, words @ ..] = DIES_WITH_US;
    let mut command = Command::new(setpriv);
    command.args(words);
    match product {
        Product::Foz(broker) => {
            write(&file, foz_properties(number, ports, folder))?;
            command.arg(broker).arg("--config").arg(&file);
            command.args(["--roles", "broker,controller", "--log-text"]);
        }
        Product::Kafka(tools) => {
            write(&file, kafka_properties(number, ports, folder))?;
            External::new("java")
                .args(tools.words("kafka.tools.StorageTool"))
                .args(["format", "-t", KAFKA_CLUSTER_ID, "-c"])
                .arg(&file)
                .limit(FORMAT_LIMIT)
                .run()?;
            command
                .arg("java")
                .args(tools.words("kafka.Kafka"))
                .arg(&file);
        }
    }
    let log = File::create(folder.join("log"))?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start setpriv")
}

fn foz_properties(number: usize, ports: &[Ports], folder: &Path) -> String {
    let own = ports[number];
    format!(
        "node.id={number}\nlog.dirs={}\nmetadata.log.dir={}\ncontroller.quorum.voters={}\n\
         controller.listener=127.0.0.1:{}\nfoz.http.listener=127.0.0.1:{}\n\
         listeners=PLAINTEXT://127.0.0.1:{},REPLICATION://127.0.0.1:{}\n{COMMON}",
        folder.join("data").display(),
        folder.join("metadata").display(),
        voters(1000, ports),
        own.controller,
        own.http,
        own.client,
        own.replication
    )
}

fn kafka_properties(number: usize, ports: &[Ports], folder: &Path) -> String {
    let own = ports[number];
    format!(
        "process.roles=broker,controller\nnode.id={number}\nlog.dirs={}\ncontroller.quorum.voters={}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}\n\
         transaction.state.log.num.partitions=5\n{COMMON}",
        folder.join("data").display(),
        voters(0, ports),
        own.client,
        own.controller
    )
}

fn voters(first: usize, ports: &[Ports]) -> String {
    let voters = ports.iter().enumerate();
    let voters: Vec<String> = voters
        .map(|(number, node)| format!("{}@127.0.0.1:{}", first + number, node.controller))
        .collect();
    voters.join(",")
}
