//! Starting and stopping a controller.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use foz_api::v1::admin_server::AdminServer;
use foz_api::v1::node_server::NodeServer;
use foz_metadata::Image;
use foz_quorum::{Quorum, QuorumConfig, TransferError};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::active::{self, COMMANDS_WAITING_MAX, Inbox, LEASE_MESSAGES_MAX, Shared};
use crate::applied::AppliedOffsets;
use crate::ask_active::{AskActive, LetGo};
use crate::config::ControllerConfig;
use crate::controller_features::found_missing_features;
use crate::handovers::Handovers;
use crate::metadata::{Metadata, MetadataState};
use crate::metrics::Metrics;
use crate::observers::Observers;
use crate::services::{AdminService, Calls, NodeService};

/// A peer that does not answer is noticed after the sum of both.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// A registration names every log of its broker: 20 bytes for a topic, and up to 3 for each of its partitions.
const NODE_REQUEST_BYTES_MAX: usize = 32 << 20;
/// Calls that are being answered get this long when the controller stops.
const DRAIN: Duration = Duration::from_millis(200);
/// A controller that goes with all others waits so long for the brokers to go before it.
const BROKERS_LEAVE_MAX: Duration = Duration::from_secs(5);
/// Within it a broker that goes with them says so.
const BROKERS_ASK_MAX: Duration = Duration::from_secs(1);
const BROKERS_LOOK: Duration = Duration::from_millis(50);
/// Connections get this long to close once nothing is served on them.
const CLOSE: Duration = Duration::from_millis(500);

