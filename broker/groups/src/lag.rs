use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

/// A group whose id is longer stands in no metric: each of its partitions would have a label of that length.
pub const LABEL_BYTES_MAX: usize = 256;
/// An end that is older says nothing of the lag now. Longer than it takes to elect another leader and to ask it.
pub const END_AGE_MAX_MS: i64 = 15_000;

/// What the groups of one coordinator have committed, as far as metrics tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommittedOffsets {
    /// By their ids.
    pub groups: Vec<GroupOffsets>,
    /// What is not among them.
    pub left_out: LeftOut,
}

/// The offsets that a group has in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffsets {
    /// Fit for a label.
    pub group_id: Arc<str>,
    /// At least one; by topic and partition.
    pub offsets: Vec<CommittedOffset>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The name of the topic.
    pub topic: Arc<str>,
    /// The topic that had the name when this was committed; nil when that is not known.
    pub topic_id: Uuid,
    /// Of the topic.
    pub partition: i32,
    /// Not negative.
    pub offset: i64,
}

/// Numbers of committed offsets that no metric tells, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The id of their group makes no label.
    pub group_id: usize,
    /// There are more than are told.
    pub limit: usize,
}

/// Where a partition ended for its consumers, as its leader said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionEnd {
    /// The high watermark: read_committed or not, what comes after it is nobody's to read yet.
    pub offset: i64,
    /// When it was asked for, by a clock that only goes on.
    pub asked_ms: i64,
}

/// A committed offset and the end of its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// What was committed.
    pub committed: CommittedOffset,
    /// `None`: no leader has told it yet.
    pub end: Option<PartitionEnd>,
}

impl CommittedOffsets {
    /// Keeps of several coordinators' groups those that fit into so many offsets, the first ones by their ids. A group is there
    /// with all its partitions or not at all, so that no sum over them is wrong.
    pub fn limit(of_all: &mut [&mut Self], offsets_max: usize) {
        let mut by_group_id = BTreeMap::new();
        for (number, of_one) in of_all.iter().enumerate() {
            for group in &of_one.groups {
                let key = (Arc::clone(&group.group_id), number);
                by_group_id.insert(key, group.offsets.len());
            }
        }
        let mut room = Room::of(offsets_max);
        by_group_id.retain(|_, count| !room.takes(*count));
        let left_out = by_group_id;
        for (number, of_one) in of_all.iter_mut().enumerate() {
            let Self {
                groups,
                left_out: count,
            } = &mut **of_one;
            groups.retain(|group| {
                let is_left_out = left_out.contains_key(&(Arc::clone(&group.group_id), number));
                count.limit += if is_left_out { group.offsets.len() } else { 0 };
                !is_left_out
            });
        }
    }

    /// Forgets those for partitions that there are not, or not any more: their removal is on its way. `topic_of` tells the id of
    /// a topic and how many partitions it has.
    pub fn retain_existing(&mut self, topic_of: impl Fn(&str) -> Option<(Uuid, i32)>) {
        for group in &mut self.groups {
            group.offsets.retain_mut(|committed| {
                let Some((topic_id, partitions)) = topic_of(&committed.topic) else {
                    return false;
                };
                let is_of_topic = committed.topic_id.is_nil() || committed.topic_id == topic_id;
                committed.topic_id = topic_id;
                is_of_topic && (0..partitions).contains(&committed.partition)
            });
        }
        self.groups.retain(|group| !group.offsets.is_empty());
    }
}

impl PartitionLag {
    /// Records from the committed offset to the end, by their offsets, as Kafka counts it: with those that were deleted or
    /// compacted away before they were read. 0 where more is committed than there is, as after an unclean election. `None` when
    /// the end is not known, or from long ago.
    pub fn lag(&self, now_ms: i64) -> Option<i64> {
        let end = self.end.filter(|end| end.is_recent(now_ms))?;
        Some(end.offset.saturating_sub(self.committed.offset).max(0))
    }
}

impl PartitionEnd {
    /// Whether it says something of now.
    pub fn is_recent(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.asked_ms) <= END_AGE_MAX_MS
    }
}

/// Any string may be a group's id. Control characters are no part of a name, and scrapers may stumble over them.
pub(crate) fn is_label(group_id: &str) -> bool {
    group_id.len() <= LABEL_BYTES_MAX && !group_id.chars().any(char::is_control)
}

/// For offsets that are told.
pub(crate) struct Room {
    left: usize,
}

impl Room {
    pub(crate) fn of(offsets_max: usize) -> Self {
        Self { left: offsets_max }
    }

    /// Whether so many go in together; then they have.
    pub(crate) fn takes(&mut self, count: usize) -> bool {
        let left = self.left.checked_sub(count);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}
