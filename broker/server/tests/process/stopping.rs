//! A process that is told to end asks for itself, and serves on until it may.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use foz_protocol::error::ErrorCode;
use rustix::process::Signal;

use crate::testbed::{Node, PATIENCE, Testbed, pause, sorted};
use crate::versions::connection::{Answered, Connection, Topic, batch, error, produce_request};

const MIN_INSYNC: [(&str, &str); 1] = [("min.insync.replicas", "2")];
/// To stop alone takes less, on a busy machine too.
const PROMPTLY: Duration = Duration::from_secs(8);

/// Three brokers with one partition on all of them that needs two in sync, and only the first two are there.
fn two_of_three(testbed: &mut Testbed) -> Topic {
    testbed.start_all();
    let answered = Answered::default();
    let [zero, _, two] = &mut testbed.brokers[..] else {
        unreachable!("three were prepared");
    };
    let mut connection = Connection::open(zero, &answered);
    let orders = connection.create_on("orders", &[0, 1, 2], &MIN_INSYNC);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1, 2]);
    two.kill();
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1]);
    orders
}

fn produce(connection: &mut Connection<'_>, topic: &Topic) -> ErrorCode {
    let request = produce_request(9, topic, -1, &[(0, Some(batch(1, &["a"])))]);
    let response = connection.call(9, &request);
    error(response.responses[0].partition_responses[0].error_code)
}

fn is_ready(node: &Node) -> bool {
    node.http("/readyz")
        .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn await_log(node: &Node, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !node.log().contains(text) {
        assert!(Instant::now() < deadline, "{text}: not in\n{}", node.log());
        pause();
    }
}

fn assert_line(log: &str, parts: &[&str]) {
    let fits = |line: &str| parts.iter().all(|part| line.contains(part));
    assert!(log.lines().any(fits), "{parts:?}: not in\n{log}");
}

#[test]
fn a_broker_that_is_needed_serves_on_until_another_is_back() {
    let mut testbed = Testbed::prepare(1, 3);
    for broker in &testbed.brokers {
        broker.configure("foz.shutdown.grace.ms=600000");
    }
    let orders = two_of_three(&mut testbed);
    let answered = Answered::default();
    let [zero, _, two] = &mut testbed.brokers[..] else {
        unreachable!("three were prepared");
    };
    let mut connection = Connection::open(zero, &answered);
    zero.signal(Signal::TERM);
    await_log(zero, "orders-0 would have 1 of 2 in-sync replicas");
    let told = Instant::now();
    while told.elapsed() < Duration::from_secs(3) {
        assert_eq!(produce(&mut connection, &orders), ErrorCode::None);
        // One that comes only now.
        let mut another = Connection::open(zero, &answered);
        assert_eq!(produce(&mut another, &orders), ErrorCode::None);
        another.await_partition("orders", |it| it.leader_id == 0);
        assert_eq!(another.latest_offset("orders", 0).map(|_| ()), Ok(()));
        assert!(is_ready(zero));
        pause();
    }
    let said = zero.log().matches("orders-0 would have").count();
    assert!(said < 4, "said once for each reason\n{}", zero.log());

    two.spawn();
    drop(connection);
    assert!(zero.wait_end());
    let others = &testbed.brokers[1..];
    let mut connection = Connection::open(&others[0], &answered);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [1, 2]);
    let log = testbed.brokers[0].log();
    assert!(log.contains("the broker may stop"), "{log}");
}

#[test]
fn a_broker_stops_in_any_case_before_its_grace_period_ends() {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.brokers[0].configure("foz.shutdown.grace.ms=24000");
    two_of_three(&mut testbed);
    let zero = &mut testbed.brokers[0];
    let told = Instant::now();
    assert!(zero.stop());
    let took = told.elapsed();
    assert!(took >= Duration::from_secs(4), "{took:?}");
    assert!(took < PROMPTLY, "{took:?}\n{}", zero.log());
    let log = zero.log();
    assert!(log.contains("the grace period is about to end"), "{log}");
    assert_line(&log, &["WARN", "stops without waiting", "\"orders-0\""]);
    let log = testbed.controllers[0].log();
    assert_line(
        &log,
        &["WARN", "a broker stops all the same", "\"orders-0\""],
    );
}

