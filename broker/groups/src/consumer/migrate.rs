//! A group with members goes from one protocol to the other, with all its members and what they have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use foz_records::{ConsumerProtocolAssignment, Message};
use uuid::Uuid;

use super::classic::{ClassicMember, assignment_bytes, owned, subscription_of, version_of};
use super::group::ConsumerGroup;
use super::member::{CurrentAssignment, EpochPartitions, MemberMetadata, MemberState};
use super::record::{ConsumerRecord, GroupEpoch, TargetEpoch, batch_bytes};
use super::topics::Topics;
use super::undo::Undo;
use crate::assignor::Partitions;
use crate::group::{CONSUMER_PROTOCOL_TYPE, Group, GroupState};
use crate::member::Member;

/// What a classic group with members has become.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) group: ConsumerGroup,
    /// That say so, behind the tombstone of the classic one.
    pub(crate) records: Vec<ConsumerRecord>,
    /// What a batch of them takes.
    pub(crate) bytes: usize,
}

/// What a group of KIP-848 has become whose members all speak the classic protocol.
#[derive(Debug)]
pub(crate) struct Downgraded {
    pub(crate) group: Group,
    pub(crate) assignments: BTreeMap<Arc<str>, Bytes>,
}

/// Of one member of a classic group.
struct Taken {
    metadata: MemberMetadata,
    /// It has one; else the group was between two.
    is_assigned: bool,
    assigned: EpochPartitions,
    /// What it said that it has when it joined last, and that is assigned to nobody.
    kept: EpochPartitions,
    /// That it said so of.
    kept_generation: i32,
}

/// Its members are all at the generation that the group has, each with what it was assigned last: whoever joins next
/// begins an epoch, and then they are told to join again. Says why it cannot be.
///
/// With a cooperative assignor a member reads what it had until it has heard of its next assignment, or is revoking
/// it then. Unlike in Kafka, where such partitions are free, nobody gets them before it has joined again without.
pub(crate) fn upgraded(group: &Group, topics: &Topics) -> Result<Upgraded, String> {
    if !group.uses_consumer_protocol() {
        return Err("its members are no consumers".to_owned());
    }
    let mut taken = BTreeMap::new();
    let mut owned = BTreeSet::new();
    for (member_id, member) in &group.members {
        let of_member = take(group, member, topics)?;
        for (topic_id, partitions) in &of_member.assigned {
            for partition in partitions.keys() {
                if !owned.insert((*topic_id, *partition)) {
                    return Err("a partition is assigned to two of its members".to_owned());
                }
            }
        }
        taken.insert(member_id.clone(), of_member);
    }
    leave_to_one(&mut taken, owned);
    let mut upgraded = Upgraded {
        group: ConsumerGroup::new(group.id.clone()),
        records: Vec::new(),
        bytes: 0,
    };
    let generation = group.generation;
    for (member_id, of_member) in &taken {
        upgraded.write(ConsumerRecord::Member {
            member_id: member_id.clone(),
            metadata: Some(of_member.metadata.clone()),
        });
    }
    let metadata_hash = upgraded.group.metadata_hash(topics);
    // Whoever joins begins an epoch, but for the next process of a static member: what the group was about to assign
    // would be left to nobody then, as in Kafka.
    let is_rebalancing = group.state != GroupState::Stable;
    upgraded.write(ConsumerRecord::Epoch(Some(GroupEpoch {
        epoch: generation + i32::from(is_rebalancing),
        metadata_hash,
    })));
    for (member_id, of_member) in &taken {
        upgraded.write(ConsumerRecord::Target {
            member_id: member_id.clone(),
            partitions: Some(without_epochs(&of_member.assigned)),
        });
    }
    upgraded.write(ConsumerRecord::TargetEpoch(Some(TargetEpoch {
        epoch: generation,
        timestamp_ms: 0,
    })));
    for (member_id, of_member) in taken {
        upgraded.write(ConsumerRecord::Current {
            member_id,
            assignment: Some(CurrentAssignment {
                epoch: generation,
                previous_epoch: generation,
                state: if of_member.kept.is_empty() {
                    MemberState::Stable
                } else {
                    MemberState::UnrevokedPartitions
                },
                assigned: of_member.assigned,
                pending_revocation: of_member.kept,
            }),
        });
    }
    upgraded.bytes = batch_bytes(&upgraded.records, &group.id);
    Ok(upgraded)
}

/// Of what is kept. Who joined at the latest generation knows best.
fn leave_to_one(taken: &mut BTreeMap<Arc<str>, Taken>, mut owned: BTreeSet<(Uuid, i32)>) {
    let mut members = Vec::from_iter(taken.values_mut());
    members.sort_by_key(|member| std::cmp::Reverse(member.kept_generation));
    for member in members {
        for (topic_id, partitions) in &mut member.kept {
            partitions.retain(|partition, _| owned.insert((*topic_id, *partition)));
        }
        member.kept.retain(|_, partitions| !partitions.is_empty());
        if !member.is_assigned {
            member.assigned = std::mem::take(&mut member.kept);
        }
    }
}

