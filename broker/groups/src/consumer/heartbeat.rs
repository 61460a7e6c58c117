use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::config::ConsumerGroupConfig;
use super::group::{ConsumerGroup, tombstones_of_member};
use super::member::{
    ConsumerMember, CurrentAssignment, EpochPartitions, MemberMetadata, MemberState,
};
use super::reconcile::Reconciliation;
use super::record::ConsumerRecord;
use super::refused::Refused;
use super::sender::Sender;
use super::timer::{ConsumerTimer, TimerChange};
use super::topics::Topics;
use super::turn::Turn;
use super::{JOIN_EPOCH, LEAVE_EPOCH, LEAVE_FOR_A_WHILE_EPOCH, leave, target, validate::validate};
use crate::assignor::{Assignor, Partitions};
use crate::now::Now;
use crate::request::RequestContext;
use crate::response::wire;

/// What a heartbeat brings about.
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatOutcome {
    /// To be appended as one batch; often none.
    pub records: Vec<ConsumerRecord>,
    /// In this order.
    pub timers: Vec<TimerChange>,
    /// To be sent once the records are committed, and those of all calls before.
    pub response: ConsumerGroupHeartbeatResponse,
    /// Regular expressions to be matched against all topics that their members may describe, off this thread;
    /// then [`ConsumerGroup::resolve`] is to be called, whatever came of it.
    pub to_resolve: Vec<Arc<str>>,
}

impl ConsumerGroup {
    /// Takes a ConsumerGroupHeartbeat, version 0 or 1. One that joins makes the group: the caller hands in a new
    /// one, and drops it when it is unused afterwards. `connection` numbers the connection that it came over, in
    /// the order in which they were accepted.
    pub fn heartbeat(
        &mut self,
        context: &RequestContext,
        connection: u64,
        request: &ConsumerGroupHeartbeatRequest,
        topics: &Topics,
        config: &ConsumerGroupConfig,
        now: Now,
    ) -> Result<HeartbeatOutcome, Refused> {
        let assignor = validate(config, context.api_version, request)?;
        let newest = self.connections.get(request.member_id.as_str());
        let is_new_connection = newest != Some(&connection);
        if newest.is_some_and(|newest| connection < *newest) {
            // Whoever sent it no longer waits for the answer.
            return Err(Refused::new(
                ResponseError::NetworkException,
                "the member has spoken over a newer connection since",
            ));
        }
        if matches!(request.member_epoch, LEAVE_EPOCH | LEAVE_FOR_A_WHILE_EPOCH) {
            return leave::leave(self, request, topics);
        }
        let owned = owned(request);
        let sender = self.sender(context, request, owned.as_ref(), config)?;
        let was_member = matches!(sender, Sender::Known(_));
        let mut turn = Turn::new(self, topics);
        let (member_id, is_new) = match sender {
            Sender::Known(id) => (id, false),
            Sender::New(id) => (id, true),
            Sender::Successor { of, id } => {
                succeed(&mut turn, &of, &id);
                (id, false)
            }
        };
        let before = turn.group.members.get(&member_id);
        let before = before.map(|member| member.metadata.clone());
        let before = before.unwrap_or_default();
        let metadata = metadata(context, request, assignor, &before);
        let has_subscription_changed =
            update_member(&mut turn, &member_id, is_new, &before, metadata);
        target::update(&mut turn, config, now);
        let has_assignment_changed = reconcile(
            &mut turn,
            &member_id,
            has_subscription_changed,
            owned.as_ref(),
        );
        let session = TimerChange {
            member_id: member_id.clone(),
            timer: ConsumerTimer::Session,
            after_ms: Some(config.session_timeout_ms),
        };
        if let Err(mut refused) = turn.check_size(config) {
            refused.timers.extend(was_member.then_some(session));
            return Err(refused);
        }
        turn.timers.push(session);
        let member = &turn.group.members[&member_id];
        // Over a new connection too: it may be a member that was fenced, does not know, and was brought back by a
        // request of its own that came late.
        let is_told = request.member_epoch == JOIN_EPOCH
            || is_full(request)
            || is_new_connection
            || has_assignment_changed;
        let response = ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(wire(&member_id)))
            .with_member_epoch(member.current.epoch)
            .with_heartbeat_interval_ms(config.heartbeat_interval_ms)
            .with_assignment(is_told.then(|| assignment(&member.current.assigned)));
        turn.group.connections.insert(member_id, connection);
        let to_resolve = turn.group.start_to_resolve(topics, config, now);
        Ok(HeartbeatOutcome {
            records: turn.records,
            timers: turn.timers,
            response,
            to_resolve,
        })
    }

    /// The deadlines that a group has when it has been loaded.
    pub fn timers(&self, config: &ConsumerGroupConfig) -> Vec<TimerChange> {
        let mut timers = Vec::new();
        for (member_id, member) in &self.members {
            let mut set = |timer, after_ms| {
                timers.push(TimerChange {
                    member_id: member_id.clone(),
                    timer,
                    after_ms: Some(after_ms),
                });
            };
            set(ConsumerTimer::Session, config.session_timeout_ms);
            if member.current.state == MemberState::UnrevokedPartitions {
                set(
                    ConsumerTimer::Revocation,
                    member.metadata.rebalance_timeout_ms,
                );
            }
        }
        timers
    }
}

fn owned(request: &ConsumerGroupHeartbeatRequest) -> Option<Partitions> {
    let mut owned = Partitions::new();
    for topic in request.topic_partitions.as_ref()? {
        if !topic.partitions.is_empty() {
            let partitions = owned.entry(topic.topic_id).or_default();
            partitions.extend(&topic.partitions);
        }
    }
    Some(owned)
}

