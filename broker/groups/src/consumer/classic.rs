//! Members that speak the classic protocol in a group of KIP-848, while it changes from one to the other: what they
//! send is answered as if they had a generation of their own. That is their epoch; no leader assigns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use foz_records::consumer_protocol_assignment::TopicPartition;
use foz_records::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, Message};
use kafka_protocol::ResponseError;

use super::config::ConsumerGroupConfig;
use super::group::ConsumerGroup;
use super::heartbeat::{succeed, update_member};
use super::member::{ConsumerMember, EpochPartitions, MemberMetadata, MemberState};
use super::sender::Sender;
use super::step::Step;
use super::target;
use super::timer::ConsumerTimer;
use super::too_large::TooLarge;
use super::topics::Topics;
use super::turn::{GroupChange, Turn};
use crate::assignor::Partitions;
use crate::group::CONSUMER_PROTOCOL_TYPE;
use crate::member::Protocol;
use crate::now::Now;

/// A member that asks for a rebalance timeout of 0 has so long to join and to sync.
pub(crate) const WAIT_MS_MIN: i32 = 1_000;

/// What a member that speaks the classic protocol says besides what all say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassicMember {
    /// Its own: that of the broker is for those of KIP-848.
    pub session_timeout_ms: i32,
    /// In its order of preference; the subscription is the same in each.
    pub(crate) protocols: Vec<Protocol>,
}

/// A JoinGroup.
#[derive(Debug)]
pub(crate) struct ClassicJoin {
    /// Empty when it has none yet.
    pub(crate) member_id: Arc<str>,
    /// What it gets then.
    pub(crate) new_member_id: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    /// Which it came over.
    pub(crate) connection: u64,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    /// At least one.
    pub(crate) protocols: Vec<Protocol>,
}

/// What a JoinGroup has brought about.
#[derive(Debug)]
pub(crate) struct ClassicJoined {
    pub(crate) member_id: Arc<str>,
    /// Its generation.
    pub(crate) epoch: i32,
    pub(crate) protocol_name: Arc<str>,
    pub(crate) change: GroupChange,
    pub(crate) too_large: Option<TooLarge>,
}

impl ClassicMember {
    /// The one that it is told of.
    fn protocol(&self) -> Option<&Protocol> {
        self.protocols.first()
    }
}

impl ConsumerGroup {
    /// Whether one that speaks the classic protocol may be a member: each of those has to know one protocol that
    /// all of them know.
    pub(crate) fn supports_classic(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        let classic = || {
            let members = self.members.values();
            members.filter_map(|member| member.metadata.classic.as_ref())
        };
        let is_known = |protocol: &Protocol| {
            let knows = |member: &Arc<ClassicMember>| {
                let mut known = member.protocols.iter();
                known.any(|known| known.name == protocol.name)
            };
            classic().all(knows)
        };
        protocol_type == CONSUMER_PROTOCOL_TYPE && protocols.iter().any(is_known)
    }

    /// Takes a JoinGroup: the member says what it has, and gets what it may have by now.
    pub(crate) fn join_classic(
        &mut self,
        join: ClassicJoin,
        topics: &Topics,
        config: &ConsumerGroupConfig,
        now: Now,
    ) -> Result<ClassicJoined, ResponseError> {
        let inconsistent = ResponseError::InconsistentGroupProtocol;
        let protocol = join.protocols.first().ok_or(inconsistent)?;
        let protocol_name = protocol.name.clone();
        let subscription = subscription_of(&protocol.metadata).ok_or(inconsistent)?;
        let owned = owned(&subscription, topics);
        // Not so its other requests: they free nothing, and clients may have a connection of their own for them.
        let connection = join.connection;
        let heard = self.hear(&join.member_id, connection);
        heard.map_err(|refused| refused.error)?;
        let sender = self.classic_sender(&join, config)?;
        let mut turn = Turn::new(self, topics);
        let start = turn.savepoint();
        let (member_id, is_new) = match sender {
            Sender::Known(id) => (id, false),
            Sender::New(id) => (id, true),
            Sender::Successor { of, id } => {
                succeed(&mut turn, &of, &id);
                turn.forget_connection(&of);
                (id, false)
            }
        };
        let before = turn.group.members.get(&member_id);
        let before = before.map(|member| member.metadata.clone());
        let before = before.unwrap_or_default();
        let (session_timeout_ms, rebalance_timeout_ms) =
            (join.session_timeout_ms, join.rebalance_timeout_ms);
        let metadata = metadata(&before, join, subscription);
        let is_news = is_new || metadata != before;
        let has_subscription_changed =
            update_member(&mut turn, &member_id, is_new, &before, metadata);
        let step = Step {
            member_id: &member_id,
            owned: Some(&owned),
            has_subscription_changed,
            is_news,
            start,
        };
        let taken = step.take(&mut turn, config, now);
        let taken = taken.map_err(|refused| refused.error)?;
        turn.group.tell(&member_id, connection);
        for (timer, after_ms) in [
            (ConsumerTimer::Session, Some(session_timeout_ms)),
            (
                ConsumerTimer::Sync,
                Some(rebalance_timeout_ms.max(WAIT_MS_MIN)),
            ),
            (ConsumerTimer::Join, None),
            // It may have spoken KIP-848 before.
            (ConsumerTimer::Revocation, None),
        ] {
            turn.set_timer(&member_id, timer, after_ms);
        }
        let epoch = turn.group.members[&member_id].current.epoch;
        Ok(ClassicJoined {
            member_id,
            epoch,
            protocol_name,
            change: turn.into_change(),
            too_large: taken.too_large,
        })
    }

