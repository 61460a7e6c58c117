//! Transactions on three brokers, over raw connections: what was told committed is there, on every partition or on none,
//! whichever coordinator is killed when.

use bytes::Bytes;
use foz_protocol::batch::{BatchHeader, Batches};
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::record::{BatchBuilder, RecordToWrite, Records, record_bytes};
use kafka_protocol::messages::ProduceRequest;

use crate::testbed::Testbed;
use crate::versions::connection::{
    Answered, Connection, Topic, error, eventually, produce_request, text,
};
use crate::versions::fetching::{fetch, only};
use crate::versions::transaction_coordinators::{Producer, await_coordinator, results};

const READ_COMMITTED: i8 = 1;
const FETCH_VERSION: i16 = 12;
const PARTITIONS: [i32; 2] = [0, 1];

/// What a client speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versions {
    produce: i16,
    end: i16,
}

/// As librdkafka does: all transactions of a producer share an epoch.
pub(crate) const FIRST: Versions = Versions {
    produce: 11,
    end: 4,
};
/// `transaction.version` 2.
pub(crate) const SECOND: Versions = Versions {
    produce: 12,
    end: 5,
};

impl Versions {
    pub(crate) fn has_epochs(self) -> bool {
        self.end >= 5
    }
}

pub(crate) fn three_brokers() -> Testbed {
    let mut testbed = Testbed::prepare(1, 3);
    for broker in &testbed.brokers {
        broker.configure("transaction.state.log.num.partitions=3");
        broker.configure("offsets.topic.num.partitions=3");
    }
    testbed.start_all();
    testbed
}

/// The broker that leads this partition.
pub(crate) fn leader<'a>(
    testbed: &'a Testbed,
    answered: &'a Answered,
    topic: &str,
    partition: i32,
) -> Connection<'a> {
    let node = eventually(|| {
        let alive = testbed.brokers.iter().find(|broker| broker.is_running());
        let mut connection = Connection::open(alive.unwrap(), answered);
        let found = connection.topic(12, topic);
        let index = usize::try_from(partition).unwrap();
        match found.partitions.get(index).map(|it| it.leader_id.0) {
            Some(node) if node >= 0 && testbed.brokers[node as usize].is_running() => Ok(node),
            other => Err(other),
        }
    });
    Connection::open(&testbed.brokers[node as usize], answered)
}

pub(crate) fn coordinator<'a>(
    testbed: &'a Testbed,
    answered: &'a Answered,
    id: &str,
) -> Connection<'a> {
    let node = eventually(|| {
        let alive = testbed.brokers.iter().find(|broker| broker.is_running());
        let mut connection = Connection::open(alive.unwrap(), answered);
        let node = await_coordinator(&mut connection, id);
        match testbed.brokers[node as usize].is_running() {
            true => Ok(node),
            false => Err(node),
        }
    });
    Connection::open(&testbed.brokers[node as usize], answered)
}

pub(crate) fn transactional(producer: &Producer, sequence: i32, value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None)
        .idempotent(producer.id.0, producer.epoch, sequence)
        .transactional();
    builder.push(&RecordToWrite {
        timestamp_ms: 1,
        value: Some(value.as_bytes()),
        ..RecordToWrite::default()
    });
    Bytes::from(builder.build().unwrap())
}

/// One attempt.
pub(crate) fn produce_once(
    connection: &mut Connection,
    version: i16,
    producer: &Producer,
    topic: &Topic,
    partition: i32,
    records: Bytes,
) -> ErrorCode {
    let mut request = produce_request(version, topic, -1, &[(partition, Some(records))]);
    request.transactional_id = Some(producer.transactional_id.clone());
    let response = connection.call(version, &request);
    error(response.responses[0].partition_responses[0].error_code)
}

/// The life of a producer whose coordinator may be killed.
pub(crate) struct Story<'a> {
    pub(crate) testbed: &'a mut Testbed,
    pub(crate) versions: Versions,
    pub(crate) topic: Topic,
    pub(crate) producer: Producer,
    pub(crate) sequence: i32,
}

