//! What a client knows, sends and takes up.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use foz_groups::{Response, WaiterId};
use foz_records::consumer_protocol_assignment::TopicPartition as AssignedPartitions;
use foz_records::consumer_protocol_subscription::TopicPartition as OwnedPartitions;
use foz_records::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, Message};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::*;
use uuid::Uuid;

use super::PARTITIONS;
use crate::harness::*;
use crate::migration::members::{ORDERS, heartbeat};

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Phase {
    #[default]
    Join,
    /// A leader has the others, with what they read and since which generation.
    Sync(Vec<(String, BTreeSet<i32>, i32)>),
    Read,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) is_native: bool,
    pub(super) instance_id: Option<&'static str>,
    pub(super) member_id: String,
    pub(super) connection: u64,
    /// Or its generation.
    pub(super) epoch: i32,
    pub(super) phase: Phase,
    pub(super) reads: BTreeSet<i32>,
    pub(super) told: Option<BTreeSet<i32>>,
    /// What it said that it reads when it joined a classic group last. Nobody else is assigned that before it joins without.
    pub(super) claims: BTreeSet<i32>,
    pub(super) awaits: Option<WaiterId>,
    /// The generation that it has joined may have been known to a coordinator that is no more only.
    pub(super) may_lose: bool,
}

impl Client {
    /// Its next process is given its place in a classic group without a rebalance, and has nothing to revoke.
    pub(super) fn may_have_to_revoke(&self) -> bool {
        let keeps = match &self.phase {
            Phase::Read => Some(self.told.as_ref().unwrap_or(&self.reads)),
            // What it is to be assigned it has not heard yet.
            Phase::Join | Phase::Sync(_) => None,
        };
        let keeps_all = keeps.map_or(self.claims.is_empty(), |keeps| self.claims.is_subset(keeps));
        self.instance_id.is_some() && !self.is_native && !keeps_all
    }

    /// First it stops, then it begins.
    pub(super) fn take_up(&mut self, told: &BTreeSet<i32>) {
        let keeps = BTreeSet::from_iter(self.reads.intersection(told).copied());
        if keeps == self.reads {
            self.reads.clone_from(told);
            self.told = None;
        } else {
            self.reads = keeps;
            if !self.is_native {
                // What it stops to read another may have once it has said so.
                self.phase = Phase::Join;
            }
        }
    }

