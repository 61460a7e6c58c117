//! Starting, stopping, losing the registration.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use foz_cli::client::{Client, Target};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::fetch_request::ReplicaState;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{ApiKey, BrokerId, GroupId, JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;
use rustix::process::Signal;

use crate::groups::coordinator;
use crate::testbed::{PATIENCE, Testbed, pause, sorted, topic};
use crate::versions::connection::{Answered, Connection, batch, produce_request};
use crate::versions::fetching::fetch;

/// Far below the time that a stop gives to those who do not let go.
const PROMPTLY: Duration = Duration::from_secs(6);

/// Stands in for a disk that takes its time: reading it waits until somebody writes.
fn make_fifo(path: &std::path::Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_recovery_that_takes_long_is_alive_and_not_ready_and_ends_when_told() {
    let mut testbed = Testbed::start(1, 1);
    let broker = &mut testbed.brokers[0];
    assert!(broker.stop());
    let checkpoint = broker
        .directory
        .join("data/recovery-point-offset-checkpoint");
    let _ = fs::remove_file(&checkpoint);
    make_fifo(&checkpoint);
    broker.spawn();
    let deadline = Instant::now() + PATIENCE;
    while broker.http("/healthz").is_none() {
        assert!(Instant::now() < deadline, "not alive\n{}", broker.log());
        pause();
    }
    let ready = broker.http("/readyz").unwrap();
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("recovered"), "{ready}");
    let told = Instant::now();
    assert!(broker.stop());
    assert!(told.elapsed() < PROMPTLY, "took {:?}", told.elapsed());
}

#[test]
fn a_request_to_the_http_port_that_never_ends_holds_up_no_stop() {
    let mut testbed = Testbed::start(1, 1);
    let broker = &mut testbed.brokers[0];
    let mut stalled = broker.connect_http().unwrap();
    stalled.write_all(b"GET /metrics HT").unwrap();
    assert!(broker.http("/healthz").is_some(), "the other is read, too");
    let told = Instant::now();
    assert!(broker.stop());
    assert!(told.elapsed() < PROMPTLY, "took {:?}", told.elapsed());
}

#[test]
fn a_broker_that_stops_refuses_new_clients_while_it_answers_the_others() {
    let mut testbed = Testbed::start(1, 1);
    let broker = &mut testbed.brokers[0];
    let mut begun = broker.connect();
    begun.write_all(&100i32.to_be_bytes()).unwrap();
    begun.write_all(&[0; 10]).unwrap();
    // The broker has begun to read it once a later connection was served.
    let address = begun.peer_addr().unwrap();
    pause();
    broker.signal(Signal::TERM);
    let told = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(told.elapsed() < PROMPTLY, "still taken\n{}", broker.log());
        pause();
    }
    assert!(broker.http("/healthz").is_some(), "it has not ended yet");
    drop(begun);
    assert!(broker.wait_end());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_waits_for_others_holds_up_no_stop() {
    let mut testbed = Testbed::prepare(1, 1);
    // It waits for no grant either.
    testbed.brokers[0].configure("foz.shutdown.grace.ms=0");
    testbed.start_all();
    let client = testbed.client().await;
    let node = Target::Node(coordinator(&client, "group").await);
    let deadline = Instant::now() + PATIENCE;
    let first = loop {
        let first = join(&client, node).await;
        let is_loading = first.error_code == ErrorCode::CoordinatorLoadInProgress.code();
        if !is_loading || Instant::now() > deadline {
            break first;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(first.error_code, 0, "{first:?}");
    // A second member waits until the first comes again, which it never does.
    let other = testbed.client().await;
    let waiting = tokio::spawn(async move { join(&other, node).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    // Nobody tells the broker that it leads no longer.
    testbed.controllers[0].kill();
    let told = Instant::now();
    assert!(testbed.brokers[0].stop());
    assert!(told.elapsed() < PROMPTLY, "took {:?}", told.elapsed());
}

async fn join(client: &Client, node: Target) -> JoinGroupResponse {
    let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("any"));
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("group")))
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    // Version 3 joins without being given a member id first.
    let answer = client.request(node, ApiKey::JoinGroup, 3, &request).await;
    answer.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lost_its_registration_registers_again() {
    let mut testbed = Testbed::start(1, 2);
    let [broker, twin] = &mut testbed.brokers[..] else {
        unreachable!("two were started");
    };
    assert!(twin.stop());
    fs::remove_dir_all(twin.directory.join("data")).unwrap();
    twin.configure("node.id=0");
    // Somebody else takes the place of a broker that is not heard of any more...
    broker.signal(Signal::STOP);
    twin.spawn();
    twin.wait_ready();
    twin.kill();
    // ...and then it comes back.
    broker.signal(Signal::CONT);
    let deadline = Instant::now() + PATIENCE;
    while !broker.log().contains("the registration no longer counts") {
        assert!(
            Instant::now() < deadline,
            "still holds on\n{}",
            broker.log()
        );
        pause();
    }
    // There is no other broker that could hold it.
    let client = loop {
        // Until it has registered again, clients are told of the other one: each asks anew.
        let client = testbed.client().await;
        match client.create_topic(&topic("after", 1)).await {
            Ok(_) => break client,
            Err(error) => assert!(Instant::now() < deadline, "not alive again: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let cluster = client.refresh(None).await.unwrap();
    assert!(cluster.leader("after", 0).is_some());
}

/// Hung in the middle of catching up, say.
#[test]
fn a_follower_that_does_not_read_holds_up_no_stop() {
    const MIB: usize = 1 << 20;
    let mut testbed = Testbed::start(1, 2);
    let answered = Answered::default();
    let [leader, follower] = &mut testbed.brokers[..] else {
        unreachable!("two were started");
    };
    let mut connection = Connection::open(leader, &answered);
    // Producers wait for the follower, so it gets all at once.
    let both = [("min.insync.replicas", "2")];
    let orders = connection.create_on("orders", &[0, 1], &both);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1]);
    follower.kill();
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0]);
    let value = "x".repeat(MIB * 9 / 10);
    for _ in 0..20 {
        let records = batch(1, &[&value]);
        connection.call(9, &produce_request(9, &orders, 1, &[(0, Some(records))]));
    }
    drop(connection);
    let properties = fs::read_to_string(follower.directory.join("data/meta.properties")).unwrap();
    let epoch = properties
        .lines()
        .find_map(|line| line.strip_prefix("foz.broker.epoch="));
    let state = ReplicaState::default()
        .with_replica_id(BrokerId(1))
        .with_replica_epoch(epoch.unwrap().parse().unwrap());
    // Each answer is more than a socket holds.
    let mut catching_up: Vec<_> = (0..2)
        .map(|_| Connection::open_as_node(leader, &answered))
        .collect();
    for connection in &mut catching_up {
        for offset in [0, 10] {
            let mut request = fetch(18, &orders, &[(0, offset)])
                .with_replica_state(state.clone())
                .with_max_bytes(10 * MIB as i32);
            let partition = &mut request.topics[0].partitions[0];
            partition.partition_max_bytes = 10 * MIB as i32;
            partition.current_leader_epoch = 0;
            partition.last_fetched_epoch = 0;
            connection.send(18, &request);
        }
    }
    pause();
    let told = Instant::now();
    assert!(leader.stop());
    assert!(told.elapsed() < PROMPTLY, "took {:?}", told.elapsed());
    let log = leader.log();
    assert!(log.contains("a follower does not take its answer"), "{log}");
}
