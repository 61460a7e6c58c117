//! Requests of the classic protocol to groups of KIP-848.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::join_group::{Join, KNOWN_MEMBER_ID_VERSION, failed};
use super::{Coordinator, reply, sync_group};
use crate::consumer::classic::{ClassicJoin, WAIT_MS_MIN};
use crate::consumer::{ConsumerTimer, MigrationPolicy, TimerChange};
use crate::effect::{AppendToken, Effect};
use crate::group::CONSUMER_PROTOCOL_TYPE;
use crate::now::Now;
use crate::request::RequestContext;
use crate::response::{Response, wire};
use crate::timers::TimerKey;

impl Coordinator {
    /// Of a group that has members.
    pub(super) fn join_consumer_group(
        &mut self,
        context: &RequestContext,
        group_id: &Arc<str>,
        join: Join,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.consumer_groups.get_mut(group_id) else {
            return;
        };
        let config = self.config.consumer_of(group_id);
        let is_known = !join.member_id.is_empty();
        if config.migration_policy == MigrationPolicy::Disabled
            || !group.supports_classic(&join.protocol_type, &join.protocols)
        {
            let error = ResponseError::InconsistentGroupProtocol;
            return reply(effects, context, failed(&join.member_id, error));
        }
        if !is_known && join.instance_id.is_none() && context.api_version >= KNOWN_MEMBER_ID_VERSION
        {
            let (told, error) = if group.members().len() < config.max_size {
                (&*join.new_member_id, ResponseError::MemberIdRequired)
            } else {
                ("", ResponseError::GroupMaxSizeReached)
            };
            return reply(effects, context, failed(told, error));
        }
        let member_id = join.member_id.clone();
        let join = ClassicJoin {
            member_id: join.member_id,
            new_member_id: join.new_member_id,
            instance_id: join.instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            connection: context.connection,
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: join.protocols,
        };
        let joined = match group.join_classic(join, &self.topics, config, now) {
            Ok(joined) => joined,
            Err(error) => return reply(effects, context, failed(&member_id, error)),
        };
        let response = JoinGroupResponse::default()
            .with_generation_id(joined.epoch)
            .with_protocol_type(Some(wire(CONSUMER_PROTOCOL_TYPE)))
            .with_protocol_name(Some(wire(&joined.protocol_name)))
            .with_member_id(wire(&joined.member_id));
        let response = Some((context.waiter, Response::JoinGroup(response)));
        self.write_or_downgrade(group_id, joined.change, response, now, effects);
        if let Some(too_large) = joined.too_large {
            let group_id = group_id.clone();
            effects.push(Effect::Report {
                group_id,
                too_large,
            });
        }
    }

    /// What it is told is what is committed.
    pub(super) fn sync_consumer_group(
        &mut self,
        context: &RequestContext,
        request: &SyncGroupRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let group_id: Arc<str> = Arc::from(request.group_id.as_str());
        let Some(group) = self.consumer_groups.get(&group_id) else {
            return;
        };
        let protocol = (
            request.protocol_type.as_deref(),
            request.protocol_name.as_deref(),
        );
        let synced = group.sync_classic(
            &request.member_id,
            request.group_instance_id.as_deref(),
            request.generation_id,
            protocol,
            &self.topics,
        );
        let member_id: Arc<str> = Arc::from(request.member_id.as_str());
        match synced {
            Ok(assignment) => {
                self.keep_classic_member(&group_id, &member_id, now);
                let sync = TimerChange {
                    member_id,
                    timer: ConsumerTimer::Sync,
                    after_ms: None,
                };
                self.set_consumer_timers(&group_id, &[sync], now);
                let response = SyncGroupResponse::default()
                    .with_protocol_type(request.protocol_type.clone())
                    .with_protocol_name(request.protocol_name.clone())
                    .with_assignment(assignment);
                let last = self
                    .appends
                    .last_on_consumer_group(&group_id, AppendToken::MAX);
                let response = Response::SyncGroup(response);
                self.reply_after(last, context.waiter, response, effects);
            }
            Err(error) => {
                if error == ResponseError::RebalanceInProgress {
                    self.await_classic_join(&group_id, &member_id, now);
                }
                reply(effects, context, sync_group::failed(error));
            }
        }
    }

    /// Of a group that is there.
    pub(super) fn beat_classic_member(
        &mut self,
        group_id: &Arc<str>,
        request: &HeartbeatRequest,
        now: Now,
    ) -> Result<(), ResponseError> {
        let group = self.consumer_groups.get_mut(group_id);
        let group = group.ok_or(ResponseError::UnknownMemberId)?;
        let beaten = group.beat_classic(
            &request.member_id,
            request.group_instance_id.as_deref(),
            request.generation_id,
            &self.topics,
            self.config.consumer_of(group_id),
            now,
        );
        let member_id: Arc<str> = Arc::from(request.member_id.as_str());
        if beaten.is_ok() || beaten == Err(ResponseError::RebalanceInProgress) {
            self.keep_classic_member(group_id, &member_id, now);
        }
        if beaten == Err(ResponseError::RebalanceInProgress) {
            self.await_classic_join(group_id, &member_id, now);
        }
        beaten
    }

    /// It has its whole session from now.
    fn keep_classic_member(&mut self, group_id: &Arc<str>, member_id: &Arc<str>, now: Now) {
        let group = self.consumer_groups.get(group_id);
        let member = group.and_then(|group| group.members().get(member_id));
        let classic = member.and_then(|member| member.metadata.classic.as_ref());
        let session = classic.map(|classic| TimerChange {
            member_id: member_id.clone(),
            timer: ConsumerTimer::Session,
            after_ms: Some(classic.session_timeout_ms),
        });
        self.set_consumer_timers(group_id, &Vec::from_iter(session), now);
    }

    /// From when it was first told to join.
    fn await_classic_join(&mut self, group_id: &Arc<str>, member_id: &Arc<str>, now: Now) {
        let key = TimerKey::Consumer {
            group_id: group_id.clone(),
            member_id: member_id.clone(),
            timer: ConsumerTimer::Join,
        };
        let group = self.consumer_groups.get(group_id);
        let member = group.and_then(|group| group.members().get(member_id));
        if let Some(member) = member
            && !self.timers.is_scheduled(&key)
        {
            let after_ms = member.metadata.rebalance_timeout_ms.max(WAIT_MS_MIN);
            let deadline_ms = now.monotonic_ms.saturating_add(after_ms.into());
            self.timers.schedule(key, deadline_ms);
        }
    }
}
