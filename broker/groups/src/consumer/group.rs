use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::config::ConsumerGroupConfig;
use super::connection::Connection;
use super::member::{ConsumerMember, CurrentAssignment, MemberMetadata};
use super::record::{ConsumerRecord, GroupEpoch, TargetEpoch};
use super::regex::{ResolvedRegex, TooLargeRegex};
use super::topics::Topics;
use crate::assignor::{Assignor, Partitions};

/// A consumer group: its members, what they are to read and how far they have come.
#[derive(Debug, Clone)]
pub struct ConsumerGroup {
    pub(super) id: Arc<str>,
    pub(super) epoch: GroupEpoch,
    pub(super) members: BTreeMap<Arc<str>, ConsumerMember>,
    pub(super) target_epoch: TargetEpoch,
    pub(super) target: BTreeMap<Arc<str>, Partitions>,
    /// Member id by group.instance.id.
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Who has each partition, or has to revoke it yet.
    owners: BTreeMap<Uuid, BTreeMap<i32, Arc<str>>>,
    /// The sets of names that members subscribe to, each with the number of its members.
    names: BTreeMap<Arc<BTreeSet<Arc<str>>>, usize>,
    /// The number of sets of names with a topic, and of regular expressions that match it.
    subscribed_topics: BTreeMap<Arc<str>, usize>,
    /// The number of members that subscribe to a regular expression.
    pub(super) regexes: BTreeMap<Arc<str>, usize>,
    pub(super) resolved: BTreeMap<Arc<str>, ResolvedRegex>,
    /// The number of members that ask for an assignor.
    assignors: BTreeMap<Assignor, usize>,
    /// The number of members that speak the classic protocol.
    classic_count: usize,
    /// The topics that the hash in `epoch` was last found right for; in no record.
    pub(super) checked_version: Option<u64>,
    /// Of members; in no record.
    pub(super) connections: BTreeMap<Arc<str>, Connection>,
    /// When a target was last too large (monotonic clock); in no record.
    pub(super) target_failed_ms: Option<i64>,
    /// The caller was asked to resolve the regular expressions; in no record.
    pub(super) is_resolving: bool,
    /// When that last came to nothing (monotonic clock); in no record.
    pub(super) resolution_failed_ms: Option<i64>,
    /// The regular expressions that matched too much; in no record.
    pub(super) too_large_regexes: BTreeMap<Arc<str>, TooLargeRegex>,
}

/// State of a consumer group, with Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerGroupState {
    /// No members; perhaps offsets.
    Empty,
    /// The target is not of the newest epoch yet.
    Assigning,
    /// Some member is on its way to the target.
    Reconciling,
    /// Every member has what it is to have.
    Stable,
}

impl ConsumerGroupState {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Empty,
        Self::Assigning,
        Self::Reconciling,
        Self::Stable,
    ];

    /// The name that clients and tools see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

impl ConsumerGroup {
    /// A group without a record.
    pub fn new(id: Arc<str>) -> Self {
        Self {
            id,
            epoch: GroupEpoch::default(),
            members: BTreeMap::new(),
            target_epoch: TargetEpoch::default(),
            target: BTreeMap::new(),
            static_members: BTreeMap::new(),
            owners: BTreeMap::new(),
            names: BTreeMap::new(),
            subscribed_topics: BTreeMap::new(),
            regexes: BTreeMap::new(),
            resolved: BTreeMap::new(),
            assignors: BTreeMap::new(),
            classic_count: 0,
            checked_version: None,
            connections: BTreeMap::new(),
            target_failed_ms: None,
            is_resolving: false,
            resolution_failed_ms: None,
            too_large_regexes: BTreeMap::new(),
        }
    }

