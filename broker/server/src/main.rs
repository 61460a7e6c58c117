//! `foz-broker`: a controller of the metadata quorum, a broker that serves clients, or both in one
//! process.
//!
//! * `config` reads `server.properties` into a type that cannot be wrong.
//! * `process` starts the roles, waits for SIGTERM, stops them in order; `stopping` waits in between until they may.
//! * `role` holds what a broker says to the quorum: registration, lease, metadata.
//! * `net` is sockets, `dispatch` and `handlers` the Kafka protocol, `partition` the logs behind it,
//!   `coordinator` the consumer groups.
//!
//! Invariants: every request has a principal and passes the authorizer; every buffer is counted against
//! a budget; what is acknowledged by a single replica was flushed before.
//!
//! Start with `process.rs`, then `net/connection.rs`.

mod admin;
mod authorizer;
mod blocking;
mod broker;
mod config;
mod config_view;
mod coordinator;
mod coordinator_log;
mod debt;
mod directory_failure;
mod disk_gate;
mod disk_room;
mod disk_space;
mod dispatch;
mod group_lag;
mod handlers;
mod http;
mod identity;
mod internal_topics;
mod metrics;
mod net;
mod node_queues;
mod partition;
mod process;
mod producer_ids;
mod recovery_progress;
mod replication;
mod request;
mod role;
mod spare_file;
mod stopping;
#[cfg(test)]
mod test_registration;
mod transactions;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

use config::{Roles, ServerConfig};

/// A broker compatible with Apache Kafka, and the controllers of its metadata.
#[derive(Debug, Parser)]
#[command(name = "foz-broker", version)]
struct Arguments {
    /// The server.properties file.
    #[arg(long)]
    config: PathBuf,
    /// broker, controller or broker,controller.
    #[arg(long, value_parser = Roles::parse)]
    roles: Roles,
    /// Log lines for people instead of JSON.
    #[arg(long, env = "FOZ_LOG_TEXT")]
    log_text: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging(arguments.log_text);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    #[cfg(feature = "canaries")]
    choose_canary()?;
    raise_open_files_limit();
    let path = &arguments.config;
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read --config {}", path.display()))?;
    let config = ServerConfig::parse(&text, arguments.roles, |name| std::env::var(name).ok())
        .with_context(|| path.display().to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(process::run(config));
    // What was to be ended in order has ended. A recovery that a signal broke off is not waited for.
    runtime.shutdown_background();
    ended
}

/// Switches on the bug that the environment asks for.
#[cfg(feature = "canaries")]
fn choose_canary() -> anyhow::Result<()> {
    if let Ok(name) = std::env::var(foz_canary::VARIABLE) {
        let canary = foz_canary::choose(&name).context(foz_canary::VARIABLE)?;
        tracing::warn!(%canary, "a bug is switched on: {}", canary.about());
    } else {
        tracing::warn!("this is a build with bugs that can be switched on; none is");
    }
    Ok(())
}

/// To what the process may have: each connection is an open file, too, and many processes start with 1,024. The JVM does the same.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        let current = limit.current;
        tracing::warn!(%error, ?current, "the limit of open files stays as it is");
    }
}

/// At least two, so that one slow task never holds up everything.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
}

fn start_logging(text: bool) {
    let filter = EnvFilter::try_from_env("FOZ_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if text {
        builder.init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
