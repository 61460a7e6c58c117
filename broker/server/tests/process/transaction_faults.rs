//! Transactions while a leader stands still or dies, while too few replicas are there to decide, and after a coordinator stood
//! still: over raw connections, at the moment that each is about.

use std::ops::Not;
use std::time::{Duration, Instant};

use foz_groups::partition_for;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::{
    EndTxnRequest, EndTxnResponse, FindCoordinatorRequest, MetadataRequest,
};
use rustix::process::Signal;

use crate::testbed::{Testbed, pause};
use crate::transaction_coordinators::{
    await_committed, coordinator, leader, produce_once, read_committed, three_brokers,
    transactional,
};
use crate::versions::connection::{Answered, Connection, Topic, error, eventually, text};
use crate::versions::transaction_coordinators::{Producer, await_coordinator, results};
use crate::versions::transactional_offsets::{commit_request, fetch};

const TRANSACTION_STATE: &str = "__transaction_state";
const STATE_PARTITIONS: i32 = 3;
const OFFSETS_PARTITIONS: i32 = 3;
/// How often a moment is waited for that a busy machine can miss.
const TRIES: usize = 10;

/// Three brokers. What a coordinator decides `replicas` of them have to know.
fn decided_by(replicas: i32) -> Testbed {
    let testbed = Testbed::prepare(1, 3);
    let factor = format!("transaction.state.log.replication.factor={replicas}");
    testbed.controllers[0].configure(&factor);
    for broker in &testbed.brokers {
        let count = format!("offsets.topic.num.partitions={OFFSETS_PARTITIONS}");
        broker.configure(&count);
        let count = format!("transaction.state.log.num.partitions={STATE_PARTITIONS}");
        broker.configure(&count);
        broker.configure("transaction.state.log.min.isr=1");
    }
    testbed
}

fn leader_of(any: &mut Connection, topic: &str, partition: i32) -> usize {
    eventually(|| {
        let found = any.topic(12, topic);
        let mut partitions = found.partitions.iter();
        let known = partitions.find(|it| it.partition_index == partition);
        let leader = known.map_or(-1, |it| it.leader_id.0);
        usize::try_from(leader).map_err(|_| found)
    })
}

/// A transactional id whose coordinator, which is returned with it, can decide without the broker `node`. Another for each
/// try.
fn id_decided_without(any: &mut Connection, node: usize, attempt: usize) -> (String, usize) {
    await_coordinator(any, "any");
    let found = any.topic(12, TRANSACTION_STATE);
    let is_without = |id: &str| {
        let index = partition_for(id, STATE_PARTITIONS);
        let mut partitions = found.partitions.iter();
        let known = partitions.find(|it| it.partition_index == index).unwrap();
        known.replica_nodes.contains(&(node as i32).into()).not()
    };
    let mut ids = (0..100).map(|number| format!("id-{attempt}-{number}"));
    let id = ids.find(|id| is_without(id)).expect("there is one");
    let coordinator = await_coordinator(any, &id);
    (id, coordinator as usize)
}

fn group_coordinator(any: &mut Connection, group: &str) -> usize {
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
    eventually(|| {
        let found = any.call(4, &request).coordinators.remove(0);
        match error(found.error_code) {
            ErrorCode::None => Ok(found.node_id.0 as usize),
            other => Err(other),
        }
    })
}

/// A group that this broker coordinates.
fn group_on(any: &mut Connection, node: usize) -> String {
    let mut names = (0..100).map(|number| format!("group-{number}"));
    let name = names.find(|name| group_coordinator(any, name) == node);
    name.expect("there is one")
}

/// The error of a TxnOffsetCommit for the first partition of `orders`.
fn commit_once(
    connection: &mut Connection,
    version: i16,
    producer: &Producer,
    group: &str,
    offset: i64,
) -> ErrorCode {
    let request = commit_request(producer, group, "orders", 0, offset);
    let committed = connection.call(version, &request);
    error(committed.topics[0].partitions[0].error_code)
}

/// With the first batch of a transaction.
fn write(testbed: &Testbed, producer: &Producer, topic: &Topic, partition: i32, value: &str) {
    let answered = Answered::default();
    let records = transactional(producer, 0, value);
    eventually(|| {
        let mut connection = leader(testbed, &answered, &topic.name, partition);
        let records = records.clone();
        match produce_once(&mut connection, 12, producer, topic, partition, records) {
            ErrorCode::None => Ok(()),
            other => Err(other),
        }
    });
}

