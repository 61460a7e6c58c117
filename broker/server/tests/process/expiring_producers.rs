//! What is remembered of producers is forgotten when they are silent for as long as brokers are told, and not before.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::record::{BatchBuilder, RecordToWrite};

use crate::broker_keys::set;
use crate::hanging_transactions::active_producers;
use crate::testbed::Testbed;
use crate::transaction_coordinators::{produce_once, transactional};
use crate::versions::connection::{Answered, Connection, error, eventually, text};
use crate::versions::transaction_coordinators::{Producer, await_coordinator};

const ID_EXPIRATION: &str = "transactional.id.expiration.ms";
const ID_EXPIRATION_DEFAULT: &str = "604800000";
const PRODUCER_EXPIRATION: &str = "producer.id.expiration.ms";

fn change(connection: &mut Connection, key: &str, value: &str) {
    let done = set(connection, key, value);
    assert_eq!(done, (ErrorCode::None, String::new()));
}

fn idempotent(producer_id: i64) -> Bytes {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut builder = BatchBuilder::new(Compression::None).idempotent(producer_id, 0, 0);
    builder.push(&RecordToWrite {
        timestamp_ms: now_ms.as_millis().try_into().unwrap(),
        value: Some(b"a"),
        ..RecordToWrite::default()
    });
    Bytes::from(builder.build().unwrap())
}

/// As Kafka's ProducerIdExpirationTest has it, without a restart.
#[test]
fn a_silent_producer_is_forgotten_once_brokers_are_told_so() {
    let mut testbed = Testbed::prepare(1, 1);
    testbed.brokers[0].configure("log.retention.check.interval.ms=50");
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic("orders", 1);
    connection.produce(&orders, 0, idempotent(7));
    let mut known = || -> Vec<i64> {
        let found = active_producers(&mut connection, &orders);
        found.iter().map(|it| it.producer_id.0).collect()
    };
    assert_eq!(known(), [7]);
    let mut other = Connection::open(&testbed.brokers[0], &answered);
    change(&mut other, PRODUCER_EXPIRATION, "1");
    eventually(|| match &known()[..] {
        [] => Ok(()),
        others => Err(others.to_vec()),
    });
}

#[test]
fn a_silent_transactional_id_is_forgotten_for_good_and_one_with_a_transaction_is_not() {
    let mut testbed = Testbed::prepare(1, 1);
    testbed.brokers[0].configure("transaction.state.log.num.partitions=1");
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic("orders", 1);
    await_coordinator(&mut connection, "silent");
    let silent = Producer::init(&mut connection, "silent");
    let busy = Producer::init(&mut connection, "busy");
    let never = Producer::init(&mut connection, "never");
    for producer in [&silent, &busy] {
        let records = transactional(producer, 0, "a");
        let written = produce_once(&mut connection, 12, producer, &orders, 0, records);
        assert_eq!(written, ErrorCode::None);
    }
    let ended = silent.end(&mut connection, 5, true);
    assert_eq!(error(ended.error_code), ErrorCode::None);
    silent.await_state(&mut connection, "CompleteCommit");
    let interval = "transaction.remove.expired.transaction.cleanup.interval.ms";
    change(&mut connection, interval, "50");
    assert_eq!(
        never.describe(&mut connection).transaction_state,
        text("Empty")
    );
    change(&mut connection, ID_EXPIRATION, "100");
    let forgotten = |connection: &mut Connection, producer: &Producer| {
        eventually(|| {
            let described = producer.describe(connection);
            match error(described.error_code) {
                ErrorCode::TransactionalIdNotFound => Ok(()),
                _ => Err(Box::new(described)),
            }
        });
    };
    for producer in [&silent, &never] {
        forgotten(&mut connection, producer);
    }
    busy.await_state(&mut connection, "Ongoing");

    // The next coordinator would keep them for a week.
    change(&mut connection, ID_EXPIRATION, ID_EXPIRATION_DEFAULT);
    drop(connection);
    testbed.brokers[0].kill();
    testbed.brokers[0].spawn();
    testbed.brokers[0].wait_ready();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    busy.await_state(&mut connection, "Ongoing");
    for producer in [&silent, &never] {
        let described = producer.describe(&mut connection);
        let found = error(described.error_code);
        assert_eq!(found, ErrorCode::TransactionalIdNotFound, "{described:?}");
    }
    // Whoever takes the name again has a producer id of its own.
    let again = Producer::init(&mut connection, "silent");
    assert_ne!(again.id, silent.id);
}
