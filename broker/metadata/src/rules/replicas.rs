//! The checks of replica lists and the first state of a partition, for new topics and new partitions.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::election::elect;
use super::placement::Placement;
use super::{ErrorCode, Refusal};
use crate::config::Resolver;
use crate::image::{Image, NO_LEADER, Partition};
use crate::record::{Fact, PartitionRecord, id_bytes};

/// What is created without a replication factor gets this one. `properties` are those of the controller.
pub(super) fn default_replication_factor(
    image: &Image,
    properties: &BTreeMap<String, String>,
) -> i64 {
    broker_number(image, properties, "default.replication.factor")
}

/// How many replicas the partitions of this internal topic should have.
pub(super) fn internal_replication_factor(
    image: &Image,
    properties: &BTreeMap<String, String>,
    topic: &str,
) -> usize {
    let key = match topic {
        "__transaction_state" => "transaction.state.log.replication.factor",
        _ => "offsets.topic.replication.factor",
    };
    let factor = broker_number(image, properties, key);
    usize::try_from(factor).unwrap_or(1).max(1)
}

pub(super) fn broker_number(
    image: &Image,
    properties: &BTreeMap<String, String>,
    key: &str,
) -> i64 {
    // No node has the id -1, so only what is set for all brokers counts.
    Resolver::new(image, -1, properties)
        .broker(key)
        .and_then(|found| found.as_i64())
        .unwrap_or(1)
}

/// Whether there are brokers enough to place so many replicas of each partition. A broker that is away counts: no
/// other number would be right once it is back.
pub(super) fn check_replication_factor(
    image: &Image,
    topic: &str,
    factor: usize,
) -> Result<(), Refusal> {
    let is_cordoned = |node_id: &i32| image.is_cordoned(*node_id);
    let node_ids = image.brokers().map(|broker| broker.node_id);
    let (cordoned, open): (Vec<i32>, Vec<i32>) = node_ids.partition(is_cordoned);
    if factor <= open.len() && !open.is_empty() {
        return Ok(());
    }
    let brokers = match open.len() {
        0 => "no broker".to_owned(),
        1 => "only 1 broker".to_owned(),
        count => format!("only {count} brokers"),
    };
    let beside = if cordoned.is_empty() {
        String::new()
    } else {
        let are = if open.len() > 1 { "are" } else { "is" };
        format!(" that {are} not cordoned (cordoned are {cordoned:?})")
    };
    let right = match (open.len(), cordoned.is_empty()) {
        (0, true) => "a broker has to register first".to_owned(),
        (0, false) => "one of them has to be uncordoned first".to_owned(),
        (count, _) => format!("it can be at most {count}"),
    };
    Err(Refusal::new(
        ErrorCode::InvalidReplicationFactor,
        format!(
            "replication factor {factor} of topic {topic:?} is too many: the cluster has {brokers}{beside}; {right}"
        ),
    ))
}

/// As above, where partitions are made too: each begins with a leader that lives (as in Kafka).
pub(super) fn check_placement(
    image: &Image,
    placement: &Placement,
    topic: &str,
    factor: usize,
) -> Result<(), Refusal> {
    check_replication_factor(image, topic, factor)?;
    if placement.has_leader() {
        return Ok(());
    }
    let brokers = match placement.broker_count() {
        1 => "the only broker that may have it is".to_owned(),
        count => format!("all {count} brokers that may have replicas are"),
    };
    Err(Refusal::new(
        ErrorCode::InvalidReplicationFactor,
        format!(
            "replication factor {factor} of topic {topic:?} is impossible now: {brokers} fenced or about to stop, and one \
             of the replicas has to lead; a broker has to come back first"
        ),
    ))
}

/// Checks a list that the caller chose, for a topic whose partitions have `factor` replicas each.
pub(super) fn check_assignment(
    image: &Image,
    index: usize,
    replicas: &[i32],
    factor: usize,
) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    check_replica_list(
        image,
        &format!("the assignment of partition {index}"),
        replicas,
        &[],
    )?;
    if replicas.len() != factor {
        return invalid(format!(
            "the assignment of partition {index} names {} brokers, but the other partitions have {factor} replicas",
            replicas.len()
        ));
    }
    if replicas.iter().all(|node_id| !image.can_lead(*node_id)) {
        return invalid(format!(
            "the assignment of partition {index} names only brokers that are fenced or about to stop: \
             {replicas:?}"
        ));
    }
    Ok(())
}

/// Checks a list that the caller chose, on its own: it names brokers that there are, each once, and cordoned ones only
/// where they are among `existing`. `what` is for the refusal.
pub(super) fn check_replica_list(
    image: &Image,
    what: &str,
    replicas: &[i32],
    existing: &[i32],
) -> Result<(), Refusal> {
    let invalid = |problem: String| {
        let message = format!("{what} names {problem}");
        Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message))
    };
    if replicas.is_empty() {
        return invalid("no broker".to_owned());
    }
    for (at, node_id) in replicas.iter().enumerate() {
        if replicas[..at].contains(node_id) {
            return invalid(format!("broker {node_id} twice"));
        }
        if image.broker(*node_id).is_none() {
            return invalid(format!("broker {node_id}, which is not registered"));
        }
        if image.is_cordoned(*node_id) && !existing.contains(node_id) {
            return invalid(format!(
                "broker {node_id}, which is cordoned: it gets no new replicas"
            ));
        }
    }
    Ok(())
}

pub(super) fn new_partition(
    image: &Image,
    topic_id: Uuid,
    index: usize,
    replicas: Vec<i32>,
) -> Fact {
    let has_room = replicas.iter().any(|id| image.can_take_over(*id));
    let is_in_sync = |id: &i32| match has_room {
        true => image.can_take_over(*id),
        false => image.can_lead(*id),
    };
    let (isr, never_in_sync) = replicas.iter().copied().partition(is_in_sync);
    let mut partition = Partition {
        isr,
        replicas,
        leader: NO_LEADER,
        leader_epoch: 0,
        partition_epoch: 0,
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        never_in_sync,
        adding_replicas: Vec::new(),
        removing_replicas: Vec::new(),
        rebalance_id: 0,
        offline: Vec::new(),
    };
    partition.leader = elect(image, &partition, false).leader();
    Fact::Partition(PartitionRecord {
        topic_id: id_bytes(topic_id),
        index: i32::try_from(index).expect("the number of partitions was checked"),
        replicas: partition.replicas,
        isr: partition.isr,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        elr: partition.elr,
        last_known_elr: partition.last_known_elr,
        never_in_sync: partition.never_in_sync,
        adding_replicas: partition.adding_replicas,
        removing_replicas: partition.removing_replicas,
        rebalance_id: 0,
        offline: Vec::new(),
    })
}
