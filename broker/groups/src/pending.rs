use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::offsets::{OffsetAndMetadata, OffsetKey};

/// Offsets that were committed in transactions that are still open, by their producers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct PendingOffsets {
    by_producer: BTreeMap<i64, BTreeMap<OffsetKey, OffsetAndMetadata>>,
    /// Whose transactions have one. Empty sets do not occur.
    producers: BTreeMap<OffsetKey, BTreeSet<i64>>,
}

impl PendingOffsets {
    pub(crate) fn put(&mut self, producer_id: i64, key: OffsetKey, value: OffsetAndMetadata) {
        let producers = self.producers.entry(key.clone()).or_default();
        producers.insert(producer_id);
        let offsets = self.by_producer.entry(producer_id).or_default();
        offsets.insert(key, value);
    }

    /// The transaction has ended.
    pub(crate) fn take(&mut self, producer_id: i64) -> BTreeMap<OffsetKey, OffsetAndMetadata> {
        let taken = self.by_producer.remove(&producer_id).unwrap_or_default();
        for key in taken.keys() {
            if let Some(producers) = self.producers.get_mut(key) {
                producers.remove(&producer_id);
                if producers.is_empty() {
                    self.producers.remove(key);
                }
            }
        }
        taken
    }

    /// The offset is removed, whoever commits it.
    pub(crate) fn clear(&mut self, key: &OffsetKey) {
        for producer_id in self.producers.remove(key).unwrap_or_default() {
            if let Some(offsets) = self.by_producer.get_mut(&producer_id) {
                offsets.remove(key);
                if offsets.is_empty() {
                    self.by_producer.remove(&producer_id);
                }
            }
        }
    }

    pub(crate) fn contains(&self, key: &OffsetKey) -> bool {
        self.producers.contains_key(key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &OffsetKey> {
        self.producers.keys()
    }

    pub(crate) fn keys_of_group(&self, group_id: &str) -> impl Iterator<Item = &OffsetKey> {
        let group_id: Arc<str> = Arc::from(group_id);
        let first = OffsetKey {
            group_id: Arc::clone(&group_id),
            topic: Arc::default(),
            partition: i32::MIN,
        };
        let from_first = self.producers.range(first..).map(|(key, _)| key);
        from_first.take_while(move |key| key.group_id == group_id)
    }

    /// Those that a transaction has.
    pub(crate) fn keys_of_producer(&self, producer_id: i64) -> impl Iterator<Item = &OffsetKey> {
        let offsets = self.by_producer.get(&producer_id);
        offsets.into_iter().flat_map(BTreeMap::keys)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (OffsetKey, &OffsetAndMetadata)> {
        let offsets = self.by_producer.values().flatten();
        offsets.map(|(key, value)| (key.clone(), value))
    }

    pub(crate) fn into_offsets(self) -> impl Iterator<Item = (i64, OffsetKey, OffsetAndMetadata)> {
        let by_producer = self.by_producer.into_iter();
        by_producer.flat_map(|(producer_id, offsets)| {
            let offsets = offsets.into_iter();
            offsets.map(move |(key, value)| (producer_id, key, value))
        })
    }
}
