use std::sync::Arc;

use super::{Coordinator, Parts, static_member, sync_group};
use crate::append::{AppendError, Change};
use crate::effect::{AppendToken, Effect};
use crate::group::Group;
use crate::now::Now;
use crate::offsets::OffsetChange;

impl Coordinator {
    /// Makes a settled batch come true, or undoes what was done in expectation of it.
    pub(super) fn apply(
        &mut self,
        token: AppendToken,
        change: Change,
        outcome: Result<(), AppendError>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let failure = outcome.err().map(AppendError::response_error);
        match change {
            Change::EmptyGroup => {}
            Change::Offsets(changes) => {
                if failure.is_none() {
                    self.apply_offsets(changes, now);
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
                    sync_group::settle(group, token, assignments, failure, &mut turn);
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

    /// An offset of a group that does not exist brings the group into being, unless the group's
    /// deletion follows it in the log.
    fn apply_offsets(&mut self, changes: Vec<OffsetChange>, now: Now) {
        for change in changes {
            let group_id = &change.key.group_id;
            if change.value.is_some()
                && !self.groups.contains_key(group_id)
                && !self.appends.deletes_group(group_id)
            {
                self.groups.insert(
                    group_id.clone(),
                    Group::new(Arc::clone(group_id), now.wall_ms),
                );
            }
            self.offsets.apply(change);
        }
    }

    /// A deletion that failed; a group that came anew under the name meanwhile stays.
    fn restore_groups(&mut self, groups: Vec<Group>) {
        for mut group in groups {
            // Their session timers may have passed unnoticed.
            group.pending_joins.clear();
            self.groups.entry(group.id.clone()).or_insert(group);
        }
    }
}
