//! The lag of groups on the page of metrics: of three brokers, the one that coordinates a group shows it, and no other.

mod faults;
mod labels;
mod shown;

use bytes::Bytes;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DeleteTopicsRequest,
    FindCoordinatorRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
    SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::testbed::{Node, Testbed};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, group_id, text, topic_name,
};
use crate::versions::deleting_records::delete;
use shown::{LAG, Lags, await_lags, await_shown, series};

const COORDINATOR: usize = 2;

/// Leaders stay where they are, but for faults.
fn three_brokers() -> Testbed {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    for broker in &testbed.brokers {
        broker.configure("offsets.topic.num.partitions=6");
        // Members do not beat while a test waits.
        broker.configure("group.consumer.session.timeout.ms=60000");
    }
    testbed.start_all();
    testbed
}

/// Makes a topic of one partition on these brokers, the first of which leads, with so many records.
fn topic_on(testbed: &Testbed, name: &str, replicas: &[i32], count: usize) -> Topic {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[replicas[0] as usize], &answered);
    let topic = connection.create_on(name, replicas, &[]);
    eventually(|| connection.latest_offset(name, 0));
    produce(&testbed.brokers[replicas[0] as usize], &topic, count);
    topic
}

fn produce(leader: &Node, topic: &Topic, count: usize) {
    let answered = Answered::default();
    let mut connection = Connection::open(leader, &answered);
    for _ in 0..count {
        connection.produce(topic, 0, batch(1, &["a"]));
    }
}

fn find_coordinator(node: &Node, group: &str) -> Result<usize, ErrorCode> {
    let answered = Answered::default();
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
    let response = Connection::open(node, &answered).call(4, &request);
    let found = &response.coordinators[0];
    match error(found.error_code) {
        ErrorCode::None => Ok(found.node_id.0 as usize),
        error => Err(error),
    }
}

/// A group that this broker coordinates.
fn group_of(testbed: &Testbed, prefix: &str, coordinator: usize) -> String {
    let mut groups = (0..).map(|number| format!("{prefix}-{number}"));
    let is_of =
        |group: &String| eventually(|| find_coordinator(&testbed.brokers[0], group)) == coordinator;
    groups.find(is_of).unwrap()
}

/// Whoever commits for a group.
struct Reader {
    group: String,
    member_id: StrBytes,
    /// Or the epoch of the member; -1 for one that assigns itself.
    generation: i32,
}

impl Reader {
    fn alone(group: String) -> Self {
        Self {
            group,
            member_id: StrBytes::default(),
            generation: -1,
        }
    }

