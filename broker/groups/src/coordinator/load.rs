use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foz_records::group_metadata_value::MemberMetadata;
use foz_records::{DecodeError, GroupMetadataValue, record_type};

use super::tail::Tail;
use super::{ConsumerGroups, Coordinator, Groups, Parts, consumer_groups, rebalance};
use crate::append::Appends;
use crate::config::GroupConfig;
use crate::consumer::{ConsumerRecord, Topics};
use crate::counts::GroupCounts;
use crate::effect::Effect;
use crate::group::{Group, GroupState};
use crate::member::{Member, Protocol};
use crate::now::Now;
use crate::offsets::Offsets;
use crate::record::{Entry, decode};
use crate::timers::Timers;

/// What Kafka before 4.1 wrote of the topics of a consumer group; the group's metadata hash has taken its place
/// (KIP-1101).
const CONSUMER_GROUP_PARTITION_METADATA: i16 = 4;

/// Builds a [`Coordinator`] from the records of its partition, in order: those below the high watermark, then
/// those above it up to the log's end.
#[derive(Debug, Default)]
pub struct Loader {
    groups: Groups,
    consumer_groups: ConsumerGroups,
    offsets: Offsets,
    tail: Tail,
    skipped: BTreeMap<i16, usize>,
}

impl Loader {
    /// Knows nothing yet: the state of an empty partition.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record below the high watermark; `None` as value is a tombstone. `transaction_of`: the producer, where
    /// it is part of a transaction. One of a type that is not kept here is passed over, and counted in [`Self::skipped`].
    ///
    /// # Errors
    /// The record is not what its schema says, or its value has a version that is not known. The load has
    /// failed, as in Kafka: what its key had before would come back, an older offset for example.
    pub fn replay(
        &mut self,
        transaction_of: Option<i64>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), DecodeError> {
        match self.decode(key, value)? {
            None => {}
            Some(Entry::Offset(change)) => match transaction_of {
                Some(producer_id) => self.offsets.apply_pending(producer_id, change),
                None => self.offsets.apply(change),
            },
            Some(Entry::Group {
                group_id,
                value: None,
            }) => {
                self.groups.remove(&group_id);
            }
            Some(Entry::Group {
                group_id,
                value: Some(value),
            }) => {
                self.consumer_groups.remove(&group_id);
                self.groups
                    .insert(group_id.clone(), group_of(group_id, value));
            }
            Some(Entry::Consumer { group_id, record }) => {
                if matches!(record, ConsumerRecord::Epoch(Some(_))) {
                    self.groups.remove(&group_id);
                }
                consumer_groups::replay(&mut self.consumer_groups, group_id, &record);
            }
        }
        Ok(())
    }

    /// Takes the next record above the high watermark, which the log may still lose with the leadership.
    ///
    /// # Errors
    /// As for [`Self::replay`].
    pub fn replay_uncommitted(
        &mut self,
        transaction_of: Option<i64>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), DecodeError> {
        if let Some(entry) = self.decode(key, value)? {
            self.tail.replay(transaction_of, key, entry);
        }
        Ok(())
    }

    /// Takes the next record where that is the marker of a transaction, below the high watermark.
    pub fn end_transaction(&mut self, producer_id: i64, is_commit: bool) {
        self.offsets.complete(producer_id, is_commit);
    }

    /// The same above it.
    pub fn end_transaction_uncommitted(&mut self, producer_id: i64, is_commit: bool) {
        self.tail.end_transaction(producer_id, is_commit);
    }

    /// How many records were passed over, by their type.
    pub fn skipped(&self) -> &BTreeMap<i16, usize> {
        &self.skipped
    }

