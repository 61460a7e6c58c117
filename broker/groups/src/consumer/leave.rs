use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::LEAVE_FOR_A_WHILE_EPOCH;
use super::config::ConsumerGroupConfig;
use super::group::ConsumerGroup;
use super::heartbeat::HeartbeatOutcome;
use super::member::{CurrentAssignment, EpochPartitions};
use super::record::ConsumerRecord;
use super::refused::Refused;
use super::sender::unknown_member;
use super::timer::ConsumerTimer;
use super::topics::Topics;
use super::turn::{GroupChange, Turn};

impl ConsumerGroup {
    /// An admin takes members out (LeaveGroup), each named by its member id, its instance id or both; says for each
    /// what became of it. Each change is to be appended as one batch, in this order.
    pub(crate) fn remove_members(
        &mut self,
        members: &[MemberIdentity],
        topics: &Topics,
        config: &ConsumerGroupConfig,
    ) -> (Vec<Result<(), ResponseError>>, Vec<GroupChange>) {
        let mut outcomes = Vec::with_capacity(members.len());
        let mut changes = Vec::new();
        let mut turn = Turn::new(self, topics);
        for member in members {
            let member_id = named(turn.group, member);
            if let Ok(member_id) = &member_id {
                let before = turn.savepoint();
                turn.fence(member_id);
                if !before.is_start() && !turn.is_surely_within(config.batch_bytes_max) {
                    turn.roll_back(before);
                    changes.push(turn.into_change());
                    turn = Turn::new(self, topics);
                    turn.fence(member_id);
                }
            }
            outcomes.push(member_id.map(drop));
        }
        changes.push(turn.into_change());
        (outcomes, changes)
    }

    /// The session of a member is over; one that is gone already is no matter.
    pub fn end_session(&mut self, member_id: &str, topics: &Topics) -> GroupChange {
        let mut turn = Turn::new(self, topics);
        if let Some((member_id, _)) = turn.group.members.get_key_value(member_id) {
            turn.fence(&member_id.clone());
        }
        turn.into_change_of_timer()
    }

    /// The time for a member to revoke partitions is over; others wait for them.
    pub fn end_revocation(&mut self, member_id: &str, topics: &Topics) -> GroupChange {
        let mut turn = Turn::new(self, topics);
        if let Some((member_id, member)) = turn.group.members.get_key_value(member_id)
            && member.has_to_revoke_in_time()
            && member.current.epoch != LEAVE_FOR_A_WHILE_EPOCH
        {
            turn.fence(&member_id.clone());
        }
        turn.into_change_of_timer()
    }
}

impl ConsumerGroup {
    /// One that speaks the classic protocol has not joined, or not synced, in time.
    pub(crate) fn end_classic_wait(&mut self, member_id: &str, topics: &Topics) -> GroupChange {
        let mut turn = Turn::new(self, topics);
        if let Some((member_id, member)) = turn.group.members.get_key_value(member_id)
            && member.metadata.classic.is_some()
        {
            turn.fence(&member_id.clone());
        }
        turn.into_change_of_timer()
    }
}

fn named(group: &ConsumerGroup, member: &MemberIdentity) -> Result<Arc<str>, ResponseError> {
    let unknown = ResponseError::UnknownMemberId;
    let Some(instance_id) = member.group_instance_id.as_deref() else {
        let known = group.members.get_key_value(member.member_id.as_str());
        return known.map(|(id, _)| id.clone()).ok_or(unknown);
    };
    let owner = group.static_member(instance_id).ok_or(unknown)?;
    if !member.member_id.is_empty() && *member.member_id != **owner {
        return Err(ResponseError::FencedInstanceId);
    }
    Ok(owner.clone())
}

/// A member leaves, at whatever epoch it is.
pub(super) fn leave(
    group: &mut ConsumerGroup,
    request: &ConsumerGroupHeartbeatRequest,
    topics: &Topics,
) -> Result<HeartbeatOutcome, Refused> {
    let member_id: Arc<str> = Arc::from(request.member_id.as_str());
    if let Some(instance_id) = request.instance_id.as_deref() {
        match group.static_member(instance_id) {
            None => {
                return Err(Refused::new(
                    ResponseError::UnknownMemberId,
                    format!("InstanceId {instance_id} is not in the group"),
                ));
            }
            Some(owner) if *owner != member_id => {
                return Err(Refused::new(
                    ResponseError::FencedInstanceId,
                    format!("InstanceId {instance_id} is that of member {owner} now"),
                ));
            }
            Some(_) => {}
        }
    }
    let Some(member) = group.members.get(&member_id) else {
        return Err(unknown_member(&member_id));
    };
    let current = member.current.clone();
    let mut turn = Turn::new(group, topics);
    if request.member_epoch == LEAVE_FOR_A_WHILE_EPOCH {
        turn.write(ConsumerRecord::Current {
            member_id: member_id.clone(),
            assignment: Some(away(current)),
        });
        turn.set_timer(&member_id, ConsumerTimer::Revocation, None);
    } else {
        turn.fence(&member_id);
    }
    let response = ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(request.member_id.clone()))
        .with_member_epoch(request.member_epoch);
    let change = turn.into_change();
    Ok(HeartbeatOutcome {
        records: change.records,
        timers: change.timers,
        response,
        to_resolve: Vec::new(),
        too_large: None,
        undo: change.undo,
    })
}

/// Its partitions stay with it, and are its own from the start when it comes back; what it was to revoke is
/// revoked.
fn away(mut current: CurrentAssignment) -> CurrentAssignment {
    for epoch in current
        .assigned
        .values_mut()
        .flat_map(|of_topic| of_topic.values_mut())
    {
        *epoch = 0;
    }
    CurrentAssignment {
        epoch: LEAVE_FOR_A_WHILE_EPOCH,
        pending_revocation: EpochPartitions::new(),
        ..current
    }
}