    /// A member of the classic protocol.
    fn classic(coordinator: &Node, group: String) -> Self {
        let answered = Answered::default();
        let mut connection = Connection::open(coordinator, &answered);
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(&[0; 10]));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&group))
            .with_session_timeout_ms(300_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let joined = eventually(|| {
            let joined = connection.call(3, &request);
            match error(joined.error_code) {
                ErrorCode::None => Ok(joined),
                error => Err(error),
            }
        });
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&group))
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone());
        let synced = connection.call(3, &request);
        assert_eq!(error(synced.error_code), ErrorCode::None);
        Self {
            group,
            member_id: joined.member_id,
            generation: joined.generation_id,
        }
    }

    /// A member of KIP-848.
    fn consumer(coordinator: &Node, group: String, topic: &Topic) -> Self {
        let reader = Self {
            group,
            member_id: text("member"),
            generation: 1,
        };
        reader.beat(coordinator, 0, Some(topic));
        reader
    }

    fn beat(&self, coordinator: &Node, epoch: i32, topic: Option<&Topic>) {
        let answered = Answered::default();
        let mut connection = Connection::open(coordinator, &answered);
        let names = topic.map(|topic| vec![topic_name(&topic.name)]);
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(self.member_id.clone())
            .with_member_epoch(epoch)
            .with_rebalance_timeout_ms(60_000)
            .with_topic_partitions((epoch == 0).then(Vec::new))
            .with_subscribed_topic_names(names);
        eventually(|| {
            let response = connection.call(1, &request);
            match error(response.error_code) {
                ErrorCode::None => Ok(()),
                error => Err(error),
            }
        });
    }

    fn is_consumer(&self) -> bool {
        self.member_id == text("member")
    }

    /// With whoever coordinates the group, as broker 1 knows.
    fn commit(&self, testbed: &Testbed, offsets: &[(&Topic, i64)]) {
        let topics = offsets.iter().map(|(topic, offset)| {
            let partition = OffsetCommitRequestPartition::default().with_committed_offset(*offset);
            OffsetCommitRequestTopic::default()
                .with_name(topic_name(&topic.name))
                .with_partitions(vec![partition])
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(self.member_id.clone())
            .with_generation_id_or_member_epoch(self.generation)
            .with_topics(topics.collect());
        eventually(|| {
            let coordinator = find_coordinator(&testbed.brokers[1], &self.group);
            let coordinator = coordinator.map_err(|error| vec![error])?;
            let coordinator = &testbed.brokers[coordinator];
            if self.is_consumer() {
                self.beat(coordinator, self.generation, None);
            }
            let answered = Answered::default();
            let response = Connection::open(coordinator, &answered).call(9, &request);
            let partitions = response.topics.iter().flat_map(|it| &it.partitions);
            let errors: Vec<_> = partitions.map(|it| error(it.error_code)).collect();
            match errors.iter().all(|error| *error == ErrorCode::None) {
                true => Ok(()),
                false => Err(errors),
            }
        });
    }

    fn leave(&self, coordinator: &Node) {
        let answered = Answered::default();
        let mut connection = Connection::open(coordinator, &answered);
        if self.is_consumer() {
            return self.beat(coordinator, -1, None);
        }
        let identity = MemberIdentity::default().with_member_id(self.member_id.clone());
        let request = LeaveGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_members(vec![identity]);
        let left = connection.call(4, &request);
        assert_eq!(error(left.error_code), ErrorCode::None);
    }
}

fn delete_topic(node: &Node, topic: &Topic) {
    let answered = Answered::default();
    let state = DeleteTopicState::default().with_name(Some(topic_name(&topic.name)));
    let request = DeleteTopicsRequest::default()
        .with_topics(vec![state])
        .with_timeout_ms(10_000);
    let deleted = Connection::open(node, &answered).call(6, &request);
    assert_eq!(error(deleted.responses[0].error_code), ErrorCode::None);
}

fn delete_group(coordinator: &Node, group: &str) {
    let answered = Answered::default();
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
    let deleted = Connection::open(coordinator, &answered).call(2, &request);
    assert_eq!(error(deleted.results[0].error_code), ErrorCode::None);
}

fn lags(lags: &[(&str, i64)]) -> Lags {
    lags.iter()
        .map(|(topic, lag)| (((*topic).to_owned(), 0), *lag))
        .collect()
}

#[test]
fn it_follows_what_is_written_committed_and_deleted_whatever_protocol_members_speak() {
    let testbed = three_brokers();
    let own = topic_on(&testbed, "own", &[2], 5);
    let others = topic_on(&testbed, "others", &[0, 1, 2], 5);
    let last = topic_on(&testbed, "last", &[1], 5);
    let group = |prefix| group_of(&testbed, prefix, COORDINATOR);
    let coordinator = &testbed.brokers[COORDINATOR];
    let readers = [
        Reader::alone(group("alone")),
        Reader::classic(coordinator, group("classic")),
        Reader::consumer(coordinator, group("consumer"), &own),
    ];
    let all = |expected: &[(&str, i64)]| {
        for reader in &readers {
            await_lags(&testbed.brokers, &reader.group, &lags(expected));
        }
    };
    let commit = |offsets: &[(&Topic, i64)]| {
        for reader in &readers {
            reader.commit(&testbed, offsets);
        }
    };
    for reader in &readers {
        assert_eq!(series(coordinator, LAG).get(&reader.group), None);
    }
    commit(&[(&own, 5), (&others, 2), (&last, 0)]);
    all(&[("own", 0), ("others", 3), ("last", 5)]);
    let offsets = series(coordinator, "foz_group_committed_offset");
    for reader in &readers {
        let expected = lags(&[("own", 5), ("others", 2), ("last", 0)]);
        assert_eq!(offsets[&reader.group], expected);
    }

    // It grows as one produces, and falls as the group commits.
    produce(&testbed.brokers[0], &others, 1);
    produce(&testbed.brokers[2], &own, 2);
    all(&[("own", 2), ("others", 4), ("last", 5)]);
    commit(&[(&own, 7), (&others, 6)]);
    all(&[("own", 0), ("others", 0), ("last", 5)]);
    // Beyond the end, as after records were lost.
    commit(&[(&own, 100)]);
    produce(&testbed.brokers[0], &others, 1);
    all(&[("own", 0), ("others", 1), ("last", 5)]);
    let coordinator = &testbed.brokers[COORDINATOR];
    assert_eq!(
        shown::left_out(coordinator),
        [
            ("coordinator", 0),
            ("end", 0),
            ("group_id", 0),
            ("limit", 0)
        ]
    );

    // Records that nobody reads any more: as kafka-consumer-groups counts.
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[1], &answered);
    let deleted = delete(&mut connection, 2, &[("last", &[(0, 4)])]);
    assert_eq!(deleted[0].2, ErrorCode::None);
    produce(&testbed.brokers[1], &last, 1);
    all(&[("own", 0), ("others", 1), ("last", 6)]);

    // With members or without, until the topic or the group is deleted.
    for reader in &readers[1..] {
        reader.leave(coordinator);
    }
    delete_topic(&testbed.brokers[0], &own);
    all(&[("others", 1), ("last", 6)]);
    for reader in &readers {
        delete_group(coordinator, &reader.group);
        await_shown(&testbed.brokers, &reader.group, None);
    }
    eventually(|| match series(coordinator, "foz_group_committed_offset") {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}