/// A transaction that is open.
struct Open {
    producer: Producer,
    /// Its coordinator, which can decide without `slow`.
    node: usize,
    /// Is to write a marker of it, as leader of this partition.
    slow: usize,
    partition: (String, i32),
}

/// One whose commit is decided while `slow` stands still, which has not written its marker.
struct Decided {
    producer: Producer,
    ended: EndTxnResponse,
    node: usize,
    slow: usize,
}

/// What `begin` has begun, which is told how many were before. On a busy machine the lease of the broker that stands still can be
/// over before anybody has looked: then another leads the partition and writes the marker, and the next is begun.
fn decided_while_one_stands_still<T>(
    testbed: &Testbed,
    begin: impl Fn(usize, &mut Connection) -> (T, Open),
) -> (T, Decided) {
    let answered = Answered::default();
    let mut any = Connection::open(&testbed.brokers[0], &answered);
    for attempt in 0..TRIES {
        let (begun, open) = begin(attempt, &mut any);
        let mut connection = Connection::open(&testbed.brokers[open.node], &answered);
        testbed.brokers[open.slow].signal(Signal::STOP);
        let ended = open.producer.end(&mut connection, 5, true);
        assert_eq!(error(ended.error_code), ErrorCode::None);
        let described = open.producer.describe(&mut connection);
        let (topic, partition) = open.partition;
        let leads = leader_of(&mut connection, &topic, partition) == open.slow;
        match described.transaction_state.as_str() {
            "PrepareCommit" if leads => {
                let decided = Decided {
                    producer: open.producer,
                    ended,
                    node: open.node,
                    slow: open.slow,
                };
                return (begun, decided);
            }
            "PrepareCommit" | "CompleteCommit" if !leads => {}
            other => panic!("{other}, though nobody can have written the marker"),
        }
        testbed.brokers[open.slow].signal(Signal::CONT);
        // It has heard of that.
        any = connection;
    }
    panic!("in each of {TRIES} tries the broker that stood still lost its partition too early");
}

/// With "a" on both partitions of a new topic, which two brokers lead.
fn begin_on_two(testbed: &Testbed, attempt: usize, any: &mut Connection) -> (Topic, Open) {
    // Who stood still in the last try is to be there again.
    eventually(|| {
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        match any.call(12, &request).brokers.len() {
            3 => Ok(()),
            other => Err(other),
        }
    });
    let name = format!("orders-{attempt}");
    let topic = any.create_replicated_topic(&name, 2, 3);
    let slow = leader_of(any, &name, 1);
    let (id, node) = id_decided_without(any, slow, attempt);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[node], &answered);
    let producer = Producer::init(&mut connection, &id);
    for partition in [0, 1] {
        write(testbed, &producer, &topic, partition, "a");
    }
    let open = Open {
        producer,
        node,
        slow,
        partition: (name, 1),
    };
    (topic, open)
}

/// The marker is waited for by a broker that stands still; what it hears when it is killed nobody knows.
#[test]
fn markers_go_to_the_next_leader_when_one_dies_before_it_has_written_them() {
    let mut testbed = decided_by(1);
    testbed.start_all();
    let answered = Answered::default();
    let (topic, decided) = decided_while_one_stands_still(&testbed, |attempt, any| {
        begin_on_two(&testbed, attempt, any)
    });
    testbed.brokers[decided.slow].kill();
    await_committed(&testbed, &topic, &["a"]);
    let mut producer = decided.producer;
    let mut connection = Connection::open(&testbed.brokers[decided.node], &answered);
    producer.await_state(&mut connection, "CompleteCommit");
    producer.epoch = decided.ended.producer_epoch;
    write(&testbed, &producer, &topic, 1, "b");
    let ended = producer.end(&mut connection, 5, true);
    assert_eq!(error(ended.error_code), ErrorCode::None);
    eventually(|| match read_committed(&testbed, &topic, 1) {
        (values, false) if values == ["a", "b"] => Ok(()),
        other => Err(other),
    });
}

/// One leader stands still when the commit is decided, and the coordinator dies as soon as it has said so.
#[test]
fn markers_that_were_half_sent_are_sent_by_the_next_coordinator() {
    let mut testbed = decided_by(2);
    testbed.start_all();
    let (topic, decided) = decided_while_one_stands_still(&testbed, |attempt, any| {
        begin_on_two(&testbed, attempt, any)
    });
    testbed.brokers[decided.node].kill();
    testbed.brokers[decided.slow].signal(Signal::CONT);
    await_committed(&testbed, &topic, &["a"]);
}