/// It says all there is to say of the member: what an answer that was lost told is not known to it.
fn is_full(request: &ConsumerGroupHeartbeatRequest) -> bool {
    request.rebalance_timeout_ms != -1
        && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
        && request.topic_partitions.is_some()
}

/// What the request does not say stays.
fn metadata(
    context: &RequestContext,
    request: &ConsumerGroupHeartbeatRequest,
    assignor: Option<Assignor>,
    before: &MemberMetadata,
) -> MemberMetadata {
    let text = |new: Option<&str>, old: &Option<Arc<str>>| match new {
        Some(new) if old.as_deref() != Some(new) => Some(Arc::from(new)),
        _ => old.clone(),
    };
    let subscribed_topics = match &request.subscribed_topic_names {
        Some(names) => BTreeSet::from_iter(names.iter().map(|name| Arc::from(name.as_str()))),
        None => before.subscribed_topics.clone(),
    };
    MemberMetadata {
        instance_id: text(request.instance_id.as_deref(), &before.instance_id),
        rack_id: text(request.rack_id.as_deref(), &before.rack_id),
        client_id: Arc::from(context.client_id.as_str()),
        client_host: Arc::from(context.client_host.as_str()),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => before.rebalance_timeout_ms,
            timeout_ms => timeout_ms,
        },
        subscribed_topics,
        subscribed_regex: match request.subscribed_topic_regex.as_deref() {
            // There is none any more.
            Some("") => None,
            regex => text(regex, &before.subscribed_regex),
        },
        assignor: assignor.or(before.assignor),
    }
}

/// Takes over what a member says of itself; says whether it subscribes to something else than before.
fn update_member(
    turn: &mut Turn<'_>,
    member_id: &Arc<str>,
    is_new: bool,
    before: &MemberMetadata,
    metadata: MemberMetadata,
) -> bool {
    let old_regex = before.subscribed_regex.as_ref();
    let regex = metadata.subscribed_regex.clone();
    let have_names_changed = metadata.subscribed_topics != before.subscribed_topics;
    let has_regex_changed = regex.as_ref() != old_regex;
    if is_new || metadata != *before {
        turn.write(ConsumerRecord::Member {
            member_id: member_id.clone(),
            metadata: Some(metadata),
        });
    }
    turn.forget_regex(old_regex);
    // One that is not resolved yet changes nothing till it is.
    let is_known = |regex: &Arc<str>| turn.group.resolved.contains_key(regex);
    let brings_topics = has_regex_changed && regex.as_ref().is_none_or(is_known);
    turn.update_epoch(is_new || have_names_changed || brings_topics);
    have_names_changed || has_regex_changed
}

/// The next process of a static member has its subscription, its target and its partitions.
fn succeed(turn: &mut Turn<'_>, of: &Arc<str>, member_id: &Arc<str>) {
    let ConsumerMember { metadata, current } = turn.group.members[of].clone();
    let target = turn.group.target.get(of).cloned();
    for record in tombstones_of_member(of) {
        turn.write(record);
    }
    for timer in [ConsumerTimer::Session, ConsumerTimer::Revocation] {
        turn.set_timer(of, timer, None);
    }
    turn.write(ConsumerRecord::Member {
        member_id: member_id.clone(),
        metadata: Some(metadata),
    });
    turn.write(ConsumerRecord::Target {
        member_id: member_id.clone(),
        partitions: Some(target.unwrap_or_default()),
    });
    turn.write(ConsumerRecord::Current {
        member_id: member_id.clone(),
        assignment: Some(CurrentAssignment {
            epoch: JOIN_EPOCH,
            previous_epoch: JOIN_EPOCH,
            ..current
        }),
    });
}

/// Takes the member's next step; says whether what it is to read has changed.
fn reconcile(
    turn: &mut Turn<'_>,
    member_id: &Arc<str>,
    has_subscription_changed: bool,
    owned: Option<&Partitions>,
) -> bool {
    let group = &*turn.group;
    let member = &group.members[member_id];
    let target_epoch = group.target_epoch.epoch;
    if !has_subscription_changed && member.current.is_reconciled_to(target_epoch) {
        return false;
    }
    let subscribed = group.topic_ids(&member.metadata, turn.topics);
    let nothing = Partitions::new();
    let reconciliation = Reconciliation {
        current: &member.current,
        target_epoch,
        target: group.target.get(member_id).unwrap_or(&nothing),
        is_subscribed: &|topic_id| subscribed.contains(topic_id),
        has_subscription_changed,
        is_taken: &|topic_id, partition| {
            let owner = group.owner(topic_id, partition);
            owner.is_some_and(|owner| owner != member_id)
        },
        owned,
    };
    let next = reconciliation.next();
    if next == member.current {
        return false;
    }
    let has_changed = next.assigned != member.current.assigned;
    let revocation_ms = (next.state == MemberState::UnrevokedPartitions)
        .then_some(member.metadata.rebalance_timeout_ms);
    turn.write(ConsumerRecord::Current {
        member_id: member_id.clone(),
        assignment: Some(next),
    });
    turn.set_timer(member_id, ConsumerTimer::Revocation, revocation_ms);
    has_changed
}

fn assignment(assigned: &EpochPartitions) -> Assignment {
    let topics = assigned.iter().map(|(topic_id, partitions)| {
        TopicPartitions::default()
            .with_topic_id(*topic_id)
            .with_partitions(partitions.keys().copied().collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
