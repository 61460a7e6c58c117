use std::sync::Arc;

use foz_records::STRING_BYTES_MAX;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::rebalance::{prepare_or_continue, remove_member};
use super::turn::{Turn, heartbeat_key};
use super::{Coordinator, Parts, reply, static_member, waiter_of};
use crate::config::GroupConfig;
use crate::effect::Effect;
use crate::group::{Group, GroupState};
use crate::member::{Member, Protocol, Waiter, protocols_of};
use crate::now::Now;
use crate::request::RequestContext;
use crate::response::{Response, wire};

/// A member that joined and has not been through a rebalance cannot send heartbeats; if it is gone
/// when this ends, it goes too.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1_000;

/// First version whose members have to come back with the id they were given (KIP-394).
pub(super) const KNOWN_MEMBER_ID_VERSION: i16 = 4;

/// First version with a rebalance timeout; before it the session timeout counts.
const REBALANCE_TIMEOUT_VERSION: i16 = 1;

/// A hyphen and a UUID follow the client or instance id in a member id.
const MEMBER_ID_SUFFIX_BYTES: usize = 37;

/// A JoinGroup request whose fields fit in memory and in the records.
pub(super) struct Join {
    pub(super) waiter: Waiter,
    pub(super) member_id: Arc<str>,
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) protocol_type: Arc<str>,
    pub(super) protocols: Vec<Protocol>,
    /// The id the member gets when it has none.
    pub(super) new_member_id: Arc<str>,
}

impl Coordinator {
    pub(super) fn join_group(
        &mut self,
        context: &RequestContext,
        request: JoinGroupRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Err(error) = validate(&self.config, context, &request) {
            return reply(effects, context, failed(&request.member_id, error));
        }
        let group_id: Arc<str> = Arc::from(request.group_id.as_str());
        let join = Join::new(context, &request);
        drop(request);
        if let Some(group) = self.consumer_groups.get(&group_id) {
            if !group.members().is_empty() {
                return self.join_consumer_group(context, &group_id, join, now, effects);
            }
            if join.member_id.is_empty() {
                self.end_consumer_group(&group_id, now, effects);
            }
        }
        let Parts {
            groups, mut turn, ..
        } = self.parts(now, effects);
        if !groups.contains_key(&group_id) {
            if !join.member_id.is_empty() {
                let response = failed(&join.member_id, ResponseError::UnknownMemberId);
                return turn.reply(join.waiter, response);
            }
            groups.insert(group_id.clone(), Group::new(group_id.clone(), now.wall_ms));
        }
        let Some(group) = groups.get_mut(&group_id) else {
            return;
        };
        join_group(group, join, &mut turn);
        self.forget_if_unused(&group_id);
    }
}

impl Join {
    fn new(context: &RequestContext, request: &JoinGroupRequest) -> Self {
        let instance_id = request.group_instance_id.as_deref();
        let prefix = instance_id.unwrap_or(&context.client_id);
        let rebalance_timeout_ms = if context.api_version >= REBALANCE_TIMEOUT_VERSION {
            request.rebalance_timeout_ms
        } else {
            request.session_timeout_ms
        };
        Self {
            waiter: waiter_of(context),
            member_id: Arc::from(request.member_id.as_str()),
            instance_id: instance_id.map(Arc::from),
            client_id: Arc::from(context.client_id.as_str()),
            client_host: Arc::from(context.client_host.as_str()),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms,
            protocol_type: Arc::from(request.protocol_type.as_str()),
            protocols: protocols_of(&request.protocols),
            new_member_id: Arc::from(format!("{prefix}-{}", context.member_uuid)),
        }
    }

    fn into_member(self, id: Arc<str>) -> Member {
        Member {
            id,
            instance_id: self.instance_id,
            client_id: self.client_id,
            client_host: self.client_host,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            protocols: self.protocols,
            assignment: bytes::Bytes::new(),
            awaiting_join: Some(self.waiter),
            awaiting_sync: None,
            is_new: true,
        }
    }
}

