//! A group with members changes its protocol: the first that comes with KIP-848 makes it a group of that, and when
//! the last of these has gone it is a classic one again.

use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::rebalance::{self, answer_waiters};
use super::{Coordinator, Parts};
use crate::append::{Change, Deferred};
use crate::consumer::migrate::{Downgraded, Upgraded, upgraded};
use crate::consumer::{ConsumerGroup, ConsumerTimer, GroupChange, Refused, TimerChange, Undo};
use crate::effect::{Effect, Record, WaiterId};
use crate::group::Group;
use crate::now::Now;
use crate::record::group_record;
use crate::response::Response;

/// What a record takes in a batch besides its key and its value: lengths, attributes and numbers.
pub(super) const RECORD_FRAMING_BYTES_MAX: usize = 32;

impl Coordinator {
    /// What a classic group with members is to become, for one that joins with KIP-848.
    pub(super) fn upgraded(&self, group: &Group) -> Result<Upgraded, Refused> {
        let config = &self.config.consumer;
        let refused = |why: &str| {
            let message = format!(
                "Group {} has members of the classic protocol and cannot become a consumer group: {why}",
                group.id
            );
            Refused::new(ResponseError::GroupIdNotFound, message)
        };
        if !config.migration_policy.allows_upgrade() {
            return Err(refused("group.consumer.migration.policy forbids it"));
        }
        if group.members.len() > config.max_size {
            return Err(refused("it is larger than group.consumer.max.size"));
        }
        let upgraded = upgraded(group, &self.topics).map_err(|why| refused(&why))?;
        if upgraded.bytes > config.batch_bytes_max {
            return Err(refused(
                "its members take more than max.message.bytes of __consumer_offsets",
            ));
        }
        Ok(upgraded)
    }

    /// Whoever waits in the classic group is to join again. The group as it would be if that came to nothing.
    pub(super) fn leave_classic(
        &mut self,
        group_id: &Arc<str>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Box<Group>> {
        let mut group = self.groups.remove(group_id)?;
        let mut turn = self.parts(now, effects).turn;
        for member in group.members.values_mut() {
            let error = ResponseError::RebalanceInProgress;
            answer_waiters(member, &member.id, error, &mut turn);
            member.awaiting_join = None;
            member.awaiting_sync = None;
        }
        Some(Box::new(group))
    }

    /// Writes a change, and where nobody is left who speaks KIP-848, that the group is a classic one.
    pub(super) fn write_or_downgrade(
        &mut self,
        group_id: &Arc<str>,
        change: GroupChange,
        response: Option<(WaiterId, Response)>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if change.records.is_empty() {
            return self.write_consumer_change(group_id, change, response, now, effects);
        }
        match self.downgraded(group_id, &change.undo, now) {
            None => self.write_consumer_change(group_id, change, response, now, effects),
            Some(downgraded) => {
                self.downgrade(group_id, downgraded, change, response, now, effects);
            }
        }
    }

    fn downgraded(&self, group_id: &str, undo: &Undo, now: Now) -> Option<Downgraded> {
        let group = self.consumer_groups.get(group_id)?;
        let is_possible = self.config.consumer.migration_policy.allows_downgrade()
            && group.is_all_classic()
            && group.members().len() <= self.config.group_max_size;
        is_possible.then(|| group.downgraded(undo, &self.topics, now.wall_ms))?
    }

    fn downgrade(
        &mut self,
        group_id: &Arc<str>,
        downgraded: Downgraded,
        change: GroupChange,
        response: Option<(WaiterId, Response)>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.consumer_groups.get(group_id) else {
            return;
        };
        let tombstones = group.tombstones();
        let records = change.records.iter().chain(&tombstones);
        let records = records.map(|record| record.encode(group_id));
        let mut records = Vec::from_iter(records);
        records.push(group_record(&downgraded.group, &downgraded.assignments));
        let bytes_of = |record: &Record| {
            let value = record.value.as_ref().map_or(0, |value| value.len());
            record.key.len() + value + RECORD_FRAMING_BYTES_MAX
        };
        let bytes: usize = records.iter().map(bytes_of).sum();
        if bytes > self.config.consumer.batch_bytes_max {
            // It goes on as it is, and tries again with the next member that leaves.
            return self.write_consumer_change(group_id, change, response, now, effects);
        }
        let Some(group) = self.consumer_groups.remove(group_id) else {
            return;
        };
        self.set_consumer_timers(group_id, &change.timers, now);
        self.set_consumer_timers(group_id, &no_timers(&group), now);
        let deferred = response.map(|(waiter, response)| Deferred::Reply { waiter, response });
        let pending = Change::Downgraded {
            group: Box::new(group),
            undo: change.undo,
        };
        self.groups.insert(group_id.clone(), downgraded.group);
        let Parts {
            groups, mut turn, ..
        } = self.parts(now, effects);
        turn.append(records, pending, Vec::from_iter(deferred));
        if let Some(group) = groups.get_mut(group_id) {
            for member_id in Vec::from_iter(group.members.keys().cloned()) {
                turn.schedule_session(group, &member_id);
            }
            rebalance::prepare(group, &mut turn);
        }
    }

    /// The group is of KIP-848 still.
    pub(super) fn undo_downgrade(
        &mut self,
        mut group: ConsumerGroup,
        undo: Undo,
        error: ResponseError,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let group_id = group.id().clone();
        if let Some(classic) = self.groups.remove(&group_id) {
            let mut turn = self.parts(now, effects).turn;
            for member in classic.members.values() {
                answer_waiters(member, &member.id, error, &mut turn);
            }
        }
        let config = self.config.consumer_of(&group_id);
        let undone = group.undo(undo, config, now);
        let mut timers = group.timers(config);
        timers.extend(undone);
        self.consumer_groups.insert(group_id.clone(), group);
        self.set_consumer_timers(&group_id, &timers, now);
    }
}

/// Of no member.
pub(super) fn no_timers(group: &ConsumerGroup) -> Vec<TimerChange> {
    let member_ids = group.members().keys();
    let timers = member_ids.flat_map(|member_id| {
        ConsumerTimer::ALL.map(|timer| TimerChange {
            member_id: member_id.clone(),
            timer,
            after_ms: None,
        })
    });
    timers.collect()
}