    /// Takes a record over, one of its own or one that is replayed.
    pub fn apply(&mut self, record: &ConsumerRecord) {
        match record {
            ConsumerRecord::Epoch(epoch) => self.epoch = epoch.unwrap_or_default(),
            ConsumerRecord::TargetEpoch(epoch) => self.target_epoch = epoch.unwrap_or_default(),
            ConsumerRecord::Target {
                member_id,
                partitions: Some(partitions),
            } => {
                self.target.insert(member_id.clone(), partitions.clone());
            }
            ConsumerRecord::Target {
                member_id,
                partitions: None,
            } => {
                self.target.remove(member_id);
            }
            ConsumerRecord::Member {
                member_id,
                metadata: Some(metadata),
            } => self.set_metadata(member_id, metadata),
            ConsumerRecord::Member {
                member_id,
                metadata: None,
            } => self.remove(member_id),
            ConsumerRecord::Current {
                member_id,
                assignment,
            } => {
                // A tombstone can outlive all else that was of its member.
                if assignment.is_some() || self.members.contains_key(member_id) {
                    self.set_current(member_id, assignment.clone().unwrap_or_default());
                }
            }
            ConsumerRecord::Regex { regex, resolved } => {
                self.set_resolved(regex, resolved.as_ref())
            }
        }
    }

    /// What the record would replace.
    pub(super) fn current_record(&self, record: &ConsumerRecord) -> ConsumerRecord {
        match record {
            ConsumerRecord::Epoch(_) => ConsumerRecord::Epoch(Some(self.epoch)),
            ConsumerRecord::TargetEpoch(_) => ConsumerRecord::TargetEpoch(Some(self.target_epoch)),
            ConsumerRecord::Member { member_id, .. } => {
                let member = self.members.get(member_id);
                ConsumerRecord::Member {
                    member_id: member_id.clone(),
                    metadata: member.map(|member| member.metadata.clone()),
                }
            }
            ConsumerRecord::Target { member_id, .. } => ConsumerRecord::Target {
                member_id: member_id.clone(),
                partitions: self.target.get(member_id).cloned(),
            },
            ConsumerRecord::Current { member_id, .. } => {
                let member = self.members.get(member_id);
                ConsumerRecord::Current {
                    member_id: member_id.clone(),
                    assignment: member.map(|member| member.current.clone()),
                }
            }
            ConsumerRecord::Regex { regex, .. } => ConsumerRecord::Regex {
                regex: regex.clone(),
                resolved: self.resolved.get(regex).cloned(),
            },
        }
    }

    /// Its name.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Nothing of it was ever in the log.
    pub fn is_unused(&self) -> bool {
        self.members.is_empty() && self.epoch.epoch == 0
    }

    /// Its state; takes a look at every member.
    pub fn state(&self) -> ConsumerGroupState {
        let target_epoch = self.target_epoch.epoch;
        let is_done = |member: &ConsumerMember| member.current.is_reconciled_to(target_epoch);
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if target_epoch < self.epoch.epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(is_done) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// In the order of their ids.
    pub fn members(&self) -> &BTreeMap<Arc<str>, ConsumerMember> {
        &self.members
    }

    /// What a member is to have once it has come to the target.
    pub fn target(&self, member_id: &str) -> Option<&Partitions> {
        self.target.get(member_id)
    }

    /// The epoch that members and topics are counted by, and that of the target.
    pub fn epochs(&self) -> (i32, i32) {
        (self.epoch.epoch, self.target_epoch.epoch)
    }

    /// Whether offsets of the topic are in use.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed_topics.contains_key(topic)
    }

    /// Nobody of its members speaks KIP-848.
    pub(crate) fn is_all_classic(&self) -> bool {
        !self.members.is_empty() && self.classic_count == self.members.len()
    }

    /// The member that speaks for an instance.
    pub(super) fn static_member(&self, instance_id: &str) -> Option<&Arc<str>> {
        self.static_members.get(instance_id)
    }

    pub(super) fn owner(&self, topic_id: &Uuid, partition: i32) -> Option<&Arc<str>> {
        self.owners.get(topic_id)?.get(&partition)
    }