/// The next transaction of a producer begins when the last one has all its markers. Its first batch may come earlier: the
/// broker asks a few times before it says so (KAFKA-18654).
#[test]
fn a_batch_that_comes_before_the_last_markers_waits_for_them_as_long_as_it_is_configured() {
    let (slow, usual, patient) = (2, 0, 1);
    let mut testbed = decided_by(1);
    let key = "add.partitions.to.txn.retry.backoff.max.ms";
    testbed.brokers[patient].configure(&format!("{key}=20000"));
    testbed.start_all();
    let answered = Answered::default();
    let mut any = Connection::open(&testbed.brokers[0], &answered);
    let mut topic_on = |name: &str, node: usize| {
        let topic = any.create_on(name, &[node as i32], &[]);
        leader_of(&mut any, name, 0);
        topic
    };
    let [on_slow, on_usual, on_patient] = [("slow", slow), ("usual", usual), ("patient", patient)]
        .map(|(name, on)| topic_on(name, on));
    any.create_on("orders", &[usual as i32], &[]);
    let [of_usual, of_patient] = [usual, patient].map(|node| group_on(&mut any, node));
    let (id, node) = id_decided_without(&mut any, slow, 0);
    let mut connection = Connection::open(&testbed.brokers[node], &answered);
    let mut producer = Producer::init(&mut connection, &id);
    write(&testbed, &producer, &on_slow, 0, "a");
    write(&testbed, &producer, &on_usual, 0, "a");
    testbed.brokers[slow].signal(Signal::STOP);
    let ended = producer.end(&mut connection, 5, true);
    assert_eq!(error(ended.error_code), ErrorCode::None);
    producer.epoch = ended.producer_epoch;

    let first = || transactional(&producer, 0, "b");
    let mut to_usual = Connection::open(&testbed.brokers[usual], &answered);
    let begun = Instant::now();
    let outcome = produce_once(&mut to_usual, 12, &producer, &on_usual, 0, first());
    assert_eq!(outcome, ErrorCode::ConcurrentTransactions);
    assert!(begun.elapsed() >= Duration::from_millis(100));
    // Who does not know that word comes again after this one.
    let outcome = produce_once(&mut to_usual, 11, &producer, &on_usual, 0, first());
    assert_eq!(outcome, ErrorCode::NotEnoughReplicas);
    // The same for offsets.
    for (version, expected) in [
        (5, ErrorCode::ConcurrentTransactions),
        (4, ErrorCode::CoordinatorLoadInProgress),
    ] {
        let outcome = commit_once(&mut to_usual, version, &producer, &of_usual, 7);
        assert_eq!(outcome, expected);
    }

    let mut groups = Connection::open(&testbed.brokers[patient], &answered);
    let mut to_patient = Connection::open(&testbed.brokers[patient], &answered);
    std::thread::scope(|scope| {
        let produced =
            scope.spawn(|| produce_once(&mut to_patient, 12, &producer, &on_patient, 0, first()));
        let committed = scope.spawn(|| commit_once(&mut groups, 5, &producer, &of_patient, 7));
        for _ in 0..25 {
            pause();
        }
        assert!(!produced.is_finished());
        assert!(!committed.is_finished());
        testbed.brokers[slow].signal(Signal::CONT);
        assert_eq!(produced.join().unwrap(), ErrorCode::None);
        assert_eq!(committed.join().unwrap(), ErrorCode::None);
    });
    let unstable = Err(ErrorCode::UnstableOffsetCommit);
    assert_eq!(fetch(&mut groups, &of_patient, "orders", true), unstable);
    let ended = producer.end(&mut connection, 5, true);
    assert_eq!(error(ended.error_code), ErrorCode::None);
    eventually(|| match fetch(&mut groups, &of_patient, "orders", true) {
        Ok(7) => Ok(()),
        other => Err(other),
    });
    for (topic, expected) in [(&on_slow, "a"), (&on_usual, "a"), (&on_patient, "b")] {
        eventually(|| match read_committed(&testbed, topic, 0) {
            (values, false) if values == [expected] => Ok(()),
            other => Err(other),
        });
    }
}

