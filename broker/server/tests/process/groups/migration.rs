//! A group whose members go from the classic protocol to KIP-848 one by one, and back, while they read and commit
//! and their coordinators are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foz_cli::client::{Client, Target};
use foz_records::consumer_protocol_assignment::TopicPartition as AssignedPartitions;
use foz_records::consumer_protocol_subscription::TopicPartition as OwnedPartitions;
use foz_records::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, Message};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{coordinator, name};
use crate::testbed::{PATIENCE, Testbed, topic};

const GROUP: &str = "readers";
const PARTITIONS: i32 = 4;
const ASSIGNOR: &str = "cooperative-sticky";

/// What all members see.
#[derive(Default)]
struct Seen {
    readers: BTreeMap<i32, &'static str>,
    next_offset: i64,
    acknowledged: BTreeMap<i32, i64>,
}

/// A consumer that does what Java's does, in a task of its own.
struct Member {
    client: Client,
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
    label: &'static str,
    id: String,
    epoch: i32,
    reads: BTreeSet<i32>,
}

/// A member that runs.
struct Running {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Running {
    /// In an orderly way.
    async fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

async fn start(
    testbed: &Testbed,
    seen: &Arc<Mutex<Seen>>,
    label: &'static str,
    is_native: bool,
) -> Running {
    let is_over = Arc::new(AtomicBool::new(false));
    let member = Member {
        client: testbed.client().await,
        seen: Arc::clone(seen),
        is_over: Arc::clone(&is_over),
        label,
        id: if is_native {
            label.to_owned()
        } else {
            String::new()
        },
        epoch: if is_native { 0 } else { -1 },
        reads: BTreeSet::new(),
    };
    let task = if is_native {
        tokio::spawn(member.run_native())
    } else {
        tokio::spawn(member.run_classic())
    };
    Running { is_over, task }
}

impl Member {
    /// What it reads no longer others may read; nobody else reads what it reads from now on.
    fn read(&mut self, partitions: BTreeSet<i32>) {
        let mut seen = self.seen.lock().unwrap();
        for lost in self.reads.difference(&partitions) {
            seen.readers.remove(lost);
        }
        for partition in partitions.difference(&self.reads) {
            let other = seen.readers.insert(*partition, self.label);
            assert_eq!(other, None, "{} reads {partition} too", self.label);
        }
        self.reads = partitions;
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    async fn ask<T: kafka_protocol::protocol::Request>(
        &self,
        api: ApiKey,
        version: i16,
        request: &T,
    ) -> Option<T::Response> {
        let node = Target::Node(coordinator(&self.client, GROUP).await);
        let answer = self.client.request(node, api, version, request).await;
        if answer.is_err() {
            pause().await;
        }
        answer.ok()
    }

    /// A reader may commit: only coordinators that come and go refuse it.
    async fn commit(&self) {
        for partition in &self.reads {
            let offset = {
                let mut seen = self.seen.lock().unwrap();
                seen.next_offset += 1;
                seen.next_offset
            };
            let of_partition = OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(offset);
            let of_topic = OffsetCommitRequestTopic::default()
                .with_name(TopicName(name("orders")))
                .with_partitions(vec![of_partition]);
            let request = OffsetCommitRequest::default()
                .with_group_id(GroupId(name(GROUP)))
                .with_member_id(name(&self.id))
                .with_generation_id_or_member_epoch(self.epoch)
                .with_topics(vec![of_topic]);
            if let Some(answer) = self.ask(ApiKey::OffsetCommit, 9, &request).await
                && answer.topics[0].partitions[0].error_code == 0
            {
                let mut seen = self.seen.lock().unwrap();
                seen.acknowledged.insert(*partition, offset);
            }
        }
    }

    async fn run_native(mut self) {
        let mut topic_id = Uuid::nil();
        while !self.is_over() {
            let owned = TopicPartitions::default()
                .with_topic_id(topic_id)
                .with_partitions(Vec::from_iter(self.reads.iter().copied()));
            let owned = Some(owned).filter(|owned| !owned.partitions.is_empty());
            let request = self
                .native_request(self.epoch)
                .with_rebalance_timeout_ms(60_000)
                .with_subscribed_topic_names(Some(vec![TopicName(name("orders"))]))
                .with_topic_partitions(Some(Vec::from_iter(owned)));
            let api = ApiKey::ConsumerGroupHeartbeat;
            let Some(answer) = self.ask(api, 1, &request).await else {
                continue;
            };
            if answer.error_code == 0 {
                assert!(answer.member_epoch >= self.epoch, "an epoch went back");
                self.epoch = answer.member_epoch;
                if let Some(assignment) = answer.assignment {
                    let mut told = BTreeSet::new();
                    for topic in assignment.topic_partitions {
                        topic_id = topic.topic_id;
                        told.extend(topic.partitions);
                    }
                    self.read(told);
                }
                self.commit().await;
            } else {
                assert!(is_retried(answer.error_code), "{}: {answer:?}", self.label);
            }
            pause().await;
        }
        self.read(BTreeSet::new());
        let request = self.native_request(-1);
        while self
            .ask(ApiKey::ConsumerGroupHeartbeat, 1, &request)
            .await
            .is_none_or(|answer| is_retried(answer.error_code))
        {
            pause().await;
        }
    }

    fn native_request(&self, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(name(GROUP)))
            .with_member_id(name(&self.id))
            .with_member_epoch(epoch)
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(None)
    }

