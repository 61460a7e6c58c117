//! The broker's membership of the cluster: it registers, holds its lease, and registers anew where the
//! registration was lost, or where its logs say that it must not be counted on as it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use foz_api::v1::{
    self as api, LogInDoubt, RegisterBrokerRequest, RegisterBrokerResponse, TopicLogs,
};
use foz_log::OpenError;
use foz_metadata::image::SupportedFeatures;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::lease::{self, LeaseState, Member};
use super::registration::{self, Refused};
use super::stop_wish::StopWish;
use crate::blocking::blocking;
use crate::broker::Broker;
use crate::config::BrokerRole;
use crate::identity::is_shortage;
use crate::partition::{DataDirectory, InDoubt, Leave};
use crate::process;

/// A disk that goes on to damage what is fetched again, or on which no log can be made, must not keep the
/// broker from everything else.
const REPAIR_PAUSE: Duration = Duration::from_secs(10);
/// Before a disk without room is tried again.
const ROOM_PAUSE: Duration = Duration::from_millis(500);
/// Why a directory is not used.
const IS_OLDER: &str = "is older than a directory that cannot be used now: bring that one back, or take it out of log.dirs";
/// How long a process that ends tells the quorum that its data does not count.
const DISOWN_MAX: Duration = Duration::from_secs(5);

/// On which the broker listens.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) clients: u16,
    pub(super) replication: u16,
}

#[derive(Debug)]
pub(super) struct Membership {
    broker: Arc<Broker>,
    role: BrokerRole,
    ports: Ports,
    /// With this epoch by this process; from then on it wrote all there is itself.
    registered: Option<i64>,
    /// What the quorum was told last is so: of no log there is anything left to tell.
    is_vouched_for: bool,
    /// Nothing here is to be believed any more.
    is_disowned: bool,
    incarnation: Uuid,
    /// Not sooner it leaves for the sake of its logs.
    repairs_from: Instant,
    wish: Arc<StopWish>,
    /// To leave, with a grant or without.
    stop: CancellationToken,
}

impl Membership {
    pub(super) fn new(
        broker: Arc<Broker>,
        role: BrokerRole,
        ports: Ports,
        incarnation: Uuid,
        wish: Arc<StopWish>,
        stop: CancellationToken,
    ) -> Self {
        let is_vouched_for = broker.partitions.found_in_doubt().is_empty();
        Self {
            broker,
            role,
            ports,
            registered: None,
            is_vouched_for,
            is_disowned: false,
            incarnation,
            repairs_from: Instant::now(),
            wish,
            stop,
        }
    }

    /// Registers, keeps the lease, and registers again when the registration was lost; until it is to stop, or
    /// until `failed` is told why it cannot go on.
    pub(super) async fn keep(mut self, failed: mpsc::Sender<String>) -> Self {
        if let Err(error) = self.try_keep().await {
            // One reason to stop is enough.
            let _ = failed.try_send(format!("{error:#}"));
        }
        self
    }

    /// The epoch of which the logs of this directory, once they are closed, hold all that the quorum counts on: what the
    /// directory itself names. One may have joined already while another waits for room.
    pub(super) fn vouched_epoch(&self, directory: &DataDirectory) -> Option<i64> {
        let has_all_written = self.registered.is_some() || directory.found().has_all_written;
        (has_all_written && self.is_vouched_for).then(|| directory.identity().broker_epoch())
    }

    /// The last word of a process that cannot even write down that its data does not count: the quorum is told,
    /// and takes this node out of every ISR and ELR, whatever the next start believes.
    pub(super) async fn disown(mut self) {
        (self.incarnation, self.is_disowned) = (Uuid::new_v4(), true);
        let registering = async {
            let request = self.request().await;
            registration::register(&self.broker.controllers, &request).await
        };
        match tokio::time::timeout(DISOWN_MAX, registering).await {
            Ok(Ok(_)) => info!("the quorum knows that data here may be missing"),
            Ok(Err(error)) => {
                warn!(%error, "the quorum does not know that data here may be missing")
            }
            Err(_) => {
                warn!("the quorum does not answer, and does not know that data here may be missing")
            }
        }
    }

