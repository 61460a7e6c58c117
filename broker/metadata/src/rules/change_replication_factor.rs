//! Topics get more replicas, or fewer, while they serve.
//!
//! Only the number is asked for; on which brokers they are is decided here. What is decided is a reassignment of each
//! partition that has another number (KIP-455), so it goes by the rules of those: nobody is taken away before all that
//! stay are in sync.

use uuid::Uuid;

use super::draft::Draft;
use super::min_insync::min_insync_replicas;
use super::named_once::NamedOnce;
use super::partition_change::{PartitionChange, TopicSettings};
use super::placement::Placement;
use super::reassignment::begin;
use super::replicas::check_replication_factor;
use super::{Decided, ErrorCode, PARTITIONS_PER_REQUEST_MAX, Refusal, check_operator_epoch};
use crate::image::{Image, NO_LEADER, Partition, Topic};
use crate::record::Fact;

/// A request for other replication factors.
#[derive(Debug, Clone)]
pub struct ChangeReplicationFactor {
    /// In the order in which they are answered.
    pub topics: Vec<ReplicationFactorChange>,
    /// Check and answer, but write nothing.
    pub validate_only: bool,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
}

/// How many replicas each partition of one topic is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationFactorChange {
    /// Of the topic.
    pub name: String,
    /// The topic must have it as well; `None` for any of the name.
    pub id: Option<Uuid>,
    /// At least 1.
    pub replication_factor: i32,
}

/// Decides a request; the results are in its order, and each topic succeeds or fails on its own. A success says that
/// the change has begun, or is complete. A partition whose target has that number already stays as it is: asked again,
/// the same change is no other one. One that moves elsewhere goes on moving there, with another number of replicas; one
/// that is on its way to another number turns round.
///
/// One request changes at most [`PARTITIONS_PER_REQUEST_MAX`] partitions; of a topic that has more, the others are
/// changed when it is asked again.
pub fn change_replication_factor(
    image: &Image,
    request: &ChangeReplicationFactor,
) -> Decided<Vec<Result<(), Refusal>>> {
    check_operator_epoch(image, request.operator_epoch)?;
    let mut draft = Draft::new(image);
    let mut placement = Placement::new(image, 0);
    let mut partitions_left = PARTITIONS_PER_REQUEST_MAX;
    let named = NamedOnce::of(request.topics.iter().map(|topic| topic.name.as_str()));
    let results = request
        .topics
        .iter()
        .map(|change| {
            let shown = format_args!("topic {:?}", change.name);
            named.check(&change.name.as_str(), shown)?;
            let topic = find(image, change)?;
            // A topic that is refused takes no room.
            let mut tried = placement.clone();
            let targets = targets(image, &mut tried, topic, change, partitions_left)?;
            placement = tried;
            partitions_left -= targets.len();
            let settings = TopicSettings::in_metadata(image, topic);
            for (index, partition, target) in targets {
                let mut changed = PartitionChange::new(settings, index, partition);
                changed.reassign(begin(partition, &target));
                if let Some(record) = changed.end(image) {
                    draft.write(Fact::PartitionChange(record));
                }
            }
            Ok(())
        })
        .collect();
    if request.validate_only {
        draft = Draft::new(image);
    }
    Ok(draft.decide(results))
}

fn find<'a>(image: &'a Image, change: &ReplicationFactorChange) -> Result<&'a Topic, Refusal> {
    let name = &change.name;
    let topic = image.topic(name).ok_or_else(|| {
        Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("there is no topic {name:?}"),
        )
    })?;
    match change.id {
        Some(id) if id != topic.id => Err(Refusal::new(
            ErrorCode::UnknownTopicId,
            format!("topic {name:?} has the id {}, not {id}", topic.id),
        )),
        _ => Ok(topic),
    }
}

/// A partition by its index, and the replicas that it is to have.
type Target<'a> = (i32, &'a Partition, Vec<i32>);

/// The partitions that have to change, with the replicas that they are to have.
fn targets<'a>(
    image: &Image,
    placement: &mut Placement,
    topic: &'a Topic,
    change: &ReplicationFactorChange,
    partitions_left: usize,
) -> Result<Vec<Target<'a>>, Refusal> {
    let name = &topic.name;
    let factor = usize::try_from(change.replication_factor).unwrap_or_default();
    let refuse = |message: String| Refusal::new(ErrorCode::InvalidReplicationFactor, message);
    if factor == 0 {
        return Err(refuse(format!(
            "replication factor {} of topic {name:?} must be at least 1",
            change.replication_factor
        )));
    }
    let differing: Vec<Target<'_>> = topic
        .indexed_partitions()
        .map(|(index, partition)| (index, partition, partition.target_replicas()))
        .filter(|(_, _, target)| target.len() != factor)
        .collect();
    if differing.iter().any(|(_, _, target)| target.len() < factor) {
        check_replication_factor(image, name, factor)?;
    }
    let min_insync = min_insync_replicas(image, topic);
    // Who only goes back to what it was before loses nothing.
    let loses = |(_, partition, target): &Target<'_>| {
        target.len() > factor && partition.original_replicas().len() > factor
    };
    if factor < min_insync && differing.iter().any(loses) {
        return Err(refuse(format!(
            "replication factor {factor} of topic {name:?} is below its min.insync.replicas, which is {min_insync}: \
             set that to {factor} on the topic first"
        )));
    }
    if !differing.is_empty() && partitions_left == 0 {
        return Err(Refusal::new(
            ErrorCode::PolicyViolation,
            format!(
                "one request changes {PARTITIONS_PER_REQUEST_MAX} partitions; topic {name:?} needs another"
            ),
        ));
    }
    let mut counts = placement.counts_of(&topic.partitions);
    let targets = differing.into_iter().take(partitions_left);
    let targets = targets.map(|(index, partition, target)| {
        if target.len() > factor {
            let sure = partition.sure_to_have_all();
            let leader = match (partition.leader, sure.first()) {
                (NO_LEADER, Some(first)) => *first,
                (leader, _) => leader,
            };
            let offline = &partition.offline;
            let target = placement.shrink(&mut counts, &target, leader, sure, offline, factor);
            return (index, partition, target);
        }
        let target = placement.grow(&mut counts, target, &partition.replicas, factor);
        debug_assert_eq!(target.len(), factor, "so many brokers may have replicas");
        (index, partition, target)
    });
    Ok(targets.collect())
}