    async fn run_classic(mut self) {
        while !self.is_over() {
            let Some(told) = self.join().await else {
                pause().await;
                continue;
            };
            let keeps = BTreeSet::from_iter(self.reads.intersection(&told).copied());
            let has_revoked = keeps != self.reads;
            self.read(keeps);
            self.read(told);
            self.commit().await;
            while !has_revoked && !self.is_over() && self.beat().await {
                pause().await;
                self.commit().await;
            }
        }
        self.read(BTreeSet::new());
        let member = MemberIdentity::default().with_member_id(name(&self.id));
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(name(GROUP)))
            .with_members(vec![member]);
        while self
            .ask(ApiKey::LeaveGroup, 5, &request)
            .await
            .is_none_or(|answer| is_retried(answer.error_code))
        {
            pause().await;
        }
    }

    /// Joins and asks what it is to read; `None` when it is to join again.
    async fn join(&mut self) -> Option<BTreeSet<i32>> {
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
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(name(ASSIGNOR))
            .with_metadata(subscription.encode_prefixed(3).unwrap());
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(name(GROUP)))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_member_id(name(&self.id))
            .with_protocol_type(name("consumer"))
            .with_protocols(vec![protocol]);
        let joined = self.ask(ApiKey::JoinGroup, 9, &request).await?;
        if joined.error_code == ResponseError::MemberIdRequired.code() {
            self.id = joined.member_id.to_string();
            return None;
        }
        self.take(joined.error_code)?;
        self.epoch = joined.generation_id;
        let members = joined.members.iter().map(|member| {
            let subscription =
                ConsumerProtocolSubscription::decode_prefixed_or_newer(&member.metadata).unwrap();
            let owned = subscription.owned_partitions.into_iter();
            let owned = owned.flat_map(|topic| topic.partitions);
            (member.member_id.clone(), BTreeSet::from_iter(owned))
        });
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(name(GROUP)))
            .with_generation_id(self.epoch)
            .with_member_id(name(&self.id))
            .with_protocol_type(Some(name("consumer")))
            .with_protocol_name(Some(name(ASSIGNOR)))
            .with_assignments(assignments(&Vec::from_iter(members)));
        let synced = self.ask(ApiKey::SyncGroup, 5, &request).await?;
        self.take(synced.error_code)?;
        if synced.assignment.is_empty() {
            return Some(BTreeSet::new());
        }
        let assignment = ConsumerProtocolAssignment::decode_prefixed_or_newer(&synced.assignment);
        let topics = assignment.unwrap().assigned_partitions.into_iter();
        Some(topics.flat_map(|topic| topic.partitions).collect())
    }

    /// Whether it need not join.
    async fn beat(&mut self) -> bool {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(name(GROUP)))
            .with_member_id(name(&self.id))
            .with_generation_id(self.epoch);
        match self.ask(ApiKey::Heartbeat, 4, &request).await {
            None => true,
            Some(answer) if is_retried(answer.error_code) => true,
            Some(answer) => self.take(answer.error_code).is_some(),
        }
    }

    /// What an error makes of it.
    fn take(&mut self, code: i16) -> Option<()> {
        match ResponseError::try_from_code(code) {
            None => return Some(()),
            Some(ResponseError::RebalanceInProgress) => {}
            // The coordinator that knew the generation, or the id, died before these were committed.
            Some(ResponseError::IllegalGeneration) => {
                self.epoch = -1;
                self.read(BTreeSet::new());
            }
            Some(ResponseError::UnknownMemberId) if self.reads.is_empty() => self.id.clear(),
            error => assert!(is_retried(code), "{}: {error:?}", self.label),
        }
        None
    }
}

