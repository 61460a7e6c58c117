use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

use super::config::ConsumerGroupConfig;
use super::group::ConsumerGroup;
use super::member::{CurrentAssignment, EpochPartitions, MemberState};
use super::refused::Refused;
use super::{JOIN_EPOCH, LEAVE_FOR_A_WHILE_EPOCH};
use crate::assignor::Partitions;
use crate::request::RequestContext;

/// Who a request comes from.
pub(super) enum Sender {
    /// A member.
    Known(Arc<str>),
    /// One that joins.
    New(Arc<str>),
    /// The next process of a static member that is away.
    Successor { of: Arc<str>, id: Arc<str> },
}

impl ConsumerGroup {
    /// Whose request it is, when the group takes it. A process of a static member that sends its join again is
    /// taken; in Kafka it is refused as UNRELEASED_INSTANCE_ID, and an answer that is lost is the end of it.
    pub(super) fn sender(
        &self,
        context: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
        owned: Option<&Partitions>,
        config: &ConsumerGroupConfig,
    ) -> Result<Sender, Refused> {
        let joins = request.member_epoch == JOIN_EPOCH;
        let member_id: Arc<str> = if request.member_id.is_empty() {
            Arc::from(context.member_uuid.to_string())
        } else {
            Arc::from(request.member_id.as_str())
        };
        let instance_id = request.instance_id.as_deref();
        let owner = instance_id.and_then(|instance_id| self.static_member(instance_id));
        match (instance_id, owner) {
            (Some(_), Some(owner)) if *owner == member_id => {}
            (Some(instance_id), Some(owner)) if joins => {
                let owning = &self.members[owner];
                // One of the classic protocol does not say that it leaves for a while.
                let is_away = owning.current.epoch == LEAVE_FOR_A_WHILE_EPOCH
                    || owning.metadata.classic.is_some();
                return if is_away {
                    Ok(Sender::Successor {
                        of: owner.clone(),
                        id: member_id,
                    })
                } else {
                    Err(Refused::new(
                        ResponseError::UnreleasedInstanceId,
                        format!("InstanceId {instance_id} is in use by member {owner}"),
                    ))
                };
            }
            (Some(instance_id), Some(owner)) => {
                return Err(Refused::new(
                    ResponseError::FencedInstanceId,
                    format!("InstanceId {instance_id} is that of member {owner} now"),
                ));
            }
            (Some(instance_id), None) if !joins => {
                return Err(Refused::new(
                    ResponseError::UnknownMemberId,
                    format!("InstanceId {instance_id} is not in the group"),
                ));
            }
            _ => {}
        }
        match self.members.get(&member_id) {
            Some(member) => {
                check_epoch(&member.current, request.member_epoch, owned)?;
                Ok(Sender::Known(member_id))
            }
            None if !joins => Err(unknown_member(&member_id)),
            None if self.members.len() >= config.max_size => Err(Refused::new(
                ResponseError::GroupMaxSizeReached,
                format!("the group has {} members, its maximum", config.max_size),
            )),
            None => Ok(Sender::New(member_id)),
        }
    }
}

pub(super) fn unknown_member(member_id: &str) -> Refused {
    let message = format!("member {member_id} is not in the group");
    Refused::new(ResponseError::UnknownMemberId, message)
}

/// Who joins says that it has nothing, whatever it had. One epoch earlier is taken from a member that has not
/// heard of the new one: it has nothing but what is assigned to it still.
fn check_epoch(
    current: &CurrentAssignment,
    epoch: i32,
    owned: Option<&Partitions>,
) -> Result<(), Refused> {
    let fenced = |why: String| Err(Refused::new(ResponseError::FencedMemberEpoch, why));
    let has_nothing = owned.is_some_and(Partitions::is_empty);
    if current.state == MemberState::Unknown && !has_nothing {
        return fenced("the state of the member is of a newer version: rejoin".to_owned());
    }
    let is_valid = epoch == JOIN_EPOCH
        || epoch == current.epoch
        || (epoch == current.previous_epoch
            && epoch < current.epoch
            && owned.is_some_and(|owned| is_within(owned, &current.assigned)));
    if is_valid {
        return Ok(());
    }
    fenced(format!(
        "MemberEpoch is {epoch}, the member is at {}: let go of all partitions and rejoin",
        current.epoch
    ))
}

fn is_within(owned: &Partitions, assigned: &EpochPartitions) -> bool {
    owned.iter().all(|(topic_id, partitions)| {
        let assigned = assigned.get(topic_id);
        let mut partitions = partitions.iter();
        partitions
            .all(|partition| assigned.is_some_and(|assigned| assigned.contains_key(partition)))
    })
}
