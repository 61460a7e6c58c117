use std::sync::Arc;

use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::config::ConsumerGroupConfig;
use super::group::{ConsumerGroup, tombstones_of_member};
use super::member::{ConsumerMember, CurrentAssignment, EpochPartitions, MemberMetadata};
use super::record::ConsumerRecord;
use super::refused::Refused;
use super::sender::Sender;
use super::step::Step;
use super::timer::{ConsumerTimer, TimerChange};
use super::too_large::TooLarge;
use super::topics::Topics;
use super::turn::Turn;
use super::undo::Undo;
use super::{JOIN_EPOCH, LEAVE_EPOCH, LEAVE_FOR_A_WHILE_EPOCH, leave, validate::validate};
use crate::assignor::Partitions;
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
    /// What was left as it is.
    pub too_large: Option<TooLarge>,
    /// For [`ConsumerGroup::undo`].
    pub undo: Undo,
}

impl ConsumerGroup {
    /// Takes a ConsumerGroupHeartbeat, version 0 or 1. One that joins makes the group: the caller hands in a new
    /// one, and drops it when it is unused afterwards. A regular expression that does not compile the caller
    /// refuses before, as INVALID_REGULAR_EXPRESSION (128): here only its length is looked at.
    pub fn heartbeat(
        &mut self,
        context: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
        topics: &Topics,
        config: &ConsumerGroupConfig,
        now: Now,
    ) -> Result<HeartbeatOutcome, Refused> {
        let assignor = validate(config, context.api_version, request)?;
        self.hear(&request.member_id, context.connection)?;
        if matches!(request.member_epoch, LEAVE_EPOCH | LEAVE_FOR_A_WHILE_EPOCH) {
            return leave::leave(self, request, topics);
        }
        let owned = owned(request);
        let sender = self.sender(context, request, owned.as_ref(), config)?;
        let regex_count = self.regexes.len();
        let mut turn = Turn::new(self, topics);
        let start = turn.savepoint();
        let (member_id, predecessor, is_new) = match sender {
            Sender::Known(id) => (id, None, false),
            Sender::New(id) => (id, None, true),
            Sender::Successor { of, id } => {
                succeed(&mut turn, &of, &id);
                (id, Some(of), false)
            }
        };
        let was_member = !is_new && predecessor.is_none();
        let before = turn.group.members.get(&member_id);
        let before = before.map(|member| member.metadata.clone());
        let before = before.unwrap_or_default();
        let metadata = before.updated(context, request, assignor);
        let is_news = !was_member || metadata != before;
        let has_subscription_changed =
            update_member(&mut turn, &member_id, is_new, &before, metadata);
        if let Err(refused) = turn.group.check_regex_count(regex_count) {
            turn.roll_back(start);
            return Err(refused);
        }
        let session = TimerChange {
            member_id: member_id.clone(),
            timer: ConsumerTimer::Session,
            after_ms: Some(config.session_timeout_ms),
        };
        let step = Step {
            member_id: &member_id,
            owned: owned.as_ref(),
            has_subscription_changed,
            is_news,
            start,
        };
        let taken = step.take(&mut turn, config, now).map_err(|mut refused| {
            refused.timers.extend(was_member.then(|| session.clone()));
            refused
        })?;
        turn.timers.push(session);
        if let Some(predecessor) = predecessor {
            turn.forget_connection(&predecessor);
        }
        // Over a new connection too: it may be a member that was fenced, does not know, and was brought back by a
        // request of its own that came late.
        let is_new_connection = turn.group.tell(&member_id, context.connection);
        let is_told = request.member_epoch == JOIN_EPOCH
            || is_full(request)
            || is_new_connection
            || taken.has_assignment_changed;
        let member = &turn.group.members[&member_id];
        let response = ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(wire(&member_id)))
            .with_member_epoch(member.current.epoch)
            .with_heartbeat_interval_ms(config.heartbeat_interval_ms)
            .with_assignment(is_told.then(|| assignment(&member.current.assigned)));
        let to_resolve = turn.group.start_to_resolve(topics, config, now);
        let change = turn.into_change();
        Ok(HeartbeatOutcome {
            records: change.records,
            timers: change.timers,
            response,
            to_resolve,
            too_large: taken.too_large,
            undo: change.undo,
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
            set(
                ConsumerTimer::Session,
                member.metadata.session_timeout_ms(config),
            );
            if member.has_to_revoke_in_time() {
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

/// Takes over what a member says of itself; says whether it subscribes to something else than before.
pub(super) fn update_member(
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

/// The next process of a static member has its subscription, its target and its partitions. Where its id is that
/// of another member already, what that one had is free.
pub(super) fn succeed(turn: &mut Turn<'_>, of: &Arc<str>, member_id: &Arc<str>) {
    let replaced = turn.group.members.get(member_id);
    let replaced = replaced.map(|member| member.metadata.subscribed_regex.clone());
    let ConsumerMember { metadata, current } = turn.group.members[of].clone();
    let target = turn.group.target.get(of).cloned();
    for record in tombstones_of_member(of) {
        turn.write(record);
    }
    for timer in ConsumerTimer::ALL {
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
    if let Some(regex) = replaced {
        turn.set_timer(member_id, ConsumerTimer::Revocation, None);
        turn.forget_regex(regex.as_ref());
        turn.update_epoch(true);
    }
}

fn assignment(assigned: &EpochPartitions) -> Assignment {
    let topics = assigned.iter().map(|(topic_id, partitions)| {
        TopicPartitions::default()
            .with_topic_id(*topic_id)
            .with_partitions(partitions.keys().copied().collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
