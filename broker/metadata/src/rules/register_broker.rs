//! A broker process announces itself.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::deleted_replicas::{Lost, change_deleted_on};
use super::directories::{DataDirectory, Disks, LogInDoubt, ReplicaData, older_than_away};
use super::draft::Draft;
use super::partition_change::change_replicas_on;
use super::{Decided, ErrorCode, Refusal};
use crate::image::{Broker, Directory, Image, SupportedFeatures};
use crate::record::{Fact, RegisterBrokerRecord, id_bytes};

/// Directories of a broker, those that may come back among them.
const DIRECTORIES_MAX: usize = 64;

/// What a broker says of itself.
#[derive(Debug, Clone)]
pub struct RegisterBroker {
    /// From 0.
    pub node_id: i32,
    /// Made anew by every process start.
    pub incarnation: Uuid,
    /// Those of its `log.dirs` that it can use.
    pub directories: Vec<DataDirectory>,
    /// How many of its `log.dirs` it cannot use.
    pub offline_directories: i32,
    /// Logs that do not have what they had, whatever their directory says.
    pub in_doubt: Vec<LogInDoubt>,
    /// What its volume says; empty on a new volume.
    pub cluster_id: String,
    /// The advertised host of the client listener.
    pub host: String,
    /// The advertised port of the client listener.
    pub port: i32,
    /// Where the other nodes reach it to replicate.
    pub replication_host: String,
    /// The port there.
    pub replication_port: i32,
    /// The failure domain as the broker knows it.
    pub rack: Option<String>,
    /// Of the broker's program.
    pub version: String,
    /// The levels that it can do.
    pub features: SupportedFeatures,
}

impl RegisterBroker {
    /// The newest registration that one of the disks was part of; -1: there is none.
    #[must_use]
    pub fn newest_disk_epoch(&self) -> i64 {
        let epochs = self.directories.iter().map(|it| it.disk_epoch);
        epochs.max().unwrap_or(-1)
    }
}

/// Decides a registration.
///
/// A replica counts as it is when the disk that its log is on is the one that the registration before wrote to (or, where
/// the broker never heard of that one, the registration before that) and nothing of it is lost. Otherwise it is unclean
/// (KIP-966): the node leaves its ISR and ELR, since it may lack records that it has acknowledged. How much that may be
/// decides about more:
///
/// * The end of what it had, when it is the right disk. Where the node led last it has most, and it leads again
///   once nobody is left who is sure to have all.
/// * All of it, when it is another disk, an emptied one, or an older state of the same. Then it leads nothing that
///   others hold too before it has been in sync again, unless `unclean.leader.election.enable` or an
///   administrator says so. Kafka makes no difference here: an ISR of one (`min.insync.replicas=1`) whose disk
///   was replaced is elected as the last known leader, empty, and replicas that were only a little late
///   throw away all they have. A single replica leads again with whatever it has, as in Kafka.
///
/// `directories.rs` says which of these a replica is, and what of one without a log.
///
/// What cannot be told from here: a disk set back to an earlier moment of its newest registration counts as the
/// right one, whose end is missing. And the right disk that comes back after another one was registered
/// in its place counts as lost, for that other one is the newest.
///
/// A directory that is older than one that the broker cannot use now is not taken: [`Refusal::older_directories`] names
/// it, and the broker asks again without it.
///
/// The answer is the broker's epoch, which is also the offset that the broker must have applied before it may
/// be unfenced.
///
/// The same process may ask again, when it did not get the answer: nothing changes then. Another process
/// of the same node is refused while the one before it is unfenced: two brokers with one node id, or one
/// volume, must not both live.
pub fn register_broker(image: &Image, request: &RegisterBroker) -> Decided<i64> {
    let ports = check(image, request)?;
    let epoch = image.offset() + 1;
    let mut draft = Draft::new(image);
    let known = image.broker(request.node_id);
    if let Some(known) = known {
        if is_same(known, request, &ports) {
            return Ok(draft.decide(known.epoch));
        }
        if !known.fenced && known.incarnation != request.incarnation {
            return Err(Refusal::new(
                ErrorCode::DuplicateBrokerRegistration,
                format!(
                    "broker {} is alive at {}:{} as incarnation {}; its lease has to end first",
                    request.node_id, known.host, known.port, known.incarnation
                ),
            ));
        }
        check_none_is_older(known, request)?;
    }
    let disks = Disks::judge(
        (request.node_id, epoch),
        known.map(|known| &**known),
        &request.directories,
        request.offline_directories,
        &request.in_doubt,
    );
    // It begins fenced, so whatever an earlier registration led has to go.
    draft.write(Fact::RegisterBroker(RegisterBrokerRecord {
        node_id: request.node_id,
        epoch,
        incarnation: id_bytes(request.incarnation),
        directory_ids: Vec::new(),
        host: request.host.clone(),
        port: i32::from(ports.client),
        rack: request.rack.clone(),
        version: request.version.clone(),
        features: request.features.to_records(),
        replication_host: request.replication_host.clone(),
        replication_port: i32::from(ports.replication),
        previous_epochs: Vec::new(),
        directories: disks
            .directories()
            .iter()
            .map(Directory::to_record)
            .collect(),
    }));
    let after = draft.image().clone();
    change_replicas_on(
        &mut draft,
        &after,
        request.node_id,
        |change, replica, partition| {
            change.comes_back(request.node_id);
            match disks.of_replica(replica, partition) {
                ReplicaData::Whole => change.leaves_isr(request.node_id),
                ReplicaData::EndInDoubt => change.lost_data(request.node_id),
                ReplicaData::Offline => change.goes_offline(request.node_id),
                ReplicaData::Lost => change.lost_disk(request.node_id),
            }
        },
    );
    // Nobody copies to what is deleted: a replica that is whole has as much as before.
    change_deleted_on(&mut draft, request.node_id, |replica, partition| {
        Some(match disks.of_deleted_replica(replica, partition) {
            ReplicaData::Whole => Lost::Nothing,
            ReplicaData::EndInDoubt => Lost::End,
            ReplicaData::Offline => Lost::Use,
            ReplicaData::Lost => Lost::Disk,
        })
    });
    Ok(draft.decide(epoch))
}

