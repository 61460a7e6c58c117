//! Transactions as readers see them, and the markers that end them. What its producers wrote is put in the log of a broker
//! that does not run, so no coordinator knows of it: see `transaction_coordinators.rs` for those.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use foz_log::{
    AppendOrigin, FileHandles, LogConfig, LogDirectory, PageCache, PartitionLog, TopicPartition,
};
use foz_protocol::batch::{BatchHeader, Batches};
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::record::{BatchBuilder, RecordToWrite, Records, record_bytes};
use foz_records::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use foz_records::write_txn_markers_response::WriteTxnMarkersResponse;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    ApiKey, BrokerId, DescribeProducersRequest, FetchRequest, ListOffsetsRequest,
};

use crate::newest_end::await_isr;
use crate::testbed::{Node, Testbed};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, from_offset, topic_name,
};
use crate::versions::fetching::{fetch, only};

const VERSION: i16 = 12;
const MARKERS_VERSION: i16 = 2;
const COORDINATOR_EPOCH: i32 = 3;
const TOPIC: &str = "orders";

/// Producers are forgotten by the timestamps of their records.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

/// The broker does not run.
fn write(broker: &Node, write: impl FnOnce(&PartitionLog)) {
    let (data, handles) = (broker.directory.join("data"), FileHandles::new(8));
    let config_of = |_: &TopicPartition, _| LogConfig::default();
    let survived = PageCache::Survived;
    let opened = LogDirectory::open(&data, survived, 1, &handles, now_ms(), &config_of, &|_| {});
    let (directory, _) = opened.unwrap();
    let log: Arc<PartitionLog> = directory.get(&TopicPartition::new(TOPIC, 0)).unwrap();
    write(&log);
    log.flush().unwrap();
    directory.checkpoint().unwrap();
}

/// A record of the first transaction of a producer; `None` is one of no transaction.
fn append(log: &PartitionLog, producer: Option<i64>, value: &str) {
    let builder = BatchBuilder::new(Compression::None);
    let mut builder = match producer {
        Some(id) => builder.idempotent(id, 0, 0).transactional(),
        None => builder,
    };
    builder.push(&RecordToWrite {
        timestamp_ms: now_ms(),
        value: Some(value.as_bytes()),
        ..RecordToWrite::default()
    });
    let mut bytes = builder.build().unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    let guard = producer.and_then(|_| log.begin_verification(&header, false, now_ms()).unwrap());
    let epoch = log.latest_epoch().unwrap();
    log.append_from(AppendOrigin::Client(guard), &mut bytes, epoch, now_ms())
        .unwrap();
}

/// What a fetch gives.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    values: Vec<(i64, String)>,
    last_stable_offset: i64,
    /// Producer and first offset; `None` where it was not asked for.
    aborted: Option<Vec<(i64, i64)>>,
}

fn request(topic: &Topic, offset: i64, isolation_level: i8) -> FetchRequest {
    fetch(VERSION, topic, &[(0, offset)]).with_isolation_level(isolation_level)
}

fn seen(partition: &PartitionData) -> Seen {
    assert_eq!(error(partition.error_code), ErrorCode::None);
    let aborted = partition.aborted_transactions.as_ref();
    let aborted = aborted.map(|aborted| {
        let aborted = aborted.iter();
        aborted
            .map(|it| (it.producer_id.0, it.first_offset))
            .collect::<Vec<_>>()
    });
    let records = partition.records.as_ref();
    Seen {
        values: visible(records, aborted.as_deref().unwrap_or_default()),
        last_stable_offset: partition.last_stable_offset,
        aborted,
    }
}

/// As Kafka's consumer goes by what it is told of aborted transactions.
fn visible(records: Option<&Bytes>, aborted: &[(i64, i64)]) -> Vec<(i64, String)> {
    let mut to_come: BTreeSet<_> = aborted.iter().map(|(id, first)| (*first, *id)).collect();
    let (mut skipped, mut values) = (BTreeSet::new(), Vec::new());
    for batch in Batches::new(records.map_or(&[], |records| &records[..])) {
        let (header, batch) = batch.unwrap();
        header.check_crc(batch).unwrap();
        while let Some((first, id)) = to_come.first().copied() {
            if first > header.last_offset() {
                break;
            }
            to_come.pop_first();
            skipped.insert(id);
        }
        let bytes = record_bytes(&header, batch, 1 << 20).unwrap();
        for record in Records::new(&header, &bytes).map(Result::unwrap) {
            if header.is_control() {
                if record.key == Some(&[0, 0, 0, 0]) {
                    skipped.remove(&header.producer_id);
                }
            } else if !skipped.contains(&header.producer_id) {
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                values.push((record.offset(&header), value));
            }
        }
    }
    values
}

