//! Who of a consumer group reads which partition, decided by the broker (KIP-848).
//!
//! Both assignors are pure and deterministic: equal groups get equal assignments, on any broker. Like
//! Kafka 4.3's, neither looks at racks; a change of racks only makes the group assign anew.

mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

/// Partitions by topic id; a topic without partitions is not in it.
pub type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// The server-side assignors, with Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assignor {
    /// Member's counts as equal as their subscriptions allow; among such assignments one that moves few
    /// partitions. Where all subscribe to the same topics, counts differ by one at most and as few
    /// partitions move as that allows.
    Uniform,
    /// Each topic is cut into ranges, in the order of the members: those with the same number of
    /// partitions are cut alike (co-partitioning).
    Range,
}

/// A member as an assignor sees it.
#[derive(Debug, Clone)]
pub struct AssignorMember<'a> {
    /// Unique in the group.
    pub id: &'a Arc<str>,
    /// `group.instance.id`: static members come first in the order of `range`, so that they keep their
    /// ranges when they come back under another member id.
    pub instance_id: Option<&'a str>,
    /// The topics it subscribes to. Those that are not in [`AssignorGroup::partition_counts`] give nothing. Members
    /// that subscribe to the same are to share one set: it is walked over once for all of them.
    pub topic_ids: Arc<BTreeSet<Uuid>>,
    /// What it has been assigned before. It may name topics and partitions that are no more.
    pub assigned: &'a Partitions,
}

/// Members with the same topics, by their indexes, which rise.
struct Subscription {
    topic_ids: Arc<BTreeSet<Uuid>>,
    members: Vec<usize>,
}

/// A group as an assignor sees it.
#[derive(Debug, Clone)]
pub struct AssignorGroup<'a> {
    /// In the order of their ids.
    pub members: Vec<AssignorMember<'a>>,
    /// Of the topics that exist.
    pub partition_counts: BTreeMap<Uuid, i32>,
}

impl Assignor {
    /// All there are, the default first.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// The name clients ask for.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// Finds an assignor by its name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|assignor| assignor.name() == name)
    }

    /// What each member is to read, in the order of [`AssignorGroup::members`]: every partition that
    /// someone subscribes to, once, to one of its subscribers.
    pub fn assign(self, group: &AssignorGroup<'_>) -> Vec<Partitions> {
        debug_assert!(
            group
                .members
                .is_sorted_by(|one, next| one.id.as_ref() < next.id.as_ref()),
            "members are in the order of their ids, each once"
        );
        match self {
            Self::Uniform => uniform::assign(group),
            Self::Range => range::assign(group),
        }
    }
}

impl AssignorGroup<'_> {
    /// In the order of their first members. Sets count as different that are equal but not one.
    fn subscriptions(&self) -> Vec<Subscription> {
        let mut subscriptions: Vec<Subscription> = Vec::new();
        let mut positions = BTreeMap::new();
        for (index, member) in self.members.iter().enumerate() {
            let topic_ids = &member.topic_ids;
            let position = positions.entry(Arc::as_ptr(topic_ids)).or_insert_with(|| {
                subscriptions.push(Subscription {
                    topic_ids: topic_ids.clone(),
                    members: Vec::new(),
                });
                subscriptions.len() - 1
            });
            subscriptions[*position].members.push(index);
        }
        subscriptions
    }

    /// The topics that exist, each with the subscriptions to it, as positions in the slice.
    fn subscribed_topics(&self, subscriptions: &[Subscription]) -> BTreeMap<Uuid, Vec<usize>> {
        let mut topics: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (position, subscription) in subscriptions.iter().enumerate() {
            for topic_id in &*subscription.topic_ids {
                if self.partition_counts.contains_key(topic_id) {
                    topics.entry(*topic_id).or_default().push(position);
                }
            }
        }
        topics
    }

    /// 0 where that is negative.
    fn partition_count(&self, topic_id: &Uuid) -> usize {
        let count = self.partition_counts.get(topic_id);
        count.map_or(0, |count| usize::try_from(*count).unwrap_or(0))
    }
}
