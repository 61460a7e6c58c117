//! WriteTxnMarkers and DescribeProducers. What readers see of transactions is `crate::transactions`.

use foz_protocol::error::ErrorCode;
use foz_records::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use foz_records::write_txn_markers_response::WriteTxnMarkersResponse;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{ApiKey, DescribeProducersRequest, FetchRequest};

use super::connection::{
    Connection, Topic, batch, error, from_offset, text, topic_name, values, versions_of,
};
use super::fetching::{fetch, only};

const MARKERS_VERSIONS: [i16; 2] = [1, 2];
const TRANSACTION_VERSION_FROM: i16 = 2;
const EPOCH_MAX: i16 = i16::MAX;

pub(super) fn check(connection: &mut Connection) {
    let topic = connection.create_topic("decided", 1);
    connection.produce(&topic, 0, batch(1, &["a", "b"]));
    for version in versions_of::<FetchRequest>() {
        what_is_decided_is_read(connection, version, &topic);
    }
    for version in MARKERS_VERSIONS {
        markers_are_written(connection, version);
        each_partition_has_its_error(connection, version);
        nothing_is_asked_for(connection, version);
    }
    producers_are_told(connection);
}

fn what_is_decided_is_read(connection: &mut Connection, version: i16, topic: &Topic) {
    for isolation_level in [0, 1] {
        let request = fetch(version, topic, &[(0, 0)]).with_isolation_level(isolation_level);
        let response = connection.call(version, &request);
        let partition = only(&response);
        assert_eq!(
            values(partition.records.as_ref()),
            from_offset(0, &["a", "b"])
        );
        assert_eq!(
            (partition.high_watermark, partition.last_stable_offset),
            (2, 2)
        );
        let aborted = partition.aborted_transactions.as_ref().map(Vec::len);
        assert_eq!(aborted, (isolation_level == 1).then_some(0), "{version}");
    }
}

/// Of a producer that there is none of, for each version another one.
fn marker(version: i16, topics: &[(&str, &[i32])]) -> WritableTxnMarker {
    let topics = topics.iter().map(|(name, indexes)| WritableTxnMarkerTopic {
        name: (*name).into(),
        partition_indexes: indexes.to_vec(),
    });
    WritableTxnMarker {
        producer_id: 900 + i64::from(version),
        producer_epoch: 5,
        transaction_result: true,
        topics: topics.collect(),
        coordinator_epoch: 7,
        transaction_version: match version >= TRANSACTION_VERSION_FROM {
            true => 2,
            false => 0,
        },
    }
}

/// Producer, topic, partition, error.
fn write(
    connection: &mut Connection,
    version: i16,
    markers: Vec<WritableTxnMarker>,
) -> Vec<(i64, String, i32, ErrorCode)> {
    let request = WriteTxnMarkersRequest { markers };
    let key = ApiKey::WriteTxnMarkers;
    let response: WriteTxnMarkersResponse = connection.call_newer(key, version, &request);
    let mut errors = Vec::new();
    for marker in response.markers {
        for topic in marker.topics {
            let answers = topic.partitions.iter().map(|it| {
                let name = topic.name.to_string();
                (
                    marker.producer_id,
                    name,
                    it.partition_index,
                    error(it.error_code),
                )
            });
            errors.extend(answers);
        }
    }
    errors
}

fn one(connection: &mut Connection, version: i16, marker: WritableTxnMarker) -> ErrorCode {
    let errors = write(connection, version, vec![marker]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].3
}