fn read(connection: &mut Connection, topic: &Topic, offset: i64, isolation_level: i8) -> Seen {
    let response = connection.call(VERSION, &request(topic, offset, isolation_level));
    seen(only(&response))
}

fn committed(connection: &mut Connection, topic: &Topic, offset: i64) -> Seen {
    read(connection, topic, offset, 1)
}

fn list(connection: &mut Connection, isolation_level: i8, timestamp: i64) -> i64 {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(TOPIC))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation_level)
        .with_topics(vec![topic]);
    let response = connection.call(7, &request);
    let found = &response.topics[0].partitions[0];
    assert_eq!(error(found.error_code), ErrorCode::None);
    found.offset
}

fn marker(producer_id: i64, is_commit: bool) -> WritableTxnMarker {
    WritableTxnMarker {
        producer_id,
        producer_epoch: 0,
        transaction_result: is_commit,
        topics: vec![WritableTxnMarkerTopic {
            name: TOPIC.into(),
            partition_indexes: vec![0],
        }],
        coordinator_epoch: COORDINATOR_EPOCH,
        transaction_version: 1,
    }
}

fn write_marker(connection: &mut Connection, marker: WritableTxnMarker) -> ErrorCode {
    let producer_id = marker.producer_id;
    let request = WriteTxnMarkersRequest {
        markers: vec![marker],
    };
    let key = ApiKey::WriteTxnMarkers;
    let response: WriteTxnMarkersResponse = connection.call_newer(key, MARKERS_VERSION, &request);
    let [answer] = &response.markers[..] else {
        panic!("{response:?}")
    };
    assert_eq!((answer.producer_id, answer.topics.len()), (producer_id, 1));
    assert_eq!(&*answer.topics[0].name, TOPIC);
    error(answer.topics[0].partitions[0].error_code)
}

/// Id, coordinator epoch, and where the open transaction begins.
fn producers(connection: &mut Connection) -> Vec<(i64, i32, i64)> {
    let topic = TopicRequest::default()
        .with_name(topic_name(TOPIC))
        .with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let response = connection.call(0, &request);
    let partition = &response.topics[0].partitions[0];
    assert_eq!(error(partition.error_code), ErrorCode::None);
    let producers = partition.active_producers.iter();
    producers
        .map(|it| {
            assert_eq!((it.producer_epoch, it.last_sequence), (0, 0));
            let first = it.current_txn_start_offset;
            (it.producer_id.0, it.coordinator_epoch, first)
        })
        .collect()
}

fn expected(values: &[(i64, &str)], last_stable_offset: i64, aborted: &[(i64, i64)]) -> Seen {
    let values = values
        .iter()
        .map(|(offset, value)| (*offset, (*value).to_owned()));
    Seen {
        values: values.collect(),
        last_stable_offset,
        aborted: Some(aborted.to_vec()),
    }
}

/// Offset 0 is of nobody, 1 of producer 7, 2 of 8, 3 of nobody, 4 of 9. Broker 1 is stopped.
fn five_records() -> (Testbed, Topic, i64) {
    let first_ms = now_ms();
    let mut testbed = Testbed::start(1, 2);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let topic = connection.create_on(TOPIC, &[0, 1], &[]);
    eventually(|| connection.latest_offset(TOPIC, 0));
    await_isr(&testbed.brokers[0], 0, &[0, 1]);
    assert_eq!(connection.produce(&topic, 0, batch(first_ms, &["a"])), 0);
    drop(connection);
    assert!(testbed.brokers[1].stop());
    await_isr(&testbed.brokers[0], 0, &[0]);
    testbed.brokers[0].kill();
    write(&testbed.brokers[0], |log| {
        append(log, Some(7), "b");
        append(log, Some(8), "c");
        append(log, None, "d");
        append(log, Some(9), "e");
    });
    testbed.brokers[0].spawn();
    testbed.brokers[0].wait_ready();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    eventually(|| match connection.latest_offset(TOPIC, 0) {
        Ok(5) => Ok(()),
        other => Err(other),
    });
    drop(connection);
    (testbed, topic, first_ms)
}

