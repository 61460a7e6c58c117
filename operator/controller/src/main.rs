//! The process of the operator: reads its arguments, serves its pages, and acts while it holds the
//! Lease. See the library for what it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use foz_operator::args::{Args, Command, namespaces};
use foz_operator::http::{Pages, serve};
use foz_operator::leader::Leader;
use foz_operator::metrics::Metrics;
use foz_operator::permissions::{Scope, rules};
use foz_operator::term::{self, Settings};
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// Passes that are under way may end; a longer one is cut off, and the next replica does it again.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Hundreds of topics may be made, or thousands of replicas copied, one after the other.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(command) = args.command {
        return print(command);
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .init();
    let stop = stop_on_signal()?;
    let metrics = Arc::new(Metrics::new()?);
    let pages = Pages {
        metrics: Arc::clone(&metrics),
        ready: Arc::new(AtomicBool::new(false)),
    };
    let listener = TcpListener::bind(args.http_listener)
        .await
        .with_context(|| format!("cannot listen on {}", args.http_listener))?;
    tokio::spawn(serve(listener, pages.clone()));

    let client = Client::try_default()
        .await
        .context("no way to the Kubernetes API server")?;
    let settings = Settings {
        client: client.clone(),
        namespaces: namespaces(&args.watch_namespaces),
        broker_image: args.broker_image,
        holder: args.pod_name.clone(),
        metrics: Arc::clone(&metrics),
        status_pause: STATUS_PAUSE,
    };
    info!(version = env!("CARGO_PKG_VERSION"), namespaces = ?settings.namespaces, broker_image = settings.broker_image, "starts");
    await_api_server(&client, &stop).await;
    pages.ready.store(true, Ordering::Release);
    let leader = Leader::new(client, &args.pod_namespace, args.lease_name, args.pod_name);
    lead(&leader, &settings, &stop).await;
    Ok(())
}

/// Term after term, until the process is to stop.
async fn lead(leader: &Leader, settings: &Settings, stop: &CancellationToken) {
    while stop.run_until_cancelled(leader.acquire()).await.is_some() {
        settings.metrics.set_leader(true);
        let term = CancellationToken::new();
        let acting = tokio::spawn(term::run(settings.clone(), term.clone()));
        let abort = acting.abort_handle();
        let lost = stop.run_until_cancelled(leader.keep()).await.is_some();
        term.cancel();
        if tokio::time::timeout(END_TIMEOUT, acting).await.is_err() {
            warn!("passes that were under way are cut off");
            abort.abort();
        }
        settings.metrics.set_leader(false);
        if lost {
            warn!("does not hold the Lease any more, and stands by");
        } else {
            leader.release().await;
            return;
        }
    }
}

async fn await_api_server(client: &Client, stop: &CancellationToken) {
    let answered = async {
        while let Err(error) = client.apiserver_version().await {
            warn!(%error, "the API server does not answer yet");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    stop.run_until_cancelled(answered).await;
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stops");
        stopped.cancel();
    });
    Ok(stop)
}

#[allow(
    clippy::print_stdout,
    reason = "printing is what these commands are for"
)]
fn print(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Crds => {
            for (_, yaml) in foz_crd::rendered()? {
                print!("---\n{yaml}");
            }
        }
        Command::Permissions => {
            for (title, scope) in [
                (
                    "in every namespace that is watched",
                    Scope::WatchedNamespaces,
                ),
                ("in the operator's own namespace", Scope::OwnNamespace),
                ("on objects without a namespace", Scope::Cluster),
            ] {
                print!(
                    "---\n# {title}\nrules:\n{}",
                    serde_yaml::to_string(&rules(scope))?
                );
            }
        }
    }
    Ok(())
}