impl Story<'_> {
    fn id(&self) -> String {
        self.producer.transactional_id.to_string()
    }

    /// To every partition.
    pub(crate) fn write(&mut self, value: &str) {
        let answered = Answered::default();
        if !self.versions.has_epochs() {
            let topics: [(&str, &[i32]); 1] = [(&self.topic.name, &PARTITIONS)];
            eventually(|| {
                let mut connection = coordinator(self.testbed, &answered, &self.id());
                // The coordinator may be newer than the connection (ADR 0027).
                let request = self.producer.add_request(3, &topics);
                let added = results(connection.try_call(3, &request).map_err(|_| vec![])?);
                match added.iter().all(|(_, _, error)| *error == ErrorCode::None) {
                    true => Ok(()),
                    false => Err(added),
                }
            });
        }
        for partition in PARTITIONS {
            let records = transactional(&self.producer, self.sequence, value);
            eventually(|| {
                let mut connection = leader(self.testbed, &answered, &self.topic.name, partition);
                let outcome = produce_once(
                    &mut connection,
                    self.versions.produce,
                    &self.producer,
                    &self.topic,
                    partition,
                    records.clone(),
                );
                match outcome {
                    ErrorCode::None => Ok(()),
                    other => Err(other),
                }
            });
        }
        self.sequence += 1;
    }

    pub(crate) fn end(&mut self, committed: bool) {
        let answered = Answered::default();
        let ended = eventually(|| {
            let mut connection = coordinator(self.testbed, &answered, &self.id());
            let request = self.producer.end_request(committed);
            let ended = connection.try_call(self.versions.end, &request);
            let ended = ended.map_err(|error| error.to_string())?;
            match error(ended.error_code) {
                ErrorCode::None => Ok(ended),
                other => Err(other.to_string()),
            }
        });
        if self.versions.has_epochs() {
            self.producer.id = ended.producer_id;
            self.producer.epoch = ended.producer_epoch;
            self.sequence = 0;
        }
    }

    pub(crate) fn kill_coordinator(&mut self) {
        let answered = Answered::default();
        let connection = coordinator(self.testbed, &answered, &self.id());
        let port = connection.broker.kafka_port;
        drop(connection);
        let mut brokers = self.testbed.brokers.iter_mut();
        let killed = brokers.find(|broker| broker.kafka_port == port).unwrap();
        killed.kill();
    }

    pub(crate) fn restart(&mut self) {
        for broker in &mut self.testbed.brokers {
            if !broker.is_running() {
                broker.spawn();
            }
        }
        self.testbed.wait_ready();
        let answered = Answered::default();
        let mut connection = Connection::open(&self.testbed.brokers[0], &answered);
        for topic in [self.topic.name.as_str(), "__transaction_state"] {
            eventually(|| {
                let found = connection.topic(12, topic);
                match found.partitions.iter().all(|it| it.isr_nodes.len() == 3) {
                    true => Ok(()),
                    false => Err(found),
                }
            });
        }
    }
}

/// What lies in a partition as far as the reader sees it, and whether something there is open.
struct ReadBack {
    batches: Vec<(BatchHeader, Vec<u8>)>,
    /// Producers and first offsets.
    aborted: Vec<(i64, i64)>,
    is_open: bool,
}

fn read_back(testbed: &Testbed, topic: &Topic, partition: i32, isolation_level: i8) -> ReadBack {
    let answered = Answered::default();
    let mut connection = leader(testbed, &answered, &topic.name, partition);
    let mut read = ReadBack {
        batches: Vec::new(),
        aborted: Vec::new(),
        is_open: false,
    };
    let mut offset = 0;
    loop {
        let request = fetch(FETCH_VERSION, topic, &[(partition, offset)])
            .with_isolation_level(isolation_level);
        let response = connection.call(FETCH_VERSION, &request);
        let found = only(&response);
        read.is_open = found.last_stable_offset < found.high_watermark;
        let aborted = found.aborted_transactions.iter().flatten();
        let aborted = aborted.map(|it| (it.producer_id.0, it.first_offset));
        read.aborted.extend(aborted);
        let records = found.records.clone().unwrap_or_default();
        if records.is_empty() {
            return read;
        }
        for batch in Batches::new(&records) {
            let (header, batch) = batch.unwrap();
            offset = header.next_offset();
            read.batches.push((header, batch.to_vec()));
        }
    }
}

