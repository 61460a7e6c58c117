use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

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
}

impl OffsetAndMetadata {
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

    pub(crate) fn apply(&mut self, change: OffsetChange) {
        match change.value {
            Some(value) => self.put(change.key, value),
            None => self.remove(&change.key),
        }
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
