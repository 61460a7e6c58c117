//! Who leads when leaders go and come: of its own accord, and on an administrator's request.

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::elect_leaders_request::PartitionRef;
use foz_api::v1::{self as api};
use foz_cli::client::ConfigChange;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::ElectLeadersRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;

use crate::testbed::{Testbed, pause, sorted};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, from_offset, produce_request,
    topic_name, values,
};
use crate::versions::fetching::{fetch, only};

pub(crate) const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;
const NO_LEADER: i32 = -1;
const ALLOWS_UNCLEAN: [(&str, &str); 1] = [("unclean.leader.election.enable", "true")];

/// Brokers 0 and 1 hold replicas, broker 2 answers for them.
fn three_brokers() -> Testbed {
    Testbed::prepare(1, 3)
}

/// Asks broker 2; topic, index and outcome of what was answered.
pub(crate) fn elect(
    testbed: &Testbed,
    kind: i8,
    partitions: Option<&[(&str, &[i32])]>,
) -> Vec<(String, i32, ErrorCode)> {
    let named = |partitions: &[(&str, &[i32])]| {
        let topics = partitions.iter().map(|(name, indexes)| {
            TopicPartitions::default()
                .with_topic(topic_name(name))
                .with_partitions(indexes.to_vec())
        });
        topics.collect()
    };
    let request = ElectLeadersRequest::default()
        .with_election_type(kind)
        .with_topic_partitions(partitions.map(named))
        .with_timeout_ms(10_000);
    let answered = Answered::default();
    let response = Connection::open(&testbed.brokers[2], &answered).call(2, &request);
    assert_eq!(error(response.error_code), ErrorCode::None);
    let topics = response.replica_election_results.iter();
    topics
        .flat_map(|topic| {
            let results = topic.partition_result.iter();
            results.map(|it| {
                let name = topic.topic.to_string();
                (name, it.partition_id, error(it.error_code))
            })
        })
        .collect()
}

fn one(testbed: &Testbed, kind: i8, topic: &str) -> ErrorCode {
    let results = elect(testbed, kind, Some(&[(topic, &[0])]));
    let [(name, 0, outcome)] = &results[..] else {
        panic!("{results:?}");
    };
    assert_eq!(name, topic);
    *outcome
}

/// Who leads, as broker 2 says at this moment.
fn leader(testbed: &Testbed, topic: &str) -> i32 {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[2], &answered);
    connection.await_partition(topic, |_| true).leader_id.0
}

fn await_led(testbed: &Testbed, topic: &str, leader: i32, isr: &[i32]) {
    let answered = Answered::default();
    Connection::open(&testbed.brokers[2], &answered).await_partition(topic, |it| {
        it.leader_id == leader && sorted(&it.isr_nodes) == isr
    });
}

/// Makes topics on these brokers, and waits until all replicas are in sync.
fn create<const N: usize>(
    testbed: &Testbed,
    topics: [(&str, &[i32]); N],
    configs: &[(&str, &str)],
) -> [Topic; N] {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[2], &answered);
    let made = topics.map(|(name, replicas)| connection.create_on(name, replicas, configs));
    for (name, replicas) in topics {
        let mut isr = replicas.to_vec();
        isr.sort_unstable();
        await_led(testbed, name, replicas[0], &isr);
    }
    made
}

/// Writes one record to the broker that leads.
fn produce(testbed: &Testbed, leader: usize, topic: &Topic, acks: i16, value: &str) {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[leader], &answered);
    eventually(|| {
        let request = produce_request(9, topic, acks, &[(0, Some(batch(1, &[value])))]);
        let response = connection.call(9, &request);
        match error(response.responses[0].partition_responses[0].error_code) {
            ErrorCode::None => Ok(()),
            // It may not know yet that it leads.
            error => Err(error),
        }
    });
}

fn read(testbed: &Testbed, leader: usize, topic: &Topic) -> Vec<(i64, String)> {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[leader], &answered);
    eventually(|| connection.latest_offset(&topic.name, 0));
    let response = connection.call(12, &fetch(12, topic, &[(0, 0)]));
    values(only(&response).records.as_ref())
}

