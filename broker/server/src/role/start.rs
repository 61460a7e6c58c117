//! Starts and stops the role `broker`.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use foz_api::ActiveController;
use foz_api::v1::RegisterBrokerRequest;
use foz_log::PageCache;
use foz_metadata::Image;
use foz_quorum::MetaProperties;
use foz_replication::{SessionCache, SessionLimits};
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use super::image_applier::ImageApplier;
use super::lease::{self, LeaseState};
use super::{observer, registration};
use crate::authorizer::AllowAll;
use crate::broker::Broker;
use crate::config::{BrokerRole, ListenerConfig, ServerConfig};
use crate::coordinator::Coordinators;
use crate::http::Readiness;
use crate::identity::{self, Claimed};
use crate::metrics::Metrics;
use crate::net::budget::Budgets;
use crate::net::listener;
use crate::partition::{Partitions, Recovered, Reports};
use crate::process;
use crate::producer_ids::ProducerIds;
use crate::recovery_progress::RecoveryProgress;
use crate::replication::{self, Fetchers};
use crate::request::Listener;

/// Housekeeping of logs: recovery points, idle files.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// A disk that goes on to damage what is fetched again must not keep the broker from everything else.
const REPAIR_PAUSE: Duration = Duration::from_secs(10);
/// How long a stop waits for connections to finish what is in flight.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Binds a listener; with the port that others are told.
async fn bind(config: &ListenerConfig) -> anyhow::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot bind {} of listeners", config.listen))?;
    let port = match config.advertised_port {
        0 => listener.local_addr()?.port(),
        port => port,
    };
    Ok((listener, port))
}

/// A running broker.
#[derive(Debug)]
pub(crate) struct BrokerHandle {
    broker: Arc<Broker>,
    ready: Arc<AtomicBool>,
    failures: mpsc::Receiver<String>,
    stop_lease: CancellationToken,
    stop_serving: CancellationToken,
    stop_background: CancellationToken,
    serving: JoinHandle<()>,
    keeping: JoinHandle<()>,
    /// What follows the metadata and keeps the logs in order.
    background: TaskTracker,
}