#[test]
fn readers_of_committed_records_wait_for_the_end_of_transactions() {
    let (mut testbed, topic, first_ms) = five_records();
    let answered = Answered::default();
    let leader = &mut Connection::open(&testbed.brokers[0], &answered);
    let reader = &mut Connection::open(&testbed.brokers[0], &answered);

    // All of it, and how much of that is decided.
    let all = Seen {
        values: from_offset(0, &["a", "b", "c", "d", "e"]),
        last_stable_offset: 1,
        aborted: None,
    };
    assert_eq!(read(leader, &topic, 0, 0), all);
    assert_eq!(committed(leader, &topic, 0), expected(&[(0, "a")], 1, &[]));
    // Between the one end and the other there is nothing to be had, and nothing is wrong.
    assert_eq!(committed(leader, &topic, 3), expected(&[], 1, &[]));
    for (isolation_level, latest) in [(0, 5), (1, 1)] {
        assert_eq!(list(leader, isolation_level, -1), latest);
        assert_eq!(list(leader, isolation_level, -2), 0);
    }
    // The others came later.
    for (isolation_level, newest, later) in [(0, 1..5, 1), (1, 0..1, -1)] {
        assert!(newest.contains(&list(leader, isolation_level, -3)));
        assert_eq!(list(leader, isolation_level, first_ms + 1), later);
    }
    let open = |ended: &[i64]| {
        let each = [(7, 1), (8, 2), (9, 4)].into_iter();
        let each = each.map(|(id, first)| match ended.contains(&id) {
            true => (id, COORDINATOR_EPOCH, -1),
            false => (id, -1, first),
        });
        each.collect::<Vec<_>>()
    };
    assert_eq!(producers(leader), open(&[]));

    // A marker wakes who waits, in a session too.
    let waiting = request(&topic, 1, 1)
        .with_max_wait_ms(60_000)
        .with_session_epoch(0);
    reader.send(VERSION, &waiting);
    assert_eq!(write_marker(leader, marker(7, false)), ErrorCode::None);
    let response = reader.receive::<FetchRequest>(VERSION);
    assert_eq!(seen(only(&response)), expected(&[], 2, &[(7, 1)]));
    let session_id = response.session_id;
    assert_ne!(session_id, 0);
    assert_eq!(write_marker(leader, marker(8, true)), ErrorCode::None);
    let incremental = FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_min_bytes(1)
        .with_isolation_level(1)
        .with_session_id(session_id)
        .with_session_epoch(1);
    let response = reader.call(VERSION, &incremental);
    // It asked for 1 once more, and hears how far it may read now.
    assert_eq!(seen(only(&response)).last_stable_offset, 4);

    let decided = [(0, "a"), (2, "c"), (3, "d")];
    assert_eq!(
        committed(leader, &topic, 0),
        expected(&decided, 4, &[(7, 1)])
    );
    assert_eq!(list(leader, 1, -1), 4);
    assert_eq!(producers(leader), open(&[7, 8]));
    // What is behind the marker need not be told of it.
    assert_eq!(committed(leader, &topic, 4), expected(&[], 4, &[]));

    // The same again changes nothing; what is too old is refused.
    assert_eq!(write_marker(leader, marker(7, false)), ErrorCode::None);
    let old = WritableTxnMarker {
        coordinator_epoch: COORDINATOR_EPOCH - 1,
        ..marker(7, true)
    };
    let fenced = ErrorCode::TransactionCoordinatorFenced;
    assert_eq!(write_marker(leader, old), fenced);
    let seen_before = committed(leader, &topic, 0);
    assert_eq!(seen_before, expected(&decided, 4, &[(7, 1)]));

    // After kill -9.
    testbed.brokers[0].kill();
    testbed.brokers[0].spawn();
    testbed.brokers[0].wait_ready();
    let leader = &mut Connection::open(&testbed.brokers[0], &answered);
    let again = eventually(|| match list(leader, 0, -1) {
        8 => Ok(committed(leader, &topic, 0)),
        other => Err(other),
    });
    assert_eq!(again, seen_before);
    assert_eq!(producers(leader), open(&[7, 8]));

    // A follower knows it as well, and leads with it.
    testbed.brokers[1].spawn();
    testbed.brokers[1].wait_ready();
    await_isr(&testbed.brokers[0], 0, &[0, 1]);
    let follower = &mut Connection::open(&testbed.brokers[1], &answered);
    eventually(|| {
        let followed = committed(follower, &topic, 0);
        (followed == seen_before).then_some(()).ok_or(followed)
    });
    assert_eq!(producers(follower), open(&[7, 8]));
    let not_here = ErrorCode::NotLeaderOrFollower;
    assert_eq!(write_marker(follower, marker(9, true)), not_here);
    testbed.brokers[0].kill();
    await_isr(&testbed.brokers[1], 1, &[1]);
    let follower = &mut Connection::open(&testbed.brokers[1], &answered);
    assert_eq!(committed(follower, &topic, 0), seen_before);
    eventually(|| match write_marker(follower, marker(9, true)) {
        ErrorCode::None => Ok(()),
        other => Err(other),
    });
    let decided = [(0, "a"), (2, "c"), (3, "d"), (4, "e")];
    assert_eq!(
        committed(follower, &topic, 0),
        expected(&decided, 9, &[(7, 1)])
    );
}