/// The group's coordinator stands still when the commit is decided. Then it dies, or goes on after the coordinator of the
/// transaction has died.
#[test]
fn offsets_count_with_the_next_coordinator_whichever_dies_before_the_marker_is_written() {
    for (replicas, group_dies) in [(1, true), (2, false)] {
        let mut testbed = decided_by(replicas);
        testbed.start_all();
        let answered = Answered::default();
        let mut any = Connection::open(&testbed.brokers[0], &answered);
        any.create_replicated_topic("orders", 1, 3);
        let (group, decided) = decided_while_one_stands_still(&testbed, |attempt, any| {
            let group = format!("group-{attempt}");
            let slow = group_coordinator(any, &group);
            let (id, node) = id_decided_without(any, slow, attempt);
            let mut connection = Connection::open(&testbed.brokers[node], &answered);
            let producer = Producer::init(&mut connection, &id);
            let mut of_group = Connection::open(&testbed.brokers[slow], &answered);
            eventually(
                || match commit_once(&mut of_group, 5, &producer, &group, 7) {
                    ErrorCode::None => Ok(()),
                    other => Err(other),
                },
            );
            let index = partition_for(&group, OFFSETS_PARTITIONS);
            let open = Open {
                producer,
                node,
                slow,
                partition: ("__consumer_offsets".to_owned(), index),
            };
            (group, open)
        });
        if group_dies {
            testbed.brokers[decided.slow].kill();
        } else {
            testbed.brokers[decided.node].kill();
            testbed.brokers[decided.slow].signal(Signal::CONT);
        }
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(&group)]);
        eventually(|| {
            let alive = testbed.brokers.iter().find(|broker| broker.is_running());
            let mut any = Connection::open(alive.unwrap(), &answered);
            let found = any.call(4, &request).coordinators.remove(0);
            let known = usize::try_from(found.node_id.0).ok();
            let broker = known.map(|node| &testbed.brokers[node]);
            let broker = broker.filter(|broker| broker.is_running());
            let broker = broker.ok_or(Err(ErrorCode::CoordinatorNotAvailable))?;
            let mut coordinator = Connection::open(broker, &answered);
            match fetch(&mut coordinator, &group, "orders", true) {
                Ok(7) => Ok(()),
                // Nobody is told what was before.
                Ok(other) => panic!("{other} is told"),
                Err(other) => Err::<(), Result<i64, ErrorCode>>(Err(other)),
            }
        });
    }
}

/// Of the brokers that have its log only the coordinator is left.
fn leave_alone(testbed: &mut Testbed, node: usize, id: &str) {
    for other in 0..testbed.brokers.len() {
        if other != node {
            testbed.brokers[other].kill();
        }
    }
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[node], &answered);
    let index = partition_for(id, STATE_PARTITIONS);
    eventually(|| {
        let found = connection.topic(12, TRANSACTION_STATE);
        let mut partitions = found.partitions.iter();
        let known = partitions.find(|it| it.partition_index == index).unwrap();
        match known.isr_nodes.len() == 1 && known.leader_id.0 == node as i32 {
            true => Ok(()),
            false => Err(found),
        }
    });
}

fn restart(testbed: &mut Testbed) {
    for broker in &mut testbed.brokers {
        if !broker.is_running() {
            broker.spawn();
        }
    }
    testbed.wait_ready();
}

/// `transaction.state.log.min.isr`: 2.
#[test]
fn what_too_few_would_know_is_not_decided_until_there_are_enough_again() {
    let mut testbed = Testbed::prepare(1, 3);
    for broker in &testbed.brokers {
        let count = format!("transaction.state.log.num.partitions={STATE_PARTITIONS}");
        broker.configure(&count);
        broker.configure("transaction.abort.timed.out.transaction.cleanup.interval.ms=100");
    }
    testbed.start_all();
    let answered = Answered::default();
    let mut any = Connection::open(&testbed.brokers[0], &answered);
    let topic = any.create_replicated_topic("orders", 2, 3);
    let node = await_coordinator(&mut any, "id") as usize;
    let mut connection = Connection::open(&testbed.brokers[node], &answered);
    let mut producer = Producer::init(&mut connection, "id");
    for partition in [0, 1] {
        write(&testbed, &producer, &topic, partition, "a");
    }
    leave_alone(&mut testbed, node, "id");
    let mut connection = Connection::open(&testbed.brokers[node], &answered);
    let ended = producer.end(&mut connection, 5, true);
    assert_eq!(error(ended.error_code), ErrorCode::CoordinatorNotAvailable);
    let described = producer.describe(&mut connection);
    assert_eq!(described.transaction_state, text("Ongoing"));
    restart(&mut testbed);
    let ended = eventually(|| {
        let mut connection = coordinator(&testbed, &answered, "id");
        let ended = producer.end(&mut connection, 5, true);
        match error(ended.error_code) {
            ErrorCode::None => Ok(ended),
            other => Err(other),
        }
    });
    await_committed(&testbed, &topic, &["a"]);
    producer.epoch = ended.producer_epoch;

    // Nor is it aborted for its timeout, which is long enough for all that comes before the others are gone.
    let request = Producer::init_request("id").with_transaction_timeout_ms(15_000);
    let initialised = eventually(|| {
        let response = coordinator(&testbed, &answered, "id").call(5, &request);
        match error(response.error_code) {
            ErrorCode::None => Ok(response),
            other => Err(other),
        }
    });
    producer.epoch = initialised.producer_epoch;
    write(&testbed, &producer, &topic, 0, "b");
    let begun = Instant::now();
    let node = await_coordinator(&mut Connection::open(&testbed.brokers[0], &answered), "id");
    let node = node as usize;
    leave_alone(&mut testbed, node, "id");
    while begun.elapsed() < Duration::from_secs(16) {
        pause();
    }
    let mut connection = Connection::open(&testbed.brokers[node], &answered);
    let described = producer.describe(&mut connection);
    assert_eq!(described.transaction_state, text("Ongoing"));
    restart(&mut testbed);
    eventually(|| {
        let described = producer.describe(&mut coordinator(&testbed, &answered, "id"));
        match described.transaction_state == text("CompleteAbort") {
            true => Ok(()),
            false => Err(described.transaction_state),
        }
    });
    await_committed(&testbed, &topic, &["a"]);
    let ended = producer.end(&mut coordinator(&testbed, &answered, "id"), 4, true);
    assert_eq!(error(ended.error_code), ErrorCode::ProducerFenced);
}