/// An answer without a generation.
pub(super) fn failed(member_id: &str, error: ResponseError) -> Response {
    let response = JoinGroupResponse::default().with_member_id(wire(member_id));
    Response::JoinGroup(response.with_error_code(error.code()))
}

/// The answer to a member of the current generation; the leader learns who the members are.
pub(super) fn joined(group: &Group, member_id: &str) -> Response {
    let members = if group.is_leader(member_id) {
        members_of(group)
    } else {
        Vec::new()
    };
    Response::JoinGroup(generation_response(group, member_id).with_members(members))
}

/// The answer to a member of the current generation, without the list of members.
pub(super) fn generation_response(group: &Group, member_id: &str) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_generation_id(group.generation)
        .with_protocol_type(group.protocol_type.as_deref().map(wire))
        .with_protocol_name(Some(wire(group.protocol_name.as_deref().unwrap_or(""))))
        .with_leader(wire(group.leader.as_deref().unwrap_or("")))
        .with_member_id(wire(member_id))
}

pub(super) fn members_of(group: &Group) -> Vec<JoinGroupResponseMember> {
    let protocol_name = group.protocol_name.as_deref().unwrap_or("");
    let members = group.members.values().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(wire(&member.id))
            .with_group_instance_id(member.instance_id.as_deref().map(wire))
            .with_metadata(member.metadata(protocol_name))
    });
    members.collect()
}

/// Takes over what the request says of a member and lets the member wait.
pub(super) fn update_member(
    group: &mut Group,
    member_id: &Arc<str>,
    join: Join,
    turn: &mut Turn<'_>,
) {
    let Some(member) = group.members.get_mut(member_id) else {
        return;
    };
    member.protocols = join.protocols;
    member.rebalance_timeout_ms = join.rebalance_timeout_ms;
    member.session_timeout_ms = join.session_timeout_ms;
    if let Some(superseded) = member.awaiting_join.replace(join.waiter) {
        // The member has asked again, likely over another connection: the first request is given up.
        turn.reply(
            superseded,
            failed(member_id, ResponseError::RebalanceInProgress),
        );
    }
}

fn validate(
    config: &GroupConfig,
    context: &RequestContext,
    request: &JoinGroupRequest,
) -> Result<(), ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let sessions = config.group_min_session_timeout_ms..=config.group_max_session_timeout_ms;
    if !sessions.contains(&request.session_timeout_ms) {
        return Err(ResponseError::InvalidSessionTimeout);
    }
    // What Kafka would choke on when it writes the record.
    let prefix = request
        .group_instance_id
        .as_deref()
        .unwrap_or(&context.client_id);
    // A group of KIP-848 takes any member id.
    if request.member_id.len() > STRING_BYTES_MAX {
        return Err(ResponseError::InvalidRequest);
    }
    let longest = [&context.client_host, prefix, &*request.protocol_type]
        .into_iter()
        .chain(
            request
                .protocols
                .iter()
                .map(|protocol| protocol.name.as_str()),
        )
        .map(str::len)
        .max();
    if request.group_id.len() > STRING_BYTES_MAX {
        return Err(ResponseError::InvalidGroupId);
    }
    if longest.unwrap_or(0).max(context.client_id.len()) > STRING_BYTES_MAX - MEMBER_ID_SUFFIX_BYTES
    {
        return Err(ResponseError::InvalidRequest);
    }
    Ok(())
}

fn join_group(group: &mut Group, join: Join, turn: &mut Turn<'_>) {
    if !has_room_for(group, &join.member_id, turn.config) {
        remove_member(group, &join.member_id, turn);
        return turn.reply(join.waiter, failed("", ResponseError::GroupMaxSizeReached));
    }
    if !group.supports_protocols(&join.protocol_type, &join.protocols) {
        let response = failed(&join.member_id, ResponseError::InconsistentGroupProtocol);
        return turn.reply(join.waiter, response);
    }
    if join.member_id.is_empty() {
        join_new_member(group, join, turn);
    } else if group.pending_joins.contains(&join.member_id) {
        join_pending_member(group, join, turn);
    } else {
        join_existing_member(group, join, turn);
    }
}