impl Upgraded {
    fn write(&mut self, record: ConsumerRecord) {
        self.group.apply(&record);
        self.records.push(record);
    }
}

impl ConsumerGroup {
    /// As it is with the change that `undo` is of. Its members have a generation in common and what they read, and
    /// are to join again: nobody leads it yet.
    ///
    /// `None` where the members have no protocol in common, or no epoch. Unlike Kafka's, a group waits for those
    /// that are on their way to a target: with an older generation they would lose what they read, or an assignor
    /// would take them for members that have.
    pub(crate) fn downgraded(
        &self,
        undo: &Undo,
        topics: &Topics,
        now_wall_ms: i64,
    ) -> Option<Downgraded> {
        let epochs = [Some(self.epoch.epoch), undo.epoch_before()];
        let generation = epochs.into_iter().flatten().find(|epoch| {
            let mut members = self.members.values();
            members.all(|member| member.current.epoch == *epoch)
        })?;
        let mut group = Group::new(self.id.clone(), now_wall_ms);
        let mut assignments = BTreeMap::new();
        for (member_id, member) in &self.members {
            let metadata = &member.metadata;
            let classic = metadata.classic.as_deref()?;
            let protocol = classic.protocols.first()?;
            let nothing = Partitions::new();
            let target = self.target.get(member_id).unwrap_or(&nothing);
            let version = version_of(&protocol.metadata).unwrap_or(0);
            let assignment = assignment_bytes(&with_epoch(target, generation), version, topics);
            assignments.insert(member_id.clone(), assignment.clone());
            let member = Member {
                id: member_id.clone(),
                instance_id: metadata.instance_id.clone(),
                client_id: metadata.client_id.clone(),
                client_host: metadata.client_host.clone(),
                rebalance_timeout_ms: metadata.rebalance_timeout_ms,
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic.protocols.clone(),
                assignment,
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            };
            group.add(member, CONSUMER_PROTOCOL_TYPE);
        }
        group.state = GroupState::Stable;
        group.leader = None;
        group.generation = generation;
        group.protocol_name = Some(group.select_protocol()?);
        group.subscribed_topics = group.compute_subscribed_topics();
        Some(Downgraded { group, assignments })
    }
}

fn take(group: &Group, member: &Member, topics: &Topics) -> Result<Taken, String> {
    let malformed = |what: &str| format!("the {what} of its member {} is malformed", member.id);
    // One that joins need not know the protocol of the last generation. The subscription is the same in each.
    let mut protocols = member.protocols.iter();
    let chosen = protocols.find(|known| Some(&known.name) == group.protocol_name.as_ref());
    let protocol = chosen.or_else(|| member.protocols.first());
    let subscription = protocol.and_then(|protocol| subscription_of(&protocol.metadata));
    let subscription = subscription.ok_or_else(|| malformed("subscription"))?;
    let kept_generation = subscription.generation_id;
    let kept = with_epoch(&owned(&subscription, topics), group.generation);
    let mut assigned = EpochPartitions::new();
    // One that has never synced has none.
    if !member.assignment.is_empty() {
        let assignment = ConsumerProtocolAssignment::decode_prefixed_or_newer(&member.assignment);
        let assignment = assignment.map_err(|_| malformed("assignment"))?;
        if assignment.user_data.is_some_and(|data| !data.is_empty()) {
            return Err("its assignor keeps data of its own, which would be lost".to_owned());
        }
        for of_topic in assignment.assigned_partitions {
            // One that was deleted since has nothing to be read.
            if let Some(topic) = topics.get(&of_topic.topic)
                && !of_topic.partitions.is_empty()
            {
                let partitions = of_topic.partitions.into_iter();
                let with_epochs = partitions.map(|partition| (partition, group.generation));
                assigned.entry(topic.id).or_default().extend(with_epochs);
            }
        }
    }
    let metadata = MemberMetadata {
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        subscribed_topics: Arc::new(subscription.topics.into_iter().collect()),
        subscribed_regex: None,
        assignor: None,
        classic: Some(Arc::new(ClassicMember {
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols.clone(),
        })),
    };
    Ok(Taken {
        metadata,
        is_assigned: !member.assignment.is_empty(),
        assigned,
        kept,
        kept_generation,
    })
}

fn with_epoch(partitions: &Partitions, epoch: i32) -> EpochPartitions {
    let topics = partitions.iter();
    let topics = topics.map(|(topic_id, partitions)| {
        let partitions = partitions.iter();
        let partitions = partitions.map(|partition| (*partition, epoch));
        (*topic_id, partitions.collect())
    });
    topics.collect()
}

fn without_epochs(partitions: &EpochPartitions) -> Partitions {
    let topics = partitions.iter();
    topics
        .map(|(topic_id, partitions): (&Uuid, _)| (*topic_id, partitions.keys().copied().collect()))
        .collect()
}