struct Ports {
    client: u16,
    replication: u16,
}

fn check(image: &Image, request: &RegisterBroker) -> Result<Ports, Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidRegistration, message));
    if !request.cluster_id.is_empty() && request.cluster_id != image.cluster_id() {
        return Err(Refusal::new(
            ErrorCode::InconsistentClusterId,
            format!(
                "the volume of broker {} belongs to cluster {}, this is cluster {}",
                request.node_id,
                request.cluster_id,
                image.cluster_id()
            ),
        ));
    }
    if request.node_id < 0 {
        return invalid(format!("node id {} must be 0 or more", request.node_id));
    }
    for (name, finalized) in image.features() {
        let levels = request.features.levels(name);
        if !levels.contains(finalized) {
            return invalid(format!(
                "broker {} (version {}) knows {name} {levels}, and {finalized} is finalised: it could not do what belongs to that; run another version",
                request.node_id, request.version
            ));
        }
    }
    if request.incarnation.is_nil() {
        return invalid("the incarnation id must not be zero".to_owned());
    }
    if request.host.is_empty() {
        return invalid("the advertised host is empty".to_owned());
    }
    if request.replication_host.is_empty() {
        return invalid("the replication host is empty".to_owned());
    }
    check_directories(image, request)?;
    Ok(Ports {
        client: check_port("advertised", request.port)?,
        replication: check_port("replication", request.replication_port)?,
    })
}

fn check_directories(image: &Image, request: &RegisterBroker) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidRegistration, message));
    let node_id = request.node_id;
    let ids: BTreeSet<Uuid> = request.directories.iter().map(|it| it.id).collect();
    if ids.is_empty() || ids.contains(&Uuid::nil()) {
        return invalid(
            "there must be a directory id for each of log.dirs, one at least, none zero".to_owned(),
        );
    }
    if ids.len() < request.directories.len() {
        return invalid(format!(
            "two of log.dirs of broker {node_id} have the same directory.id: one is a copy of the other; take it out of log.dirs"
        ));
    }
    if request.offline_directories < 0 {
        return invalid(format!(
            "the number of directories that cannot be used is {} and must be 0 or more",
            request.offline_directories
        ));
    }
    for broker in image.brokers().filter(|it| it.node_id != node_id) {
        if let Some(theirs) = broker.directories.iter().find(|it| ids.contains(&it.id)) {
            return invalid(format!(
                "directory {} belongs to broker {}, not to broker {node_id}",
                theirs.id, broker.node_id
            ));
        }
    }
    let known = image.broker(node_id).map_or(&[][..], |it| &it.directories);
    let away = match request.offline_directories {
        0 => 0,
        _ => known.iter().filter(|it| !ids.contains(&it.id)).count(),
    };
    if ids.len() + away > DIRECTORIES_MAX {
        return invalid(format!(
            "broker {node_id} has {} directories and {away} more that may come back, and {DIRECTORIES_MAX} are the most: take what cannot be used out of log.dirs",
            ids.len()
        ));
    }
    Ok(())
}

fn check_none_is_older(known: &Broker, request: &RegisterBroker) -> Result<(), Refusal> {
    let older_directories = match request.offline_directories {
        0 => Vec::new(),
        _ => older_than_away(known, &request.directories),
    };
    if older_directories.is_empty() {
        return Ok(());
    }
    let message = format!(
        "of broker {} these directories are older than one that cannot be used now: {}; bring that one back, or take it out of log.dirs",
        request.node_id,
        list(&older_directories)
    );
    Err(Refusal {
        older_directories,
        ..Refusal::new(ErrorCode::InvalidRegistration, message)
    })
}

fn list(ids: &[Uuid]) -> String {
    let ids: Vec<_> = ids.iter().map(Uuid::to_string).collect();
    ids.join(", ")
}

fn check_port(what: &str, port: i32) -> Result<u16, Refusal> {
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Refusal::new(
            ErrorCode::InvalidRegistration,
            format!("the {what} port {port} must be from 1 to 65535"),
        )),
    }
}

/// The directories of the newest registration are the same.
fn is_part_of(known: &Broker, request: &RegisterBroker) -> bool {
    let part = known
        .directories
        .iter()
        .filter(|it| it.epoch == known.epoch);
    part.map(|it| it.id)
        .eq(request.directories.iter().map(|it| it.id))
}

fn is_same(known: &Broker, request: &RegisterBroker, ports: &Ports) -> bool {
    known.incarnation == request.incarnation
        && is_part_of(known, request)
        && known.host == request.host
        && known.port == ports.client
        && known.replication_host == request.replication_host
        && known.replication_port == ports.replication
        && known.reported_rack == request.rack
        && known.version == request.version
        && known.features == request.features
}
