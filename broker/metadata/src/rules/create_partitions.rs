//! `CreatePartitions`: each topic of the request succeeds or fails on its own.

use super::create_topics::{PARTITIONS_PER_REQUEST_MAX, check_partitions_left};
use super::draft::Draft;
use super::named_once::NamedOnce;
use super::placement::Placement;
use super::replicas::{check_assignment, check_placement, new_partition};
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::image::Image;

/// A request to add partitions to topics.
#[derive(Debug, Clone)]
pub struct CreatePartitions {
    /// In the order in which they are answered.
    pub topics: Vec<Increase>,
    /// Check and answer, but write nothing.
    pub validate_only: bool,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
    /// Decides among brokers that are equally loaded.
    pub seed: u64,
}

/// More partitions for one topic.
#[derive(Debug, Clone)]
pub struct Increase {
    /// Of the topic.
    pub name: String,
    /// All partitions afterwards.
    pub count: i32,
    /// Either empty, or the replicas of each new partition.
    pub assignments: Vec<Vec<i32>>,
}

/// Decides a request; the results are in its order.
pub fn create_partitions(
    image: &Image,
    request: &CreatePartitions,
) -> Decided<Vec<Result<(), Refusal>>> {
    check_operator_epoch(image, request.operator_epoch)?;
    let mut draft = Draft::new(image);
    let mut placement = Placement::new(image, request.seed);
    let mut partitions_left = PARTITIONS_PER_REQUEST_MAX;
    let named = NamedOnce::of(request.topics.iter().map(|topic| topic.name.as_str()));
    let results = request
        .topics
        .iter()
        .map(|increase| {
            named.check(
                &increase.name.as_str(),
                format_args!("topic {:?}", increase.name),
            )?;
            add(&mut draft, &mut placement, increase, &mut partitions_left)
        })
        .collect();
    if request.validate_only {
        draft = Draft::new(image);
    }
    Ok(draft.decide(results))
}

fn add(
    draft: &mut Draft,
    placement: &mut Placement,
    increase: &Increase,
    partitions_left: &mut usize,
) -> Result<(), Refusal> {
    let name = &increase.name;
    let topic = draft.image().topic(name).cloned().ok_or_else(|| {
        Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("there is no topic {name:?}"),
        )
    })?;
    let existing = topic.partitions.len();
    let added = usize::try_from(increase.count)
        .ok()
        .and_then(|count| count.checked_sub(existing))
        .filter(|added| *added > 0)
        .ok_or_else(|| {
            Refusal::new(
                ErrorCode::InvalidPartitions,
                format!(
                    "topic {name:?} has {existing} partitions; {} is not more, and partitions cannot be taken away",
                    increase.count
                ),
            )
        })?;
    check_partitions_left(added, *partitions_left)?;
    // As Kafka: the new partitions are like the first.
    let factor = topic
        .partition(0)
        .map_or(1, |partition| partition.target_replicas().len());
    let assignments = if increase.assignments.is_empty() {
        check_placement(draft.image(), placement, name, factor)?;
        placement.place(&topic.partitions, added, factor)
    } else {
        if increase.assignments.len() != added {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "topic {name:?} gets {added} new partitions, but {} assignments are given",
                    increase.assignments.len()
                ),
            ));
        }
        for (position, replicas) in increase.assignments.iter().enumerate() {
            check_assignment(draft.image(), existing + position, replicas, factor)?;
        }
        increase.assignments.clone()
    };
    *partitions_left -= added;
    for (position, replicas) in assignments.into_iter().enumerate() {
        let fact = new_partition(draft.image(), topic.id, existing + position, replicas);
        draft.write(fact);
    }
    Ok(())
}
