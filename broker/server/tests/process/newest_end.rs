//! The newest end of a partition that ListOffsets tells: it never goes back for whoever asks, also when the
//! leader that is asked has been replaced and does not know it; and it is told while no controller answers.

use std::time::{Duration, Instant};

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};
use rustix::process::Signal;

use crate::late_fetches::{LONG_WAIT_MS, NODES_SPEAK, fetch_of};
use crate::testbed::{Node, Testbed, pause, sorted};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, produce_request, topic_name,
};

pub(crate) const REPLICAS: [i32; 3] = [0, 1, 2];
pub(crate) const MIN_INSYNC: [(&str, &str); 1] = [("min.insync.replicas", "2")];
/// Longer than a lease may be taken for held without the word of a controller.
const UNTIL_THE_LEASE_IS_OLD: Duration = Duration::from_secs(3);

fn latest(topic: &Topic) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(0)
        .with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(&topic.name))
        .with_partitions(vec![partition]);
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic])
}

fn receive_latest(connection: &mut Connection) -> Result<i64, ErrorCode> {
    let response = connection.receive::<ListOffsetsRequest>(7);
    let found = &response.topics[0].partitions[0];
    match error(found.error_code) {
        ErrorCode::None => Ok(found.offset),
        error => Err(error),
    }
}

/// Broker 0 leads, 1 and 2 follow, and `count` records are committed.
fn led_by_0(testbed: &Testbed, count: i64) -> Topic {
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_on("orders", &REPLICAS, &MIN_INSYNC);
    await_isr(&testbed.brokers[0], 0, &REPLICAS);
    eventually(|| connection.latest_offset("orders", 0));
    for _ in 0..count {
        connection.produce(&topic, 0, batch(1, &["a"]));
    }
    topic
}

pub(crate) fn await_isr(viewer: &Node, leader: i32, isr: &[i32]) {
    let answered = Answered::default();
    Connection::open(viewer, &answered).await_partition("orders", |it| {
        it.leader_id == leader && sorted(&it.isr_nodes) == isr
    });
}

/// Writes to a new leader, until it is one.
fn produce(leader: &Node, topic: &Topic, count: i64) {
    let answered = Answered::default();
    let mut connection = Connection::open(leader, &answered);
    for _ in 0..count {
        eventually(|| {
            let request = produce_request(9, topic, -1, &[(0, Some(batch(1, &["b"])))]);
            let response = connection.call(9, &request);
            match error(response.responses[0].partition_responses[0].error_code) {
                ErrorCode::None => Ok(()),
                error => Err(error),
            }
        });
    }
}

/// What it decides from here on is in no socket of a broker that stands still.
pub(crate) fn restart(controller: &mut Node) {
    controller.kill();
    controller.spawn();
    controller.wait_ready();
}

#[test]
fn it_is_told_while_no_controller_answers_and_all_in_sync_can_be_asked() {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let topic = led_by_0(&testbed, 1);
    testbed.controllers[0].kill();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let began = Instant::now();
    let (mut end, mut longest) = (1, Duration::ZERO);
    while began.elapsed() < 2 * UNTIL_THE_LEASE_IS_OLD {
        connection.produce(&topic, 0, batch(1, &["a"]));
        end += 1;
        let asked = Instant::now();
        assert_eq!(connection.latest_offset("orders", 0), Ok(end));
        longest = longest.max(asked.elapsed());
        pause();
    }
    eprintln!("{end} ends without a controller, each in at most {longest:?}");

    // Any of those in sync may have been made the leader, as far as broker 0 can tell.
    testbed.brokers[2].signal(Signal::STOP);
    let unknown = Err(ErrorCode::OffsetNotAvailable);
    eventually(|| match connection.latest_offset("orders", 0) {
        told if told == unknown => Ok(()),
        told => Err(told),
    });
    assert_eq!(connection.latest_offset("orders", 0), unknown);
    testbed.brokers[2].signal(Signal::CONT);
    let told = eventually(|| connection.latest_offset("orders", 0));
    assert_eq!(told, end);
}

/// Broker 0 leads as far as it knows, with `old_end`. Whatever it is asked, once it goes on and also what was
/// asked while it stood still, it does not tell an end below `end`; nor when fetches come in that its
/// followers made before they stopped to follow.
fn goes_on_without_an_old_end(old: &Node, topic: &Topic, old_end: i64, end: i64) {
    let answered = Answered::default();
    let mut underway = Vec::new();
    let mut late_fetches = || {
        for node_id in [1, 2] {
            let mut connection = Connection::open_as_node(old, &answered);
            let late = fetch_of(node_id, topic, old_end, LONG_WAIT_MS);
            connection.send(NODES_SPEAK, &late);
            underway.push(connection);
        }
    };
    let mut asked: Vec<Connection> = (0..3).map(|_| Connection::open(old, &answered)).collect();
    for connection in &mut asked {
        connection.send(7, &latest(topic));
    }
    late_fetches();
    old.signal(Signal::CONT);
    let not_old = |told: Result<i64, ErrorCode>| {
        assert!(
            told.is_err() || told == Ok(end),
            "{told:?}, and it is {end}"
        );
    };
    for connection in &mut asked {
        not_old(receive_latest(connection));
    }
    let began = Instant::now();
    while began.elapsed() < UNTIL_THE_LEASE_IS_OLD {
        asked[0].send(7, &latest(topic));
        for _ in 0..5 {
            pause();
        }
        late_fetches();
        not_old(receive_latest(&mut asked[0]));
    }
}

#[test]
fn a_leader_that_stood_still_while_another_was_elected_does_not_tell_an_old_one() {
    for hears_of_it in [true, false] {
        let mut testbed = Testbed::prepare(1, 3);
        testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
        testbed.start_all();
        let topic = led_by_0(&testbed, 5);
        testbed.brokers[0].signal(Signal::STOP);
        if !hears_of_it {
            restart(&mut testbed.controllers[0]);
        }
        await_isr(&testbed.brokers[2], 1, &[1, 2]);
        produce(&testbed.brokers[1], &topic, 5);
        if !hears_of_it {
            testbed.controllers[0].kill();
        }
        goes_on_without_an_old_end(&testbed.brokers[0], &topic, 5, 10);
        if !hears_of_it {
            testbed.controllers[0].spawn();
            testbed.controllers[0].wait_ready();
        }
        await_isr(&testbed.brokers[2], 1, &REPLICAS);
        let answered = Answered::default();
        let mut connection = Connection::open(&testbed.brokers[1], &answered);
        assert_eq!(eventually(|| connection.latest_offset("orders", 0)), 10);
    }
}

/// Below min.insync.replicas one that left the ISR may be elected (KIP-966): the leader is alone in sync, and
/// still not the only one that could lead.
#[test]
fn a_leader_alone_in_sync_does_not_tell_an_old_one_when_an_eligible_replica_was_elected() {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let topic = led_by_0(&testbed, 5);
    for (node, isr) in [(2, &[0, 1][..]), (1, &[0])] {
        testbed.brokers[node].kill();
        await_isr(&testbed.brokers[0], 0, isr);
    }
    testbed.brokers[0].signal(Signal::STOP);
    restart(&mut testbed.controllers[0]);
    for node in [1, 2] {
        testbed.brokers[node].spawn();
        testbed.brokers[node].wait_ready();
    }
    await_isr(&testbed.brokers[2], 1, &[1, 2]);
    produce(&testbed.brokers[1], &topic, 5);
    testbed.controllers[0].kill();
    goes_on_without_an_old_end(&testbed.brokers[0], &topic, 5, 10);
}
