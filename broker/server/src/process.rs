//! The life of the process: start the roles, serve, stop in order.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use foz_controller::{ControllerHandle, LetGo};
use foz_quorum::Quorum;
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::ServerConfig;
use crate::http;
use crate::recovery_progress::RecoveryProgress;
use crate::role::{BrokerHandle, start_broker};
use crate::stopping::{TAKES_CONNECTIONS_MIN, until_may_stop};

/// What the process calls itself towards the quorum and in metrics.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long a stop waits for whoever is in the middle of a request to the HTTP port.
const HTTP_DRAIN_MAX: Duration = Duration::from_secs(1);

/// Runs until SIGTERM, SIGINT, or until a role cannot go on.
pub(crate) async fn run(config: ServerConfig) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let registry = Registry::new();
    register_build_info(&registry)?;
    let http_listener = TcpListener::bind(config.http_listen)
        .await
        .with_context(|| format!("cannot bind foz.http.listener={}", config.http_listen))?;

    let stop_http = CancellationToken::new();
    let started: Arc<OnceLock<http::Readiness>> = Arc::default();
    let scraped: Arc<OnceLock<http::Scraped>> = Arc::default();
    let recovery: Arc<RecoveryProgress> = Arc::default();
    // Before the roles: to recover logs takes as long as it takes, and the process lives meanwhile.
    let http_server = tokio::spawn(http::serve(
        http_listener,
        registry.clone(),
        scraped_once_started(Arc::clone(&scraped)),
        readiness_of_start(Arc::clone(&started), Arc::clone(&recovery)),
        stop_http.clone(),
    ));

    let controller = tokio::select! {
        controller = start_controller(&config, &registry) => controller?,
        signal = signals.next() => return stopped_while_starting(signal, None).await,
    };
    let mut broker = match &config.broker {
        Some(role) => tokio::select! {
            broker = start_broker(role, &config, &registry, recovery) => Some(broker?),
            signal = signals.next() => return stopped_while_starting(signal, controller).await,
        },
        None => None,
    };
    // Set once, here.
    let _ = started.set(readiness(controller.as_ref(), broker.as_ref()));
    if let Some(broker) = &broker {
        let _ = scraped.set(broker.scraped());
    }

    let ended = tokio::select! {
        signal = signals.next() => Ok(signal),
        reason = failure_of(controller.as_ref(), broker.as_mut()) => Err(reason),
    };
    let told = Instant::now();
    let ended = match ended {
        Ok(signal) => {
            info!(signal, "asked to end");
            let asking = broker.as_ref().map(BrokerHandle::asking);
            let grace = config.shutdown_grace;
            let may_stop = until_may_stop(asking, controller.as_ref(), grace, &mut signals);
            tokio::select! {
                let_go = may_stop => Ok(let_go),
                reason = failure_of(controller.as_ref(), broker.as_mut()) => Err(reason),
            }
        }
        Err(reason) => Err(reason),
    };
    match &ended {
        Ok(_) => info!("stopping"),
        Err(reason) => tracing::error!(%reason, "stopping: cannot go on"),
    }
    if let Some(broker) = broker {
        broker.stop(told + TAKES_CONNECTIONS_MIN).await;
    }
    if let Some(controller) = controller {
        if matches!(ended, Ok(Some(LetGo::WithAll))) {
            controller.wait_for_brokers().await;
        }
        controller.stop().await;
    }
    stop_http.cancel();
    if let Ok(served) = tokio::time::timeout(HTTP_DRAIN_MAX, http_server).await {
        served??;
    }
    info!("stopped");
    ended.map(|_| ())
}

/// What asks the process to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Recovery is left where it is: a process may end in the middle of it, as of anything.
async fn stopped_while_starting(
    signal: &'static str,
    controller: Option<ControllerHandle>,
) -> anyhow::Result<()> {
    info!(signal, "stopping before the start was over");
    if let Some(controller) = controller {
        controller.stop().await;
    }
    Ok(())
}

fn readiness_of_start(
    started: Arc<OnceLock<http::Readiness>>,
    recovery: Arc<RecoveryProgress>,
) -> http::Readiness {
    Arc::new(move || match started.get() {
        Some(is_ready) => is_ready(),
        None => Err(format!("starting: {recovery}")),
    })
}

fn scraped_once_started(started: Arc<OnceLock<http::Scraped>>) -> http::Scraped {
    Arc::new(move || match started.get() {
        Some(scraped) => scraped(),
        None => Box::pin(async { String::new() }),
    })
}

async fn start_controller(
    config: &ServerConfig,
    registry: &Registry,
) -> anyhow::Result<Option<ControllerHandle>> {
    let Some(role) = &config.controller else {
        return Ok(None);
    };
    let voters = config.voters.iter().map(|voter| foz_controller::Voter {
        node_id: voter.node_id,
        address: voter.address.clone(),
    });
    let mut controller = foz_controller::ControllerConfig::new(
        role.node_id,
        role.listen.to_string(),
        role.data_dir.clone(),
        voters.collect(),
        VERSION.to_owned(),
    );
    controller.properties.clone_from(&config.statics);
    let handle = foz_controller::start(controller, registry)
        .await
        .context("controller")?;
    Ok(Some(handle))
}

fn readiness(
    controller: Option<&ControllerHandle>,
    broker: Option<&BrokerHandle>,
) -> http::Readiness {
    let controller = controller.map(ControllerHandle::readiness);
    let broker = broker.map(BrokerHandle::readiness);
    Arc::new(move || {
        if controller.as_ref().is_some_and(|is_ready| !is_ready()) {
            return Err(
                "controller: the metadata quorum has not formed, or has no leader".to_owned(),
            );
        }
        broker.as_ref().map_or(Ok(()), |ready| ready())
    })
}

/// Ends only when a role fails.
async fn failure_of(
    controller: Option<&ControllerHandle>,
    broker: Option<&mut BrokerHandle>,
) -> anyhow::Error {
    let controller_failed = async {
        match controller {
            Some(controller) => quorum_failure(controller.quorum()).await,
            None => std::future::pending().await,
        }
    };
    let broker_failed = async {
        match broker {
            Some(broker) => broker.failed().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        reason = controller_failed => anyhow::anyhow!("controller: {reason}"),
        reason = broker_failed => anyhow::anyhow!("broker: {reason}"),
    }
}

async fn quorum_failure(quorum: &Quorum) -> String {
    let mut failure = quorum.failure();
    match failure.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(failure)) => failure.to_string(),
        // The quorum was stopped.
        _ => std::future::pending().await,
    }
}

fn register_build_info(registry: &Registry) -> anyhow::Result<()> {
    let info = IntGaugeVec::new(
        Opts::new("foz_build_info", "1, with the version of the program."),
        &["version"],
    )?;
    info.with_label_values(&[VERSION]).set(1);
    registry.register(Box::new(info))?;
    Ok(())
}