    async fn try_keep(&mut self) -> anyhow::Result<()> {
        loop {
            let registering = async {
                let request = self.request().await;
                let answer = registration::register(&self.broker.controllers, &request).await;
                (request.directories, answer)
            };
            let (named, registered) = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                registered = registering => registered,
            };
            let registered = match registered {
                Err(Refused::With(directories)) => {
                    self.leave_out(&directories)?;
                    continue;
                }
                registered => registered?,
            };
            if !self.join(&registered).await? {
                return Ok(());
            }
            self.tell_older(&named);
            // From here on this process itself wrote all there is.
            (self.registered, self.is_vouched_for) = (Some(registered.broker_epoch), true);
            // Not sooner: until the disk names this epoch, the mark is what tells a process that comes after
            // this one, perhaps on another boot, that nothing is missing.
            for directory in self.directories() {
                let taken = directory.logs().take_mark_away().map_err(OpenError::from);
                directory
                    .failure()
                    .unless_failed(taken.map_err(Into::into))?;
            }
            for directory in self.directories() {
                directory.logs().forget_lost();
                *directory.found().logs.lock() = Vec::new();
            }
            self.broker
                .epoch
                .store(registered.broker_epoch, Ordering::Release);
            self.broker
                .registered_offset
                .send_replace(registered.metadata_offset);
            match self.hold_lease(registered.broker_epoch).await? {
                Ended::Stopped => return Ok(()),
                Ended::Lost => {}
                Ended::Left(leave) => {
                    // To the quorum another process.
                    self.incarnation = Uuid::new_v4();
                    if leave == Leave::WithoutSomeData {
                        self.is_vouched_for = false;
                        // Should this process end before the quorum has heard of it.
                        for directory in self.directories() {
                            let ended = directory.identity().end_life();
                            directory.failure().unless_failed(ended)?;
                        }
                    }
                    self.repairs_from = Instant::now() + REPAIR_PAUSE;
                }
            }
        }
    }

    /// The directories that this registration does not name had failed before, whatever became of those in between: the
    /// quorum may have taken one that names them in without an answer.
    fn tell_older(&self, named: &[api::DataDirectory]) {
        let all = self.broker.partitions.directories().all().iter();
        let is_named = |it: &DataDirectory| named.iter().any(|named| named.id == id_of(it));
        for directory in all.filter(|it| !is_named(it)) {
            directory.set_older();
            // What waits for that.
            self.broker.partitions.damage_found().notify_one();
        }
    }

    /// These directories, by their ids, are not to be used by this process. Which is of use once: the next registration does
    /// not name them.
    ///
    /// # Errors
    /// When there is no other.
    fn leave_out(&self, ids: &[Vec<u8>]) -> anyhow::Result<()> {
        let is_meant = |it: &&Arc<DataDirectory>| ids.contains(&id_of(it));
        // One may have failed since it was asked for.
        let mut all = self.broker.partitions.directories().all().iter();
        anyhow::ensure!(
            all.any(|it| is_meant(&it)),
            "the metadata quorum refuses directories that this broker does not have"
        );
        let (older, others): (Vec<_>, Vec<_>) = self.directories().partition(is_meant);
        let has_left_out_all = || older.iter().all(|it| it.failure().leave_out(IS_OLDER));
        if others.is_empty() || !has_left_out_all() {
            let older: Vec<_> = older.iter().map(|it| it.path().display()).collect();
            let older: Vec<_> = older.iter().map(ToString::to_string).collect();
            bail!(
                "no data directory is left to be used: {} {IS_OLDER}",
                older.join(", ")
            );
        }
        Ok(())
    }

    /// Waits for room on the disk, where that is all that is missing. False when it is to stop before.
    async fn join(&self, registered: &RegisterBrokerResponse) -> anyhow::Result<bool> {
        let (cluster_id, epoch) = (&registered.cluster_id, registered.broker_epoch);
        let mut is_said = false;
        loop {
            // Those that had room have joined already.
            let is_left = |it: &&Arc<DataDirectory>| it.identity().broker_epoch() != epoch;
            let mut directories = self.directories().filter(is_left);
            let joined = directories.try_for_each(|directory| {
                let joined = directory.identity().join(cluster_id, epoch);
                directory.failure().unless_failed(joined)
            });
            match joined {
                Err(error) if is_shortage(&error) => {
                    if !std::mem::replace(&mut is_said, true) {
                        error!(
                            error = format!("{error:#}"),
                            "the broker joins when its disk has room"
                        );
                    }
                }
                joined => return joined.map(|()| true),
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(ROOM_PAUSE) => {}
            }
        }
    }

    async fn hold_lease(&self, broker_epoch: i64) -> anyhow::Result<Ended> {
        let (state, mut states) = watch::channel(LeaseState::Silent);
        let leave = self.stop.child_token();
        let mut leaves = None;
        let damage_found = self.broker.partitions.damage_found();
        let keeper = lease::keep(
            self.broker.controllers.with_own_channel(),
            Member {
                node_id: self.role.node_id,
                broker_epoch,
                applied_offset: self.broker.applied_offset.subscribe(),
                freshness: Arc::clone(&self.broker.lease),
                files: Arc::clone(self.broker.partitions.handles()),
                wish: Arc::clone(&self.wish),
                directories: self.broker.partitions.directories().all().to_vec(),
            },
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
                    leaves = tokio::task::spawn_blocking(repair).await?;
                    if Instant::now() < self.repairs_from {
                        continue;
                    }
                    match leaves {
                        None => continue,
                        Some(Leave::WithoutSomeData) => {
                            warn!("data here is damaged: the broker registers anew, and is not counted on where it has to fetch it again");
                        }
                        Some(Leave::WithAllData) => {
                            warn!("a log cannot be created, or the quorum does not know of it: the broker leaves the replicas in sync, to come back with what it has");
                        }
                    }
                    leave.cancel();
                }
            }
        }
        let ended = if *states.borrow() == LeaseState::Lost {
            Ended::Lost
        } else if let Some(leave) =
            leaves.filter(|_| leave.is_cancelled() && !self.stop.is_cancelled())
        {
            Ended::Left(leave)
        } else {
            Ended::Stopped
        };
        let joined = tokio::task::spawn_blocking(move || keeper.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("the lease thread panicked"))?;
        Ok(ended)
    }

    /// Which can be used.
    fn directories(&self) -> impl Iterator<Item = &Arc<DataDirectory>> {
        self.broker.partitions.directories().usable()
    }

    async fn request(&self) -> RegisterBrokerRequest {
        let (broker, registered) = (Arc::clone(&self.broker), self.registered);
        let logs = blocking(move || Logs::of(&broker, registered)).await;
        let Logs {
            mut directories,
            offline_directories,
            in_doubt,
        } = logs;
        for directory in &mut directories {
            directory.intact &= !self.is_disowned;
        }
        let mut identities = self.directories().map(|it| it.identity());
        let cluster_id = identities.find_map(|it| it.cluster_id());
        RegisterBrokerRequest {
            node_id: self.role.node_id,
            incarnation: self.incarnation.as_bytes().to_vec(),
            cluster_id: cluster_id.unwrap_or_default(),
            host: self.role.client_listener.advertised_host.clone(),
            port: i32::from(self.ports.clients),
            replication_host: self.role.replication_listener.advertised_host.clone(),
            replication_port: i32::from(self.ports.replication),
            directories,
            offline_directories,
            in_doubt: in_doubt.into_iter().map(log_in_doubt).collect(),
            rack: self.role.rack.clone(),
            version: process::VERSION.to_owned(),
            features: supported_features(),
        }
    }
}

