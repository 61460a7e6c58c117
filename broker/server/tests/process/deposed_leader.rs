//! What a leader says that was replaced while it stood still, and does not know it: nothing about producers, of
//! whom its successor knows more.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use kafka_protocol::messages::ProduceRequest;
use rustix::process::Signal;

use crate::newest_end::{MIN_INSYNC, REPLICAS, await_isr, restart};
use crate::testbed::{Node, Testbed};
use crate::versions::connection::{
    Answered, Connection, Topic, error, eventually, produce_request,
};

const VERSION: i16 = 9;
const PRODUCER_ID: i64 = 5_000;

/// One record.
fn batch(epoch: i16, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).idempotent(PRODUCER_ID, epoch, sequence);
    builder.push(&RecordToWrite {
        timestamp_ms: now_ms(),
        value: Some(b"a"),
        ..RecordToWrite::default()
    });
    Bytes::from(builder.build().unwrap())
}

/// A producer whose records are old would be forgotten.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

fn send(connection: &mut Connection, topic: &Topic, epoch: i16, sequence: i32) {
    let records = Some(batch(epoch, sequence));
    connection.send(
        VERSION,
        &produce_request(VERSION, topic, -1, &[(0, records)]),
    );
}

fn receive(connection: &mut Connection) -> Result<i64, ErrorCode> {
    let response = connection.receive::<ProduceRequest>(VERSION);
    let outcome = &response.responses[0].partition_responses[0];
    match error(outcome.error_code) {
        ErrorCode::None => Ok(outcome.base_offset),
        error => Err(error),
    }
}

pub(crate) fn produce(
    node: &Node,
    topic: &Topic,
    epoch: i16,
    sequence: i32,
) -> Result<i64, ErrorCode> {
    let answered = Answered::default();
    let mut connection = Connection::open(node, &answered);
    send(&mut connection, topic, epoch, sequence);
    receive(&mut connection)
}

/// A client that hears of a gap right after its newest acknowledged batch begins a new epoch, and sends what is in
/// flight once more (KIP-360).
#[test]
fn it_finds_no_gap_where_its_successor_has_the_batches() {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.controllers[0].configure("auto.leader.rebalance.enable=false");
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_on("orders", &REPLICAS, &MIN_INSYNC);
    drop(connection);
    await_isr(&testbed.brokers[0], 0, &REPLICAS);
    let first = eventually(|| produce(&testbed.brokers[0], &topic, 1, 0));
    assert_eq!(first, 0);

    testbed.brokers[0].signal(Signal::STOP);
    restart(&mut testbed.controllers[0]);
    await_isr(&testbed.brokers[2], 1, &[1, 2]);
    let second = eventually(|| produce(&testbed.brokers[1], &topic, 1, 1));
    assert_eq!(second, 1);
    testbed.controllers[0].kill();

    let mut asked = Connection::open(&testbed.brokers[0], &answered);
    send(&mut asked, &topic, 1, 2);
    testbed.brokers[0].signal(Signal::CONT);
    assert_eq!(receive(&mut asked), Err(ErrorCode::NotLeaderOrFollower));
    for (epoch, sequence) in [(1, 2), (0, 5)] {
        let told = produce(&testbed.brokers[0], &topic, epoch, sequence);
        assert_eq!(
            told,
            Err(ErrorCode::NotLeaderOrFollower),
            "{epoch} {sequence}"
        );
    }

    // Who does lead says so, also while no controller answers: those in sync confirm it.
    let successor = &testbed.brokers[1];
    assert_eq!(
        produce(successor, &topic, 1, 7),
        Err(ErrorCode::OutOfOrderSequenceNumber)
    );
    assert_eq!(
        produce(successor, &topic, 0, 5),
        Err(ErrorCode::InvalidProducerEpoch)
    );
    assert_eq!(produce(successor, &topic, 1, 2), Ok(2));
    assert_eq!(produce(successor, &topic, 1, 2), Ok(2), "the same again");
}