impl ReadBack {
    /// Values that a reader of committed records passes on.
    fn committed(&self) -> Vec<String> {
        // Producers whose aborted transaction has begun, and whose marker did not come yet.
        let mut aborting = Vec::new();
        let mut values = Vec::new();
        for (header, batch) in &self.batches {
            let id = header.producer_id;
            if header.is_control() {
                aborting.retain(|it| *it != id);
                continue;
            }
            if self.aborted.contains(&(id, header.base_offset)) {
                aborting.push(id);
            }
            if aborting.contains(&id) {
                continue;
            }
            let bytes = record_bytes(header, batch, 1 << 20).unwrap();
            for record in Records::new(header, &bytes) {
                let value = record.unwrap().value.unwrap().to_vec();
                values.push(String::from_utf8(value).unwrap());
            }
        }
        values
    }

    fn described(&self) -> Vec<String> {
        let batches = self.batches.iter().map(|(header, _)| {
            format!(
                "offset {} epoch {} sequence {} control {}",
                header.base_offset,
                header.producer_epoch,
                header.base_sequence,
                header.is_control()
            )
        });
        batches.collect()
    }
}

pub(crate) fn read_committed(
    testbed: &Testbed,
    topic: &Topic,
    partition: i32,
) -> (Vec<String>, bool) {
    let read = read_back(testbed, topic, partition, READ_COMMITTED);
    (read.committed(), read.is_open)
}

/// Until every partition has its markers.
pub(crate) fn await_committed(testbed: &Testbed, topic: &Topic, expected: &[&str]) {
    for partition in PARTITIONS {
        eventually(|| {
            let read = read_committed(testbed, topic, partition);
            match read.1 {
                false if read.0 == expected => Ok(()),
                _ => {
                    let all = read_back(testbed, topic, partition, 0);
                    Err((topic.name.clone(), partition, read, all.described()))
                }
            }
        });
    }
}

#[test]
fn what_is_committed_is_on_every_partition_and_what_is_aborted_on_none_whichever_coordinator_dies_when()
 {
    let mut testbed = three_brokers();
    for (name, versions) in [("first", FIRST), ("second", SECOND)] {
        let answered = Answered::default();
        let mut connection = Connection::open(&testbed.brokers[0], &answered);
        let topic = connection.create_replicated_topic(name, 2, 3);
        await_coordinator(&mut connection, name);
        let mut connection = coordinator(&testbed, &answered, name);
        let producer = Producer::init(&mut connection, name);
        drop(connection);
        let mut story = Story {
            testbed: &mut testbed,
            versions,
            topic,
            producer,
            sequence: 0,
        };
        // After the begin; after the first of two writes; after the decision; and never.
        story.kill_coordinator();
        story.write("a");
        story.end(true);
        story.restart();
        story.write("b");
        story.kill_coordinator();
        story.write("c");
        story.end(false);
        story.restart();
        story.write("d");
        story.end(true);
        story.kill_coordinator();
        await_committed(story.testbed, &story.topic, &["a", "d"]);
        story.restart();
        story.write("e");
        let topic = story.topic.clone();
        let producer = story.producer.clone();
        for partition in PARTITIONS {
            let (values, is_open) = read_committed(&testbed, &topic, partition);
            assert_eq!(
                (values, is_open),
                (vec!["a".to_owned(), "d".to_owned()], true)
            );
        }
        // Who takes the id over fences its predecessor, and what that left open is not there.
        let mut connection = coordinator(&testbed, &answered, name);
        let next = Producer::init(&mut connection, name);
        assert_eq!(next.id, producer.id);
        assert!(next.epoch > producer.epoch);
        await_committed(&testbed, &topic, &["a", "d"]);
        let ended = producer.end(&mut connection, versions.end, true);
        assert_eq!(error(ended.error_code), ErrorCode::ProducerFenced);
        let mut connection = leader(&testbed, &answered, &topic.name, 0);
        let records = transactional(&producer, 1, "late");
        let outcome = produce_once(
            &mut connection,
            versions.produce,
            &producer,
            &topic,
            0,
            records,
        );
        assert_eq!(outcome, ErrorCode::InvalidProducerEpoch);
    }
}

