//! A member of a classic consumer group that reads one topic: join, sync, heartbeat, commit, leave.
//!
//! The member never works in the background: its owner calls [`GroupMember::heartbeat`] often enough.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, FindCoordinatorRequest,
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use tokio::time::Instant;

use super::assignor::{Assignment, range_assignment};
use super::error::check;
use super::retry::Retry;
use super::{Client, ClientError, Target};

/// Without a heartbeat for so long, the coordinator gives our partitions to others.
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);
/// How long we may take to join again; other members may ask for more.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(30);
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// A join is answered when all members have joined: Java's may take five minutes.
const JOIN_TIMEOUT: Duration = Duration::from_secs(330);
const PROTOCOL_TYPE: &str = "consumer";
const RANGE: &str = "range";
/// The version in front of subscriptions and assignments; all others begin like it.
const CONSUMER_PROTOCOL_VERSION: i16 = 0;

/// Our place in the group is still ours, or it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Go on.
    Kept,
    /// Commit nothing more, and [`GroupMember::join`] again.
    Lost,
    /// Commit what was handled, and [`GroupMember::join`] again.
    Rebalancing,
}

/// A member of a group.
#[derive(Debug)]
pub struct GroupMember {
    client: Client,
    group: String,
    topic: String,
    coordinator: i32,
    member_id: StrBytes,
    generation: i32,
    next_heartbeat: Instant,
}

impl GroupMember {
    /// Somebody who would like to join `group` to read `topic`.
    #[must_use]
    pub fn new(client: &Client, group: &str, topic: &str) -> Self {
        Self {
            client: client
                .with_own_connections()
                .with_request_timeout(JOIN_TIMEOUT),
            group: group.to_owned(),
            topic: topic.to_owned(),
            coordinator: -1,
            member_id: StrBytes::new(),
            generation: -1,
            next_heartbeat: Instant::now(),
        }
    }

    /// Joins, or joins again, and returns the partitions that are ours until the next rebalance.
    ///
    /// # Errors
    /// [`ClientError`] when there is no place within `patience`.
    pub async fn join(&mut self, patience: Duration) -> Result<Vec<i32>, ClientError> {
        let mut retry = Retry::within(patience);
        loop {
            let error = match self.try_join().await {
                Ok(partitions) => return Ok(partitions),
                Err(error) => error,
            };
            match error.code() {
                // The rounds of joining that belong to it; the next one has what this one learnt.
                Some(
                    ErrorCode::MemberIdRequired
                    | ErrorCode::RebalanceInProgress
                    | ErrorCode::IllegalGeneration,
                ) => {}
                Some(ErrorCode::UnknownMemberId) => self.member_id = StrBytes::new(),
                _ if error.is_retriable() => {}
                _ => return Err(error),
            }
            let joins_at_once = error.code() == Some(ErrorCode::MemberIdRequired);
            if !joins_at_once && !retry.pause().await {
                return Err(error);
            }
        }
    }

