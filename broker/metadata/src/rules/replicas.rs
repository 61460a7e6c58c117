//! The checks of replica lists and the first state of a partition, for new topics and new partitions.

use uuid::Uuid;

use super::election::elect;
use super::{ErrorCode, Refusal};
use crate::image::{Image, NO_LEADER, Partition};
use crate::record::{Fact, PartitionRecord, id_bytes};

/// Until partitions are replicated.
const REPLICATION_FACTOR_MAX: usize = 1;

pub(super) fn check_replication_factor(factor: usize) -> Result<(), Refusal> {
    if factor <= REPLICATION_FACTOR_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::InvalidReplicationFactor,
        format!(
            "replication factor {factor} is not supported: this version keeps one replica of each partition, so it must be 1"
        ),
    ))
}

/// Checks a list that the caller chose.
pub(super) fn check_assignment(
    image: &Image,
    index: usize,
    replicas: &[i32],
) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return invalid(format!(
            "the assignment of partition {index} names no broker"
        ));
    }
    for (at, node_id) in replicas.iter().enumerate() {
        if replicas[..at].contains(node_id) {
            return invalid(format!(
                "the assignment of partition {index} names broker {node_id} twice"
            ));
        }
        if image.broker(*node_id).is_none() {
            return invalid(format!(
                "the assignment of partition {index} names broker {node_id}, which is not registered"
            ));
        }
    }
    check_replication_factor(replicas.len())?;
    if replicas.iter().all(|node_id| !image.can_lead(*node_id)) {
        return invalid(format!(
            "the assignment of partition {index} names only brokers that are fenced or about to stop: \
             {replicas:?}"
        ));
    }
    Ok(())
}

pub(super) fn no_broker_is_alive() -> Refusal {
    Refusal::new(
        ErrorCode::InvalidReplicationFactor,
        "unable to place the partitions: no broker is registered and unfenced",
    )
}

pub(super) fn new_partition(
    image: &Image,
    topic_id: Uuid,
    index: usize,
    replicas: Vec<i32>,
) -> Fact {
    let isr: Vec<i32> = replicas
        .iter()
        .copied()
        .filter(|id| image.can_lead(*id))
        .collect();
    let mut partition = Partition {
        isr,
        replicas,
        leader: NO_LEADER,
        leader_epoch: 0,
        partition_epoch: 0,
        elr: Vec::new(),
        last_known_elr: Vec::new(),
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
    })
}
