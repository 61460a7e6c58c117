use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::rebalance::{prepare, propagate_assignment, reset_assignment_with_error};
use super::turn::Turn;
use super::{Coordinator, Parts, reply, waiter_of};
use crate::append::Change;
use crate::effect::{AppendToken, Effect};
use crate::group::{Group, GroupState};
use crate::member::Waiter;
use crate::now::Now;
use crate::record::group_record;
use crate::request::RequestContext;
use crate::response::{Response, wire};
use crate::timers::TimerKey;

/// From this version on the protocol type and name are mandatory (KIP-559).
const MANDATORY_PROTOCOL_VERSION: i16 = 5;

impl Coordinator {
    pub(super) fn sync_group(
        &mut self,
        context: &RequestContext,
        request: &SyncGroupRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
        if context.api_version >= MANDATORY_PROTOCOL_VERSION && !names_protocol {
            let response = failed(ResponseError::InconsistentGroupProtocol);
            return reply(effects, context, response);
        }
        if request.group_id.is_empty() {
            return reply(effects, context, failed(ResponseError::InvalidGroupId));
        }
        if self.consumer_groups.contains_key(request.group_id.as_str()) {
            return self.sync_consumer_group(context, request, now, effects);
        }
        let Parts {
            groups, mut turn, ..
        } = self.parts(now, effects);
        let waiter = waiter_of(context);
        match groups.get_mut(request.group_id.as_str()) {
            Some(group) => sync_group(group, waiter, request, &mut turn),
            None => turn.reply(waiter, failed(ResponseError::UnknownMemberId)),
        }
    }
}

/// An answer without an assignment.
pub(super) fn failed(error: ResponseError) -> Response {
    Response::SyncGroup(SyncGroupResponse::default().with_error_code(error.code()))
}

/// The member's assignment in the current generation.
pub(super) fn assigned(group: &Group, member_id: &str) -> Response {
    let assignment = group
        .members
        .get(member_id)
        .map(|member| member.assignment.clone());
    Response::SyncGroup(
        SyncGroupResponse::default()
            .with_protocol_type(group.protocol_type.as_deref().map(wire))
            .with_protocol_name(group.protocol_name.as_deref().map(wire))
            .with_assignment(assignment.unwrap_or_default()),
    )
}

/// The leader's assignment is in the log, or cannot be: the group is Stable, or rebalances again. Says whether it
/// has become stable.
pub(super) fn settle(
    group: &mut Group,
    token: AppendToken,
    mut assignments: BTreeMap<Arc<str>, Bytes>,
    failure: Option<ResponseError>,
    turn: &mut Turn<'_>,
) -> bool {
    // Another rebalance has begun since: its assignment will replace this one in the log too.
    if group.assignment_append != Some(token) {
        return false;
    }
    group.assignment_append = None;
    match failure {
        None => {
            for member in group.members.values_mut() {
                member.assignment = assignments.remove(&member.id).unwrap_or_default();
            }
            group.transition_to(GroupState::Stable, turn.now.wall_ms);
            propagate_assignment(group, turn);
        }
        Some(error) => {
            reset_assignment_with_error(group, error, turn);
            prepare(group, turn);
        }
    }
    failure.is_none()
}

fn sync_group(group: &mut Group, waiter: Waiter, request: &SyncGroupRequest, turn: &mut Turn<'_>) {
    if let Err(error) = validate(group, request) {
        return turn.reply(waiter, failed(error));
    }
    let member_id: Arc<str> = Arc::from(request.member_id.as_str());
    match group.state {
        GroupState::Empty | GroupState::Dead => {
            turn.reply(waiter, failed(ResponseError::UnknownMemberId));
        }
        GroupState::PreparingRebalance => {
            turn.reply(waiter, failed(ResponseError::RebalanceInProgress));
        }
        GroupState::CompletingRebalance => {
            note_sync(group, &member_id, turn);
            let member = group.members.get_mut(&member_id);
            if let Some(superseded) = member.and_then(|m| m.awaiting_sync.replace(waiter)) {
                // The member has asked again, likely over another connection.
                turn.reply(superseded, failed(ResponseError::RebalanceInProgress));
            }
            // A leader that repeats itself does not assign twice: only the first assignment that
            // reaches the log counts, so a second one must not follow it there.
            if group.is_leader(&member_id) && group.assignment_append.is_none() {
                append_assignment(group, request, turn);
            }
        }
        GroupState::Stable => {
            note_sync(group, &member_id, turn);
            turn.reply(waiter, assigned(group, &member_id));
        }
    }
}

fn validate(group: &Group, request: &SyncGroupRequest) -> Result<(), ResponseError> {
    group.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation {
        return Err(ResponseError::IllegalGeneration);
    }
    if group.state == GroupState::PreparingRebalance {
        // Where it was of KIP-848 till now, each member was told a protocol of its own.
        return Err(ResponseError::RebalanceInProgress);
    }
    let differs = |requested: &Option<StrBytes>, own: &Option<Arc<str>>| match (requested, own) {
        (Some(requested), Some(own)) => requested.as_str() != &**own,
        _ => false,
    };
    if differs(&request.protocol_type, &group.protocol_type)
        || differs(&request.protocol_name, &group.protocol_name)
    {
        return Err(ResponseError::InconsistentGroupProtocol);
    }
    Ok(())
}

fn note_sync(group: &mut Group, member_id: &str, turn: &mut Turn<'_>) {
    group.pending_syncs.remove(member_id);
    if group.pending_syncs.is_empty() {
        turn.timers.cancel(&TimerKey::Sync {
            group_id: group.id.clone(),
        });
    }
}

/// Members that the leader left out get an empty assignment.
fn append_assignment(group: &mut Group, request: &SyncGroupRequest, turn: &mut Turn<'_>) {
    let mut assignments: BTreeMap<Arc<str>, Bytes> = group
        .members
        .keys()
        .map(|member_id| (member_id.clone(), Bytes::new()))
        .collect();
    for assigned in &request.assignments {
        if let Some(assignment) = assignments.get_mut(assigned.member_id.as_str()) {
            *assignment = Bytes::copy_from_slice(&assigned.assignment);
        }
    }
    let record = group_record(group, &assignments);
    let change = Change::Assignment {
        group_id: group.id.clone(),
        assignments,
    };
    group.assignment_append = Some(turn.append(vec![record], change, Vec::new()));
}
