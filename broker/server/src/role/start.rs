//! Starts and stops the role `broker`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use foz_api::ActiveController;
use foz_metadata::Image;
use foz_metadata::config::contradictions;
use foz_replication::{SessionCache, SessionLimits};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::checking::keep_checked;
use super::compaction::keep_compacted;
use super::deletion::keep_deleting;
use super::due_partitions::{keep_due_retention, keep_due_starts};
use super::housekeeping::{begin_flushing_backlog, begin_writebacks, keep_checkpoints, keep_house};
use super::image_applier::ImageApplier;
use super::load_report::report_load;
use super::log_moves::keep_moving;
use super::membership::{Membership, Ports};
use super::observer::{self, Observer};
use super::offline_replicas::keep_reporting;
use super::retention::keep_retention;
use super::space_keeper::SpaceKeeper;
use super::stop_cost;
use super::stop_wish::{StopWish, WaitEnd};
use crate::authorizer::AllowAll;
use crate::broker::Broker;
use crate::config::{BrokerRole, ListenerConfig, ServerConfig};
use crate::coordinator::Coordinators;
use crate::disk_room::disk_room;
use crate::group_lag::{self, GroupLags, keep_group_lags};
use crate::http::{Readiness, Scraped};
use crate::identity::{self, Claims};
use crate::metrics::Metrics;
use crate::net::budget::Budgets;
use crate::net::listener;
use crate::partition::{Openings, Partitions, Reports};
use crate::producer_ids::ProducerIds;
use crate::recovery_progress::RecoveryProgress;
use crate::replication::{self, Fetchers};
use crate::request::Listener;
use crate::spare_file;
use crate::transactions::Transactions;

/// However many `num.recovery.threads.per.data.dir` asks for.
const RECOVERY_THREADS_MAX: usize = 256;
/// How long a stop waits for connections to finish what is in flight.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// The same for followers: when it is their turn this broker is fenced, so an answer is nothing to them any
/// more. One that does not read would hold the stop up for minutes.
const FOLLOWERS_DRAIN_MAX: Duration = Duration::from_secs(1);

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
    wish: Arc<StopWish>,
    stop_lease: CancellationToken,
    stop_serving: CancellationToken,
    stop_background: CancellationToken,
    serving: JoinHandle<()>,
    serving_followers: JoinHandle<()>,
    keeping: JoinHandle<Membership>,
    /// What follows the metadata and keeps the logs in order.
    background: TaskTracker,
}

