//! `ElectLeaders`: an administrator wants the preferred leaders back (KIP-183), or any leader at all (KIP-460).

use std::collections::BTreeSet;

use super::draft::Draft;
use super::election::has_candidate;
use super::partition_change::{PartitionChange, TopicSettings};
use super::{Decided, ErrorCode, PARTITIONS_PER_REQUEST_MAX, Refusal, check_operator_epoch};
use crate::image::{Image, NO_LEADER, Partition};
use crate::record::{Fact, PartitionChangeRecord};

/// A request for elections.
#[derive(Debug, Clone)]
pub struct ElectLeaders {
    /// Which leader is wanted.
    pub kind: ElectionKind,
    /// Topic and index; `None`: every partition that needs it.
    pub partitions: Option<Vec<(String, i32)>>,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
}

/// Which leader is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first replica, if it is in sync.
    Preferred,
    /// Any replica, where there is no leader. Records that were acknowledged may be lost.
    Unclean,
}

/// What came of the election of one partition: topic, index, and why there was none.
pub type ElectionResult = (String, i32, Result<(), Refusal>);

/// Decides a request; the results are in its order. When it names no partitions, those that need no
/// election are left out, as Kafka does.
///
/// One request elects for at most [`PARTITIONS_PER_REQUEST_MAX`] partitions; more are refused, and may be
/// asked for again.
pub fn elect_leaders(image: &Image, request: &ElectLeaders) -> Decided<Vec<ElectionResult>> {
    check_operator_epoch(image, request.operator_epoch)?;
    let mut records = Vec::new();
    let mut elect = |name: String, index: i32| {
        let result = elect_one(image, request.kind, &name, index, &mut records);
        (name, index, result)
    };
    let results: Vec<_> = match &request.partitions {
        Some(partitions) => {
            let mut seen = BTreeSet::new();
            partitions
                .iter()
                .filter(|partition| seen.insert(*partition))
                .map(|(name, index)| elect(name.clone(), *index))
                .collect()
        }
        None => image
            .partitions()
            .filter(|(_, _, partition)| needs(request.kind, partition))
            .map(|(topic, index, _)| elect(topic.name.to_string(), index))
            .collect(),
    };
    let mut draft = Draft::new(image);
    for record in records {
        draft.write(Fact::PartitionChange(record));
    }
    Ok(draft.decide(results))
}

fn needs(kind: ElectionKind, partition: &Partition) -> bool {
    match kind {
        ElectionKind::Preferred => partition.leader != partition.preferred_leader(),
        ElectionKind::Unclean => partition.leader == NO_LEADER,
    }
}

fn elect_one(
    image: &Image,
    kind: ElectionKind,
    name: &str,
    index: i32,
    records: &mut Vec<PartitionChangeRecord>,
) -> Result<(), Refusal> {
    let refuse = |code, message: String| {
        let message = format!("{name}-{index}: {message}");
        Err(Refusal::new(code, message))
    };
    let Some((topic, partition)) = image
        .topic(name)
        .and_then(|topic| Some((topic, topic.partition(index)?)))
    else {
        return refuse(
            ErrorCode::UnknownTopicOrPartition,
            "there is no such partition".to_owned(),
        );
    };
    if !needs(kind, partition) {
        return refuse(
            ErrorCode::ElectionNotNeeded,
            format!("broker {} leads already", partition.leader),
        );
    }
    let mut settings = TopicSettings::in_metadata(image, topic);
    let preferred = partition.preferred_leader();
    match kind {
        ElectionKind::Preferred => {
            if !partition.isr.contains(&preferred) || !image.can_take_over(preferred) {
                return refuse(
                    ErrorCode::PreferredLeaderNotAvailable,
                    format!("broker {preferred} is not alive and in sync, with room on its disk"),
                );
            }
        }
        ElectionKind::Unclean => {
            if !has_candidate(image, partition) {
                return refuse(
                    ErrorCode::EligibleLeadersNotAvailable,
                    format!(
                        "none of the replicas {:?} is alive and can use its log",
                        partition.replicas
                    ),
                );
            }
            settings = settings.with_unclean_election();
        }
    }
    if records.len() >= PARTITIONS_PER_REQUEST_MAX {
        return refuse(
            ErrorCode::PolicyViolation,
            format!("one request elects {PARTITIONS_PER_REQUEST_MAX} leaders; ask again"),
        );
    }
    let mut changed = PartitionChange::new(settings, index, partition);
    if kind == ElectionKind::Preferred {
        changed.prefer(preferred);
    }
    records.extend(changed.end(image));
    Ok(())
}
