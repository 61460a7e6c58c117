//! A broker process announces itself.

use foz_canary::{Canary, sings};
use uuid::Uuid;

use super::deleted_replicas::{Lost, change_deleted_on};
use super::draft::Draft;
use super::feature_levels::foz_version;
use super::partition_change::change_partitions_on;
use super::{Decided, ErrorCode, Refusal};
use crate::image::{Broker, Image};
use crate::record::{Fact, RegisterBrokerRecord, id_bytes};

/// Registrations without an unfencing in between that a disk may name. So many come only from a broker that cannot
/// start, and then it names the newest of them, or the first.
const PREVIOUS_EPOCHS_MAX: usize = 8;

/// What a broker says of itself.
#[derive(Debug, Clone)]
pub struct RegisterBroker {
    /// From 0.
    pub node_id: i32,
    /// Made anew by every process start.
    pub incarnation: Uuid,
    /// Of its `log.dirs`.
    pub directory_ids: Vec<Uuid>,
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
    /// The highest level of `foz.version` that it can read.
    pub foz_version_max: i32,
    /// The epoch of the registration that this disk was last part of; -1: of none.
    pub disk_epoch: i64,
    /// Whether nothing that was written can be missing: the broker stopped cleanly, or the kernel has kept
    /// what was not flushed (the same boot, the same mount).
    pub log_intact: bool,
}

/// Decides a registration.
///
/// Its replicas count as they are when the disk is the one that the registration before it wrote to (or, where
/// the broker never heard of that one, the registration before that) and nothing of it is lost. Otherwise the
/// registration is unclean (KIP-966): the node leaves every ISR and ELR, since it may lack records that it has
/// acknowledged. How much that may be decides about more:
///
/// * The end of what it had, when it is the right disk. Where the node led last it has most, and it leads again
///   once nobody is left who is sure to have all.
/// * All of it, when it is another disk, an emptied one, or an older state of the same. Then it leads nothing that
///   others hold too before it has been in sync again, unless `unclean.leader.election.enable` or an
///   administrator says so. Kafka makes no difference here: an ISR of one (`min.insync.replicas=1`) whose disk
///   was replaced is elected as the last known leader, empty, and replicas that were only a little late
///   throw away all they have. A single replica leads again with whatever it has, as in Kafka.
///
/// What cannot be told from here: a disk set back to an earlier moment of its newest registration counts as the
/// right one, whose end is missing. And the right disk that comes back after another one was registered
/// in its place counts as lost, for that other one is the newest.
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
    }
    let disk = Disk::of(known.map(|known| &**known), request);
    draft.write(Fact::RegisterBroker(RegisterBrokerRecord {
        node_id: request.node_id,
        epoch,
        incarnation: id_bytes(request.incarnation),
        directory_ids: request
            .directory_ids
            .iter()
            .copied()
            .map(id_bytes)
            .collect(),
        host: request.host.clone(),
        port: i32::from(ports.client),
        rack: request.rack.clone(),
        version: request.version.clone(),
        foz_version_max: request.foz_version_max,
        replication_host: request.replication_host.clone(),
        replication_port: i32::from(ports.replication),
        previous_epochs: match known {
            Some(known) if disk != Disk::Lost => previous_epochs(known),
            _ => Vec::new(),
        },
    }));
    // It begins fenced, so whatever an earlier registration led has to go.
    let after = draft.image().clone();
    change_partitions_on(&mut draft, &after, request.node_id, |change| match disk {
        Disk::Whole => change.leaves_isr(request.node_id),
        Disk::EndInDoubt => change.lost_data(request.node_id),
        Disk::Lost => change.lost_disk(request.node_id),
    });
    // Nobody copies to what is deleted: a replica that is whole has as much as before.
    match disk {
        Disk::Whole => {}
        Disk::EndInDoubt => change_deleted_on(&mut draft, request.node_id, Lost::End),
        Disk::Lost => change_deleted_on(&mut draft, request.node_id, Lost::Disk),
    }
    Ok(draft.decide(epoch))
}

/// What is on a disk, compared with what the node had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Whole,
    EndInDoubt,
    Lost,
}

impl Disk {
    fn of(known: Option<&Broker>, request: &RegisterBroker) -> Self {
        let is_newest = known.is_some_and(|known| is_newest_disk(known, request));
        if sings(Canary::RegistrationIgnoresLostDisk) {
            return Self::Whole;
        }
        match (is_newest, request.log_intact) {
            (true, true) => Self::Whole,
            (true, false) => Self::EndInDoubt,
            (false, _) => Self::Lost,
        }
    }
}

/// An older disk, an emptied one or another one was not part of the newest registration. A registration that its
/// process never heard of changed no disk: the one before it goes on to count.
fn is_newest_disk(known: &Broker, request: &RegisterBroker) -> bool {
    let is_same = known.directory_ids.len() == request.directory_ids.len()
        && known
            .directory_ids
            .iter()
            .all(|id| request.directory_ids.contains(id));
    let is_newest =
        request.disk_epoch == known.epoch || known.previous_epochs.contains(&request.disk_epoch);
    is_same && is_newest
}

/// Those of the next registration.
fn previous_epochs(known: &Broker) -> Vec<i64> {
    let mut epochs = known.previous_epochs.clone();
    epochs.push(known.epoch);
    if epochs.len() > PREVIOUS_EPOCHS_MAX {
        // The first is what the disk was unfenced with.
        epochs.remove(1);
    }
    epochs
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
    let finalized = foz_version(image);
    if request.foz_version_max < finalized {
        return invalid(format!(
            "broker {} (version {}) knows foz.version up to {}, and {finalized} is finalised: it could not read the metadata; run a newer version",
            request.node_id, request.version, request.foz_version_max
        ));
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
    if request.directory_ids.is_empty() || request.directory_ids.iter().any(Uuid::is_nil) {
        return invalid("there must be a directory id for each of log.dirs, none zero".to_owned());
    }
    for directory_id in &request.directory_ids {
        let owner = image.brokers().find(|broker| {
            broker.node_id != request.node_id && broker.directory_ids.contains(directory_id)
        });
        if let Some(owner) = owner {
            return invalid(format!(
                "directory {directory_id} belongs to broker {}, not to broker {}",
                owner.node_id, request.node_id
            ));
        }
    }
    Ok(Ports {
        client: check_port("advertised", request.port)?,
        replication: check_port("replication", request.replication_port)?,
    })
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

fn is_same(known: &Broker, request: &RegisterBroker, ports: &Ports) -> bool {
    known.incarnation == request.incarnation
        && known.directory_ids == request.directory_ids
        && known.host == request.host
        && known.port == ports.client
        && known.replication_host == request.replication_host
        && known.replication_port == ports.replication
        && known.reported_rack == request.rack
        && known.version == request.version
        && known.foz_version_max == request.foz_version_max
}