/// Why a controller refuses to start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener cannot be opened.
    #[error("controller.listener: cannot listen on {listen}: {source}")]
    Listen {
        /// As configured.
        listen: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The quorum refuses.
    #[error(transparent)]
    Quorum(#[from] foz_quorum::StartError),
    /// A metric of the same name is registered already.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A running controller. Dropping it without [`stop`](Self::stop) leaves its tasks running.
#[derive(Debug)]
pub struct ControllerHandle {
    node_id: i32,
    quorum: Quorum,
    metadata: Arc<Metadata>,
    ask: AskActive,
    stopping: watch::Sender<bool>,
    server: JoinHandle<()>,
    starting: JoinHandle<()>,
    founding: JoinHandle<()>,
}

/// Starts a controller: binds its gRPC listener and serves the quorum, Admin and Node on it. It returns
/// before the quorum has formed.
pub async fn start(
    config: ControllerConfig,
    registry: &Registry,
) -> Result<ControllerHandle, StartError> {
    let listener =
        TcpListener::bind(&config.listen)
            .await
            .map_err(|source| StartError::Listen {
                listen: config.listen.clone(),
                source,
            })?;
    start_on(listener, config, registry).await
}

/// As [`start`], on a listener that is bound already; `config.listen` is not used.
pub async fn start_on(
    listener: TcpListener,
    config: ControllerConfig,
    registry: &Registry,
) -> Result<ControllerHandle, StartError> {
    let metadata = Metadata::new();
    let node_id = config.node_id;
    let quorum_config = QuorumConfig::new(node_id, config.data_dir.clone(), config.voters.clone());
    let election_ticks = u32::try_from(quorum_config.election_ticks).unwrap_or(u32::MAX);
    let election_timeout = quorum_config.tick.saturating_mul(election_ticks);
    let quorum = foz_quorum::start(quorum_config, MetadataState(metadata.clone())).await?;
    let metrics = Metrics::register(registry, &metadata, &quorum)?;
    let shared = Arc::new(Shared {
        config,
        quorum: quorum.clone(),
        election_timeout,
        metadata: metadata.clone(),
        applied: AppliedOffsets::default(),
        handovers: Handovers::default(),
        controllers_asking: watch::Sender::default(),
        observers: Observers::default(),
        controller_times: Mutex::default(),
        broker_times: Mutex::default(),
        loads: Mutex::default(),
        copied_bytes_per_second: AtomicU64::default(),
        planning: tokio::sync::Mutex::default(),
        metrics,
    });
    let (message_sender, messages) = mpsc::channel(COMMANDS_WAITING_MAX);
    let (lease_sender, leases) = mpsc::channel(LEASE_MESSAGES_MAX);
    tokio::spawn(active::run(
        shared.clone(),
        Inbox {
            messages,
            leases,
            early: None,
        },
    ));
    let stopping = watch::Sender::new(false);
    let calls = Calls::new(shared, message_sender, lease_sender, stopping.subscribe());
    let founding = tokio::spawn(found_missing_features(calls.clone()));
    let ask = AskActive::new(calls.clone());
    let server = tokio::spawn(serve(listener, quorum.clone(), calls, stopping.subscribe()));
    let starting = tokio::spawn(ask.clone().started());
    Ok(ControllerHandle {
        node_id,
        quorum,
        metadata,
        ask,
        stopping,
        server,
        starting,
        founding,
    })
}

async fn serve(
    listener: TcpListener,
    quorum: Quorum,
    calls: Arc<Calls>,
    mut stopping: watch::Receiver<bool>,
) {
    let served = Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .add_service(quorum.service())
        .add_service(AdminServer::new(AdminService(calls.clone())))
        .add_service(
            NodeServer::new(NodeService(calls)).max_decoding_message_size(NODE_REQUEST_BYTES_MAX),
        )
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move {
                // An error: the handle is gone, and so is the wish to serve.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            },
        )
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the controller's gRPC server ended");
    }
}

impl ControllerHandle {
    /// The newest committed image.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.metadata.image()
    }

    /// The committed metadata of this controller.
    #[must_use]
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// The quorum: who leads, who votes, whether it failed.
    #[must_use]
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// Whether the quorum has formed, this controller votes in it and knows its leader. One that came
    /// back with an empty volume is not ready before it has taken its old place: until then the
    /// quorum cannot do without another.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness()()
    }

    /// [`is_ready`](Self::is_ready) for whoever cannot hold the handle.
    pub fn readiness(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let (quorum, node_id) = (self.quorum.clone(), self.node_id);
        move || {
            let status = quorum.status();
            let status = status.borrow();
            let places = status
                .members
                .iter()
                .filter(|it| it.member.node_id == node_id)
                .count();
            status.is_voter && places == 1 && quorum.leadership().borrow().leader.is_some()
        }
    }

    /// What a controller that was asked to end waits for first, going on as before: the active controller lets it go,
    /// as the others are a majority. At the end of its grace period it goes in any case: when `insists` is so, this
    /// returns within a second.
    pub fn may_stop(&self, insists: watch::Receiver<bool>) -> impl Future<Output = LetGo> + use<> {
        // That it has started, nobody may hear after that it wants to stop: it would take that back.
        self.starting.abort();
        self.ask.clone().may_stop(insists)
    }

    /// For a controller that is let go with all others: the last brokers need an active controller to hand over and to
    /// say goodbye to. Returns when all brokers that stop have left: it waits a second for one to say so, and
    /// some seconds in all.
    pub async fn wait_for_brokers(&self) {
        let mut offset = self.metadata.offset();
        let began = Instant::now();
        let all_have_left = async {
            loop {
                let image = self.image();
                let mut alive = image.alive_brokers();
                let is_early = began.elapsed() < BROKERS_ASK_MAX;
                if !alive.any(|broker| is_early || broker.stopping) {
                    return;
                }
                // An error: the quorum has stopped, and nothing comes any more.
                let _ = tokio::time::timeout(BROKERS_LOOK, offset.changed()).await;
            }
        };
        let waited = tokio::time::timeout(BROKERS_LEAVE_MAX, all_have_left).await;
        if waited.is_err() {
            tracing::info!("brokers that stop are still alive, and are not waited for any longer");
        }
    }

    /// Hands leadership over where there is someone to take it, ends the streams, answers what is being
    /// asked, and closes the quorum's files.
    pub async fn stop(mut self) {
        self.starting.abort();
        self.founding.abort();
        match self.quorum.transfer_leadership(None).await {
            Ok(()) => tracing::info!("leadership was handed over"),
            Err(TransferError::NotLeader) => {}
            Err(error) => tracing::info!(%error, "leadership was not handed over"),
        }
        self.stopping.send_replace(true);
        // The other controllers' streams keep the server busy until the quorum has stopped.
        let is_drained = tokio::time::timeout(DRAIN, &mut self.server).await.is_ok();
        self.quorum.stop().await;
        if !is_drained && tokio::time::timeout(CLOSE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}