    pub(super) fn beat(&self) -> ConsumerGroupHeartbeatRequest {
        let mut owned = self.reads.clone();
        owned.extend(self.told.iter().flatten());
        let topic = TopicPartitions::default()
            .with_topic_id(Uuid::from_u128(ORDERS))
            .with_partitions(Vec::from_iter(owned));
        let topics = Some(topic).into_iter();
        let topics = topics.filter(|topic| !topic.partitions.is_empty());
        heartbeat(&self.member_id, self.epoch)
            .with_instance_id(self.instance_id.map(text))
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(vec![TopicName(text("orders"))]))
            .with_topic_partitions(Some(topics.collect()))
    }

    pub(super) fn join(&self, is_eager: bool) -> JoinGroupRequest {
        let owned = OwnedPartitions {
            topic: "orders".into(),
            partitions: Vec::from_iter(self.reads.iter().copied()),
        };
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["orders".into()],
            owned_partitions: vec![owned],
            generation_id: self.epoch,
            ..ConsumerProtocolSubscription::default()
        };
        let name = if is_eager {
            "range"
        } else {
            "cooperative-sticky"
        };
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(subscription.encode_prefixed(3).expect("it is short"));
        join_request(&self.member_id)
            .with_session_timeout_ms(30_000)
            .with_protocols(vec![protocol])
            .with_group_instance_id(self.instance_id.map(text))
    }

    /// A leader assigns as Java's cooperative assignor: what one says that it reads nobody else gets, but only who
    /// was in the latest generation is believed.
    pub(super) fn sync(&self, others: &[(String, BTreeSet<i32>, i32)]) -> SyncGroupRequest {
        let latest = others.iter().map(|(_, _, generation)| *generation).max();
        let mut assigned = BTreeMap::from_iter(others.iter().map(|(id, ..)| (id, Vec::new())));
        for partition in (0..PARTITIONS).filter(|_| !others.is_empty()) {
            let reader = others.iter().find(|(_, reads, generation)| {
                Some(*generation) == latest && reads.contains(&partition)
            });
            let (to, ..) = &others[partition as usize % others.len()];
            if reader.is_none_or(|(reader, ..)| reader == to) {
                assigned.entry(to).or_default().push(partition);
            }
        }
        let assignments = assigned.into_iter().map(|(id, partitions)| {
            sync_group_request::SyncGroupRequestAssignment::default()
                .with_member_id(text(id))
                .with_assignment(assignment(partitions))
        });
        sync_request(&self.member_id, self.epoch, &[])
            .with_group_instance_id(self.instance_id.map(text))
            .with_assignments(assignments.collect())
    }

    pub(super) fn hear(&mut self, response: Response) {
        match response {
            Response::ConsumerGroupHeartbeat(response) => self.hear_beat(&response),
            Response::JoinGroup(response) => self.hear_join(&response),
            Response::SyncGroup(response) => match response.error_code {
                0 => {
                    self.phase = Phase::Read;
                    self.may_lose = false;
                    self.told = Some(partitions(&response.assignment));
                }
                code => self.hear_error(code),
            },
            Response::Heartbeat(response) if response.error_code == 0 => {}
            Response::Heartbeat(response) => self.hear_error(response.error_code),
            other => panic!("{other:?}"),
        }
    }

    fn hear_beat(&mut self, response: &ConsumerGroupHeartbeatResponse) {
        match error(response.error_code) {
            None => {
                assert!(response.member_epoch >= self.epoch, "an epoch went back");
                self.epoch = response.member_epoch;
                if let Some(assignment) = &response.assignment {
                    let topics = assignment.topic_partitions.iter();
                    self.told = Some(topics.flat_map(|topic| topic.partitions.clone()).collect());
                }
            }
            // Two answers in a row were lost: it has to let go of all, and has its partitions still till it says so.
            Some(ResponseError::FencedMemberEpoch) => {
                self.reads.clear();
                self.told = None;
                self.epoch = 0;
            }
            Some(ResponseError::UnreleasedInstanceId) => assert_eq!(self.epoch, 0),
            Some(error) if is_retried(error) => {}
            Some(error) => panic!("{error:?}: {self:?}"),
        }
    }

    fn hear_join(&mut self, response: &JoinGroupResponse) {
        match error(response.error_code) {
            None => {
                assert!(
                    self.may_lose || response.generation_id >= self.epoch,
                    "a generation went back"
                );
                self.epoch = response.generation_id;
                self.member_id = response.member_id.to_string();
                let members = response.members.iter();
                let members = members.map(|member| {
                    let metadata = &member.metadata;
                    let subscription =
                        ConsumerProtocolSubscription::decode_prefixed_or_newer(metadata)
                            .expect("a subscription");
                    let owned = subscription.owned_partitions.into_iter();
                    let owned = owned.flat_map(|topic| topic.partitions).collect();
                    (
                        member.member_id.to_string(),
                        owned,
                        subscription.generation_id,
                    )
                });
                self.phase = Phase::Sync(members.collect());
            }
            Some(ResponseError::MemberIdRequired) => {
                self.member_id = response.member_id.to_string();
            }
            Some(_) => self.hear_error(response.error_code),
        }
    }

    fn hear_error(&mut self, code: i16) {
        self.phase = Phase::Join;
        match error(code) {
            Some(ResponseError::RebalanceInProgress) => {}
            Some(ResponseError::IllegalGeneration) if self.may_lose => {
                self.reads.clear();
                self.told = None;
                self.epoch = -1;
            }
            // Its id was not committed yet. In Java that is the end of the process.
            Some(ResponseError::FencedInstanceId) if self.may_lose => {
                self.reads.clear();
                self.told = None;
                self.epoch = -1;
                self.member_id.clear();
            }
            // A member id was handed out by a coordinator that is no more.
            Some(ResponseError::UnknownMemberId) if self.reads.is_empty() => {
                self.member_id.clear();
            }
            Some(error) if is_retried(error) => {}
            error => panic!("{error:?}: {self:?}"),
        }
    }
}

fn error(code: i16) -> Option<ResponseError> {
    ResponseError::try_from_code(code)
}

fn is_retried(error: ResponseError) -> bool {
    matches!(
        error,
        ResponseError::CoordinatorLoadInProgress
            | ResponseError::CoordinatorNotAvailable
            | ResponseError::NotCoordinator
    )
}

fn assignment(partitions: Vec<i32>) -> Bytes {
    let topic = AssignedPartitions {
        topic: "orders".into(),
        partitions,
    };
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: vec![topic],
        user_data: None,
    };
    assignment.encode_prefixed(3).expect("it is short")
}

/// A leader may leave a member out.
fn partitions(assignment: &[u8]) -> BTreeSet<i32> {
    if assignment.is_empty() {
        return BTreeSet::new();
    }
    let assignment = ConsumerProtocolAssignment::decode_prefixed_or_newer(assignment);
    let topics = assignment.expect("an assignment").assigned_partitions;
    topics
        .into_iter()
        .flat_map(|topic| topic.partitions)
        .collect()
}
