use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};
use uuid::Uuid;

use crate::assignor::Partitions;
use crate::consumer::{
    ConsumerGroup, ConsumerGroupConfig, ConsumerGroupState, ConsumerRecord, ConsumerTimer,
    HeartbeatOutcome, Refused, Resolution, TimerChange, Topic, Topics, Undo,
};
use crate::now::Now;
use crate::request::RequestContext;
use crate::response::wire;

pub(super) const REBALANCE_TIMEOUT_MS: i32 = 3_000;

pub(super) const UNKNOWN_MEMBER_ID: i16 = ResponseError::UnknownMemberId.code();
pub(super) const FENCED_MEMBER_EPOCH: i16 = ResponseError::FencedMemberEpoch.code();
pub(super) const FENCED_INSTANCE_ID: i16 = ResponseError::FencedInstanceId.code();
pub(super) const UNRELEASED_INSTANCE_ID: i16 = ResponseError::UnreleasedInstanceId.code();
pub(super) const STALE_MEMBER_EPOCH: i16 = ResponseError::StaleMemberEpoch.code();

/// A group with topics, deadlines and a clock made of numbers.
pub(super) struct Harness {
    pub(super) group: ConsumerGroup,
    pub(super) config: ConsumerGroupConfig,
    pub(super) now: Now,
    /// Over which requests come.
    pub(super) connection: u64,
    pub(super) topics: Topics,
    /// Id, partitions and rack by name.
    pub(super) made_of: BTreeMap<&'static str, (u128, usize, &'static str)>,
    pub(super) deadlines: BTreeMap<(Arc<str>, ConsumerTimer), i64>,
    topics_version: u64,
}

impl Harness {
    pub(super) fn new() -> Self {
        let config = ConsumerGroupConfig {
            session_timeout_ms: 10_000,
            ..ConsumerGroupConfig::default()
        };
        let mut harness = Self {
            group: ConsumerGroup::new(Arc::from("group")),
            config,
            now: Now {
                monotonic_ms: 5_000,
                wall_ms: 1_700_000_000_000,
            },
            connection: 1,
            topics: Topics::default(),
            made_of: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            topics_version: 0,
        };
        harness.set_topic("orders", 1, 4);
        harness
    }

    pub(super) fn set_topic(&mut self, name: &'static str, id: u128, partition_count: usize) {
        self.made_of.insert(name, (id, partition_count, "rack"));
        self.make_topics();
    }

    pub(super) fn make_topics(&mut self) {
        self.topics_version += 1;
        let topics = self.made_of.iter().map(|(name, (id, count, rack))| {
            let racks = vec![vec![*rack]; *count];
            let topic = Topic::new(name, Uuid::from_u128(*id), &racks);
            (Arc::from(*name), topic)
        });
        let gone = self
            .topics
            .names()
            .filter(|name| !self.made_of.contains_key(&***name));
        let gone = gone.filter_map(|name| Some(self.topics.get(name)?.id));
        let gone = Vec::from_iter(gone);
        let next = self.topics.followed_by(self.topics_version, gone, topics);
        self.topics = next.unwrap_or_else(|| self.topics.clone());
    }

    pub(super) fn beat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<HeartbeatOutcome, Refused> {
        self.beat_at(1, request)
    }

