use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::rebalance::{complete_join_when_all_joined, prepare, remove_member};
use super::turn::Turn;
use super::{Coordinator, Parts, reply, waiter_of};
use crate::append::Deferred;
use crate::effect::Effect;
use crate::group::{Group, GroupState};
use crate::now::Now;
use crate::request::RequestContext;
use crate::response::{Response, leave_response};

/// First version that names several members (KIP-345).
const BATCH_VERSION: i16 = 3;

impl Coordinator {
    pub(super) fn leave_group(
        &mut self,
        context: &RequestContext,
        request: LeaveGroupRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if request.group_id.is_empty() {
            let error_code = ResponseError::InvalidGroupId.code();
            let response = LeaveGroupResponse::default().with_error_code(error_code);
            return reply(effects, context, Response::LeaveGroup(response));
        }
        let leaving = if context.api_version >= BATCH_VERSION {
            request.members
        } else {
            vec![MemberIdentity::default().with_member_id(request.member_id)]
        };
        if self.consumer_groups.contains_key(request.group_id.as_str()) {
            let group_id = Arc::from(request.group_id.as_str());
            return self.leave_consumer_group(context, &group_id, &leaving, now, effects);
        }
        let Parts {
            groups, mut turn, ..
        } = self.parts(now, effects);
        let waiter = waiter_of(context);
        let Some(group) = groups.get_mut(request.group_id.as_str()) else {
            let unknown = |member| answer(member, Err(ResponseError::UnknownMemberId));
            let members = leaving.iter().map(unknown).collect();
            return turn.reply(waiter, leave_response(context.api_version, members));
        };

        let mut members = Vec::with_capacity(leaving.len());
        let mut someone_left = false;
        for member in &leaving {
            let outcome = leave(group, member, &mut turn);
            someone_left |= outcome.is_ok();
            members.push(answer(member, outcome));
        }
        let append = match group.state {
            GroupState::Stable | GroupState::CompletingRebalance if someone_left => {
                prepare(group, &mut turn)
            }
            GroupState::PreparingRebalance if someone_left => {
                complete_join_when_all_joined(group, &mut turn)
            }
            _ => None,
        };
        let response = leave_response(context.api_version, members);
        match append {
            None => turn.reply(waiter, response),
            Some(token) => {
                let waiter = waiter.id;
                turn.appends
                    .defer(token, Deferred::Reply { waiter, response });
            }
        }
        self.forget_if_unused(&request.group_id);
    }
}

/// A member is named by its member id, or, for an operator that knows no more (KIP-571), by its
/// instance id alone.
fn leave(
    group: &mut Group,
    member: &MemberIdentity,
    turn: &mut Turn<'_>,
) -> Result<(), ResponseError> {
    let instance_id = member.group_instance_id.as_deref();
    let member_id: Arc<str> = if member.member_id.is_empty() {
        let known = instance_id.and_then(|instance_id| group.static_members.get(instance_id));
        known.ok_or(ResponseError::UnknownMemberId)?.clone()
    } else {
        if !group.pending_joins.contains(member.member_id.as_str()) {
            group.validate_member(&member.member_id, instance_id)?;
        }
        Arc::from(member.member_id.as_str())
    };
    remove_member(group, &member_id, turn);
    Ok(())
}

pub(super) fn answer(
    member: &MemberIdentity,
    outcome: Result<(), ResponseError>,
) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(member.member_id.clone())
        .with_group_instance_id(member.group_instance_id.clone())
        .with_error_code(outcome.err().map_or(0, |error| error.code()))
}
