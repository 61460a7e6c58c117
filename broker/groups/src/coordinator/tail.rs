//! What the log held above its high watermark when the coordinator was loaded.
//!
//! A former coordinator may have acknowledged it, or may not: until the high watermark passes it, neither the
//! state before it nor the state after it can be told. Its groups are still being loaded; all others are served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::load::group_of;
use super::{Coordinator, consumer_groups};
use crate::consumer::ConsumerRecord;
use crate::effect::Effect;
use crate::group::Group;
use crate::now::Now;
use crate::offsets::{OffsetChange, OffsetKey};
use crate::record::Entry;

/// Only the last record of each key, so it is no larger than the state itself.
#[derive(Debug, Default)]
pub(super) struct Tail {
    offsets: BTreeMap<OffsetKey, OffsetChange>,
    groups: BTreeMap<Arc<str>, Option<Group>>,
    /// By key, each with its place in the log.
    consumer: BTreeMap<Vec<u8>, (usize, Arc<str>, ConsumerRecord)>,
    consumer_count: usize,
}

/// A [`Tail`] that waits to be committed.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) offsets: Vec<OffsetChange>,
    groups: BTreeMap<Arc<str>, Option<Group>>,
    /// In the order of the log.
    consumer: Vec<(Arc<str>, ConsumerRecord)>,
}

impl Tail {
    pub(super) fn replay(&mut self, key: &[u8], entry: Entry) {
        match entry {
            Entry::Offset(change) => {
                self.offsets.insert(change.key.clone(), change);
            }
            Entry::Group { group_id, value } => {
                let group = value.map(|value| group_of(group_id.clone(), value));
                self.groups.insert(group_id, group);
            }
            Entry::Consumer { group_id, record } => {
                self.consumer_count += 1;
                let record = (self.consumer_count, group_id, record);
                self.consumer.insert(key.to_vec(), record);
            }
        }
    }

    pub(super) fn group_ids(&self) -> BTreeSet<Arc<str>> {
        let of_offsets = self.offsets.keys().map(|key| &key.group_id);
        let of_consumer = self.consumer.values().map(|(_, group_id, _)| group_id);
        let group_ids = of_offsets.chain(self.groups.keys()).chain(of_consumer);
        group_ids.cloned().collect()
    }

    pub(super) fn into_inherited(self) -> Inherited {
        let mut consumer = Vec::from_iter(self.consumer.into_values());
        consumer.sort_by_key(|(place, ..)| *place);
        let consumer = consumer.into_iter();
        Inherited {
            consumer: consumer
                .map(|(_, group_id, record)| (group_id, record))
                .collect(),
            offsets: self.offsets.into_values().collect(),
            groups: self.groups,
        }
    }
}

impl Coordinator {
    /// It is committed: its groups are loaded now.
    pub(super) fn take_over(&mut self, tail: Inherited, now: Now, effects: &mut Vec<Effect>) {
        for change in tail.offsets {
            self.offsets.apply(change);
        }
        for (group_id, group) in tail.groups {
            match group {
                Some(group) => {
                    self.consumer_groups.remove(&group_id);
                    self.groups.insert(group_id, group)
                }
                None => self.groups.remove(&group_id),
            };
        }
        for (group_id, record) in tail.consumer {
            if matches!(record, ConsumerRecord::Epoch(Some(_))) {
                self.groups.remove(&group_id);
            }
            consumer_groups::replay(&mut self.consumer_groups, group_id, &record);
        }
        let loaded = Vec::from_iter(std::mem::take(&mut self.loading));
        self.add_simple_groups(&loaded, now);
        self.begin(&loaded, now, effects);
    }
}