    /// Takes a SyncGroup: what the member is to read.
    pub(crate) fn sync_classic(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        (protocol_type, protocol_name): (Option<&str>, Option<&str>),
        topics: &Topics,
    ) -> Result<Bytes, ResponseError> {
        let (member, classic) = self.classic_member(member_id, instance_id, generation)?;
        let protocol = classic.protocol();
        let own_name = protocol.map(|protocol| &*protocol.name);
        if protocol_type.is_some_and(|protocol_type| protocol_type != CONSUMER_PROTOCOL_TYPE)
            || protocol_name.is_some_and(|name| Some(name) != own_name)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let current = &member.current;
        // One that is to revoke has joined already: it hears here what it keeps.
        if current.epoch < self.target_epoch.epoch
            && current.state != MemberState::UnrevokedPartitions
        {
            return Err(ResponseError::RebalanceInProgress);
        }
        let version = protocol.and_then(|protocol| version_of(&protocol.metadata));
        Ok(assignment_bytes(
            &current.assigned,
            version.unwrap_or(0),
            topics,
        ))
    }

    /// Takes a Heartbeat; says when the member is to join again.
    pub(crate) fn beat_classic(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        topics: &Topics,
        config: &ConsumerGroupConfig,
        now: Now,
    ) -> Result<(), ResponseError> {
        self.classic_member(member_id, instance_id, generation)?;
        let lacks_target = self.lacks_target(topics, config, now);
        let (member, _) = self.classic_member(member_id, instance_id, generation)?;
        let current = &member.current;
        let has_to_join = match current.state {
            _ if lacks_target || current.epoch < self.target_epoch.epoch => true,
            MemberState::UnrevokedPartitions | MemberState::Unknown => true,
            MemberState::UnreleasedPartitions => !self.waits_for_others(member_id, member),
            MemberState::Stable => false,
        };
        if has_to_join {
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Only who joins can bring about the next target, since nobody speaks KIP-848. Kafka leaves the partitions of
    /// a member that has gone to nobody then, till one joins by itself.
    fn lacks_target(&mut self, topics: &Topics, config: &ConsumerGroupConfig, now: Now) -> bool {
        if !self.is_all_classic() {
            return false;
        }
        let has_new_topics = self.checked_version != Some(topics.version())
            && self.metadata_hash(topics) != self.epoch.metadata_hash;
        if !has_new_topics {
            self.checked_version = Some(topics.version());
        }
        let is_old = has_new_topics || self.target_epoch.epoch < self.epoch.epoch;
        is_old && target::is_due(self, config, now)
    }

    /// It speaks the classic protocol, and that is its generation.
    fn classic_member(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(&ConsumerMember, &ClassicMember), ResponseError> {
        let unknown = ResponseError::UnknownMemberId;
        if let Some(instance_id) = instance_id {
            let owner = self.static_member(instance_id).ok_or(unknown)?;
            if **owner != *member_id {
                return Err(ResponseError::FencedInstanceId);
            }
        }
        let member = self.members.get(member_id).ok_or(unknown)?;
        let classic = member.metadata.classic.as_deref().ok_or(unknown)?;
        if generation != member.current.epoch {
            return Err(ResponseError::IllegalGeneration);
        }
        Ok((member, classic))
    }

    fn classic_sender(
        &self,
        join: &ClassicJoin,
        config: &ConsumerGroupConfig,
    ) -> Result<Sender, ResponseError> {
        let is_unknown = join.member_id.is_empty();
        let owner = join.instance_id.as_deref();
        let owner = owner.map(|instance_id| self.static_member(instance_id));
        let new_id = match (owner, is_unknown) {
            (Some(Some(of)), true) => {
                return Ok(Sender::Successor {
                    of: of.clone(),
                    id: join.new_member_id.clone(),
                });
            }
            (Some(Some(owner)), false) if *owner != join.member_id => {
                return Err(ResponseError::FencedInstanceId);
            }
            (Some(None), false) => return Err(ResponseError::UnknownMemberId),
            (_, true) => &join.new_member_id,
            // One that was handed out, where it is no member's.
            (_, false) => &join.member_id,
        };
        if self.members.contains_key(new_id) {
            return Ok(Sender::Known(new_id.clone()));
        }
        if self.members.len() >= config.max_size {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        Ok(Sender::New(new_id.clone()))
    }

    fn waits_for_others(&self, member_id: &str, member: &ConsumerMember) -> bool {
        let target = self.target.get(member_id).into_iter().flatten();
        let mut partitions = target.flat_map(|(topic_id, partitions)| {
            partitions
                .iter()
                .map(move |partition| (topic_id, *partition))
        });
        partitions.any(|(topic_id, partition)| {
            let has = member.current.assigned.get(topic_id);
            let has = has.is_some_and(|partitions| partitions.contains_key(&partition));
            !has && self.owner(topic_id, partition).is_some()
        })
    }
}

fn metadata(
    before: &MemberMetadata,
    join: ClassicJoin,
    subscription: ConsumerProtocolSubscription,
) -> MemberMetadata {
    let names = BTreeSet::from_iter(subscription.topics);
    MemberMetadata {
        instance_id: join.instance_id.or_else(|| before.instance_id.clone()),
        rack_id: subscription.rack_id.or_else(|| before.rack_id.clone()),
        client_id: join.client_id,
        client_host: join.client_host,
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        subscribed_topics: if names == *before.subscribed_topics {
            before.subscribed_topics.clone()
        } else {
            Arc::new(names)
        },
        subscribed_regex: None,
        assignor: before.assignor,
        classic: Some(Arc::new(ClassicMember {
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols,
        })),
    }
}

/// What a member says in a protocol of consumers, of any version.
pub(super) fn subscription_of(metadata: &[u8]) -> Option<ConsumerProtocolSubscription> {
    version_of(metadata).filter(|version| *version >= 0)?;
    ConsumerProtocolSubscription::decode_prefixed_or_newer(metadata).ok()
}

pub(super) fn version_of(metadata: &[u8]) -> Option<i16> {
    let version = metadata.first_chunk::<2>()?;
    Some(i16::from_be_bytes(*version))
}

/// Before version 1 no member has anything when it joins.
pub(super) fn owned(subscription: &ConsumerProtocolSubscription, topics: &Topics) -> Partitions {
    let mut owned = Partitions::new();
    for of_topic in &subscription.owned_partitions {
        if let Some(topic) = topics.get(&of_topic.topic)
            && !of_topic.partitions.is_empty()
        {
            let partitions = owned.entry(topic.id).or_default();
            partitions.extend(&of_topic.partitions);
        }
    }
    owned
}

/// What a SyncGroup tells, in the version that the member speaks. Topics that are gone have no name.
pub(super) fn assignment_bytes(assigned: &EpochPartitions, version: i16, topics: &Topics) -> Bytes {
    let named = assigned.iter().filter_map(|(topic_id, partitions)| {
        let name = topics.name(topic_id)?.clone();
        Some((name, partitions.keys().copied().collect()))
    });
    let by_name: BTreeMap<Arc<str>, Vec<i32>> = named.collect();
    let by_name = by_name.into_iter();
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: by_name
            .map(|(topic, partitions)| TopicPartition { topic, partitions })
            .collect(),
        user_data: None,
    };
    let version = version.clamp(
        ConsumerProtocolAssignment::VERSION_MIN,
        ConsumerProtocolAssignment::VERSION_MAX,
    );
    assignment
        .encode_prefixed(version)
        .expect("names of topics are short, and every version has the same fields")
}
