//! What changes consumer groups besides heartbeats, and how their changes are written.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;

use super::leave_group::answer;
use super::migration::no_timers;
use super::{ConsumerGroups, Coordinator, join_group};
use crate::append::{Change, Deferred, UnderWay};
use crate::config::GroupConfig;
use crate::consumer::{
    ConsumerGroup, ConsumerRecord, ConsumerTimer, GroupChange, TimerChange, Topics, Undo,
};
use crate::effect::{AppendToken, Effect, Record, WaiterId};
use crate::group::Group;
use crate::now::Now;
use crate::request::RequestContext;
use crate::response::{Response, leave_response};
use crate::timers::TimerKey;

impl Coordinator {
    /// What topics there are now. To be called before the first request is handled: a group that sees fewer than
    /// before takes partitions away.
    pub fn on_topics_changed(&mut self, topics: Arc<Topics>) {
        self.topics = topics;
    }

    /// What counts from now on. What has begun, a session for example, ends as it was to end.
    pub fn on_config_changed(&mut self, config: GroupConfig) {
        self.config = config;
    }

    /// Takes what the regular expressions of a group match in that version of the topics: the answer to
    /// [`Effect::Resolve`]. Nothing when that failed.
    pub fn on_resolved(
        &mut self,
        group_id: &Arc<str>,
        matches: &[(Arc<str>, BTreeSet<Arc<str>>)],
        version: u64,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.loading.contains(group_id) {
            return effects;
        }
        let Some(group) = self.consumer_groups.get_mut(group_id) else {
            return effects;
        };
        let config = self.config.consumer_of(group_id);
        let resolution = group.resolve(matches, version, &self.topics, config, now);
        for change in resolution.batches {
            self.write_consumer_change(group_id, change, None, now, &mut effects);
        }
        for too_large in resolution.too_large {
            let group_id = group_id.clone();
            effects.push(Effect::Report {
                group_id,
                too_large,
            });
        }
        effects
    }

    pub(super) fn end_consumer_timer(
        &mut self,
        group_id: &Arc<str>,
        member_id: &Arc<str>,
        timer: ConsumerTimer,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.consumer_groups.get_mut(group_id) else {
            return;
        };
        let change = match timer {
            ConsumerTimer::Session => group.end_session(member_id, &self.topics),
            ConsumerTimer::Revocation => group.end_revocation(member_id, &self.topics),
            ConsumerTimer::Join | ConsumerTimer::Sync => {
                group.end_classic_wait(member_id, &self.topics)
            }
        };
        self.write_or_downgrade(group_id, change, None, now, effects);
    }

    pub(super) fn leave_consumer_group(
        &mut self,
        context: &RequestContext,
        group_id: &Arc<str>,
        leaving: &[MemberIdentity],
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.consumer_groups.get_mut(group_id) else {
            return;
        };
        let config = self.config.consumer_of(group_id);
        let (outcomes, changes) = group.remove_members(leaving, &self.topics, config);
        let members = leaving.iter().zip(outcomes);
        let members = members.map(|(member, outcome)| answer(member, outcome));
        let response = leave_response(context.api_version, members.collect());
        // Where one cannot be written, neither can those after it.
        let mut response = Some((context.waiter, response));
        let last = changes.len() - 1;
        for (index, change) in changes.into_iter().enumerate() {
            if index == last {
                self.write_or_downgrade(group_id, change, response.take(), now, effects);
            } else {
                self.write_consumer_change(group_id, change, None, now, effects);
            }
        }
    }

    /// It is empty, and its name is taken by a classic group.
    pub(super) fn end_consumer_group(
        &mut self,
        group_id: &Arc<str>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(group) = self.consumer_groups.remove(group_id) {
            let records = encode(group_id, &group.tombstones());
            let change = Change::EndedConsumerGroup(Box::new(group));
            let mut turn = self.parts(now, effects).turn;
            turn.append(records, change, Vec::new());
        }
    }

    /// It was not to be: whoever has joined the classic group of its name has joined none.
    pub(super) fn restore_ended(
        &mut self,
        group: ConsumerGroup,
        error: ResponseError,
        effects: &mut Vec<Effect>,
    ) {
        let joined = self.groups.remove(group.id());
        let members = joined.into_iter().flat_map(|group| group.members);
        for (member_id, member) in members {
            if let Some(waiter) = member.awaiting_join {
                let response = join_group::failed(&member_id, error);
                effects.push(Effect::Reply {
                    waiter: waiter.id,
                    response,
                });
            }
        }
        self.consumer_groups.insert(group.id().clone(), group);
    }

