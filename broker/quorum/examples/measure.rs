//! What the metadata quorum costs on this machine, over loopback: `cargo run -p foz-quorum --example
//! measure [directory]`. The directory decides which disk is fsynced; default: the temporary one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use foz_quorum::{Quorum, QuorumConfig, RestoreError, StateMachine, Voter};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

const SEQUENTIAL: usize = 1000;
const PIPELINED: usize = 5000;
const FAILOVERS: usize = 5;
/// As large as a small batch of metadata records.
const BATCH_BYTES: usize = 200;

/// Accepts everything and keeps nothing.
struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, _: u64, _: u64, _: &[u8]) -> bool {
        true
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> Result<()> {
    let base = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    for count in [1, 3] {
        let directory = tempfile::tempdir_in(&base)?;
        let begun = Instant::now();
        let mut group = start(directory.path(), count).await?;
        let (_, quorum, term) = leader(&group).await?;
        println!("{count} voters: formed and led after {:?}", begun.elapsed());

        let mut latencies = Vec::with_capacity(SEQUENTIAL);
        for _ in 0..SEQUENTIAL {
            let begun = Instant::now();
            quorum.propose(term, vec![7; BATCH_BYTES]).await?;
            latencies.push(begun.elapsed());
        }
        report("propose, one at a time", latencies);

        let begun = Instant::now();
        let under_way: Vec<_> = (0..PIPELINED)
            .map(|_| quorum.propose(term, vec![7; BATCH_BYTES]))
            .collect();
        for proposal in under_way {
            proposal.await?;
        }
        let rate = PIPELINED as f64 / begun.elapsed().as_secs_f64();
        println!("  propose, {PIPELINED} at once: {rate:.0} a second");

        let mut latencies = Vec::with_capacity(SEQUENTIAL);
        for _ in 0..SEQUENTIAL {
            let begun = Instant::now();
            anyhow::ensure!(quorum.confirm_leadership().await, "leadership was lost");
            latencies.push(begun.elapsed());
        }
        report("confirm leadership", latencies);
        drop(quorum);

        let mut latencies = Vec::new();
        for _ in 0..if count == 3 { FAILOVERS } else { 0 } {
            let (position, quorum, _) = leader(&group).await?;
            let (config, runtime, held) = group.remove(position);
            let begun = Instant::now();
            runtime.shutdown_background();
            tokio::join!(async { drop(held) }, quorum.stop());
            let (_, quorum, term) = leader(&group).await?;
            quorum.propose(term, vec![7; BATCH_BYTES]).await?;
            latencies.push(begun.elapsed());
            group.insert(position, member(config).await?);
        }
        if !latencies.is_empty() {
            report("leader vanishes to next proposal acknowledged", latencies);
        }
        for (_, runtime, quorum) in group {
            runtime.shutdown_background();
            quorum.stop().await;
        }
    }
    Ok(())
}

type Controller = (QuorumConfig, Runtime, Quorum);

async fn start(directory: &Path, count: i32) -> Result<Vec<Controller>> {
    let listeners: Vec<std::net::TcpListener> = (0..count)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let mut voters = Vec::new();
    for (node_id, listener) in (1000..).zip(&listeners) {
        voters.push(Voter {
            node_id,
            address: listener.local_addr()?.to_string(),
        });
    }
    drop(listeners);
    let mut group = Vec::new();
    for voter in &voters {
        let data_dir = directory.join(voter.node_id.to_string());
        group.push(member(QuorumConfig::new(voter.node_id, data_dir, voters.clone())).await?);
    }
    Ok(group)
}

async fn member(config: QuorumConfig) -> Result<Controller> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let address = config
        .address_of(config.node_id)
        .context("it is a voter")?
        .to_owned();
    let started = config.clone();
    let quorum = runtime.spawn(async move {
        let listener = TcpListener::bind(address).await?;
        let quorum = foz_quorum::start(started, Nothing).await?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(
            Server::builder()
                .add_service(quorum.service())
                .serve_with_incoming(incoming),
        );
        anyhow::Ok(quorum)
    });
    Ok((config, runtime, quorum.await??))
}

async fn leader(group: &[Controller]) -> Result<(usize, Quorum, u64)> {
    loop {
        for (position, (_, _, quorum)) in group.iter().enumerate() {
            let leadership = quorum.leadership().borrow().clone();
            if leadership.is_self {
                return Ok((position, quorum.clone(), leadership.term));
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[allow(clippy::print_stdout)]
fn report(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort();
    let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)];
    println!(
        "  {what}: p50 {:?}, p99 {:?}, max {:?}",
        at(50),
        at(99),
        at(100)
    );
}