/// Before `transaction.version` 2 transactions share an epoch. The old coordinator remembers that the last one was committed, and
/// is asked for the next.
#[test]
fn a_coordinator_that_stood_still_acknowledges_nothing_of_what_came_after_it() {
    let testbed = three_brokers();
    let answered = Answered::default();
    let mut any = Connection::open(&testbed.brokers[0], &answered);
    let topic = any.create_replicated_topic("orders", 2, 3);
    let node = await_coordinator(&mut any, "id") as usize;
    let mut connection = Connection::open(&testbed.brokers[node], &answered);
    let producer = Producer::init(&mut connection, "id");
    let topics: [(&str, &[i32]); 1] = [("orders", &[0])];
    let mut connection = connection.another();
    for (_, _, error) in producer.add(&mut connection, 3, &topics) {
        assert_eq!(error, ErrorCode::None);
    }
    let produce = |version, sequence, value: &str| {
        let records = transactional(&producer, sequence, value);
        eventually(|| {
            let mut any = Connection::open(&testbed.brokers[(node + 1) % 3], &answered);
            let leader = leader_of(&mut any, "orders", 0);
            if leader == node && sequence > 0 {
                return Err(ErrorCode::NotLeaderOrFollower);
            }
            let mut connection = Connection::open(&testbed.brokers[leader], &answered);
            let records = records.clone();
            match produce_once(&mut connection, version, &producer, &topic, 0, records) {
                ErrorCode::None => Ok(()),
                other => Err(other),
            }
        });
    };
    produce(11, 0, "a");
    let ended = producer.end(&mut connection, 4, true);
    assert_eq!(error(ended.error_code), ErrorCode::None);
    producer.await_state(&mut connection, "CompleteCommit");

    testbed.brokers[node].signal(Signal::STOP);
    let other = &testbed.brokers[(node + 1) % 3];
    let successor = eventually(|| {
        let mut any = Connection::open(other, &answered);
        let found = await_coordinator(&mut any, "id") as usize;
        (found != node).then_some(found).ok_or(found)
    });
    eventually(|| {
        let mut connection = Connection::open(&testbed.brokers[successor], &answered);
        let request = producer.add_request(3, &topics);
        let added = connection.try_call(3, &request).map_err(|_| vec![])?;
        let added = results(added);
        match added.iter().all(|(_, _, error)| *error == ErrorCode::None) {
            true => Ok(()),
            false => Err(added),
        }
    });
    produce(11, 1, "b");
    // It lies there when the process goes on.
    let mut late = Connection::open(&testbed.brokers[node], &answered);
    late.send(4, &producer.end_request(true));
    testbed.brokers[node].signal(Signal::CONT);
    let told = late.receive::<EndTxnRequest>(4);
    assert_eq!(error(told.error_code), ErrorCode::NotCoordinator);

    let mut connection = Connection::open(&testbed.brokers[successor], &answered);
    let described = producer.describe(&mut connection);
    assert_eq!(described.transaction_state, text("Ongoing"));
    let ended = producer.end(&mut connection, 4, true);
    assert_eq!(error(ended.error_code), ErrorCode::None);
    eventually(|| match read_committed(&testbed, &topic, 0) {
        (values, false) if values == ["a", "b"] => Ok(()),
        other => Err(other),
    });
}
