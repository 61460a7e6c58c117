use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::now::Now;
use crate::pending::PendingOffsets;

/// One committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OffsetAndMetadata {
    pub(crate) offset: i64,
    /// -1 when the client gave none.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Arc<str>,
    /// Wall clock.
    pub(crate) commit_timestamp_ms: i64,
    /// Only from commits of version 2-4 that set a retention time.
    pub(crate) expire_timestamp_ms: Option<i64>,
    /// The topic that had the name when this was committed; nil when unknown.
    pub(crate) topic_id: Uuid,
    /// The place of its record among those that took effect, in the order of the log; 0 as long as it did not.
    pub(crate) place: u64,
}

impl OffsetAndMetadata {
    /// What a client commits now, for any topic of the name, and for as long as the broker keeps offsets.
    pub(crate) fn committed(
        offset: i64,
        leader_epoch: i32,
        metadata: Option<&str>,
        now: Now,
    ) -> Self {
        Self {
            offset,
            leader_epoch,
            metadata: Arc::from(metadata.unwrap_or("")),
            commit_timestamp_ms: now.wall_ms,
            expire_timestamp_ms: None,
            topic_id: Uuid::nil(),
            place: 0,
        }
    }

    /// Not when another topic has taken the name since; a nil id is any topic.
    pub(crate) fn is_of_topic(&self, topic_id: Uuid) -> bool {
        self.topic_id.is_nil() || topic_id.is_nil() || self.topic_id == topic_id
    }
}

/// Names one committed offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OffsetKey {
    pub(crate) group_id: Arc<str>,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// What a record does to the offsets: a value sets, `None` removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OffsetChange {
    pub(crate) key: OffsetKey,
    pub(crate) value: Option<OffsetAndMetadata>,
}

pub(crate) type TopicOffsets = BTreeMap<Arc<str>, BTreeMap<i32, OffsetAndMetadata>>;

/// The acknowledged offsets of every group of this partition. Empty inner maps do not occur.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Offsets {
    by_group: BTreeMap<Arc<str>, TopicOffsets>,
    /// Acknowledged too, and in force once their transactions are committed.
    pending: PendingOffsets,
    /// How many records took effect.
    places: u64,
}

impl Offsets {
    pub(crate) fn group(&self, group_id: &str) -> Option<&TopicOffsets> {
        self.by_group.get(group_id)
    }

    pub(crate) fn group_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_group.keys()
    }

    pub(crate) fn get(&self, group_id: &str, topic: &str, at: i32) -> Option<&OffsetAndMetadata> {
        self.by_group.get(group_id)?.get(topic)?.get(&at)
    }

    /// What is removed is so for open transactions, too: they do not bring it back.
    pub(crate) fn apply(&mut self, change: OffsetChange) {
        match change.value {
            Some(value) => {
                let value = self.placed(value);
                self.put(change.key, value);
            }
            None => {
                self.pending.clear(&change.key);
                self.remove(&change.key);
            }
        }
    }

    /// In the transaction of a producer.
    pub(crate) fn apply_pending(&mut self, producer_id: i64, change: OffsetChange) {
        match change.value {
            Some(value) => {
                let value = self.placed(value);
                self.pending.put(producer_id, change.key, value);
            }
            None => self.apply(change),
        }
    }

    /// Ends the transaction of a producer; returns the groups that had offsets in it. One does not replace what was committed
    /// after it, as in Kafka: compaction keeps the record that was written last, whenever the transaction ended.
    pub(crate) fn complete(&mut self, producer_id: i64, is_commit: bool) -> BTreeSet<Arc<str>> {
        let mut group_ids = BTreeSet::new();
        for (key, value) in self.pending.take(producer_id) {
            group_ids.insert(key.group_id.clone());
            let known = self.get(&key.group_id, &key.topic, key.partition);
            if is_commit && known.is_none_or(|known| known.place < value.place) {
                self.put(key, value);
            }
        }
        group_ids
    }

    /// Takes over what records say that follow in the log.
    pub(crate) fn append(&mut self, later: Self) {
        let places = self.places;
        let moved = |value: OffsetAndMetadata| OffsetAndMetadata {
            place: places + value.place,
            ..value
        };
        self.places += later.places;
        for (group_id, topics) in later.by_group {
            for (topic, partitions) in topics {
                for (partition, value) in partitions {
                    let key = OffsetKey {
                        group_id: group_id.clone(),
                        topic: topic.clone(),
                        partition,
                    };
                    self.put(key, moved(value));
                }
            }
        }
        for (producer_id, key, value) in later.pending.into_offsets() {
            self.pending.put(producer_id, key, moved(value));
        }
    }

    pub(crate) fn pending(&self) -> &PendingOffsets {
        &self.pending
    }

    /// Whether a group has any, in force or not.
    pub(crate) fn has_any_of(&self, group_id: &str) -> bool {
        self.by_group.contains_key(group_id) || self.has_pending_of(group_id)
    }

    pub(crate) fn has_pending_of(&self, group_id: &str) -> bool {
        self.pending.keys_of_group(group_id).next().is_some()
    }

    /// Those in force, and those that are not yet. One can be both.
    pub(crate) fn all_keys(&self) -> impl Iterator<Item = OffsetKey> {
        let in_force = self.by_group.keys();
        let in_force = in_force.flat_map(|group_id| self.keys_of_group(group_id));
        in_force.chain(self.pending.keys().cloned())
    }

    /// The keys of one group.
    pub(crate) fn keys_of_group(&self, group_id: &str) -> impl Iterator<Item = OffsetKey> {
        self.by_group
            .get_key_value(group_id)
            .into_iter()
            .flat_map(|(group_id, topics)| {
                topics.iter().flat_map(move |(topic, partitions)| {
                    partitions.keys().map(move |partition| OffsetKey {
                        group_id: group_id.clone(),
                        topic: topic.clone(),
                        partition: *partition,
                    })
                })
            })
    }

    /// What sets them, or would, once their transactions are committed.
    pub(crate) fn all_values(&self) -> impl Iterator<Item = OffsetChange> {
        let in_force = self.by_group.iter().flat_map(|(group_id, topics)| {
            topics.iter().flat_map(move |(topic, partitions)| {
                partitions.iter().map(move |(partition, value)| {
                    let key = OffsetKey {
                        group_id: group_id.clone(),
                        topic: topic.clone(),
                        partition: *partition,
                    };
                    (key, value)
                })
            })
        });
        let all = in_force.chain(self.pending.iter());
        all.map(|(key, value)| OffsetChange {
            key,
            value: Some(value.clone()),
        })
    }

    fn placed(&mut self, value: OffsetAndMetadata) -> OffsetAndMetadata {
        self.places += 1;
        OffsetAndMetadata {
            place: self.places,
            ..value
        }
    }

    fn put(&mut self, key: OffsetKey, value: OffsetAndMetadata) {
        let topics = self.by_group.entry(key.group_id).or_default();
        topics
            .entry(key.topic)
            .or_default()
            .insert(key.partition, value);
    }

    fn remove(&mut self, key: &OffsetKey) {
        let Some(topics) = self.by_group.get_mut(&key.group_id) else {
            return;
        };
        if let Some(partitions) = topics.get_mut(&key.topic) {
            partitions.remove(&key.partition);
            if partitions.is_empty() {
                topics.remove(&key.topic);
            }
        }
        if topics.is_empty() {
            self.by_group.remove(&key.group_id);
        }
    }
}
