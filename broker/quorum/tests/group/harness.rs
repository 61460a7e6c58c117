//! Controllers in this process: each one with a runtime, a port and a directory of its own, so that it
//! can vanish as a process does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use foz_quorum::{Leadership, Quorum, QuorumConfig, RestoreError, StartError, StateMachine, Voter};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Far more than anything here takes, even on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The batches that were applied, in order. One that begins with "no" is rejected.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batches(pub(crate) Arc<Mutex<Vec<String>>>);

impl StateMachine for Batches {
    fn apply(&mut self, _: u64, _: u64, data: &[u8]) -> bool {
        let batch = String::from_utf8_lossy(data).into_owned();
        let accepted = !batch.starts_with("no");
        if accepted {
            self.0.lock().push(batch);
        }
        accepted
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.lock().join("\n").into_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let text = std::str::from_utf8(snapshot)?;
        *self.0.lock() = text.lines().map(str::to_owned).collect();
        Ok(())
    }
}

/// A controller that runs.
pub(crate) struct Node {
    pub(crate) node_id: i32,
    pub(crate) quorum: Quorum,
    pub(crate) batches: Batches,
    /// Taken when it vanishes.
    runtime: Option<Runtime>,
}

/// Controllers that know each other.
pub(crate) struct Group {
    directory: tempfile::TempDir,
    pub(crate) voters: Vec<Voter>,
    pub(crate) snapshot_every_entries: u64,
    /// By position, where it reaches the others; empty: where they listen.
    pub(crate) routes: Vec<Vec<Voter>>,
    /// By position; none: it does not run.
    pub(crate) nodes: Vec<Option<Node>>,
}

impl Group {
    /// `count` controllers from node id 1000 on, none of them running yet.
    pub(crate) fn new(count: i32) -> Self {
        // Ports that were free a moment ago; all are held until all are chosen.
        let listeners: Vec<std::net::TcpListener> = (0..count)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let voters = (1000..).zip(&listeners).map(|(node_id, listener)| Voter {
            node_id,
            address: listener.local_addr().unwrap().to_string(),
        });
        Self {
            directory: tempfile::tempdir().unwrap(),
            voters: voters.collect(),
            snapshot_every_entries: 10_000,
            routes: Vec::new(),
            nodes: (0..count).map(|_| None).collect(),
        }
    }

    pub(crate) async fn started(count: i32) -> Self {
        let mut group = Self::new(count);
        group.start_all().await;
        group
    }

    pub(crate) async fn start_all(&mut self) {
        for position in 0..self.nodes.len() {
            if self.nodes[position].is_none() {
                self.start(position).await;
            }
        }
    }

    pub(crate) fn data_dir(&self, position: usize) -> PathBuf {
        self.directory.path().join(position.to_string())
    }

    pub(crate) fn config(&self, position: usize) -> QuorumConfig {
        let node_id = self.voters[position].node_id;
        let voters = self.routes.get(position).unwrap_or(&self.voters).clone();
        let mut config = QuorumConfig::new(node_id, self.data_dir(position), voters);
        config.snapshot_every_entries = self.snapshot_every_entries;
        config
    }

    pub(crate) async fn start(&mut self, position: usize) {
        let config = self.config(position);
        self.nodes[position] = Some(start(config).await.unwrap());
    }

    pub(crate) fn node(&self, position: usize) -> &Node {
        self.nodes[position].as_ref().unwrap()
    }

    /// It vanishes: connections break, nothing is handed over, the files stay as they are.
    pub(crate) async fn kill(&mut self, position: usize) {
        self.nodes[position].take().unwrap().kill().await;
    }

    /// The leader that all running controllers know; its position and term.
    pub(crate) async fn leader(&self) -> (usize, u64) {
        let running = || self.nodes.iter().flatten();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let views: Vec<Leadership> = running()
                .map(|node| node.quorum.leadership().borrow().clone())
                .collect();
            let leads = self.nodes.iter().position(|node| {
                node.as_ref()
                    .is_some_and(|node| node.quorum.leadership().borrow().is_self)
            });
            if let Some(position) = leads
                && views.iter().all(|view| {
                    view.term == views[0].term
                        && view.leader.as_ref().map(|leader| leader.node_id)
                            == Some(self.voters[position].node_id)
                })
            {
                return (position, views[0].term);
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "no leader: {views:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Proposes through the leader, all at once, and waits for all.
    pub(crate) async fn propose(&self, batches: impl IntoIterator<Item = String>) {
        let (leader, term) = self.leader().await;
        let quorum = &self.node(leader).quorum;
        let under_way: Vec<_> = batches
            .into_iter()
            .map(|batch| quorum.propose(term, batch.into_bytes()))
            .collect();
        for proposal in under_way {
            proposal.await.unwrap();
        }
    }

    /// Waits until every running controller has applied exactly these batches.
    pub(crate) async fn all_have(&self, expected: &[String]) {
        for node in self.nodes.iter().flatten() {
            node.has(expected).await;
        }
    }
}

impl Node {
    pub(crate) async fn kill(mut self) {
        self.vanish();
        self.quorum.clone().stop().await;
    }

    fn vanish(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) async fn has(&self, expected: &[String]) {
        let enough = || self.batches.0.lock().len() >= expected.len();
        reaches(self.quorum.status(), |_| enough()).await;
        assert_eq!(*self.batches.0.lock(), expected, "node {}", self.node_id);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.vanish();
    }
}

/// Starts a controller and serves it.
pub(crate) async fn start(config: QuorumConfig) -> Result<Node, StartError> {
    let node_id = config.node_id;
    let address = config.address_of(node_id).unwrap().to_owned();
    let batches = Batches::default();
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let state_machine = batches.clone();
    let started = runtime.spawn(async move {
        let listener = listen(&address).await;
        let quorum = foz_quorum::start(config, state_machine).await?;
        let server = Server::builder().add_service(quorum.service());
        tokio::spawn(
            server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
        );
        Ok(quorum)
    });
    let result = started.await.unwrap();
    match result {
        Ok(quorum) => Ok(Node {
            node_id,
            quorum,
            batches,
            runtime: Some(runtime),
        }),
        Err(error) => {
            runtime.shutdown_background();
            Err(error)
        }
    }
}

/// The port may still be held by the controller that vanished a moment ago.
async fn listen(address: &str) -> TcpListener {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{address}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for a watched value.
pub(crate) async fn reaches<T: Clone + std::fmt::Debug>(
    mut watched: watch::Receiver<T>,
    is_reached: impl FnMut(&T) -> bool,
) -> T {
    let outcome = tokio::time::timeout(PATIENCE, watched.wait_for(is_reached)).await;
    let reached = outcome.map(|value| value.unwrap().clone());
    reached.unwrap_or_else(|_| panic!("still {:?}", *watched.borrow()))
}

/// The batches with these numbers.
pub(crate) fn batches(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("batch {number}")).collect()
}

pub(crate) fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy_directory(&file.path(), &target)?;
        } else {
            fs::copy(file.path(), target)?;
        }
    }
    Ok(())
}