fn markers_are_written(connection: &mut Connection, version: i16) {
    let name = format!("marked-{version}");
    connection.create_topic(&name, 2);
    let here: &[(&str, &[i32])] = &[(&name, &[0])];
    let good = marker(version, here);
    let epoch = |producer_epoch, coordinator_epoch| WritableTxnMarker {
        producer_epoch,
        coordinator_epoch,
        ..good.clone()
    };
    let (old, fenced) = (
        ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionCoordinatorFenced,
    );
    // Also where there is no transaction, and once more.
    for (marker, expected) in [
        (epoch(5, 7), ErrorCode::None),
        (epoch(5, 7), ErrorCode::None),
        (epoch(4, 7), old),
        (epoch(6, 6), fenced),
        (epoch(6, 8), ErrorCode::None),
        (epoch(-1, 8), ErrorCode::InvalidRecord),
        (epoch(EPOCH_MAX, 8), ErrorCode::None),
        (epoch(EPOCH_MAX, 8), ErrorCode::None),
    ] {
        assert_eq!(
            one(connection, version, marker.clone()),
            expected,
            "{marker:?}"
        );
    }
    let nobody = WritableTxnMarker {
        producer_id: -1,
        ..good.clone()
    };
    assert_eq!(one(connection, version, nobody), ErrorCode::InvalidRecord);
    // A marker is a record that nobody is shown.
    assert_eq!(connection.latest_offset(&name, 0), Ok(5));
    assert_eq!(connection.latest_offset(&name, 1), Ok(0));
}

fn each_partition_has_its_error(connection: &mut Connection, version: i16) {
    let name = format!("partly-{version}");
    connection.create_topic(&name, 2);
    let unknown = ErrorCode::UnknownTopicOrPartition;
    // The second one is named twice, in two ways.
    let mixed = marker(
        version,
        &[(&name, &[1, 9, -1, 1]), ("nowhere", &[0]), (&name, &[1])],
    );
    let other = WritableTxnMarker {
        producer_id: 950,
        ..marker(version, &[(&name, &[0])])
    };
    let id = mixed.producer_id;
    let errors = write(connection, version, vec![mixed, other]);
    let expected = [
        (id, "nowhere", 0, unknown),
        (id, &name, -1, unknown),
        (id, &name, 1, ErrorCode::None),
        (id, &name, 9, unknown),
        (950, &name, 0, ErrorCode::None),
    ];
    let expected = expected.map(|(id, name, index, error)| (id, name.to_owned(), index, error));
    assert_eq!(errors, expected);
    assert_eq!(connection.latest_offset(&name, 1), Ok(1));
}

fn nothing_is_asked_for(connection: &mut Connection, version: i16) {
    assert_eq!(write(connection, version, Vec::new()), []);
    assert_eq!(write(connection, version, vec![marker(version, &[])]), []);
    let nowhere = marker(version, &[("decided", &[])]);
    assert_eq!(write(connection, version, vec![nowhere]), []);
}

fn producers_are_told(connection: &mut Connection) {
    let topic = |name: &str, indexes: &[i32]| {
        TopicRequest::default()
            .with_name(topic_name(name))
            .with_partition_indexes(indexes.to_vec())
    };
    let topics = vec![topic("marked-2", &[0, 1, 9]), topic("nowhere", &[0])];
    let request = DescribeProducersRequest::default().with_topics(topics);
    let response = connection.call(0, &request);
    let [marked, nowhere] = &response.topics[..] else {
        panic!("{response:?}")
    };
    let [first, second, missing] = &marked.partitions[..] else {
        panic!("{marked:?}")
    };
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(error(missing.error_code), unknown);
    assert_eq!(missing.error_message, Some(text(unknown.message())));
    assert_eq!(error(nowhere.partitions[0].error_code), unknown);
    assert_eq!(error(second.error_code), ErrorCode::None);
    assert!(second.active_producers.is_empty() && second.error_message.is_none());
    let [producer] = &first.active_producers[..] else {
        panic!("{first:?}")
    };
    assert_eq!(producer.producer_id.0, 902);
    assert_eq!(producer.producer_epoch, i32::from(EPOCH_MAX));
    assert_eq!(
        (producer.last_sequence, producer.coordinator_epoch),
        (-1, 8)
    );
    assert_eq!(producer.current_txn_start_offset, -1);
    assert!(producer.last_timestamp > 0);
}