    /// The assignor that most members ask for, among equals the first that is served; else the default.
    pub(super) fn preferred_assignor(&self, config: &ConsumerGroupConfig) -> Assignor {
        let votes = |assignor: &Assignor| self.assignors.get(assignor).copied().unwrap_or(0);
        let served = config.assignors.iter().rev().copied();
        served.max_by_key(votes).unwrap_or(Assignor::ALL[0])
    }

    /// The ids of the topics that a member subscribes to, of those that exist.
    pub(super) fn topic_ids(&self, metadata: &MemberMetadata, topics: &Topics) -> BTreeSet<Uuid> {
        let resolved = metadata.subscribed_regex.iter();
        let resolved = resolved.filter_map(|regex| self.resolved.get(regex));
        let matched = resolved.flat_map(|resolved| &resolved.topics);
        let names = metadata.subscribed_topics.iter().chain(matched);
        let ids = names.filter_map(|name| topics.get(name));
        ids.map(|topic| topic.id).collect()
    }

    /// Whether the topic is one of [`Self::topic_ids`].
    pub(super) fn is_subscriber(
        &self,
        metadata: &MemberMetadata,
        topic_id: &Uuid,
        topics: &Topics,
    ) -> bool {
        let regex = metadata.subscribed_regex.as_ref();
        let resolved = regex.and_then(|regex| self.resolved.get(regex));
        topics.name(topic_id).is_some_and(|name| {
            metadata.subscribed_topics.contains(name)
                || resolved.is_some_and(|resolved| resolved.topics.contains(name))
        })
    }

    pub(super) fn metadata_hash(&self, topics: &Topics) -> u64 {
        topics.hash(self.subscribed_topics.keys())
    }

    /// The records that end it: to be written when it is deleted.
    pub fn tombstones(&self) -> Vec<ConsumerRecord> {
        let mut records = Vec::new();
        for member_id in self.members.keys() {
            records.extend(tombstones_of_member(member_id));
        }
        records.extend(self.resolved.keys().map(tombstone_of_regex));
        records.push(ConsumerRecord::TargetEpoch(None));
        records.push(ConsumerRecord::Epoch(None));
        records
    }

    fn set_metadata(&mut self, member_id: &Arc<str>, metadata: &MemberMetadata) {
        let old = self.members.get(member_id);
        let old = old.map(|member| member.metadata.clone());
        // Counted first: a set that only this member has is not to be taken apart and put together again.
        let subscribed_topics = self.count(member_id, metadata);
        if let Some(old) = old {
            self.uncount(member_id, &old, metadata.instance_id.as_ref());
        }
        let member = self.members.entry(member_id.clone()).or_default();
        member.metadata = MemberMetadata {
            subscribed_topics,
            ..metadata.clone()
        };
    }

    fn remove(&mut self, member_id: &Arc<str>) {
        if let Some(member) = self.members.remove(member_id) {
            self.uncount(member_id, &member.metadata, None);
            self.release(member_id, &member.current);
        }
    }

    /// Gives the set of names that is to be the member's: equal ones are one.
    fn count(
        &mut self,
        member_id: &Arc<str>,
        metadata: &MemberMetadata,
    ) -> Arc<BTreeSet<Arc<str>>> {
        if let Some(regex) = &metadata.subscribed_regex {
            *self.regexes.entry(regex.clone()).or_default() += 1;
        }
        self.classic_count += usize::from(metadata.classic.is_some());
        if let Some(assignor) = metadata.assignor {
            *self.assignors.entry(assignor).or_default() += 1;
        }
        if let Some(instance_id) = &metadata.instance_id {
            let statics = &mut self.static_members;
            statics.insert(instance_id.clone(), member_id.clone());
        }
        let names = &metadata.subscribed_topics;
        let shared = self.names.get_key_value(names);
        let names = shared.map_or(names, |(names, _)| names).clone();
        let member_count = self.names.entry(names.clone()).or_default();
        *member_count += 1;
        if *member_count == 1 {
            for topic in &*names {
                *self.subscribed_topics.entry(topic.clone()).or_default() += 1;
            }
        }
        names
    }

