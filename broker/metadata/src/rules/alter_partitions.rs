//! Leaders propose who is in sync (`AlterPartition`, KIP-497, KIP-903).

use uuid::Uuid;

use super::draft::Draft;
use super::partition_change::{PartitionChange, TopicSettings};
use super::{Decided, ErrorCode, Refusal, check_broker_epoch};
use crate::image::{Image, Partition, Topic};
use crate::record::Fact;

/// What one broker proposes for partitions that it leads.
#[derive(Debug, Clone)]
pub struct AlterPartitions {
    /// Who asks.
    pub broker_id: i32,
    /// Of its registration.
    pub broker_epoch: i64,
    /// In the order in which they are answered.
    pub partitions: Vec<IsrChange>,
}

/// A new ISR for one partition.
#[derive(Debug, Clone)]
pub struct IsrChange {
    /// Of the topic.
    pub topic_id: Uuid,
    /// Of the partition.
    pub index: i32,
    /// The epoch in which the broker leads.
    pub leader_epoch: i32,
    /// The state that the proposal was made from.
    pub partition_epoch: i32,
    /// Node ids, and the broker epochs that the leader knows them by; -1: unknown to it.
    pub new_isr: Vec<(i32, i64)>,
}

/// A partition after a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// Another one than the caller when that is about to stop and somebody else may lead now.
    pub leader: i32,
    /// Its epoch.
    pub leader_epoch: i32,
    /// As it was decided, which need not be what was proposed.
    pub isr: Vec<i32>,
    /// For the next proposal.
    pub partition_epoch: i32,
}

/// Decides a request; the results are in its order.
///
/// What is proposed and holds already is confirmed with a new partition epoch: a leader proposes it when it
/// does not know what became of an earlier proposal, and from there on that one can never be applied.
pub fn alter_partitions(
    image: &Image,
    request: &AlterPartitions,
) -> Decided<Vec<Result<PartitionState, Refusal>>> {
    check_broker_epoch(image, request.broker_id, request.broker_epoch).map_err(|refusal| {
        // Kafka knows no other answer here.
        Refusal::new(ErrorCode::StaleBrokerEpoch, refusal.message)
    })?;
    let mut draft = Draft::new(image);
    let results = request
        .partitions
        .iter()
        .map(|change| alter(&mut draft, request.broker_id, change))
        .collect();
    Ok(draft.decide(results))
}

fn alter(draft: &mut Draft, broker_id: i32, change: &IsrChange) -> Result<PartitionState, Refusal> {
    let image = draft.image();
    let topic = image.topic_by_id(change.topic_id).ok_or_else(|| {
        Refusal::new(
            ErrorCode::UnknownTopicId,
            format!("there is no topic with id {}", change.topic_id),
        )
    })?;
    let partition = topic.partition(change.index).ok_or_else(|| {
        Refusal::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("topic {:?} has no partition {}", topic.name, change.index),
        )
    })?;
    check_epochs(topic, partition, broker_id, change)?;
    check_isr(image, topic, partition, broker_id, change)?;
    let settings = TopicSettings::in_metadata(image, topic);
    let mut changed = PartitionChange::new(settings, change.index, partition);
    let proposed: Vec<i32> = change.new_isr.iter().map(|(node_id, _)| *node_id).collect();
    let is_other = proposed.len() != partition.isr.len()
        || proposed.iter().any(|id| !partition.isr.contains(id));
    if is_other {
        changed.set_isr(proposed);
    } else {
        changed.new_epoch();
    }
    if !image.can_lead(broker_id) {
        changed.leaves_isr_to_others(image, broker_id);
    }
    if let Some(record) = changed.end(image) {
        draft.write(Fact::PartitionChange(record));
    }
    let after = draft
        .image()
        .topic_by_id(change.topic_id)
        .and_then(|topic| topic.partition(change.index))
        .expect("it was found above");
    Ok(PartitionState {
        leader: after.leader,
        leader_epoch: after.leader_epoch,
        isr: after.isr.clone(),
        partition_epoch: after.partition_epoch,
    })
}