    pub(super) fn undo_consumer_group(
        &mut self,
        group_id: &Arc<str>,
        undo: Undo,
        replaced: Option<Box<Group>>,
        now: Now,
    ) {
        let Some(group) = self.consumer_groups.get_mut(group_id) else {
            return;
        };
        if let Some(replaced) = replaced {
            let timers = no_timers(group);
            self.set_consumer_timers(group_id, &timers, now);
            self.consumer_groups.remove(group_id);
            self.groups.insert(group_id.clone(), *replaced);
            return;
        }
        let timers = group.undo(undo, self.config.consumer_of(group_id), now);
        if group.is_unused() {
            self.consumer_groups.remove(group_id);
        }
        self.set_consumer_timers(group_id, &timers, now);
    }

    pub(super) fn set_consumer_timers(
        &mut self,
        group_id: &Arc<str>,
        changes: &[TimerChange],
        now: Now,
    ) {
        for change in changes {
            let key = TimerKey::Consumer {
                group_id: group_id.clone(),
                member_id: change.member_id.clone(),
                timer: change.timer,
            };
            match change.after_ms {
                Some(after_ms) => {
                    let deadline_ms = now.monotonic_ms.saturating_add(after_ms.into());
                    self.timers.schedule(key, deadline_ms);
                }
                None => self.timers.cancel(&key),
            }
        }
    }

    /// The answer goes out once the records are committed; without any, once those before them are: it may tell
    /// of what they say.
    pub(super) fn append_to_consumer_group(
        &mut self,
        group_id: &Arc<str>,
        records: Vec<Record>,
        (undo, replaced): (Undo, Option<Box<Group>>),
        response: Option<(WaiterId, Response)>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if records.is_empty() {
            if let Some((waiter, response)) = response {
                let last = self
                    .appends
                    .last_on_consumer_group(group_id, AppendToken::MAX);
                self.reply_after(last, waiter, response, effects);
            }
            return;
        }
        let deferred = response.map(|(waiter, response)| Deferred::Reply { waiter, response });
        let change = Change::ConsumerGroup {
            group_id: group_id.clone(),
            undo,
            replaced,
        };
        let mut turn = self.parts(now, effects).turn;
        turn.append(records, change, Vec::from_iter(deferred));
    }

    pub(super) fn reply_after(
        &mut self,
        last: Option<UnderWay>,
        waiter: WaiterId,
        response: Response,
        effects: &mut Vec<Effect>,
    ) {
        match last {
            None => effects.push(Effect::Reply { waiter, response }),
            // What it would tell may come to nothing, and nobody waits for that any longer.
            Some(last) if last.is_timed_out => {
                let response = response.into_failed(ResponseError::CoordinatorNotAvailable);
                effects.push(Effect::Reply { waiter, response });
            }
            Some(last) => {
                let deferred = Deferred::Reply { waiter, response };
                self.appends.defer(last.token, deferred);
            }
        }
    }

    pub(super) fn count_rebalances(&mut self, records: &[ConsumerRecord]) {
        let is_new_epoch =
            |record: &ConsumerRecord| matches!(record, ConsumerRecord::Epoch(Some(_)));
        self.rebalances.consumer_rebalances += u64::from(records.iter().any(is_new_epoch));
    }

    pub(super) fn write_consumer_change(
        &mut self,
        group_id: &Arc<str>,
        change: GroupChange,
        response: Option<(WaiterId, Response)>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.set_consumer_timers(group_id, &change.timers, now);
        self.count_rebalances(&change.records);
        let records = encode(group_id, &change.records);
        let before = (change.undo, None);
        self.append_to_consumer_group(group_id, records, before, response, now, effects);
    }
}

/// Takes over a record of the log. A tombstone can outlive its group.
pub(super) fn replay(groups: &mut ConsumerGroups, group_id: Arc<str>, record: &ConsumerRecord) {
    if matches!(record, ConsumerRecord::Epoch(None)) {
        groups.remove(&group_id);
    } else if !record.is_tombstone() || groups.contains_key(&group_id) {
        let group = groups.entry(group_id);
        let group = group.or_insert_with_key(|group_id| ConsumerGroup::new(group_id.clone()));
        group.apply(record);
    }
}

fn encode(group_id: &Arc<str>, records: &[ConsumerRecord]) -> Vec<Record> {
    let records = records.iter();
    records.map(|record| record.encode(group_id)).collect()
}