/// Recovers the logs, starts to follow the metadata and to register. Returns before the quorum has
/// answered; [`BrokerHandle::readiness`] tells when clients are served.
pub(crate) async fn start_broker(
    role: &BrokerRole,
    config: &ServerConfig,
    registry: &Registry,
    recovery: Arc<RecoveryProgress>,
) -> anyhow::Result<BrokerHandle> {
    let began = Instant::now();
    let claimed = identity::claim(&role.data_dir, role.node_id)?;
    let (listener, port) = bind(&role.client_listener).await?;
    let (replication_listener, replication_port) = bind(&role.replication_listener).await?;
    let (failed, failures) = mpsc::channel(1);
    let metrics = Metrics::register(registry)?;
    let data_dir = role.data_dir.clone();
    let (fatal, recovery_metrics) = (failed.clone(), metrics.clone());
    let (proposals, proposed) = mpsc::unbounded_channel();
    let epoch = Arc::new(AtomicI64::new(-1));
    let reports = Reports {
        proposals,
        damage: Arc::default(),
        broker_epoch: Arc::clone(&epoch),
    };
    let page_cache = match claimed.page_cache_survived {
        true => PageCache::Survived,
        false => PageCache::Lost,
    };
    let partitions = tokio::task::spawn_blocking(move || {
        Partitions::open(
            &data_dir,
            page_cache,
            fatal,
            recovery_metrics,
            reports,
            &recovery,
        )
    })
    .await?
    .context("cannot recover the logs")?;
    let recovered = partitions.recovered();
    let addresses = config
        .voters
        .iter()
        .map(|voter| voter.address.clone())
        .collect();
    let broker = Arc::new_cyclic(|me| Broker {
        me: Weak::clone(me),
        node_id: role.node_id,
        epoch,
        statics: config.statics.clone(),
        request_bytes_max: config.request_bytes_max,
        connection_idle_max: config.connection_idle_max,
        client_budgets: Budgets::of_clients(config.memory_budget_bytes, config.request_bytes_max),
        node_budgets: Budgets::of_nodes(config.request_bytes_max),
        authorizer: Box::new(AllowAll),
        controllers: Arc::new(ActiveController::new(addresses)),
        partitions,
        fetchers: Fetchers::default(),
        fetch_sessions: Mutex::new(SessionCache::new(session_limits(config))),
        registered_offset: watch::Sender::new(-1),
        coordinators: Coordinators::default(),
        producer_ids: ProducerIds::default(),
        metrics,
        image: ArcSwap::from_pointee(Image::default()),
        applied_offset: watch::Sender::new(-1),
        lease: Arc::default(),
        alive: watch::Sender::new(false),
    });
    let ready = Arc::new(AtomicBool::new(false));
    let (stop_lease, stop_serving, stop_background) = (
        CancellationToken::new(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let background = TaskTracker::new();
    background.spawn(observer::follow(
        Arc::clone(&broker.controllers),
        role.node_id,
        ImageApplier::new(Arc::clone(&broker), claimed.properties.cluster_id.clone()),
        failed.clone(),
        stop_background.clone(),
    ));
    background.spawn(keep_house(Arc::clone(&broker), stop_background.clone()));
    background.spawn(replication::tick(
        Arc::clone(&broker),
        stop_background.clone(),
    ));
    background.spawn(replication::carry(
        Arc::clone(&broker),
        proposed,
        stop_background.clone(),
    ));
    let membership = Membership {
        broker: Arc::clone(&broker),
        role: role.clone(),
        port,
        replication_port,
        log_intact: is_intact(&claimed, recovered),
        disk_epoch: claimed.disk_epoch,
        properties: claimed.properties,
        incarnation: Uuid::new_v4(),
        repairs_from: Instant::now(),
        stop: stop_lease.clone(),
    };
    let keeping = tokio::spawn(keep_membership(membership, failed));
    // Followers may come as soon as this broker leads, which is before it hears that it is alive.
    background.spawn(listener::serve(
        replication_listener,
        Arc::clone(&broker),
        Listener::Replication,
        usize::MAX,
        stop_background.clone(),
    ));
    let (connections_max, stop) = (config.connections_max, stop_serving.clone());
    let (serving_broker, serving_ready) = (Arc::clone(&broker), Arc::clone(&ready));
    let serving = tokio::spawn(async move {
        let mut alive = serving_broker.alive.subscribe();
        tokio::select! {
            () = stop.cancelled() => return,
            alive = alive.wait_for(|alive| *alive) => if alive.is_err() { return },
        }
        info!(
            took_ms = began.elapsed().as_millis() as u64,
            "serving clients"
        );
        serving_ready.store(true, Ordering::Release);
        let kind = Listener::Clients;
        listener::serve(listener, serving_broker, kind, connections_max, stop).await;
    });
    Ok(BrokerHandle {
        broker,
        ready,
        failures,
        stop_lease,
        stop_serving,
        stop_background,
        serving,
        keeping,
        background,
    })
}

impl BrokerHandle {
    /// Ready once the broker has recovered, holds a current image and counts as alive; from then on
    /// also while no controller answers.
    pub(crate) fn readiness(&self) -> Readiness {
        let ready = Arc::clone(&self.ready);
        Arc::new(move || {
            if ready.load(Ordering::Acquire) {
                Ok(())
            } else {
                Err("broker: not yet registered with the metadata quorum and caught up".to_owned())
            }
        })
    }

    /// Waits until the broker cannot go on.
    pub(crate) async fn failed(&mut self) -> String {
        match self.failures.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Leaves the quorum, answers what is in flight, flushes and closes the logs.
    pub(crate) async fn stop(self) {
        let began = Instant::now();
        self.ready.store(false, Ordering::Release);
        self.stop_lease.cancel();
        if let Err(error) = self.keeping.await {
            warn!(%error, "leaving the quorum failed");
        }
        self.stop_serving.cancel();
        if tokio::time::timeout(DRAIN_MAX, self.serving).await.is_err() {
            warn!("connections were still busy when the time to drain was over");
        }
        // Nothing may open a log or lead a partition while the logs close.
        self.stop_background.cancel();
        self.background.close();
        self.background.wait().await;
        let broker = self.broker;
        broker.fetchers.stop().await;
        let closed = tokio::task::spawn_blocking(move || {
            broker.coordinators.stop();
            broker.partitions.close(broker.epoch())
        });
        match closed.await {
            Ok(Ok(())) => info!(
                took_ms = began.elapsed().as_millis() as u64,
                "broker stopped"
            ),
            Ok(Err(error)) => warn!(%error, "logs not closed cleanly; they will be recovered"),
            Err(error) => warn!(%error, "logs not closed cleanly; they will be recovered"),
        }
    }
}

/// How a lease came to its end.
enum Ended {
    Stopped,
    /// The registration does not count any more.
    Lost,
    /// Given back, to fetch damaged data again.
    Damaged,
}

struct Membership {
    broker: Arc<Broker>,
    role: BrokerRole,
    port: u16,
    replication_port: u16,
    /// With which epoch the directory was registered last.
    disk_epoch: i64,
    /// Nothing of what it held then is missing.
    log_intact: bool,
    properties: MetaProperties,
    incarnation: Uuid,
    /// Not sooner it leaves for the sake of damaged data.
    repairs_from: Instant,
    stop: CancellationToken,
}

/// Registers, keeps the lease, and registers again when the registration was lost.
async fn keep_membership(mut membership: Membership, failed: mpsc::Sender<String>) {
    if let Err(error) = membership.keep().await {
        let _ = failed.send(format!("{error:#}")).await;
    }
}

impl Membership {
    async fn keep(&mut self) -> anyhow::Result<()> {
        loop {
            let request = self.request();
            let registered = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                registered = registration::register(&self.broker.controllers, &request) => registered?,
            };
            identity::join(
                &self.role.data_dir,
                &mut self.properties,
                &registered.cluster_id,
                registered.broker_epoch,
            )?;
            self.broker.partitions.directory().forget_lost();
            // From here on this process itself wrote all there is.
            (self.disk_epoch, self.log_intact) = (registered.broker_epoch, true);
            self.broker
                .epoch
                .store(registered.broker_epoch, Ordering::Release);
            self.broker
                .registered_offset
                .send_replace(registered.metadata_offset);
            match self.hold_lease(registered.broker_epoch).await? {
                Ended::Stopped => return Ok(()),
                Ended::Lost => {}
                Ended::Damaged => {
                    // To the quorum another process: this one does not have what it had.
                    (self.incarnation, self.log_intact) = (Uuid::new_v4(), false);
                    self.repairs_from = Instant::now() + REPAIR_PAUSE;
                }
            }
        }
    }

    async fn hold_lease(&self, broker_epoch: i64) -> anyhow::Result<Ended> {
        let (state, mut states) = watch::channel(LeaseState::Silent);
        let leave = self.stop.child_token();
        let damage_found = self.broker.partitions.damage_found();
        let keeper = lease::keep(
            ActiveController::new(self.broker.controllers.addresses().to_vec()),
            self.role.node_id,
            broker_epoch,
            self.broker.applied_offset.subscribe(),
            Arc::clone(&self.broker.lease),
            state,
            leave.clone(),
        )
        .context("cannot start the lease thread")?;
        loop {
            tokio::select! {
                changed = states.changed() => {
                    // The thread drops the sender when it ends.
                    if changed.is_err() {
                        break;
                    }
                    let now = *states.borrow_and_update();
                    let alive = now == LeaseState::Alive;
                    self.broker.metrics.lease_alive.set(i64::from(alive));
                    if alive {
                        self.broker.alive.send_replace(true);
                    }
                }
                () = damage_found.notified(), if !leave.is_cancelled() => {
                    let broker = Arc::clone(&self.broker);
                    let repair = move || broker.partitions.repair(&broker);
                    let must_leave = tokio::task::spawn_blocking(repair).await?;
                    if must_leave && Instant::now() >= self.repairs_from {
                        warn!("data here is damaged: the broker leaves the replicas in sync to fetch it again");
                        leave.cancel();
                    }
                }
            }
        }
        let ended = if *states.borrow() == LeaseState::Lost {
            Ended::Lost
        } else if leave.is_cancelled() && !self.stop.is_cancelled() {
            Ended::Damaged
        } else {
            Ended::Stopped
        };
        let joined = tokio::task::spawn_blocking(move || keeper.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("the lease thread panicked"))?;
        Ok(ended)
    }

    fn request(&self) -> RegisterBrokerRequest {
        RegisterBrokerRequest {
            node_id: self.role.node_id,
            incarnation: self.incarnation.as_bytes().to_vec(),
            directory_ids: vec![self.properties.directory_id.as_bytes().to_vec()],
            cluster_id: self.properties.cluster_id.clone().unwrap_or_default(),
            host: self.role.client_listener.advertised_host.clone(),
            port: i32::from(self.port),
            replication_host: self.role.replication_listener.advertised_host.clone(),
            replication_port: i32::from(self.replication_port),
            disk_epoch: self.disk_epoch,
            log_intact: self.log_intact,
            rack: self.role.rack.clone(),
            version: process::VERSION.to_owned(),
        }
    }
}

/// DESIGN: a crash of the process is no loss of data while the kernel lives. What the disk itself has lost is.
fn is_intact(claimed: &Claimed, recovered: Recovered) -> bool {
    let stopped_cleanly = recovered.stopped_cleanly == Some(claimed.disk_epoch);
    recovered.is_whole && (stopped_cleanly || claimed.page_cache_survived)
}

fn session_limits(config: &ServerConfig) -> SessionLimits {
    let slots = config
        .statics
        .get("max.incremental.fetch.session.cache.slots")
        .and_then(|text| text.parse().ok());
    let default = SessionLimits::default();
    SessionLimits {
        slots_max: slots.unwrap_or(default.slots_max),
        ..default
    }
}

async fn keep_house(broker: Arc<Broker>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(CHECKPOINT_INTERVAL);
    let mut retention_applied: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let check_interval_ms = broker.config_number("log.retention.check.interval.ms");
        let check_interval = Duration::from_millis(check_interval_ms.unsigned_abs());
        let apply_retention = retention_applied.is_none_or(|at| at.elapsed() >= check_interval);
        // Until the broker is alive, it does not know all that it leads.
        if apply_retention && *broker.alive.borrow() {
            retention_applied = Some(Instant::now());
        }
        let broker = Arc::clone(&broker);
        let kept = tokio::task::spawn_blocking(move || {
            if apply_retention {
                broker.partitions.apply_retention();
            }
            broker.partitions.keep_house();
            if broker.partitions.repair(&broker) {
                broker.partitions.damage_found().notify_one();
            }
        });
        if let Err(error) = kept.await {
            warn!(%error, "housekeeping failed");
        }
    }
}
