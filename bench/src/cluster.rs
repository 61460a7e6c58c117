//! All processes of one product, from empty directories.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;

use crate::promise::Promise;
use crate::report::Product;
use crate::server::Server;
use crate::{Tools, foz, kafka, usage};

/// A process that is to be started.
#[derive(Debug)]
pub(crate) struct Node {
    /// Whether clients connect to it.
    pub(crate) is_broker: bool,
    pub(crate) command: Command,
    /// Where it listens: for clients, or as a controller.
    pub(crate) port: u16,
    /// Where its `/metrics` are, if it has any.
    pub(crate) http_port: Option<u16>,
    pub(crate) folder: PathBuf,
}

/// One broker that is a controller too, or several of both.
#[derive(Debug)]
pub(crate) struct Cluster {
    brokers: Vec<Server>,
    controllers: Vec<Server>,
}

impl Cluster {
    /// One life of `product`, with the brokers that `promise` takes and the lines of `properties` for each of them: starts
    /// on an empty folder, which is removed when `course` went well.
    ///
    /// # Errors
    /// A process or the course fails; with the ends of the processes' logs.
    pub(crate) async fn live<T>(
        tools: &Tools,
        product: Product,
        promise: Promise,
        properties: &str,
        course: impl AsyncFnOnce(&mut Self, &Path) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let folder = tools.fresh_folder()?;
        let nodes = match product {
            Product::Kafka => kafka::nodes(&tools.java, &folder, promise, properties).await?,
            Product::Foz => foz::nodes(&tools.foz_broker, &folder, promise, properties)?,
        };
        let mut cluster = Self::of(product, nodes).await?;
        let came_of_it = course(&mut cluster, &folder).await;
        let logs = cluster.stop().await?;
        let came_of_it = came_of_it
            .with_context(|| format!("{} failed; the ends of its logs:\n{logs}", product.name()))?;
        std::fs::remove_dir_all(&folder)?;
        Ok(came_of_it)
    }

    /// Starts these processes.
    ///
    /// # Errors
    /// A process does not come up; with the end of its log.
    pub(crate) async fn of(product: Product, nodes: Vec<Node>) -> anyhow::Result<Self> {
        let mut cluster = Self {
            brokers: Vec::new(),
            controllers: Vec::new(),
        };
        for node in nodes {
            let servers = match node.is_broker {
                true => &mut cluster.brokers,
                false => &mut cluster.controllers,
            };
            servers.push(Server::spawn(node)?);
        }
        for server in cluster.servers() {
            server
                .listening()
                .await
                .with_context(|| format!("{} did not start", product.name()))?;
        }
        Ok(cluster)
    }

    /// For clients: `host:port`, commas between.
    pub(crate) fn bootstrap(&self) -> String {
        self.addresses(None).join(",")
    }

    /// Of all brokers, or of all but one.
    pub(crate) fn addresses(&self, but: Option<usize>) -> Vec<&str> {
        let others = (0..)
            .zip(&self.brokers)
            .filter(|(number, _)| Some(*number) != but);
        others.map(|(_, broker)| broker.address()).collect()
    }

    /// How many brokers there are, and replicas of each partition.
    pub(crate) fn replicas(&self) -> usize {
        self.brokers.len()
    }

    /// The broker with this number.
    pub(crate) fn broker(&mut self, number: usize) -> &mut Server {
        &mut self.brokers[number]
    }

    /// Processor time so far of all brokers that are not stopped.
    ///
    /// # Errors
    /// One has ended by itself.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        self.pids().map(usage::processor_time).sum()
    }

    /// Memory that is resident now of all brokers that are not stopped.
    ///
    /// # Errors
    /// One has ended by itself.
    pub(crate) fn memory_bytes(&self) -> anyhow::Result<u64> {
        self.pids().map(usage::memory_bytes).sum()
    }

    /// Stops all, brokers first: while they have a controller they can hand over. Returns the ends of their
    /// logs.
    ///
    /// # Errors
    /// A process cannot be waited for.
    pub(crate) async fn stop(mut self) -> anyhow::Result<String> {
        for servers in [&mut self.brokers, &mut self.controllers] {
            servers.iter().for_each(Server::terminate);
            for server in servers {
                server.stop().await?;
            }
        }
        let logs: Vec<String> = self.servers().map(|it| it.log_tail()).collect();
        Ok(logs.join("\n"))
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        self.brokers.iter().filter_map(Server::pid)
    }

    fn servers(&mut self) -> impl Iterator<Item = &mut Server> {
        self.controllers.iter_mut().chain(&mut self.brokers)
    }
}