    pub(super) fn beat_at(
        &mut self,
        api_version: i16,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<HeartbeatOutcome, Refused> {
        let context = RequestContext {
            waiter: 1,
            api_version,
            connection: self.connection,
            client_id: "client".to_owned(),
            client_host: "/192.0.2.1".to_owned(),
            member_uuid: Uuid::from_u128(7),
        };
        let Self {
            group,
            topics,
            config,
            now,
            ..
        } = self;
        let before = small(group);
        let outcome = group.heartbeat(&context, request, topics, config, *now);
        if let Ok(outcome) = &outcome {
            assert_undone(group, [&outcome.undo], before, config, *now);
        }
        self.set_timers(match &outcome {
            Ok(outcome) => &outcome.timers,
            Err(refused) => &refused.timers,
        });
        outcome
    }

    /// A heartbeat that is taken.
    pub(super) fn ok(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        self.beat(request).unwrap().response
    }

    /// The code of one that is not; it changes nothing.
    pub(super) fn refused(&mut self, request: &ConsumerGroupHeartbeatRequest) -> i16 {
        let before = self.group.clone();
        let refused = self.beat(request).unwrap_err();
        assert!(self.group == before);
        assert!(refused.response().error_message.is_some());
        refused.response().error_code
    }

    /// What the caller answers that was asked to resolve; of these expressions only prefixes are known.
    pub(super) fn resolve(&mut self, regexes: &[Arc<str>]) -> Resolution {
        let names = || self.made_of.keys();
        let matches = regexes.iter().map(|regex| {
            let prefix = regex.strip_suffix(".*").unwrap_or(regex);
            let matched = names().filter(|name| name.starts_with(prefix));
            (
                regex.clone(),
                matched.map(|name| Arc::from(*name)).collect(),
            )
        });
        let matches = Vec::from_iter(matches);
        let Self {
            group,
            topics,
            config,
            now,
            ..
        } = self;
        let before = small(group);
        let resolution = group.resolve(&matches, topics.version(), topics, config, *now);
        let undos = resolution.batches.iter().map(|change| &change.undo);
        assert_undone(group, undos.rev(), before, config, *now);
        resolution
    }

    pub(super) fn set_timers(&mut self, changes: &[TimerChange]) {
        for change in changes {
            let key = (change.member_id.clone(), change.timer);
            match change.after_ms {
                Some(after_ms) => {
                    let deadline_ms = self.now.monotonic_ms + i64::from(after_ms);
                    self.deadlines.insert(key, deadline_ms);
                }
                None => {
                    self.deadlines.remove(&key);
                }
            }
        }
    }

    /// Lets time pass; the batches of the deadlines on the way.
    pub(super) fn advance(&mut self, duration_ms: i64) -> Vec<Vec<ConsumerRecord>> {
        self.now.monotonic_ms += duration_ms;
        self.now.wall_ms += duration_ms;
        let mut batches = Vec::new();
        loop {
            let first = self.deadlines.iter().min_by_key(|(_, deadline)| **deadline);
            let Some((key, deadline_ms)) = first else {
                break;
            };
            if *deadline_ms > self.now.monotonic_ms {
                break;
            }
            let key = key.clone();
            self.deadlines.remove(&key);
            let before = small(&self.group);
            let fenced = match key.1 {
                ConsumerTimer::Session => self.group.end_session(&key.0, &self.topics),
                ConsumerTimer::Revocation => self.group.end_revocation(&key.0, &self.topics),
                ConsumerTimer::Join | ConsumerTimer::Sync => {
                    self.group.end_classic_wait(&key.0, &self.topics)
                }
            };
            let Self {
                group, config, now, ..
            } = &*self;
            assert_undone(group, [&fenced.undo], before, config, *now);
            self.set_timers(&fenced.timers);
            batches.push(fenced.records);
        }
        batches
    }

    /// Loads the group from what is in the log.
    pub(super) fn restart(&mut self, log: &[ConsumerRecord]) {
        self.group = replayed(log);
        self.deadlines.clear();
        let timers = self.group.timers(&self.config);
        self.set_timers(&timers);
    }
}

/// What cannot be written leaves the group as it was.
fn assert_undone<'a>(
    group: &ConsumerGroup,
    undos: impl IntoIterator<Item = &'a Undo>,
    before: Option<ConsumerGroup>,
    config: &ConsumerGroupConfig,
    now: Now,
) {
    let Some(before) = before else { return };
    let mut undone = group.clone();
    for undo in undos {
        undone.undo(undo.clone(), config, now);
    }
    assert!(undone == before, "{undone:?} is not {before:?}");
}

/// Large ones are there to take the time.
fn small(group: &ConsumerGroup) -> Option<ConsumerGroup> {
    (group.members.len() < 20).then(|| group.clone())
}

pub(super) fn replayed(log: &[ConsumerRecord]) -> ConsumerGroup {
    let mut group = ConsumerGroup::new(Arc::from("group"));
    for record in log {
        group.apply(record);
    }
    group
}

pub(super) fn request(member_id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(wire("group")))
        .with_member_id(wire(member_id))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

pub(super) fn full(
    member_id: &str,
    epoch: i32,
    topics: &[&str],
    owned: &Partitions,
) -> ConsumerGroupHeartbeatRequest {
    let names = topics.iter().map(|name| TopicName(wire(name)));
    request(member_id, epoch)
        .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
        .with_subscribed_topic_names(Some(names.collect()))
        .with_topic_partitions(Some(wire_partitions(owned)))
}

pub(super) fn join(member_id: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    full(member_id, 0, topics, &Partitions::new())
}

pub(super) fn join_as(instance_id: &str, member_id: &str) -> ConsumerGroupHeartbeatRequest {
    join(member_id, &["orders"]).with_instance_id(Some(wire(instance_id)))
}

pub(super) fn wire_partitions(partitions: &Partitions) -> Vec<TopicPartitions> {
    let topics = partitions.iter().map(|(topic_id, partitions)| {
        TopicPartitions::default()
            .with_topic_id(*topic_id)
            .with_partitions(partitions.iter().copied().collect())
    });
    topics.collect()
}

/// What an answer assigns, if it says.
pub(super) fn told(response: &ConsumerGroupHeartbeatResponse) -> Option<Partitions> {
    let assignment = response.assignment.as_ref()?;
    let topics = assignment.topic_partitions.iter();
    let topics = topics.map(|topic| {
        let partitions = BTreeSet::from_iter(topic.partitions.iter().copied());
        (topic.topic_id, partitions)
    });
    Some(topics.collect())
}

/// Partitions of `orders`.
pub(super) fn orders(partitions: &[i32]) -> Partitions {
    let partitions = BTreeSet::from_iter(partitions.iter().copied());
    let of_topic = (Uuid::from_u128(1), partitions);
    let topics = [of_topic].into_iter();
    topics
        .filter(|(_, partitions)| !partitions.is_empty())
        .collect()
}

/// Two members that have two partitions each, at epoch 2.
pub(super) fn two_members() -> Harness {
    let mut harness = Harness::new();
    harness.ok(&join("a", &["orders"]));
    harness.advance(1_000);
    harness.ok(&join("b", &["orders"]));
    harness.ok(&request("a", 1));
    let revoked = full("a", 1, &["orders"], &orders(&[0, 1]));
    assert_eq!(harness.ok(&revoked).member_epoch, 2);
    assert_eq!(told(&harness.ok(&request("b", 2))), Some(orders(&[2, 3])));
    assert_eq!(harness.group.state(), ConsumerGroupState::Stable);
    harness
}