#[test]
fn administrators_get_preferred_leaders_back() {
    let mut testbed = three_brokers();
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let topics: [(&str, &[i32]); 3] = [("a", &[0, 1]), ("b", &[0, 1]), ("c", &[1, 0])];
    create(&testbed, topics, &[]);
    assert_eq!(one(&testbed, PREFERRED, "a"), ErrorCode::ElectionNotNeeded);
    assert_eq!(
        elect(&testbed, PREFERRED, None),
        [],
        "all is as it should be"
    );

    testbed.brokers[0].kill();
    for (topic, _) in topics {
        await_led(&testbed, topic, 1, &[1]);
    }
    let unavailable = ErrorCode::PreferredLeaderNotAvailable;
    assert_eq!(one(&testbed, PREFERRED, "a"), unavailable);
    let failed = |topic: &str| (topic.to_owned(), 0, unavailable);
    assert_eq!(elect(&testbed, PREFERRED, None), [failed("a"), failed("b")]);

    testbed.brokers[0].spawn();
    testbed.brokers[0].wait_ready();
    for (topic, _) in topics {
        await_led(&testbed, topic, 1, &[0, 1]);
    }
    let asked: &[(&str, &[i32])] = &[("a", &[0, 1]), ("c", &[0]), ("d", &[0])];
    let outcome = |topic: &str, index, error| (topic.to_owned(), index, error);
    assert_eq!(
        elect(&testbed, PREFERRED, Some(asked)),
        [
            outcome("a", 0, ErrorCode::None),
            outcome("a", 1, ErrorCode::UnknownTopicOrPartition),
            outcome("c", 0, ErrorCode::ElectionNotNeeded),
            outcome("d", 0, ErrorCode::UnknownTopicOrPartition),
        ]
    );
    // The broker that answers has seen what it says.
    assert_eq!(leader(&testbed, "a"), 0);
    assert_eq!(leader(&testbed, "b"), 1, "nobody asked for it");
    assert_eq!(one(&testbed, UNCLEAN, "b"), ErrorCode::ElectionNotNeeded);
    assert_eq!(elect(&testbed, UNCLEAN, None), []);
    let elected = elect(&testbed, PREFERRED, None);
    assert_eq!(elected, [outcome("b", 0, ErrorCode::None)]);
    assert_eq!(leader(&testbed, "b"), 0);
}

/// Whoever operates the cluster asks the controller itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_controller_answers_when_brokers_know_the_leader() {
    let mut testbed = three_brokers();
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    tokio::task::block_in_place(|| {
        create(&testbed, [("orders", &[0, 1])], &[]);
        testbed.brokers[0].kill();
        await_led(&testbed, "orders", 1, &[1]);
        testbed.brokers[0].spawn();
        testbed.brokers[0].wait_ready();
        await_led(&testbed, "orders", 1, &[0, 1]);
    });
    let address = format!("http://127.0.0.1:{}", testbed.controllers[0].grpc_port);
    let mut admin = AdminClient::connect(address).await.unwrap();
    for expected in [ErrorCode::None, ErrorCode::ElectionNotNeeded] {
        let request = api::ElectLeadersRequest {
            kind: api::ElectionKind::Preferred.into(),
            partitions: vec![PartitionRef {
                topic: "orders".to_owned(),
                index: 0,
            }],
            all_partitions: false,
            operator_epoch: 0,
        };
        let answer = admin.elect_leaders(request).await.unwrap().into_inner();
        let [result] = &answer.results[..] else {
            panic!("{answer:?}");
        };
        let outcome = result.outcome.as_ref().unwrap();
        assert_eq!(
            outcome.kafka_code,
            i32::from(expected.code()),
            "{outcome:?}"
        );
        let shown = tokio::task::block_in_place(|| leader(&testbed, "orders"));
        assert_eq!(shown, 0);
    }
}

