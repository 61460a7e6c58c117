use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::{Coordinator, Deleted, Parts, static_member, sync_group};
use crate::append::{AppendError, Change, Deferred};
use crate::effect::{AppendToken, Effect};
use crate::group::Group;
use crate::now::Now;
use crate::offsets::OffsetChange;

impl Coordinator {
    pub(super) fn fail(
        &mut self,
        token: AppendToken,
        error: AppendError,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(failed) = self.appends.take_failed(token) else {
            return;
        };
        let failure = Some(error.response_error());
        if error == AppendError::NotCoordinator && failed.change.is_of_consumer_group() {
            // What came after may be in the log, and is built on it.
            self.answer_deferred(token, failed.deferred, failure, effects);
            return effects.push(Effect::Reload);
        }
        let mut undone = Vec::from_iter(std::iter::from_fn(|| self.appends.take_built_on(&failed)));
        undone.push(failed);
        for pending in undone {
            self.settle(pending.token, pending.change, failure, now, effects);
            self.answer_deferred(pending.token, pending.deferred, failure, effects);
        }
    }

    /// Makes a batch come true, or undoes what was done in expectation of it.
    pub(super) fn settle(
        &mut self,
        token: AppendToken,
        change: Change,
        failure: Option<ResponseError>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match change {
            Change::EmptyGroup | Change::GivenUp => {}
            Change::ConsumerGroup {
                group_id,
                undo,
                replaced,
            } => {
                if failure.is_some() {
                    self.undo_consumer_group(&group_id, undo, replaced, now);
                }
            }
            Change::Downgraded { group, undo } => {
                if let Some(error) = failure {
                    self.undo_downgrade(*group, undo, error, now, effects);
                }
            }
            Change::EndedConsumerGroup(ended) => {
                if let Some(error) = failure {
                    self.restore_ended(*ended, error, effects);
                }
            }
            Change::Inherited(tail) => {
                // When it never will be committed, this coordinator has nothing more to say of its groups.
                if failure.is_none() {
                    self.take_over(tail, now, effects);
                }
            }
            Change::Offsets(changes) => {
                if failure.is_none() {
                    self.apply_offsets(changes, now);
                }
            }
            Change::Pending {
                producer_id,
                offsets,
            } => {
                if failure.is_none() {
                    self.apply_pending(producer_id, offsets, now);
                }
            }
            Change::Completion {
                producer_id,
                is_commit,
            } => {
                if failure.is_none() {
                    self.complete(producer_id, is_commit, now);
                }
            }
            Change::Delete { offsets, groups } => {
                if failure.is_none() {
                    offsets
                        .into_iter()
                        .for_each(|change| self.offsets.apply(change));
                } else {
                    self.restore_groups(groups);
                }
            }
            Change::Assignment {
                group_id,
                assignments,
            } => {
                let Parts {
                    groups, mut turn, ..
                } = self.parts(now, effects);
                if let Some(group) = groups.get_mut(&group_id) {
                    let is_stable =
                        sync_group::settle(group, token, assignments, failure, &mut turn);
                    self.rebalances.classic_rebalances += u64::from(is_stable);
                }
            }
            Change::StaticMember(change) => {
                let Parts {
                    groups, mut turn, ..
                } = self.parts(now, effects);
                if let Some(group) = groups.get_mut(&change.group_id) {
                    static_member::settle(group, *change, failure, &mut turn);
                }
            }
        }
    }

    /// Whoever has waited for `offsets.commit.timeout.ms` is told so. The batch may be committed yet, and is in
    /// force from then on; but a group does not stand still for it.
    pub(super) fn time_out_appends(&mut self, now: Now, effects: &mut Vec<Effect>) {
        // Kafka: REQUEST_TIMED_OUT, which clients of groups do not know.
        let error = ResponseError::CoordinatorNotAvailable;
        for timed_out in self.appends.time_out(now.monotonic_ms) {
            self.settle(timed_out.token, timed_out.undone, Some(error), now, effects);
            self.answer_deferred(timed_out.token, timed_out.deferred, Some(error), effects);
        }
    }

    pub(super) fn answer_deferred(
        &mut self,
        token: AppendToken,
        deferred: Vec<Deferred>,
        failure: Option<ResponseError>,
        effects: &mut Vec<Effect>,
    ) {
        for deferred in deferred {
            match deferred {
                Deferred::Reply { waiter, response } => {
                    let response = match failure {
                        None => response,
                        Some(error) => response.into_failed(error),
                    };
                    effects.push(Effect::Reply { waiter, response });
                }
                Deferred::OffsetFetch { waiter, request } => {
                    self.fetch_before(token, waiter, request, effects);
                }
            }
        }
    }

    /// An offset of a group that does not exist brings the group into being, unless the group's
    /// deletion follows it in the log.
    fn apply_offsets(&mut self, changes: Vec<OffsetChange>, now: Now) {
        for change in changes {
            if change.value.is_some() {
                self.add_group_of_offset(&change.key.group_id, now);
            }
            self.offsets.apply(change);
        }
    }

    fn apply_pending(&mut self, producer_id: i64, changes: Vec<OffsetChange>, now: Now) {
        for change in changes {
            self.add_group_of_offset(&change.key.group_id, now);
            self.offsets.apply_pending(producer_id, change);
        }
    }

    /// All groups at once. One that offsets alone kept alive goes with those that are aborted.
    fn complete(&mut self, producer_id: i64, is_commit: bool, now: Now) {
        for group_id in self.offsets.complete(producer_id, is_commit) {
            if self.offsets.has_any_of(&group_id) {
                self.add_group_of_offset(&group_id, now);
            } else {
                self.forget_if_unused(&group_id);
            }
        }
    }

    fn add_group_of_offset(&mut self, group_id: &Arc<str>, now: Now) {
        if !self.groups.contains_key(group_id)
            && !self.consumer_groups.contains_key(group_id)
            && !self.appends.deletes_group(group_id)
        {
            let group = Group::new(Arc::clone(group_id), now.wall_ms);
            self.groups.insert(group_id.clone(), group);
        }
    }

    /// A deletion that failed; a group that came anew under the name meanwhile stays.
    fn restore_groups(&mut self, groups: Vec<Deleted>) {
        for group in groups {
            let id = group.id();
            if self.groups.contains_key(id) || self.consumer_groups.contains_key(id) {
                continue;
            }
            match group {
                Deleted::Classic(mut group) => {
                    // Their session timers may have passed unnoticed.
                    group.pending_joins.clear();
                    self.groups.insert(group.id.clone(), *group);
                }
                Deleted::Consumer(group) => {
                    self.consumer_groups.insert(group.id().clone(), *group);
                }
            }
        }
    }
}