/// A broker that was asked to end.
#[derive(Debug)]
pub(crate) struct BrokerAsking {
    broker: Arc<Broker>,
    wish: Arc<StopWish>,
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
    let claims = claim(&role.data_dirs, role.node_id)?;
    for offline in &claims.offline {
        let (directory, reason) = (offline.path.display(), &offline.reason);
        error!(%directory, reason, "a data directory cannot be used: its replicas are offline, and the broker goes on without it");
    }
    let mut identities = claims.usable.iter().map(|it| &it.identity);
    let cluster_id = identities.find_map(|it| it.cluster_id());
    let (listener, port) = bind(&role.client_listener).await?;
    let (replication_listener, replication_port) = bind(&role.replication_listener).await?;
    let (failed, failures) = mpsc::channel(1);
    let metrics = Metrics::register(registry)?;
    let recovery_metrics = metrics.clone();
    let directories = Openings::new(claims, failed.clone());
    let (proposals, proposed) = mpsc::unbounded_channel();
    let epoch = Arc::new(AtomicI64::new(-1));
    let reports = Reports {
        proposals,
        damage: Arc::default(),
        due_checks: Arc::default(),
        awake: Arc::default(),
        to_write: Arc::default(),
        led: metrics.leader_partitions.clone(),
        broker_epoch: Arc::clone(&epoch),
    };
    let threads = config.recovery_threads.unwrap_or_else(processors);
    let partitions = tokio::task::spawn_blocking(move || {
        Partitions::open(
            directories,
            threads.min(RECOVERY_THREADS_MAX),
            recovery_metrics,
            reports,
            &recovery,
        )
    })
    .await?
    .context("cannot recover the logs")?;
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
        client_connections: AtomicU64::new(0),
        client_budgets: Budgets::of_clients(config.memory_budget_bytes, config.request_bytes_max),
        node_budgets: Budgets::of_nodes(config.request_bytes_max),
        authorizer: Box::new(AllowAll),
        controllers: Arc::new(ActiveController::new(addresses)),
        partitions,
        fetchers: Fetchers::default(),
        fetch_sessions: SessionCache::new(SessionLimits {
            slots_max: config.fetch_sessions_max,
            ..SessionLimits::default()
        }),
        registered_offset: watch::Sender::new(-1),
        coordinators: Coordinators::default(),
        group_lags: GroupLags::default(),
        transactions: Transactions::default(),
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
    let directories = broker.partitions.directories().all();
    let mut space_keepers = Vec::new();
    for directory in directories {
        let mut space_keeper = SpaceKeeper::new(Arc::clone(directory));
        // The first beat tells of it.
        space_keeper.look(&broker).await;
        space_keepers.push(space_keeper);
    }
    let wish = StopWish::new();
    let background = TaskTracker::new();
    let incarnation = Uuid::new_v4();
    background.spawn(observer::follow(
        Arc::clone(&broker.controllers),
        Observer {
            node_id: role.node_id,
            incarnation,
        },
        ImageApplier::new(Arc::clone(&broker), cluster_id),
        failed.clone(),
        stop_background.clone(),
    ));
    for space_keeper in space_keepers {
        background.spawn(space_keeper.keep(Arc::clone(&broker), stop_background.clone()));
    }
    // A slow disk holds up nobody but itself.
    for directory in directories {
        let of_one = || {
            let (broker, directory) = (Arc::clone(&broker), Arc::clone(directory));
            (broker, directory, stop_background.clone())
        };
        let (broker, directory, stop) = of_one();
        background.spawn(keep_due_starts(broker, directory, stop));
        let (broker, directory, stop) = of_one();
        background.spawn(keep_due_retention(broker, directory, stop));
        let (broker, directory, stop) = of_one();
        background.spawn(keep_checkpoints(broker, directory, stop));
        let (broker, directory, stop) = of_one();
        background.spawn(keep_retention(broker, directory, stop));
        let (broker, directory, stop) = of_one();
        background.spawn(keep_deleting(broker, directory, stop));
        let (broker, directory, stop) = of_one();
        background.spawn(keep_moving(broker, directory, stop));
    }
    background.spawn(keep_house(Arc::clone(&broker), stop_background.clone()));
    background.spawn(begin_writebacks(
        Arc::clone(&broker),
        stop_background.clone(),
    ));
    background.spawn(begin_flushing_backlog(
        Arc::clone(&broker),
        stop_background.clone(),
    ));
    background.spawn(keep_compacted(Arc::clone(&broker), stop_background.clone()));
    background.spawn(keep_checked(Arc::clone(&broker), stop_background.clone()));
    background.spawn(keep_reporting(Arc::clone(&broker), stop_background.clone()));
    background.spawn(report_load(Arc::clone(&broker), stop_background.clone()));
    background.spawn(keep_group_lags(
        Arc::clone(&broker),
        stop_background.clone(),
    ));
    background.spawn(replication::tick(
        Arc::clone(&broker),
        stop_background.clone(),
    ));
    background.spawn(replication::carry(
        Arc::clone(&broker),
        proposed,
        stop_background.clone(),
    ));
    let membership = Membership::new(
        Arc::clone(&broker),
        role.clone(),
        Ports {
            clients: port,
            replication: replication_port,
        },
        incarnation,
        Arc::clone(&wish),
        stop_lease.clone(),
    );
    let keeping = tokio::spawn(membership.keep(failed));
    // Followers may come as soon as this broker leads, which is before it hears that it is alive.
    let serving_followers = tokio::spawn(listener::serve(
        replication_listener,
        Arc::clone(&broker),
        Listener::Replication,
        stop_background.clone(),
    ));
    let stop = stop_serving.clone();
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
        say_what_does_not_count(&serving_broker);
        serving_ready.store(true, Ordering::Release);
        let kind = Listener::Clients;
        listener::serve(listener, serving_broker, kind, stop).await;
    });
    Ok(BrokerHandle {
        broker,
        ready,
        failures,
        wish,
        stop_lease,
        stop_serving,
        stop_background,
        serving,
        serving_followers,
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

    /// What is looked for anew when metrics are asked for.
    pub(crate) fn scraped(&self) -> Scraped {
        let broker = Arc::clone(&self.broker);
        Arc::new(move || {
            let broker = Arc::clone(&broker);
            Box::pin(async move { group_lag::scraped(&broker).await })
        })
    }

    /// Waits until the broker cannot go on.
    pub(crate) async fn failed(&mut self) -> String {
        match self.failures.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// For the wait that comes before [`stop`](Self::stop).
    pub(crate) fn asking(&self) -> BrokerAsking {
        BrokerAsking {
            broker: Arc::clone(&self.broker),
            wish: Arc::clone(&self.wish),
        }
    }

    /// Leaves the quorum, answers what is in flight, flushes and closes the logs. Takes connections until `accepts_until`
    /// at least: while the logs close there is nothing to be had here, but clients learn who leads.
    pub(crate) async fn stop(self, accepts_until: Instant) {
        let began = Instant::now();
        self.ready.store(false, Ordering::Release);
        self.wish.insist();
        self.stop_lease.cancel();
        let membership = match self.keeping.await {
            Ok(membership) => Some(membership),
            Err(error) => {
                warn!(%error, "leaving the quorum failed");
                None
            }
        };
        self.stop_background.cancel();
        let followers = tokio::time::timeout(FOLLOWERS_DRAIN_MAX, self.serving_followers);
        if followers.await.is_err() {
            warn!("a follower does not take its answer; it is not waited for");
        }
        // Nothing may open a log or lead a partition while the logs close.
        self.background.close();
        self.background.wait().await;
        let broker = self.broker;
        broker.fetchers.stop().await;
        let vouched_epochs = broker.partitions.directories().all().iter();
        let vouched_epochs: Vec<_> = vouched_epochs
            // A disk that has failed may hold up whoever asks for what it says of itself.
            .map(|it| match it.has_failed() {
                true => None,
                false => membership.as_ref()?.vouched_epoch(it),
            })
            .collect();
        // The mark of a clean stop is what it was for, and nobody knows what the disk has left by now.
        for directory in broker.partitions.directories().usable() {
            spare_file::release(directory.path());
        }
        let closing = Arc::clone(&broker);
        let closing = tokio::task::spawn_blocking(move || {
            closing.coordinators.stop();
            closing.transactions.stop();
            closing.partitions.close(&vouched_epochs)
        });
        tokio::time::sleep_until(accepts_until).await;
        self.stop_serving.cancel();
        if tokio::time::timeout(DRAIN_MAX, self.serving).await.is_err() {
            warn!("connections were still busy when the time to drain was over");
        }
        let closed = closing.await;
        let mut is_unsaid = false;
        for directory in broker.partitions.directories().all() {
            let failure = directory.failure();
            if failure.has_failed() {
                is_unsaid |= !failure.doubt();
            } else if directory.logs().has_failed_flush() || failure.distrusts_page_cache() {
                is_unsaid |= !failure.distrust_page_cache();
            }
        }
        if is_unsaid && let Some(membership) = membership {
            membership.disown().await;
        }
        match closed {
            Ok(Ok(())) => info!(
                took_ms = began.elapsed().as_millis() as u64,
                "broker stopped"
            ),
            Ok(Err(error)) => warn!(%error, "logs not closed cleanly; they will be recovered"),
            Err(error) => warn!(%error, "logs not closed cleanly; they will be recovered"),
        }
    }
}

impl BrokerAsking {
    /// Serves on until the broker may stop, or until it does all the same, as somebody insists.
    pub(crate) async fn until_may_stop(&self, insists: watch::Receiver<bool>) {
        if *self.broker.registered_offset.borrow() < 0 {
            // Nobody counts on it yet.
            return;
        }
        let end = self
            .wish
            .wait(insists, &self.broker.controllers.addresses())
            .await;
        let (image, node_id) = (self.broker.image(), self.broker.node_id);
        match end {
            WaitEnd::Granted => {
                let grant = image.grant(node_id);
                let grant = grant.filter(|grant| image.is_granted_incarnation(grant));
                let unprotected = grant.map_or(&[][..], |grant| &grant.unprotected);
                info!(?unprotected, "the broker may stop");
            }
            WaitEnd::Insists | WaitEnd::NoController => {
                let left_short = stop_cost::left_short(&image, node_id);
                if left_short.is_empty() {
                    info!("the broker stops without waiting for its grant");
                } else {
                    warn!(
                        partitions = left_short.join(", "),
                        "the broker stops without waiting for its grant: these have too few in-sync replicas from now on"
                    );
                }
            }
        }
    }
}

/// The controllers decide by what all know, not by what one broker's file says.
fn say_what_does_not_count(broker: &Broker) {
    for found in contradictions(&broker.image(), &broker.statics) {
        warn!(
            key = found.key,
            in_file = found.in_file,
            in_metadata = found.in_metadata,
            "server.properties of this broker and the cluster's metadata differ: the metadata counts"
        );
    }
}

/// With the spare files' room where there is less than that: what comes first takes but a little, and that must be there.
fn claim(data_dirs: &[PathBuf], node_id: i32) -> anyhow::Result<Claims> {
    for data_dir in data_dirs {
        let spare = i64::try_from(spare_file::length(data_dir)).unwrap_or(i64::MAX);
        if disk_room(data_dir).is_ok_and(|room| room.bytes_free < spare)
            && spare_file::release(data_dir)
        {
            let directory = data_dir.display();
            warn!(%directory, "the disk is full; the spare file is gone, what it took is for the start");
        }
    }
    identity::claim_all(data_dirs, node_id)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}