#[test]
fn preferred_leaders_come_back_by_themselves() {
    let mut testbed = three_brokers();
    testbed.controllers[0].configure("leader.imbalance.check.interval.seconds=1");
    testbed.start_all();
    let [topic] = create(&testbed, [("orders", &[0, 1])], &[]);
    produce(&testbed, 0, &topic, -1, "a");
    testbed.brokers[0].kill();
    await_led(&testbed, "orders", 1, &[1]);
    produce(&testbed, 1, &topic, -1, "b");
    testbed.brokers[0].spawn();
    testbed.brokers[0].wait_ready();
    await_led(&testbed, "orders", 0, &[0, 1]);
    produce(&testbed, 0, &topic, -1, "c");
    assert_eq!(read(&testbed, 0, &topic), from_offset(0, &["a", "b", "c"]));
}

/// Broker 0 alone has the record "lost"; then broker 1 is there and broker 0 is not.
fn lag_behind(testbed: &mut Testbed, topic: &Topic) {
    produce(testbed, 0, topic, -1, "kept");
    testbed.brokers[1].kill();
    await_led(testbed, &topic.name, 0, &[0]);
    produce(testbed, 0, topic, -1, "lost");
    testbed.brokers[0].kill();
    await_led(testbed, &topic.name, NO_LEADER, &[]);
}

/// Broker 1 leads without "lost"; broker 0 comes back and takes over what there is.
fn broker_1_is_followed(testbed: &mut Testbed, topic: &Topic) {
    await_led(testbed, &topic.name, 1, &[1]);
    produce(testbed, 1, topic, -1, "new");
    testbed.brokers[0].spawn();
    testbed.brokers[0].wait_ready();
    await_led(testbed, &topic.name, 1, &[0, 1]);
    produce(testbed, 1, topic, -1, "both");
    let expected = from_offset(0, &["kept", "new", "both"]);
    assert_eq!(read(testbed, 1, topic), expected);
    testbed.brokers[1].kill();
    await_led(testbed, &topic.name, 0, &[0]);
    assert_eq!(read(testbed, 0, topic), expected, "cut and fetched again");
}

#[test]
fn an_unclean_leader_is_elected_on_request_and_not_before() {
    let mut testbed = three_brokers();
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let [topic] = create(&testbed, [("orders", &[0, 1])], &[]);
    lag_behind(&mut testbed, &topic);
    let nobody = ErrorCode::EligibleLeadersNotAvailable;
    assert_eq!(one(&testbed, UNCLEAN, "orders"), nobody);
    assert_eq!(
        elect(&testbed, UNCLEAN, None),
        [("orders".to_owned(), 0, nobody)]
    );
    let unavailable = ErrorCode::PreferredLeaderNotAvailable;
    assert_eq!(one(&testbed, PREFERRED, "orders"), unavailable);
    testbed.brokers[1].spawn();
    testbed.brokers[1].wait_ready();
    // Longer than the controller waits between two looks for partitions without a leader.
    for _ in 0..150 {
        assert_eq!(leader(&testbed, "orders"), NO_LEADER);
        pause();
    }
    let elected = elect(&testbed, UNCLEAN, None);
    assert_eq!(elected, [("orders".to_owned(), 0, ErrorCode::None)]);
    assert_eq!(leader(&testbed, "orders"), 1);
    broker_1_is_followed(&mut testbed, &topic);
}

#[test]
fn an_unclean_leader_is_elected_where_the_topic_allows_it() {
    let mut testbed = three_brokers();
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let [topic] = create(&testbed, [("orders", &[0, 1])], &ALLOWS_UNCLEAN);
    lag_behind(&mut testbed, &topic);
    testbed.brokers[1].spawn();
    testbed.brokers[1].wait_ready();
    broker_1_is_followed(&mut testbed, &topic);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unclean_leader_is_elected_once_the_topic_allows_it() {
    let mut testbed = three_brokers();
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    tokio::task::block_in_place(|| {
        let [topic] = create(&testbed, [("orders", &[0, 1])], &[]);
        lag_behind(&mut testbed, &topic);
        testbed.brokers[1].spawn();
        testbed.brokers[1].wait_ready();
        assert_eq!(leader(&testbed, "orders"), NO_LEADER);
    });
    let client = testbed.client().await;
    let (key, value) = ALLOWS_UNCLEAN[0];
    let set = ConfigChange::Set(key.to_owned(), value.to_owned());
    client.alter_topic_configs("orders", &[set]).await.unwrap();
    tokio::task::block_in_place(|| await_led(&testbed, "orders", 1, &[1]));
}