    /// Tells the coordinator that we live, when it is time to.
    ///
    /// # Errors
    /// [`ClientError`] that trying again does not help against.
    pub async fn heartbeat(&mut self) -> Result<Membership, ClientError> {
        if Instant::now() < self.next_heartbeat {
            return Ok(Membership::Kept);
        }
        self.next_heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone());
        let code = match self.ask(ApiKey::Heartbeat, 4, &request).await {
            Ok(response) => response.error_code,
            Err(error) => return self.membership_after(error),
        };
        match self.checked(code, None, "staying in") {
            Ok(()) => Ok(Membership::Kept),
            Err(error) => self.membership_after(error),
        }
    }

    /// The offsets that the group has committed; partitions without one are not in it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, ClientError> {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(topic_name(&self.topic))
            .with_partition_indexes(partitions.to_vec());
        let request = OffsetFetchRequest::default()
            .with_group_id(group_id(&self.group))
            .with_topics(Some(vec![topic]));
        // From 8 on, groups are in another field.
        let response = self.ask(ApiKey::OffsetFetch, 7, &request).await?;
        self.checked(response.error_code, None, "reading the offsets of")?;
        let mut offsets = BTreeMap::new();
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            self.checked(partition.error_code, None, "reading the offsets of")?;
            if partition.committed_offset >= 0 {
                offsets.insert(partition.partition_index, partition.committed_offset);
            }
        }
        Ok(offsets)
    }

    /// Commits the next offset to read of each partition.
    ///
    /// # Errors
    /// [`ClientError`] that trying again does not help against.
    pub async fn commit(
        &mut self,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<Membership, ClientError> {
        let partitions = offsets.iter().map(|(&partition, &offset)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(StrBytes::new()))
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&self.topic))
            .with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.member_id.clone())
            .with_topics(vec![topic]);
        let response = match self.ask(ApiKey::OffsetCommit, 9, &request).await {
            Ok(response) => response,
            Err(error) => return self.membership_after(error),
        };
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            if let Err(error) = self.checked(partition.error_code, None, "committing offsets of") {
                return self.membership_after(error);
            }
        }
        Ok(Membership::Kept)
    }

    /// Leaves, so that others take our partitions at once rather than after the session timeout.
    ///
    /// # Errors
    /// [`ClientError`]; the session timeout does it then.
    pub async fn leave(self) -> Result<(), ClientError> {
        let request = LeaveGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(self.member_id.clone());
        // From 3 on, members are in another field.
        let response = self.ask(ApiKey::LeaveGroup, 2, &request).await?;
        self.checked(response.error_code, None, "leaving")
    }

    async fn try_join(&mut self) -> Result<Vec<i32>, ClientError> {
        self.find_coordinator().await?;
        let subscription = ConsumerProtocolSubscription::default()
            .with_topics(vec![StrBytes::from_string(self.topic.clone())]);
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str(RANGE))
            .with_metadata(with_version(&subscription)?);
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_session_timeout_ms(SESSION_TIMEOUT.as_millis() as i32)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT.as_millis() as i32)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        let joined = self.ask(ApiKey::JoinGroup, 7, &request).await?;
        if !joined.member_id.is_empty() {
            self.member_id = joined.member_id.clone();
        }
        self.checked(joined.error_code, None, "joining")?;
        self.generation = joined.generation_id;

        let assignments = if joined.leader == self.member_id {
            self.assign(&joined).await?
        } else {
            Vec::new()
        };
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
            .with_protocol_name(Some(StrBytes::from_static_str(RANGE)))
            .with_assignments(assignments);
        let synced = self.ask(ApiKey::SyncGroup, 5, &request).await?;
        self.checked(synced.error_code, None, "joining")?;
        self.next_heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
        Ok(partitions_of(&synced.assignment, &self.topic))
    }

    /// Decides for everybody: the coordinator made us the leader of this generation.
    async fn assign(
        &self,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let subscriptions: BTreeMap<String, Vec<String>> = joined
            .members
            .iter()
            .map(|member| {
                (
                    member.member_id.to_string(),
                    subscribed_topics(&member.metadata),
                )
            })
            .collect();
        let topics: Vec<&str> = subscriptions
            .values()
            .flatten()
            .map(String::as_str)
            .collect();
        let cluster = self.client.refresh(Some(&topics)).await?;
        let counts = cluster.topics.iter();
        let counts = counts.map(|(name, topic)| (name.clone(), topic.partitions.len() as i32));
        range_assignment(&subscriptions, &counts.collect())
            .into_iter()
            .map(|(member, assignment)| {
                Ok(SyncGroupRequestAssignment::default()
                    .with_member_id(StrBytes::from_string(member))
                    .with_assignment(with_version(&to_wire(assignment))?))
            })
            .collect()
    }

    async fn find_coordinator(&mut self) -> Result<(), ClientError> {
        let key = StrBytes::from_string(self.group.clone());
        let request = FindCoordinatorRequest::default()
            .with_key(key)
            .with_key_type(0);
        // From 4 on, keys are in another field.
        let response = self
            .client
            .request(Target::Any, ApiKey::FindCoordinator, 3, &request)
            .await?;
        let message = response.error_message.as_deref();
        self.checked(response.error_code, message, "finding the coordinator of")?;
        self.coordinator = response.node_id.0;
        if !self
            .client
            .cluster()
            .brokers
            .contains_key(&self.coordinator)
        {
            self.client.refresh(Some(&[])).await?;
        }
        Ok(())
    }

    async fn ask<T: Request>(
        &self,
        api: ApiKey,
        version_max: i16,
        request: &T,
    ) -> Result<T::Response, ClientError> {
        self.client
            .request(Target::Node(self.coordinator), api, version_max, request)
            .await
    }

    fn checked(&self, code: i16, message: Option<&str>, doing: &str) -> Result<(), ClientError> {
        check(code, message, || format!("{doing} group {}", self.group))
    }

    /// What an error of a heartbeat or a commit means for our place.
    fn membership_after(&self, error: ClientError) -> Result<Membership, ClientError> {
        match error.code() {
            Some(ErrorCode::RebalanceInProgress) => Ok(Membership::Rebalancing),
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => Ok(Membership::Lost),
            _ if error.is_retriable() => Ok(Membership::Lost),
            _ => Err(error),
        }
    }
}

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// A structure of the consumer protocol with its version in front.
fn with_version(message: &impl Encodable) -> Result<Bytes, ClientError> {
    let mut out = Vec::new();
    out.put_i16(CONSUMER_PROTOCOL_VERSION);
    message
        .encode(&mut out, CONSUMER_PROTOCOL_VERSION)
        .map_err(|error| ClientError::Invalid(error.to_string()))?;
    Ok(Bytes::from(out))
}

