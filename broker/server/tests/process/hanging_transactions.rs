//! A transaction that no coordinator will ever end (KIP-664): readers of committed records wait behind it until somebody
//! finds it, as `kafka-transactions find-hanging` does, and ends it there, as `kafka-transactions abort` does.

use foz_protocol::error::ErrorCode;
use foz_records::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use foz_records::write_txn_markers_response::WriteTxnMarkersResponse;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::ProducerState;

use crate::broker_keys::set;
use crate::testbed::Testbed;
use crate::transaction_coordinators::{produce_once, read_committed, transactional};
use crate::versions::connection::{
    Answered, Connection, Topic, batch, error, eventually, text, topic_name,
};
use crate::versions::transaction_coordinators::{Producer, await_coordinator};

/// The newest in which a producer does not follow `transaction.version` 2, and does not know TRANSACTION_ABORTABLE.
const PRODUCE_VERSION: i16 = 10;
const MARKERS_VERSION: i16 = 2;

#[test]
fn a_hanging_transaction_is_found_and_ended_as_tools_do_it() {
    let testbed = Testbed::start(1, 1);
    let answered = Answered::default();
    let mut connection = Connection::open(&testbed.brokers[0], &answered);
    let orders = connection.create_topic("orders", 1);
    await_coordinator(&mut connection, "id");
    let producer = Producer::init(&mut connection, "id");
    let write = |connection: &mut Connection, sequence, value| {
        let records = transactional(&producer, sequence, value);
        produce_once(connection, PRODUCE_VERSION, &producer, &orders, 0, records)
    };
    // Of a partition that was never added the coordinator knows nothing, so a leader does not let it begin there (KIP-890).
    let refused = write(&mut connection, 0, "hangs");
    assert_eq!(refused, ErrorCode::InvalidTxnState);
    assert_eq!(active_producers(&mut connection, &orders), []);
    let done = set(
        &mut connection,
        "transaction.partition.verification.enable",
        "false",
    );
    assert_eq!(done, (ErrorCode::None, String::new()));
    eventually(|| match write(&mut connection, 0, "hangs") {
        ErrorCode::None => Ok(()),
        other => Err(other),
    });
    assert_eq!(connection.produce(&orders, 0, batch(1, &["behind"])), 1);
    assert_eq!(read_committed(&testbed, &orders, 0), (vec![], true));

    let [found] = &active_producers(&mut connection, &orders)[..] else {
        panic!("not one");
    };
    assert_eq!(found.producer_id, producer.id);
    assert_eq!(found.producer_epoch, i32::from(producer.epoch));
    assert_eq!(
        (found.current_txn_start_offset, found.coordinator_epoch),
        (0, -1)
    );
    let of_coordinator = producer.describe(&mut connection);
    assert_eq!(of_coordinator.transaction_state, text("Empty"));
    assert!(of_coordinator.topics.is_empty(), "{of_coordinator:?}");

    assert_eq!(abort(&mut connection, &orders, found), ErrorCode::None);
    let behind = vec!["behind".to_owned()];
    assert_eq!(read_committed(&testbed, &orders, 0), (behind, false));
    let [ended] = &active_producers(&mut connection, &orders)[..] else {
        panic!("not one");
    };
    assert_eq!(
        (ended.current_txn_start_offset, ended.coordinator_epoch),
        (-1, 0)
    );
    // Once more does no harm, as when the answer was lost.
    assert_eq!(abort(&mut connection, &orders, ended), ErrorCode::None);

    // The producer goes on, and its coordinator ends what it knows of.
    let added = producer.add(&mut connection, 3, &[("orders", &[0])]);
    assert_eq!(added, [("orders".to_owned(), 0, ErrorCode::None)]);
    assert_eq!(write(&mut connection, 1, "known"), ErrorCode::None);
    let ended = producer.end(&mut connection, 4, true);
    assert_eq!(error(ended.error_code), ErrorCode::None);
    producer.await_state(&mut connection, "CompleteCommit");
    let all = vec!["behind".to_owned(), "known".to_owned()];
    assert_eq!(read_committed(&testbed, &orders, 0), (all, false));
}

/// Of the topic's first partition.
pub(crate) fn active_producers(connection: &mut Connection, topic: &Topic) -> Vec<ProducerState> {
    let wanted = TopicRequest::default()
        .with_name(topic_name(&topic.name))
        .with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![wanted]);
    let partition = connection
        .call(0, &request)
        .topics
        .remove(0)
        .partitions
        .remove(0);
    assert_eq!(error(partition.error_code), ErrorCode::None);
    partition.active_producers
}

/// As Kafka's `AbortTransactionHandler` asks for it: 0 where no coordinator is known, and no `transaction.version`.
fn abort(connection: &mut Connection, topic: &Topic, of: &ProducerState) -> ErrorCode {
    let marker = WritableTxnMarker {
        producer_id: of.producer_id.0,
        producer_epoch: of.producer_epoch.try_into().unwrap(),
        transaction_result: false,
        topics: vec![WritableTxnMarkerTopic {
            name: topic.name.as_str().into(),
            partition_indexes: vec![0],
        }],
        coordinator_epoch: of.coordinator_epoch.max(0),
        transaction_version: 0,
    };
    let request = WriteTxnMarkersRequest {
        markers: vec![marker],
    };
    let key = ApiKey::WriteTxnMarkers;
    let response: WriteTxnMarkersResponse = connection.call_newer(key, MARKERS_VERSION, &request);
    error(response.markers[0].topics[0].partitions[0].error_code)
}
