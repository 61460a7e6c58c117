//! Fetches of a follower that are looked at again, or first, when it has long since said more: they say nothing
//! about where it is, and it does not lose its place in the ISR for them. And one that would come too late.

use std::time::{Duration, Instant};

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::fetch_request::ReplicaState;
use kafka_protocol::messages::{BrokerId, FetchRequest};
use rustix::process::Signal;

use crate::testbed::{Node, Testbed, pause, sorted};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, produce_request,
};
use crate::versions::fetching::{fetch, only};

/// What nodes speak with each other.
pub(crate) const NODES_SPEAK: i16 = 18;
const NO_WAIT: i32 = 0;
pub(crate) const LONG_WAIT_MS: i32 = 60_000;
/// A change of the ISR needs much less.
const UNTIL_IT_WOULD_SHOW: Duration = Duration::from_secs(2);

/// A follower in epoch 0, in a life after the one that the leader knows: its true fetches count for nothing
/// beside it.
pub(crate) fn fetch_of(node_id: i32, topic: &Topic, offset: i64, wait_ms: i32) -> FetchRequest {
    let mut request = fetch(NODES_SPEAK, topic, &[(0, offset)]);
    let partition = &mut request.topics[0].partitions[0];
    (partition.current_leader_epoch, partition.last_fetched_epoch) = (0, 0);
    let state = ReplicaState::default()
        .with_replica_id(BrokerId(node_id))
        .with_replica_epoch(i64::MAX);
    request
        .with_replica_state(state)
        .with_max_wait_ms(wait_ms)
        // More than there is: it waits, whatever is written.
        .with_min_bytes(1 << 20)
}

fn produce(leader: &Node, topic: &Topic) {
    let answered = Answered::default();
    let mut connection = Connection::open(leader, &answered);
    let request = produce_request(9, topic, 1, &[(0, Some(batch(1, &["a"])))]);
    let response = connection.call(9, &request);
    let written = &response.responses[0].partition_responses[0];
    assert_eq!(error(written.error_code), ErrorCode::None);
}

/// It is at `offset`, which is the end.
fn follow(leader: &Node, topic: &Topic, offset: i64) {
    let answered = Answered::default();
    let request = fetch_of(1, topic, offset, NO_WAIT);
    let response = Connection::open_as_node(leader, &answered).call(NODES_SPEAK, &request);
    let partition = only(&response);
    assert_eq!(error(partition.error_code), ErrorCode::None);
    assert_eq!(partition.high_watermark, offset);
}

fn isr_stays(leader: &Node) {
    let answered = Answered::default();
    let mut connection = Connection::open(leader, &answered);
    let began = Instant::now();
    while began.elapsed() < UNTIL_IT_WOULD_SHOW {
        let isr = connection.await_partition("orders", |_| true).isr_nodes;
        assert_eq!(sorted(&isr), [0, 1]);
        pause();
    }
}

#[test]
fn they_do_not_cost_a_follower_its_place() {
    let testbed = Testbed::start(1, 2);
    let leader = &testbed.brokers[0];
    let answered = Answered::default();
    let mut connection = Connection::open(leader, &answered);
    let topic = connection.create_on("orders", &[0, 1], &[]);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1]);
    eventually(|| connection.latest_offset("orders", 0));
    connection.produce(&topic, 0, batch(1, &["a", "b"]));

    // One that waits is woken by each record, when a later one has said more.
    let mut waiting = Connection::open_as_node(leader, &answered);
    follow(leader, &topic, 2);
    waiting.send(NODES_SPEAK, &fetch_of(1, &topic, 2, LONG_WAIT_MS));
    for _ in 0..10 {
        pause();
    }
    produce(leader, &topic);
    follow(leader, &topic, 3);
    produce(leader, &topic);
    isr_stays(leader);
    follow(leader, &topic, 4);

    // One comes in when its connection has closed.
    leader.signal(Signal::STOP);
    let mut gone = Connection::open_as_node(leader, &answered);
    gone.send(NODES_SPEAK, &fetch_of(1, &topic, 2, NO_WAIT));
    drop(gone);
    leader.signal(Signal::CONT);
    isr_stays(leader);
    follow(leader, &topic, 4);
}

/// It asks for something else: partitions that are new must not wait for news of others.
#[test]
fn one_that_waits_is_answered_when_its_follower_asks_again() {
    let testbed = Testbed::start(1, 2);
    let leader = &testbed.brokers[0];
    let answered = Answered::default();
    let mut connection = Connection::open(leader, &answered);
    let topic = connection.create_on("orders", &[0, 1], &[]);
    eventually(|| connection.latest_offset("orders", 0));
    let mut follower = Connection::open_as_node(leader, &answered);
    let began = Instant::now();
    follower.send(NODES_SPEAK, &fetch_of(1, &topic, 0, LONG_WAIT_MS));
    follower.send(NODES_SPEAK, &fetch_of(1, &topic, 0, NO_WAIT));
    follower.skip::<FetchRequest>(NODES_SPEAK);
    let response = follower.receive::<FetchRequest>(NODES_SPEAK);
    assert_eq!(error(response.error_code), ErrorCode::None);
    assert!(began.elapsed() < Duration::from_secs(10), "it waits on");
}