fn to_wire(assignment: Assignment) -> ConsumerProtocolAssignment {
    let partitions = assignment.into_iter().map(|(topic, partitions)| {
        TopicPartition::default()
            .with_topic(topic_name(&topic))
            .with_partitions(partitions)
    });
    ConsumerProtocolAssignment::default().with_assigned_partitions(partitions.collect())
}

/// Of a subscription of any version; none when it cannot be read.
fn subscribed_topics(metadata: &Bytes) -> Vec<String> {
    if metadata.len() < 2 {
        return Vec::new();
    }
    let subscription =
        ConsumerProtocolSubscription::decode(&mut metadata.slice(2..), CONSUMER_PROTOCOL_VERSION);
    let topics = subscription
        .map(|subscription| subscription.topics)
        .unwrap_or_default();
    topics.iter().map(ToString::to_string).collect()
}

/// Our partitions in an assignment of any version; none when it is empty.
fn partitions_of(assignment: &Bytes, topic: &str) -> Vec<i32> {
    if assignment.len() < 2 {
        return Vec::new();
    }
    let assignment =
        ConsumerProtocolAssignment::decode(&mut assignment.slice(2..), CONSUMER_PROTOCOL_VERSION);
    let assigned = assignment
        .map(|assignment| assignment.assigned_partitions)
        .unwrap_or_default();
    let ours = assigned
        .into_iter()
        .filter(|it| it.topic.0.as_str() == topic);
    ours.flat_map(|it| it.partitions).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_comes_back_from_the_wire() {
        let assignment = [("t".to_owned(), vec![0, 2]), ("u".to_owned(), vec![1])].into();
        let bytes = with_version(&to_wire(assignment)).unwrap();
        assert_eq!(partitions_of(&bytes, "t"), [0, 2]);
        assert!(partitions_of(&bytes, "v").is_empty());
        assert!(partitions_of(&Bytes::new(), "t").is_empty());
    }

    #[test]
    fn subscriptions_of_newer_members_are_understood() {
        // Version 1 of a Java member: topics, null user data, owned partitions.
        let bytes = b"\x00\x01\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff\x00\x00\x00\x00";
        assert_eq!(subscribed_topics(&Bytes::from_static(bytes)), ["t"]);
        assert!(subscribed_topics(&Bytes::from_static(b"\x00")).is_empty());
    }
}