/// What another reads nobody gets before that one has given it up.
fn assignments(
    members: &[(kafka_protocol::protocol::StrBytes, BTreeSet<i32>)],
) -> Vec<SyncGroupRequestAssignment> {
    let assignments = members.iter().enumerate().map(|(index, (id, reads))| {
        let partitions = (0..PARTITIONS).filter(|partition| {
            let is_its = *partition as usize % members.len() == index;
            let mut others = members.iter().filter(|(other, _)| other != id);
            is_its && (reads.contains(partition) || !others.any(|(_, o)| o.contains(partition)))
        });
        let assignment = ConsumerProtocolAssignment {
            assigned_partitions: vec![AssignedPartitions {
                topic: "orders".into(),
                partitions: partitions.collect(),
            }],
            user_data: None,
        };
        SyncGroupRequestAssignment::default()
            .with_member_id(id.clone())
            .with_assignment(assignment.encode_prefixed(3).unwrap())
    });
    assignments.collect()
}

fn is_retried(code: i16) -> bool {
    let retried = [
        ResponseError::CoordinatorLoadInProgress,
        ResponseError::CoordinatorNotAvailable,
        ResponseError::NotCoordinator,
    ];
    retried.iter().any(|error| error.code() == code)
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Waits until all partitions are read by these, each of them reads some, and the group is of that type.
async fn settle(client: &Client, seen: &Mutex<Seen>, labels: &[&'static str], group_type: &str) {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let readers = seen.lock().unwrap().readers.clone();
        let reading = BTreeSet::from_iter(readers.values().copied());
        let is_read = readers.len() == PARTITIONS as usize;
        let told = told_type(client).await;
        if is_read && reading == BTreeSet::from_iter(labels.iter().copied()) && told == group_type {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{readers:?} in a group that is {told}, expected {labels:?} in one that is {group_type}"
        );
        pause().await;
    }
}

async fn told_type(client: &Client) -> String {
    let node = Target::Node(coordinator(client, GROUP).await);
    let request = ListGroupsRequest::default();
    let answer = client.request(node, ApiKey::ListGroups, 5, &request).await;
    let groups = answer.map(|answer| answer.groups).unwrap_or_default();
    let mut groups = groups
        .into_iter()
        .filter(|group| &**group.group_id == GROUP);
    groups
        .next()
        .map(|group| group.group_type.to_string())
        .unwrap_or_default()
}

async fn committed(client: &Client) -> BTreeMap<i32, i64> {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(name(GROUP)))
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let node = Target::Node(coordinator(client, GROUP).await);
        let answer = client.request(node, ApiKey::OffsetFetch, 9, &request).await;
        if let Ok(answer) = answer
            && answer.groups[0].error_code == 0
        {
            let topics = answer.groups[0].topics.iter();
            let partitions = topics.flat_map(|topic| &topic.partitions);
            return partitions
                .map(|p| (p.partition_index, p.committed_offset))
                .collect();
        }
        assert!(Instant::now() < deadline, "no offsets");
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_changes_its_protocol_both_ways_while_coordinators_die() {
    let mut testbed = Testbed::prepare(1, 3);
    for broker in &testbed.brokers {
        broker.configure("offsets.topic.num.partitions=1");
        broker.configure("group.initial.rebalance.delay.ms=0");
    }
    testbed.start_all();
    let client = testbed.client().await;
    client
        .create_topic(&topic("orders", PARTITIONS))
        .await
        .unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let classic = [
        start(&testbed, &seen, "classic-1", false).await,
        start(&testbed, &seen, "classic-2", false).await,
    ];
    settle(&client, &seen, &["classic-1", "classic-2"], "classic").await;

    // The first of the other kind, and the end of the coordinator that it came to.
    let first = start(&testbed, &seen, "native-1", true).await;
    let old = coordinator(&client, GROUP).await as usize;
    pause().await;
    testbed.brokers[old].kill();
    let mixed = ["classic-1", "classic-2", "native-1"];
    settle(&client, &seen, &mixed, "consumer").await;
    testbed.brokers[old].spawn();
    testbed.wait_ready();
    let second = start(&testbed, &seen, "native-2", true).await;
    for member in classic {
        member.stop().await;
    }
    settle(&client, &seen, &["native-1", "native-2"], "consumer").await;

    // And back.
    let classic = [
        start(&testbed, &seen, "classic-3", false).await,
        start(&testbed, &seen, "classic-4", false).await,
    ];
    first.stop().await;
    settle(
        &client,
        &seen,
        &["classic-3", "classic-4", "native-2"],
        "consumer",
    )
    .await;
    second.stop().await;
    let old = coordinator(&client, GROUP).await as usize;
    testbed.brokers[old].kill();
    settle(&client, &seen, &["classic-3", "classic-4"], "classic").await;
    testbed.brokers[old].spawn();
    testbed.wait_ready();
    for member in classic {
        member.stop().await;
    }

    let acknowledged = seen.lock().unwrap().acknowledged.clone();
    assert_eq!(acknowledged.len(), PARTITIONS as usize);
    let committed = committed(&client).await;
    for (partition, offset) in &acknowledged {
        assert!(
            committed[partition] >= *offset,
            "{committed:?} but {acknowledged:?} were acknowledged"
        );
    }
}
