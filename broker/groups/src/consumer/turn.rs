use std::sync::Arc;

use foz_protocol::batch::HEADER_LENGTH;

use super::config::ConsumerGroupConfig;
use super::group::{ConsumerGroup, tombstone_of_regex, tombstones_of_member};
use super::record::{ConsumerRecord, GroupEpoch, TargetEpoch, batch_bytes};
use super::timer::{ConsumerTimer, TimerChange};
use super::topics::Topics;
use super::undo::Undo;

/// One change of a group: what is written is in force at once.
pub(super) struct Turn<'a> {
    pub(super) group: &'a mut ConsumerGroup,
    pub(super) topics: &'a Topics,
    pub(super) records: Vec<ConsumerRecord>,
    pub(super) timers: Vec<TimerChange>,
    undo: Undo,
    bytes_max: usize,
}

/// What a change was when it had come so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Savepoint {
    record_count: usize,
    timer_count: usize,
    connection_count: usize,
    bytes_max: usize,
    checked_version: Option<u64>,
}

impl Savepoint {
    /// Nothing was written yet.
    pub(super) fn is_start(&self) -> bool {
        self.record_count == 0
    }
}

/// A change of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupChange {
    /// To be appended as one batch.
    pub records: Vec<ConsumerRecord>,
    /// In this order.
    pub timers: Vec<TimerChange>,
    /// For [`ConsumerGroup::undo`].
    pub undo: Undo,
}

impl<'a> Turn<'a> {
    pub(super) fn new(group: &'a mut ConsumerGroup, topics: &'a Topics) -> Self {
        Self {
            group,
            topics,
            records: Vec::new(),
            timers: Vec::new(),
            undo: Undo::default(),
            bytes_max: HEADER_LENGTH,
        }
    }

    pub(super) fn write(&mut self, record: ConsumerRecord) {
        self.undo.records.push(self.group.current_record(&record));
        self.group.apply(&record);
        self.bytes_max += record.bytes_max(&self.group.id);
        self.records.push(record);
    }

    pub(super) fn savepoint(&self) -> Savepoint {
        Savepoint {
            record_count: self.records.len(),
            timer_count: self.timers.len(),
            connection_count: self.undo.connections.len(),
            bytes_max: self.bytes_max,
            checked_version: self.group.checked_version,
        }
    }

    /// What was written since never was.
    pub(super) fn roll_back(&mut self, to: Savepoint) {
        for record in self.undo.records.drain(to.record_count..).rev() {
            self.group.apply(&record);
        }
        let connections = self.undo.connections.drain(to.connection_count..);
        self.group.connections.extend(connections);
        self.records.truncate(to.record_count);
        self.timers.truncate(to.timer_count);
        self.bytes_max = to.bytes_max;
        self.group.checked_version = to.checked_version;
    }

    /// Whether one batch holds it. One that is too large would come back with every try to append it.
    pub(super) fn fits(&self, config: &ConsumerGroupConfig) -> bool {
        self.records.is_empty()
            || self.is_surely_within(config.batch_bytes_max)
            || self.batch_bytes() <= config.batch_bytes_max
    }

    /// At most so many bytes, as far as can be told without writing it.
    pub(super) fn is_surely_within(&self, bytes: usize) -> bool {
        self.bytes_max <= bytes
    }

    pub(super) fn batch_bytes(&self) -> usize {
        batch_bytes(&self.records, &self.group.id)
    }

    pub(super) fn set_timer(
        &mut self,
        member_id: &Arc<str>,
        timer: ConsumerTimer,
        after_ms: Option<i32>,
    ) {
        self.timers.push(TimerChange {
            member_id: member_id.clone(),
            timer,
            after_ms,
        });
    }

    /// Begins the next epoch when the members have changed, or the topics they subscribe to.
    pub(super) fn update_epoch(&mut self, have_members_changed: bool) {
        if !have_members_changed && self.group.checked_version == Some(self.topics.version()) {
            return;
        }
        let metadata_hash = self.group.metadata_hash(self.topics);
        self.group.checked_version = Some(self.topics.version());
        if have_members_changed || metadata_hash != self.group.epoch.metadata_hash {
            self.write(ConsumerRecord::Epoch(Some(GroupEpoch {
                epoch: self.group.epoch.epoch + 1,
                metadata_hash,
            })));
        }
    }

    /// The member goes, and what it had is free.
    pub(super) fn fence(&mut self, member_id: &Arc<str>) {
        let member = self.group.members.get(member_id);
        let regex = member.and_then(|member| member.metadata.subscribed_regex.clone());
        for record in tombstones_of_member(member_id) {
            self.write(record);
        }
        self.forget_connection(member_id);
        for timer in ConsumerTimer::ALL {
            self.set_timer(member_id, timer, None);
        }
        self.forget_regex(regex.as_ref());
        self.update_epoch(true);
        if self.group.members.is_empty() {
            // Nobody is left to compute a target, and the next one is not to wait for its own.
            self.group.target_failed_ms = None;
            self.write(ConsumerRecord::TargetEpoch(Some(TargetEpoch {
                epoch: self.group.epoch.epoch,
                timestamp_ms: 0,
            })));
        }
    }

    pub(super) fn forget_connection(&mut self, member_id: &Arc<str>) {
        let forgotten = self.group.connections.remove_entry(member_id);
        self.undo.connections.extend(forgotten);
    }

    /// Nobody may subscribe to it any more.
    pub(super) fn forget_regex(&mut self, regex: Option<&Arc<str>>) {
        let group = &*self.group;
        if let Some(regex) = regex
            && !group.regexes.contains_key(regex)
            && group.resolved.contains_key(regex)
        {
            self.write(tombstone_of_regex(regex));
        }
    }

    /// When it cannot be written, the deadline that has passed is near again.
    pub(super) fn into_change_of_timer(mut self) -> GroupChange {
        self.undo.is_of_timer = true;
        self.into_change()
    }

    pub(super) fn into_change(self) -> GroupChange {
        GroupChange {
            records: self.records,
            timers: self.timers,
            undo: self.undo,
        }
    }
}