/// group.max.size; while members join, those that have joined count.
fn has_room_for(group: &Group, member_id: &str, config: &GroupConfig) -> bool {
    let member = group.members.get(member_id);
    match group.state {
        GroupState::Empty | GroupState::Dead => true,
        GroupState::PreparingRebalance => {
            member.is_some_and(|member| member.awaiting_join.is_some())
                || group.awaiting_join_count() < config.group_max_size
        }
        GroupState::CompletingRebalance | GroupState::Stable => {
            member.is_some() || group.members.len() < config.group_max_size
        }
    }
}

fn join_new_member(group: &mut Group, join: Join, turn: &mut Turn<'_>) {
    if let Some(instance_id) = &join.instance_id {
        if group.static_members.contains_key(instance_id) {
            let instance_id = instance_id.clone();
            return static_member::rejoin(group, &instance_id, join, turn);
        }
    } else if join.waiter.api_version >= KNOWN_MEMBER_ID_VERSION {
        if group.pending_joins.len() >= turn.config.group_max_pending_members {
            return turn.reply(join.waiter, failed("", ResponseError::GroupMaxSizeReached));
        }
        let member_id = join.new_member_id;
        turn.schedule(heartbeat_key(group, &member_id), join.session_timeout_ms);
        turn.reply(
            join.waiter,
            failed(&member_id, ResponseError::MemberIdRequired),
        );
        group.pending_joins.insert(member_id);
        return;
    }
    let member_id = join.new_member_id.clone();
    add_member(group, member_id, join, turn);
}

fn join_pending_member(group: &mut Group, join: Join, turn: &mut Turn<'_>) {
    if join.instance_id.is_some() {
        // Static members are never pending; Kafka takes this for a bug of its own.
        let response = failed(&join.member_id, ResponseError::UnknownServerError);
        return turn.reply(join.waiter, response);
    }
    let member_id = join.member_id.clone();
    add_member(group, member_id, join, turn);
}

fn join_existing_member(group: &mut Group, join: Join, turn: &mut Turn<'_>) {
    if let Err(error) = group.validate_member(&join.member_id, join.instance_id.as_deref()) {
        return turn.reply(join.waiter, failed(&join.member_id, error));
    }
    let member_id = join.member_id.clone();
    let unchanged = group
        .members
        .get(&member_id)
        .is_some_and(|member| member.protocols == join.protocols);
    let needs_rebalance = match group.state {
        GroupState::PreparingRebalance => true,
        // A retry of a member whose answer got lost; the leader gets the members again.
        GroupState::CompletingRebalance => !unchanged,
        // The leader rejoins to have partitions assigned anew (its metadata of topics changed).
        GroupState::Stable => group.is_leader(&member_id) || !unchanged,
        GroupState::Empty | GroupState::Dead => {
            let response = failed(&member_id, ResponseError::UnknownMemberId);
            return turn.reply(join.waiter, response);
        }
    };
    if needs_rebalance {
        update_member(group, &member_id, join, turn);
        prepare_or_continue(group, turn);
    } else {
        turn.reply(join.waiter, joined(group, &member_id));
    }
}

fn add_member(group: &mut Group, member_id: Arc<str>, join: Join, turn: &mut Turn<'_>) {
    if group.state == GroupState::PreparingRebalance && group.initial_delay.is_some() {
        group.new_member_added = true;
    }
    let protocol_type = join.protocol_type.clone();
    let heartbeat = heartbeat_key(group, &member_id);
    group.add(join.into_member(member_id), &protocol_type);
    turn.schedule(heartbeat, NEW_MEMBER_JOIN_TIMEOUT_MS);
    prepare_or_continue(group, turn);
}
