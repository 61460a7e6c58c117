use std::sync::Arc;

use super::config::ConsumerGroupConfig;
use super::connection::Connection;
use super::group::ConsumerGroup;
use super::record::ConsumerRecord;
use super::timer::{ConsumerTimer, TimerChange};
use crate::now::Now;

/// After a member could not be fenced, it is tried again (Kafka's `CoordinatorTimer`).
const RETRY_MS: i32 = 500;

/// What makes a group what it was before a change that could not be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undo {
    /// What each record of the change has replaced, in the order of those.
    pub(super) records: Vec<ConsumerRecord>,
    /// What was known of members that have gone.
    pub(super) connections: Vec<(Arc<str>, Connection)>,
    pub(super) is_of_timer: bool,
}

impl Undo {
    /// That of the group before the change, where the change has begun another.
    pub(super) fn epoch_before(&self) -> Option<i32> {
        self.records.iter().find_map(|record| match record {
            ConsumerRecord::Epoch(epoch) => epoch.map(|epoch| epoch.epoch),
            _ => None,
        })
    }
}

impl ConsumerGroup {
    /// The records of a change are in no log and never will be. Of several changes, the newest is undone first. A
    /// group that is unused afterwards is to be dropped.
    pub fn undo(&mut self, undo: Undo, config: &ConsumerGroupConfig, now: Now) -> Vec<TimerChange> {
        for record in undo.records.iter().rev() {
            self.apply(record);
        }
        let Self {
            connections,
            members,
            ..
        } = self;
        connections.extend(undo.connections);
        connections.retain(|member_id, _| members.contains_key(member_id));
        // Nobody was told what the answer would have been.
        connections
            .values_mut()
            .for_each(|connection| connection.is_told = false);
        self.checked_version = None;
        let is_of_regex = |record: &ConsumerRecord| matches!(record, ConsumerRecord::Regex { .. });
        if undo.records.iter().any(is_of_regex) {
            self.resolution_failed_ms = Some(now.monotonic_ms);
        }
        self.timers_of(&undo.records, undo.is_of_timer, config)
    }

    /// The change may have cleared those of the members that it took out.
    fn timers_of(
        &self,
        records: &[ConsumerRecord],
        is_of_timer: bool,
        config: &ConsumerGroupConfig,
    ) -> Vec<TimerChange> {
        let mut timers = Vec::new();
        for record in records {
            let ConsumerRecord::Current { member_id, .. } = record else {
                continue;
            };
            let Some(member) = self.members.get(member_id) else {
                continue;
            };
            let mut set = |timer, after_ms| {
                timers.push(TimerChange {
                    member_id: member_id.clone(),
                    timer,
                    after_ms: Some(if is_of_timer { RETRY_MS } else { after_ms }),
                });
            };
            let session_ms = member.metadata.session_timeout_ms(config);
            set(ConsumerTimer::Session, session_ms);
            if member.has_to_revoke_in_time() {
                let timeout_ms = member.metadata.rebalance_timeout_ms;
                set(ConsumerTimer::Revocation, timeout_ms);
            }
        }
        timers
    }
}
