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
use crate::offsets::{OffsetChange, OffsetKey, Offsets};
use crate::record::Entry;

/// Only the last record of each key, so it is no larger than the state itself.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// That are set, and that are in transactions.
    offsets: Offsets,
    /// That are removed at least once.
    removed: BTreeSet<OffsetKey>,
    /// Transactions that were open below the high watermark, by producer, and whether they are committed. What markers end
    /// that come later is in `offsets` alone.
    ended: BTreeMap<i64, bool>,
    groups: BTreeMap<Arc<str>, Option<Group>>,
    /// By key, each with its place in the log.
    consumer: BTreeMap<Vec<u8>, (usize, Arc<str>, ConsumerRecord)>,
    consumer_count: usize,
}

/// A [`Tail`] that waits to be committed.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// The offsets that it sets or removes.
    pub(crate) touched: Vec<OffsetChange>,
    offsets: Offsets,
    removed: BTreeSet<OffsetKey>,
    ended: BTreeMap<i64, bool>,
    groups: BTreeMap<Arc<str>, Option<Group>>,
    /// In the order of the log.
    consumer: Vec<(Arc<str>, ConsumerRecord)>,
}

impl Tail {
    pub(super) fn replay(&mut self, transaction_of: Option<i64>, key: &[u8], entry: Entry) {
        match entry {
            Entry::Offset(change) => {
                if change.value.is_none() {
                    self.removed.insert(change.key.clone());
                }
                match transaction_of {
                    Some(producer_id) => self.offsets.apply_pending(producer_id, change),
                    None => self.offsets.apply(change),
                }
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

    pub(super) fn end_transaction(&mut self, producer_id: i64, is_commit: bool) {
        self.ended.entry(producer_id).or_insert(is_commit);
        self.offsets.complete(producer_id, is_commit);
    }

    /// Of which it says something; `committed` are the offsets below the high watermark.
    pub(super) fn group_ids(&self, committed: &Offsets) -> BTreeSet<Arc<str>> {
        let pending = committed.pending();
        let ended = self.ended.keys();
        let ended = ended.flat_map(|producer_id| pending.keys_of_producer(*producer_id));
        let removed = self.removed.iter().cloned();
        let of_offsets = self.offsets.all_keys().chain(removed);
        let of_offsets = of_offsets.chain(ended.cloned()).map(|key| key.group_id);
        let of_consumer = self.consumer.values().map(|(_, group_id, _)| group_id);
        let group_ids = self.groups.keys().chain(of_consumer);
        group_ids.cloned().chain(of_offsets).collect()
    }

    /// It says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.group_ids(&Offsets::default()).is_empty()
    }

    pub(super) fn into_inherited(self) -> Inherited {
        let mut consumer = Vec::from_iter(self.consumer.into_values());
        consumer.sort_by_key(|(place, ..)| *place);
        let consumer = consumer.into_iter();
        let removed = self.removed.iter().map(|key| OffsetChange {
            key: key.clone(),
            value: None,
        });
        let set = self.offsets.all_values();
        Inherited {
            touched: removed.chain(set).collect(),
            consumer: consumer
                .map(|(_, group_id, record)| (group_id, record))
                .collect(),
            offsets: self.offsets,
            removed: self.removed,
            ended: self.ended,
            groups: self.groups,
        }
    }
}

impl Coordinator {
    /// It is committed: its groups are loaded now.
    pub(super) fn take_over(&mut self, tail: Inherited, now: Now, effects: &mut Vec<Effect>) {
        // In any order: of each offset the last record of the tail counts.
        for (producer_id, is_commit) in tail.ended {
            self.offsets.complete(producer_id, is_commit);
        }
        for key in tail.removed {
            self.offsets.apply(OffsetChange { key, value: None });
        }
        self.offsets.append(tail.offsets);
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
        for group_id in &loaded {
            // Its offsets were removed, or in a transaction that is aborted.
            self.forget_if_unused(group_id);
        }
        self.begin(&loaded, now, effects);
    }
}