fn supported_features() -> Vec<api::SupportedFeature> {
    let features = SupportedFeatures::of_this_program();
    let features = features.iter().map(|(name, levels)| api::SupportedFeature {
        name: name.to_owned(),
        min_level: levels.min,
        max_level: levels.max,
    });
    features.collect()
}

/// The logs, as the quorum is told of them.
struct Logs {
    directories: Vec<api::DataDirectory>,
    /// How many there are besides, which cannot be used.
    offline_directories: i32,
    in_doubt: Vec<InDoubt>,
}

impl Logs {
    /// `registered` is the epoch that this process has, if it has one.
    fn of(broker: &Broker, registered: Option<i64>) -> Self {
        let partitions = &broker.partitions;
        let all = partitions.directories();
        let _each_once = partitions.keep_in_place();
        // One that fails meanwhile is told of afterwards.
        let directories: Vec<_> = all.usable().cloned().collect();
        let named = all.all().len() + all.offline_from_start().len();
        Self {
            offline_directories: i32::try_from(named - directories.len()).unwrap_or(i32::MAX),
            // An empty log that was made before the first registration must not count as one that is lost.
            in_doubt: match registered {
                Some(_) => partitions.in_doubt(broker),
                None => partitions.found_in_doubt(),
            },
            directories: directories
                .iter()
                .map(|it| state_of(it, registered))
                .collect(),
        }
    }
}

fn state_of(directory: &DataDirectory, registered: Option<i64>) -> api::DataDirectory {
    let found = directory.found();
    let (disk_epoch, intact, logs) = match registered {
        Some(epoch) => (epoch, true, directory.logs().listed()),
        None => (
            found.disk_epoch,
            found.has_all_written,
            found.logs.lock().clone(),
        ),
    };
    api::DataDirectory {
        id: id_of(directory),
        disk_epoch,
        intact,
        logs: by_topic(logs),
    }
}

fn id_of(directory: &DataDirectory) -> Vec<u8> {
    directory.identity().directory_id().as_bytes().to_vec()
}

pub(super) fn by_topic(mut logs: Vec<(Uuid, i32)>) -> Vec<TopicLogs> {
    logs.sort_unstable();
    let topics = logs.chunk_by(|(one, _), (other, _)| one == other);
    let topics = topics.map(|of_topic| TopicLogs {
        topic_id: of_topic[0].0.as_bytes().to_vec(),
        indexes: of_topic.iter().map(|(_, index)| *index).collect(),
    });
    topics.collect()
}

fn log_in_doubt(log: InDoubt) -> LogInDoubt {
    LogInDoubt {
        topic_id: log
            .topic_id
            .map_or_else(Vec::new, |id| id.as_bytes().to_vec()),
        topic: log.name.topic,
        index: log.name.partition,
        missing: log.is_missing,
    }
}

/// How a lease came to its end.
enum Ended {
    Stopped,
    /// The registration does not count any more.
    Lost,
    /// Given back, to register anew.
    Left(Leave),
}
