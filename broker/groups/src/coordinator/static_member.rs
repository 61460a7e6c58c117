//! A static member (KIP-345) that comes back without its member id, after a restart of its process.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::join_group::{Join, failed, generation_response, members_of, update_member};
use super::rebalance::{answer_waiters, complete_join_when_all_joined, prepare};
use super::turn::{Turn, heartbeat_key};
use crate::append::{Change, StaticMemberChange};
use crate::group::{Group, GroupState};
use crate::record::group_record;
use crate::response::{Response, wire};

/// First version whose leader can be told that there is nothing to assign.
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

/// Gives the member's place to a new member id and fences the old one. In a Stable group whose
/// protocol stays the same it gets its assignment back without a rebalance, once the new id is in
/// the log.
pub(super) fn rejoin(group: &mut Group, instance_id: &Arc<str>, join: Join, turn: &mut Turn<'_>) {
    let new_member_id = join.new_member_id.clone();
    let old_leader = group.leader.clone();
    let Some(mut old) = group.replace_static_member(instance_id, new_member_id.clone()) else {
        return turn.reply(join.waiter, failed("", ResponseError::UnknownMemberId));
    };
    turn.timers.cancel(&heartbeat_key(group, &old.id));
    answer_waiters(&old, &old.id, ResponseError::FencedInstanceId, turn);
    old.awaiting_join = None;
    old.awaiting_sync = None;
    update_member(group, &new_member_id, join, turn);
    turn.schedule_session(group, &new_member_id);

    let keeps_protocol = group.select_protocol() == group.protocol_name;
    match group.state {
        GroupState::Stable if keeps_protocol => {
            let assignments: BTreeMap<Arc<str>, Bytes> = group
                .members
                .values()
                .map(|member| (member.id.clone(), member.assignment.clone()))
                .collect();
            let record = group_record(group, &assignments);
            let change = Change::StaticMember(Box::new(StaticMemberChange {
                group_id: group.id.clone(),
                instance_id: instance_id.clone(),
                new_member_id,
                generation: group.generation,
                old,
                old_leader,
            }));
            turn.append(vec![record], change, Vec::new());
        }
        GroupState::PreparingRebalance => {
            complete_join_when_all_joined(group, turn);
        }
        _ => {
            prepare(group, turn);
        }
    }
}

/// The new member id is in the log, or cannot be. When a rebalance began meanwhile, the member is
/// part of it and is answered by it.
pub(super) fn settle(
    group: &mut Group,
    change: StaticMemberChange,
    failure: Option<ResponseError>,
    turn: &mut Turn<'_>,
) {
    let is_current = group.state == GroupState::Stable
        && group.generation == change.generation
        && group.static_members.get(&change.instance_id) == Some(&change.new_member_id);
    if !is_current {
        return;
    }
    match failure {
        None => answer(group, &change, turn),
        Some(error) => revert(group, change, error, turn),
    }
}

fn answer(group: &mut Group, change: &StaticMemberChange, turn: &mut Turn<'_>) {
    let member_id = &change.new_member_id;
    let member = group.members.get_mut(member_id);
    let Some(waiter) = member.and_then(|member| member.awaiting_join.take()) else {
        return;
    };
    let response = generation_response(group, member_id);
    let response = if waiter.api_version >= SKIP_ASSIGNMENT_VERSION {
        let is_leader = group.is_leader(member_id);
        let members = if is_leader {
            members_of(group)
        } else {
            Vec::new()
        };
        response
            .with_skip_assignment(is_leader)
            .with_members(members)
    } else {
        // Told that it leads, an older client would assign again, and the others not rejoin: it is
        // given the former leader's name.
        response.with_leader(wire(change.old_leader.as_deref().unwrap_or("")))
    };
    turn.reply(waiter, Response::JoinGroup(response));
    turn.schedule_session(group, member_id);
}

fn revert(
    group: &mut Group,
    change: StaticMemberChange,
    error: ResponseError,
    turn: &mut Turn<'_>,
) {
    let old_id = change.old.id.clone();
    turn.timers
        .cancel(&heartbeat_key(group, &change.new_member_id));
    let Some(new) = group.replace_static_member(&change.instance_id, old_id.clone()) else {
        return;
    };
    group.members.insert(old_id.clone(), change.old);
    answer_waiters(&new, "", error, turn);
    turn.schedule_session(group, &old_id);
}