/// Jepsen, Bufstream 0.1.0: sent over one connection, given up, and sent again over another.
#[test]
fn a_copy_of_an_end_that_comes_late_does_not_end_the_next_transaction() {
    let testbed = Testbed::start(1, 1);
    let answered = Answered::default();
    let mut any = Connection::open(&testbed.brokers[0], &answered);
    for (name, versions) in [("first", FIRST), ("second", SECOND)] {
        let topic = any.create_topic(name, 2);
        await_coordinator(&mut any, name);
        let mut producer = Producer::init(&mut any, name);
        let mut sequence = 0;
        let mut older = any.another();
        let mut newer = any.another();
        let begin = |connection: &mut Connection, producer: &Producer, sequence: i32| {
            if !versions.has_epochs() {
                let topics: [(&str, &[i32]); 1] = [(&topic.name, &[0])];
                for (_, _, error) in producer.add(connection, 3, &topics) {
                    assert_eq!(error, ErrorCode::None);
                }
            }
            let records = transactional(producer, sequence, "x");
            let version = versions.produce;
            eventually(|| {
                match produce_once(connection, version, producer, &topic, 0, records.clone()) {
                    ErrorCode::None => Ok(()),
                    other => Err(other),
                }
            });
        };
        begin(&mut older, &producer, sequence);
        // The first copy is still on its way over the older connection.
        let held_back = producer.end_request(true);
        let ended = newer.call(versions.end, &held_back);
        assert_eq!(error(ended.error_code), ErrorCode::None);
        producer.await_state(&mut any, "CompleteCommit");
        sequence += 1;
        if versions.has_epochs() {
            producer.epoch = ended.producer_epoch;
            sequence = 0;
        }
        begin(&mut newer, &producer, sequence);
        older.send(versions.end, &held_back);
        if versions.has_epochs() {
            let late = older.receive::<kafka_protocol::messages::EndTxnRequest>(versions.end);
            assert_ne!(error(late.error_code), ErrorCode::None);
        } else {
            assert!(older.is_closed());
        }
        let described = producer.describe(&mut any);
        assert_eq!(described.transaction_state, text("Ongoing"), "{name}");
        let ended = producer.end(&mut newer, versions.end, false);
        assert_eq!(error(ended.error_code), ErrorCode::None);
    }
}

/// The first has to wait for the coordinator, the others come right behind it.
#[test]
fn records_that_are_sent_without_waiting_keep_their_order() {
    let testbed = Testbed::start(1, 1);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_topic("orders", 2);
    await_coordinator(&mut connection, "id");
    let mut producer = Producer::init(&mut connection, "id");
    let mut expected = Vec::new();
    for round in 0..20 {
        let mut last = 0;
        for sequence in 0..3 {
            let value = format!("{round}-{sequence}");
            let records = transactional(&producer, sequence, &value);
            let mut request = produce_request(12, &topic, -1, &[(0, Some(records))]);
            request.transactional_id = Some(producer.transactional_id.clone());
            connection.send(12, &request);
            last = connection.correlation_id();
            expected.push(value);
        }
        for before in [2, 1, 0] {
            let response = connection.receive_of::<ProduceRequest>(12, last - before);
            let outcome = error(response.responses[0].partition_responses[0].error_code);
            assert_eq!(outcome, ErrorCode::None, "{round}");
        }
        let ended = producer.end(&mut connection, 5, true);
        assert_eq!(error(ended.error_code), ErrorCode::None);
        producer.epoch = ended.producer_epoch;
        // The next one would be told that this one is still ending.
        producer.await_state(&mut connection, "CompleteCommit");
    }
    assert_eq!(read_committed(&testbed, &topic, 0), (expected, false));
}