#[test]
fn who_is_told_twice_waits_for_nothing() {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.brokers[0].configure("foz.shutdown.grace.ms=600000");
    two_of_three(&mut testbed);
    let zero = &mut testbed.brokers[0];
    zero.signal(Signal::TERM);
    await_log(zero, "orders-0 would have 1 of 2 in-sync replicas");
    let told = Instant::now();
    zero.signal(Signal::INT);
    assert!(zero.wait_end());
    assert!(told.elapsed() < PROMPTLY, "{:?}", told.elapsed());
}

/// Kubernetes sends new connections to a pod for a moment after it was told to end.
#[test]
fn who_may_stop_at_once_takes_connections_for_a_moment() {
    let mut testbed = Testbed::start(1, 1);
    let broker = &mut testbed.brokers[0];
    let told = Instant::now();
    broker.signal(Signal::TERM);
    while told.elapsed() < Duration::from_millis(250) {
        assert!(
            TcpStream::connect(("127.0.0.1", broker.kafka_port)).is_ok(),
            "turned away after {:?}",
            told.elapsed()
        );
        pause();
    }
    assert!(broker.wait_end());
    assert!(told.elapsed() < PROMPTLY, "{:?}", told.elapsed());
}

/// As when a namespace is deleted: nobody tells them in an order.
#[test]
fn all_that_are_told_at_once_end_at_once() {
    let mut testbed = Testbed::prepare(3, 3);
    for node in testbed.nodes() {
        node.configure("foz.shutdown.grace.ms=600000");
    }
    end_together(&mut testbed);
}

/// As when somebody presses Ctrl-C.
#[test]
fn processes_of_both_roles_end_at_once_too() {
    let mut testbed = Testbed::prepare_combined(3);
    for node in testbed.nodes() {
        node.configure("foz.shutdown.grace.ms=600000");
    }
    end_together(&mut testbed);
}

fn end_together(testbed: &mut Testbed) {
    testbed.start_all();
    {
        let answered = Answered::default();
        let mut connection = Connection::open(&testbed.brokers[0], &answered);
        connection.create_on("orders", &[0, 1, 2], &MIN_INSYNC);
        connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1, 2]);
    }
    let told = Instant::now();
    for node in testbed.nodes() {
        node.signal(Signal::TERM);
    }
    for node in testbed.nodes() {
        assert!(node.wait_end());
    }
    let took = told.elapsed();
    eprintln!("all have ended after {took:?}");
    assert!(took < PROMPTLY, "{took:?}");

    // Whatever was granted holds nobody up once they are back.
    testbed.start_all();
    let answered = Answered::default();
    let [zero, others @ ..] = &mut testbed.brokers[..] else {
        unreachable!("three were prepared");
    };
    let mut connection = Connection::open(&others[0], &answered);
    connection.await_partition("orders", |it| sorted(&it.isr_nodes) == [0, 1, 2]);
    let told = Instant::now();
    assert!(zero.stop());
    assert!(told.elapsed() < PROMPTLY, "{:?}", told.elapsed());
}

/// The last controller may be gone before the last broker is told.
#[test]
fn without_any_controller_nothing_is_waited_for_long() {
    let mut testbed = Testbed::start(1, 1);
    let broker = &mut testbed.brokers[0];
    broker.configure("foz.shutdown.grace.ms=600000");
    assert!(broker.stop());
    broker.spawn();
    broker.wait_ready();
    testbed.controllers[0].kill();
    let broker = &mut testbed.brokers[0];
    let told = Instant::now();
    broker.signal(Signal::TERM);
    while told.elapsed() < Duration::from_secs(3) {
        assert!(TcpStream::connect(("127.0.0.1", broker.kafka_port)).is_ok());
        pause();
    }
    assert!(broker.wait_end());
    assert!(told.elapsed() < 2 * PROMPTLY, "{:?}", told.elapsed());
}

#[test]
fn a_controller_without_which_there_is_no_majority_goes_on() {
    let mut testbed = Testbed::prepare(3, 1);
    for node in testbed.nodes() {
        node.configure("foz.shutdown.grace.ms=600000");
    }
    testbed.start_all();
    let [zero, one, _] = &mut testbed.controllers[..] else {
        unreachable!("three were prepared");
    };
    zero.kill();
    one.signal(Signal::TERM);
    await_log(one, "this controller may not stop yet");
    assert!(is_ready(one));
    zero.spawn();
    assert!(one.wait_end());
}
