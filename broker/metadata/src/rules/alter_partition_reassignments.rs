//! `AlterPartitionReassignments`: partitions move to other brokers, get more replicas or fewer (KIP-455).

use super::draft::Draft;
use super::named_once::NamedOnce;
use super::partition_change::{PartitionChange, TopicSettings};
use super::reassignment::{CannotCancel, begin, cancel};
use super::replicas::check_replica_list;
use super::{Decided, ErrorCode, PARTITIONS_PER_REQUEST_MAX, Refusal, check_operator_epoch};
use crate::image::{Image, Partition};
use crate::record::{Fact, PartitionChangeRecord};

/// A request to move partitions.
#[derive(Debug, Clone)]
pub struct AlterPartitionReassignments {
    /// In the order in which they are answered.
    pub partitions: Vec<Reassignment>,
    /// Whether a target may have another number of replicas than the partition is to have now (KIP-860).
    pub allow_replication_factor_change: bool,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
}

/// Where one partition is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reassignment {
    /// Of the topic.
    pub topic: String,
    /// Of the partition.
    pub index: i32,
    /// The replicas that it is to have, the preferred leader first; `None` cancels what is under way.
    pub replicas: Option<Vec<i32>>,
}

/// What came of one partition: topic, index, and why nothing did.
pub type ReassignmentResult = (String, i32, Result<(), Refusal>);

/// Decides a request; the results are in its order. A success says that the move has begun, or is complete if there
/// is nothing to copy; [`Image::reassigning_partitions`] says what is still under way.
pub fn alter_partition_reassignments(
    image: &Image,
    request: &AlterPartitionReassignments,
) -> Decided<Vec<ReassignmentResult>> {
    check_operator_epoch(image, request.operator_epoch)?;
    let names = request.partitions.iter();
    let named = NamedOnce::of(names.map(|it| (it.topic.as_str(), it.index)));
    let mut records = Vec::new();
    let results = request
        .partitions
        .iter()
        .map(|wanted| {
            let name = format!("{}-{}", wanted.topic, wanted.index);
            let result = named
                .check(&(wanted.topic.as_str(), wanted.index), &name)
                .and_then(|()| {
                    if records.len() >= PARTITIONS_PER_REQUEST_MAX {
                        return Err(Refusal::new(
                            ErrorCode::PolicyViolation,
                            format!(
                                "one request moves {PARTITIONS_PER_REQUEST_MAX} partitions; {name} needs another"
                            ),
                        ));
                    }
                    reassign(image, request, wanted, &name)
                })
                .map(|record| records.extend(record));
            (wanted.topic.clone(), wanted.index, result)
        })
        .collect();
    let mut draft = Draft::new(image);
    for record in records {
        draft.write(Fact::PartitionChange(record));
    }
    Ok(draft.decide(results))
}

fn reassign(
    image: &Image,
    request: &AlterPartitionReassignments,
    wanted: &Reassignment,
    name: &str,
) -> Result<Option<PartitionChangeRecord>, Refusal> {
    let (topic, partition) = image
        .topic(&wanted.topic)
        .and_then(|topic| Some((topic, topic.partition(wanted.index)?)))
        .ok_or_else(|| {
            Refusal::new(
                ErrorCode::UnknownTopicOrPartition,
                format!("there is no partition {name}"),
            )
        })?;
    let settings = TopicSettings::in_metadata(image, topic);
    let mut changed = PartitionChange::new(settings, wanted.index, partition);
    match &wanted.replicas {
        Some(target) => {
            check_target(image, request, partition, target, name)?;
            changed.reassign(begin(partition, target));
        }
        None if !partition.is_reassigning() => {
            return Err(Refusal::new(
                ErrorCode::NoReassignmentInProgress,
                format!("{name} is not being reassigned"),
            ));
        }
        None => {
            let cancelled = cancel(
                partition,
                settings.min_insync_replicas(),
                settings.allows_unclean_election(),
            );
            let reassigned = cancelled.map_err(|why| cannot_go_back(partition, name, why))?;
            changed.reassign(reassigned);
        }
    }
    Ok(changed.end(image))
}

fn cannot_go_back(partition: &Partition, name: &str, why: CannotCancel) -> Refusal {
    let reason = match why {
        CannotCancel { kept: 0, .. } => {
            "only replicas that are being added have all of its records".to_owned()
        }
        CannotCancel { kept, least } => {
            format!(
                "of these {kept} have all of its records, and min.insync.replicas asks for {least}"
            )
        }
    };
    Refusal::new(
        ErrorCode::InvalidReplicaAssignment,
        format!(
            "{name} cannot go back to {:?}: {reason} (ISR {:?}, ELR {:?})",
            partition.original_replicas(),
            partition.isr,
            partition.elr
        ),
    )
}

fn check_target(
    image: &Image,
    request: &AlterPartitionReassignments,
    partition: &Partition,
    target: &[i32],
    name: &str,
) -> Result<(), Refusal> {
    let what = format!("the reassignment of {name}");
    check_replica_list(image, &what, target, &partition.replicas)?;
    let factor = partition.target_replicas().len();
    if !request.allow_replication_factor_change && target.len() != factor {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicationFactor,
            format!(
                "{what} names {} brokers, but the partition has {factor} replicas and the request does \
                 not allow another number",
                target.len()
            ),
        ));
    }
    Ok(())
}