/// A batch of a transaction that its coordinator knows nothing of would be open for ever.
#[test]
fn what_takes_part_in_no_transaction_is_refused() {
    let testbed = Testbed::start(1, 1);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_topic("orders", 1);
    await_coordinator(&mut connection, "id");
    let producer = Producer::init(&mut connection, "id");
    for version in 3..=12 {
        let expected = match version {
            ..=10 => ErrorCode::InvalidTxnState,
            11 => ErrorCode::TransactionAbortable,
            _ => ErrorCode::None,
        };
        let records = transactional(&producer, 0, "x");
        let outcome = produce_once(&mut connection, version, &producer, &topic, 0, records);
        assert_eq!(outcome, expected, "{version}");
    }
    let described = producer.describe(&mut connection);
    assert_eq!(described.transaction_state, text("Ongoing"));
    // Without the id of the transaction nobody knows that it is allowed.
    let other = Producer::init(&mut connection, "other");
    let records = transactional(&other, 0, "x");
    let request = produce_request(11, &topic, -1, &[(0, Some(records))]);
    let response = connection.call(11, &request);
    let refused = error(response.responses[0].partition_responses[0].error_code);
    assert_eq!(refused, ErrorCode::TransactionalIdAuthorizationFailed);
    // What may not be written to does not take part either.
    let internal = Topic {
        name: "__transaction_state".to_owned(),
        ..topic.clone()
    };
    let records = transactional(&other, 0, "x");
    let outcome = produce_once(&mut connection, 12, &other, &internal, 0, records);
    assert_eq!(outcome, ErrorCode::InvalidTopicException);
    let described = other.describe(&mut connection);
    assert_eq!(described.transaction_state, text("Empty"));
    // Of a stranger.
    let stranger = Producer {
        id: (other.id.0 + 1_000).into(),
        ..other
    };
    let records = transactional(&stranger, 0, "x");
    let outcome = produce_once(&mut connection, 12, &stranger, &topic, 0, records);
    assert_eq!(outcome, ErrorCode::InvalidProducerIdMapping);
}

/// Its producer is fenced, and readers go on.
#[test]
fn what_is_open_for_longer_than_its_timeout_is_aborted() {
    let mut testbed = Testbed::prepare(1, 1);
    let check = "transaction.abort.timed.out.transaction.cleanup.interval.ms=100";
    testbed.brokers[0].configure(check);
    testbed.start_all();
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_topic("orders", 2);
    await_coordinator(&mut connection, "id");
    Producer::init(&mut connection, "id");
    let request = Producer::init_request("id").with_transaction_timeout_ms(5_000);
    let response = connection.call(5, &request);
    let producer = Producer {
        transactional_id: request.transactional_id.unwrap(),
        id: response.producer_id,
        epoch: response.producer_epoch,
    };
    let records = transactional(&producer, 0, "open");
    let outcome = produce_once(&mut connection, 12, &producer, &topic, 0, records);
    assert_eq!(outcome, ErrorCode::None);
    assert!(read_committed(&testbed, &topic, 0).1);
    producer.await_state(&mut connection, "CompleteAbort");
    await_committed(&testbed, &topic, &[]);
    let records = transactional(&producer, 1, "late");
    let outcome = produce_once(&mut connection, 12, &producer, &topic, 0, records);
    assert_eq!(outcome, ErrorCode::InvalidProducerEpoch);
    let ended = producer.end(&mut connection, 4, true);
    assert_eq!(error(ended.error_code), ErrorCode::ProducerFenced);
}