fn check_epochs(
    topic: &Topic,
    partition: &Partition,
    broker_id: i32,
    change: &IsrChange,
) -> Result<(), Refusal> {
    let refuse = |code, message: String| {
        let (name, index) = (&topic.name, change.index);
        Err(Refusal::new(code, format!("{name}-{index}: {message}")))
    };
    let leader_epoch = partition.leader_epoch;
    let partition_epoch = partition.partition_epoch;
    if change.leader_epoch < leader_epoch {
        return refuse(
            ErrorCode::FencedLeaderEpoch,
            format!(
                "leader epoch {} is over, it is {leader_epoch} now",
                change.leader_epoch
            ),
        );
    }
    if change.leader_epoch > leader_epoch || change.partition_epoch > partition_epoch {
        return refuse(
            ErrorCode::NotController,
            format!(
                "leader epoch {} and partition epoch {} are newer than {leader_epoch} and \
                 {partition_epoch}: another controller is active",
                change.leader_epoch, change.partition_epoch
            ),
        );
    }
    if partition.leader != broker_id {
        return refuse(
            ErrorCode::InvalidRequest,
            format!("its leader is {}, not {broker_id}", partition.leader),
        );
    }
    if change.partition_epoch < partition_epoch {
        return refuse(
            ErrorCode::InvalidUpdateVersion,
            format!(
                "partition epoch {} is over, it is {partition_epoch} now",
                change.partition_epoch
            ),
        );
    }
    Ok(())
}

fn check_isr(
    image: &Image,
    topic: &Topic,
    partition: &Partition,
    broker_id: i32,
    change: &IsrChange,
) -> Result<(), Refusal> {
    let (name, index) = (&topic.name, change.index);
    let invalid = |message: String| {
        let message = format!("{name}-{index}: the new ISR {message}");
        Err(Refusal::new(ErrorCode::InvalidRequest, message))
    };
    for (at, (node_id, _)) in change.new_isr.iter().enumerate() {
        if change.new_isr[..at]
            .iter()
            .any(|(other, _)| other == node_id)
        {
            return invalid(format!("names broker {node_id} twice"));
        }
        if !partition.replicas.contains(node_id) {
            return invalid(format!("names broker {node_id}, which has no replica"));
        }
    }
    if !change
        .new_isr
        .iter()
        .any(|(node_id, _)| *node_id == broker_id)
    {
        return invalid(format!("is without the leader {broker_id}"));
    }
    // Where nobody in sync has room, a broker that restarts comes back all the same: what it has counts. Once somebody
    // with room is there it leaves again.
    let mut in_sync = partition.isr.iter();
    let have_room = in_sync.any(|node_id| image.can_take_over(*node_id));
    let may_join = |node_id| match have_room {
        true => image.can_take_over(node_id),
        false => image.can_lead(node_id),
    };
    for (node_id, broker_epoch) in &change.new_isr {
        // A leader that is about to stop has to let others in, so that one of them can take over. A member that is
        // about to stop stays in until it does: a restart grant takes nobody out of an ISR.
        let is_member = partition.isr.contains(node_id) && image.is_alive(*node_id);
        let may_be_in = may_join(*node_id) || is_member || *node_id == broker_id;
        let known_epoch = image.broker(*node_id).map_or(-1, |broker| broker.epoch);
        let reason = if partition.offline.contains(node_id) {
            "cannot use the log of its replica".to_owned()
        } else if !may_be_in {
            "is fenced, about to stop, or has no room on its disk where another has".to_owned()
        } else if *broker_epoch != -1 && *broker_epoch != known_epoch {
            format!("is registered with epoch {known_epoch}, not {broker_epoch}")
        } else {
            continue;
        };
        return Err(Refusal::new(
            ErrorCode::IneligibleReplica,
            format!("{name}-{index}: broker {node_id} {reason}"),
        ));
    }
    Ok(())
}