    fn decode(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Option<Entry>, DecodeError> {
        let entry = decode(key, value)?;
        if entry.is_none() {
            let record_type = record_type(key)?;
            if record_type != CONSUMER_GROUP_PARTITION_METADATA {
                *self.skipped.entry(record_type).or_default() += 1;
            }
        }
        Ok(entry)
    }

    /// All records are in. Every member gets its whole session from now, as if it had just been
    /// heard of; a group that is now larger than `group.max.size` rebalances.
    ///
    /// Groups with uncommitted records are answered COORDINATOR_LOAD_IN_PROGRESS until those are committed:
    /// the effects then ask to be told, [`Effect::AwaitCommitted`].
    pub fn finish(self, config: GroupConfig, now: Now) -> (Coordinator, Vec<Effect>) {
        let loading = self.tail.group_ids(&self.offsets);
        let has_tail = !self.tail.is_empty();
        let mut coordinator = Coordinator {
            config,
            groups: self.groups,
            consumer_groups: self.consumer_groups,
            topics: Arc::new(Topics::default()),
            offsets: self.offsets,
            timers: Timers::default(),
            appends: Appends::default(),
            rebalances: GroupCounts::default(),
            loading,
        };
        let pending = coordinator.offsets.pending().keys();
        let with_offsets = coordinator.offsets.group_ids();
        let with_offsets = with_offsets.chain(pending.map(|key| &key.group_id));
        let with_offsets = Vec::from_iter(BTreeSet::from_iter(with_offsets.cloned()));
        coordinator.add_simple_groups(&with_offsets, now);
        let loaded = coordinator.groups.keys();
        let loaded = loaded.chain(coordinator.consumer_groups.keys());
        let loaded: Vec<Arc<str>> = loaded
            .filter(|group_id| !coordinator.loading.contains(*group_id))
            .cloned()
            .collect();
        let mut effects = Vec::new();
        if has_tail {
            // Before anything else is appended: changes take effect in log order.
            let token = coordinator.appends.inherit(self.tail.into_inherited());
            effects.push(Effect::AwaitCommitted { token });
        }
        coordinator.begin(&loaded, now, &mut effects);
        (coordinator, effects)
    }
}

impl Coordinator {
    /// Groups of consumers that assign themselves leave no record but their offsets.
    pub(super) fn add_simple_groups(&mut self, group_ids: &[Arc<str>], now: Now) {
        self.consumer_groups.retain(|_, group| !group.is_unused());
        for group_id in group_ids {
            let is_consumer_group = self.consumer_groups.contains_key(group_id);
            if self.offsets.has_any_of(group_id) && !is_consumer_group {
                let simple = || Group::new(Arc::clone(group_id), now.wall_ms);
                self.groups.entry(group_id.clone()).or_insert_with(simple);
            }
        }
    }

    /// Starts to coordinate groups that are loaded.
    pub(super) fn begin(&mut self, group_ids: &[Arc<str>], now: Now, effects: &mut Vec<Effect>) {
        for group_id in group_ids {
            if let Some(group) = self.consumer_groups.get(group_id) {
                let timers = group.timers(self.config.consumer_of(group_id));
                self.set_consumer_timers(group_id, &timers, now);
            }
        }
        let Parts {
            groups, mut turn, ..
        } = self.parts(now, effects);
        for group_id in group_ids {
            let Some(group) = groups.get_mut(group_id) else {
                continue;
            };
            for member_id in group.members.keys() {
                turn.schedule_session(group, member_id);
            }
            // It was one of KIP-848, and has not been through a rebalance since: what those had that have gone is
            // nobody's yet.
            let has_no_leader = group.leader.is_none() && !group.members.is_empty();
            if has_no_leader || group.members.len() > turn.config.group_max_size {
                rebalance::prepare(group, &mut turn);
            }
        }
    }
}

pub(super) fn group_of(id: Arc<str>, value: GroupMetadataValue) -> Group {
    let protocol_name = value.protocol;
    let members: BTreeMap<Arc<str>, Member> = value
        .members
        .into_iter()
        .map(|member| {
            (
                member.member_id.clone(),
                member_of(member, protocol_name.as_ref()),
            )
        })
        .collect();
    let static_members = members
        .values()
        .filter_map(|member| Some((member.instance_id.clone()?, member.id.clone())))
        .collect();
    let first = || members.keys().next().cloned();
    let leader = value.leader.and_then(|leader| {
        let is_member = members.contains_key(&leader);
        is_member.then_some(leader).or_else(first)
    });
    let known_timestamp = |timestamp_ms: &i64| *timestamp_ms != -1;
    let mut group = Group {
        id,
        state: if members.is_empty() {
            GroupState::Empty
        } else {
            GroupState::Stable
        },
        state_timestamp_ms: Some(value.current_state_timestamp).filter(known_timestamp),
        generation: value.generation,
        protocol_type: Some(value.protocol_type).filter(|protocol_type| !protocol_type.is_empty()),
        protocol_name,
        leader,
        members,
        static_members,
        pending_joins: Default::default(),
        pending_syncs: Default::default(),
        subscribed_topics: None,
        initial_delay: None,
        new_member_added: false,
        assignment_append: None,
    };
    group.subscribed_topics = group.compute_subscribed_topics();
    group
}

fn member_of(member: MemberMetadata, protocol_name: Option<&Arc<str>>) -> Member {
    let protocol = Protocol {
        name: protocol_name.cloned().unwrap_or_default(),
        metadata: member.subscription,
    };
    let rebalance_timeout_ms = match member.rebalance_timeout {
        -1 => member.session_timeout,
        timeout_ms => timeout_ms,
    };
    Member {
        id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        rebalance_timeout_ms,
        session_timeout_ms: member.session_timeout,
        protocols: vec![protocol],
        assignment: member.assignment,
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    }
}