    /// `instance_id` is the one that the member has from now on.
    fn uncount(
        &mut self,
        member_id: &Arc<str>,
        metadata: &MemberMetadata,
        instance_id: Option<&Arc<str>>,
    ) {
        subtract(&mut self.names, &metadata.subscribed_topics);
        if !self.names.contains_key(&metadata.subscribed_topics) {
            for topic in &*metadata.subscribed_topics {
                subtract(&mut self.subscribed_topics, topic);
            }
        }
        if let Some(regex) = &metadata.subscribed_regex {
            subtract(&mut self.regexes, regex);
            if !self.regexes.contains_key(regex) {
                self.too_large_regexes.remove(regex);
            }
        }
        self.classic_count -= usize::from(metadata.classic.is_some());
        if let Some(assignor) = &metadata.assignor {
            subtract(&mut self.assignors, assignor);
        }
        if let Some(old) = &metadata.instance_id
            && instance_id != Some(old)
            && self.static_members.get(old) == Some(member_id)
        {
            self.static_members.remove(old);
        }
    }

    fn set_resolved(&mut self, regex: &Arc<str>, resolved: Option<&ResolvedRegex>) {
        let old = match resolved {
            Some(resolved) => self.resolved.insert(regex.clone(), resolved.clone()),
            None => self.resolved.remove(regex),
        };
        for topic in old.iter().flat_map(|old| &old.topics) {
            subtract(&mut self.subscribed_topics, topic);
        }
        for topic in resolved.iter().flat_map(|resolved| &resolved.topics) {
            *self.subscribed_topics.entry(topic.clone()).or_default() += 1;
        }
    }

    /// A tombstone lets go of everything; the member itself goes with the tombstone of its metadata.
    fn set_current(&mut self, member_id: &Arc<str>, current: CurrentAssignment) {
        let member = self.members.entry(member_id.clone()).or_default();
        let old = std::mem::replace(&mut member.current, current);
        self.release(member_id, &old);
        for (topic_id, partition) in self.members[member_id].current.owned() {
            let owners = self.owners.entry(*topic_id).or_default();
            owners.insert(partition, member_id.clone());
        }
    }

    /// While a log is replayed that was compacted in part, another may be the owner already.
    fn release(&mut self, member_id: &Arc<str>, current: &CurrentAssignment) {
        for (topic_id, partition) in current.owned() {
            let Some(owners) = self.owners.get_mut(topic_id) else {
                continue;
            };
            if owners.get(&partition) == Some(member_id) {
                owners.remove(&partition);
            }
            if owners.is_empty() {
                self.owners.remove(topic_id);
            }
        }
    }
}

/// In the order in which Kafka writes them, so that its loader never meets half a member.
pub(super) fn tombstones_of_member(member_id: &Arc<str>) -> [ConsumerRecord; 3] {
    let member_id = || member_id.clone();
    [
        ConsumerRecord::Current {
            member_id: member_id(),
            assignment: None,
        },
        ConsumerRecord::Target {
            member_id: member_id(),
            partitions: None,
        },
        ConsumerRecord::Member {
            member_id: member_id(),
            metadata: None,
        },
    ]
}

pub(super) fn tombstone_of_regex(regex: &Arc<str>) -> ConsumerRecord {
    ConsumerRecord::Regex {
        regex: regex.clone(),
        resolved: None,
    }
}

fn subtract<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl PartialEq for ConsumerGroup {
    /// Equal as far as records tell.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.epoch == other.epoch
            && self.members == other.members
            && self.target_epoch == other.target_epoch
            && self.target == other.target
            && self.static_members == other.static_members
            && self.owners == other.owners
            && self.names == other.names
            && self.subscribed_topics == other.subscribed_topics
            && self.regexes == other.regexes
            && self.resolved == other.resolved
            && self.assignors == other.assignors
            && self.classic_count == other.classic_count
    }
}
