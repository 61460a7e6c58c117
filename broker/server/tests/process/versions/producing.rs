//! Produce and InitProducerId.

use std::collections::BTreeSet;

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, ProduceRequest, ProducerId};

use super::connection::{
    Connection, Topic, batch, error, produce_request, topic_name, versions_of,
};

/// KIP-360.
const IDS_ARE_NAMED_FROM: i16 = 3;

pub(super) fn check(connection: &mut Connection) {
    batches_get_offsets(connection);
    what_is_wrong_is_said(connection);
    an_unanswered_produce_writes(connection);
    an_unanswered_produce_that_fails_closes(connection);
    advertised_versions_that_are_not_answered_close(connection);
    producers_get_ids(connection);
}

fn batches_get_offsets(connection: &mut Connection) {
    let topic = connection.create_topic("produced", 2);
    for (round, version) in (0..).zip(versions_of::<ProduceRequest>()) {
        let acks = if version % 2 == 0 { 1 } else { -1 };
        let two = Some(batch(1, &["a", "b"]));
        let one = Some(batch(1, &["c"]));
        let request = produce_request(version, &topic, acks, &[(0, two), (1, one)]);
        let response = connection.call(version, &request);
        let answered = &response.responses[0];
        if version >= super::connection::TOPIC_IDS_FROM {
            assert_eq!(answered.topic_id, topic.id);
        } else {
            assert_eq!(answered.name, topic_name(&topic.name));
        }
        let offsets: Vec<_> = answered
            .partition_responses
            .iter()
            .map(|written| {
                assert_eq!(error(written.error_code), ErrorCode::None, "{version}");
                assert_eq!(written.log_append_time_ms, -1);
                assert_eq!(written.log_start_offset, if version >= 5 { 0 } else { -1 });
                assert_eq!(written.error_message, None);
                (written.index, written.base_offset)
            })
            .collect();
        assert_eq!(offsets, [(0, 2 * round), (1, round)], "{version}");
        assert!(response.node_endpoints.is_empty());
    }
}

fn what_is_wrong_is_said(connection: &mut Connection) {
    let topic = connection.create_topic("refused", 1);
    let records = || Some(batch(1, &["a"]));
    for version in versions_of::<ProduceRequest>() {
        let mut outcome = |request: ProduceRequest| {
            let response = connection.call(version, &request);
            let refused = &response.responses[0].partition_responses[0];
            assert_eq!(refused.base_offset, -1);
            (error(refused.error_code), refused.error_message.clone())
        };
        let request = produce_request(version, &Topic::unknown(), -1, &[(0, records())]);
        assert_eq!(outcome(request).0, Topic::unknown_error(version));
        let request = produce_request(version, &topic, -1, &[(9, records())]);
        assert_eq!(outcome(request).0, ErrorCode::UnknownTopicOrPartition);
        let request = produce_request(version, &topic, 2, &[(0, records())]);
        assert_eq!(outcome(request).0, ErrorCode::InvalidRequiredAcks);
        for nothing in [None, Some(bytes::Bytes::new())] {
            let request = produce_request(version, &topic, -1, &[(0, nothing)]);
            let (error, message) = outcome(request);
            assert_eq!(error, ErrorCode::InvalidRecord);
            assert_eq!(message.is_some(), version >= 8, "{version}");
        }
        // A partition that fails takes none with it.
        let request = produce_request(version, &topic, -1, &[(9, records()), (0, records())]);
        let response = connection.call(version, &request);
        let errors: Vec<_> = response.responses[0]
            .partition_responses
            .iter()
            .map(|written| (written.index, error(written.error_code)))
            .collect();
        let unknown = ErrorCode::UnknownTopicOrPartition;
        assert_eq!(errors, [(9, unknown), (0, ErrorCode::None)]);
    }
    let written = versions_of::<ProduceRequest>().count() as i64;
    assert_eq!(connection.latest_offset("refused", 0), Ok(written));
}

fn an_unanswered_produce_writes(connection: &mut Connection) {
    let topic = connection.create_topic("unanswered", 1);
    for (written, version) in (1..).zip(versions_of::<ProduceRequest>()) {
        let request = produce_request(version, &topic, 0, &[(0, Some(batch(1, &["a"])))]);
        connection.send(version, &request);
        // The next answer on the connection is not the produce's.
        super::connection::eventually(|| match connection.latest_offset("unanswered", 0) {
            Ok(offset) if offset == written => Ok(()),
            other => Err(other),
        });
    }
}

fn an_unanswered_produce_that_fails_closes(connection: &Connection) {
    for version in versions_of::<ProduceRequest>() {
        let mut connection = connection.another();
        let records = Some(batch(1, &["a"]));
        let request = produce_request(version, &Topic::unknown(), 0, &[(0, records)]);
        connection.send(version, &request);
        assert!(connection.is_closed(), "{version}");
    }
}

/// Produce 0 to 2 are advertised for librdkafka's sake (KAFKA-18659).
fn advertised_versions_that_are_not_answered_close(connection: &Connection) {
    for version in 0..3 {
        let mut connection = connection.another();
        connection.send_header(ApiKey::Produce as i16, version);
        assert!(connection.is_closed(), "{version}");
    }
}

fn producers_get_ids(connection: &mut Connection) {
    let mut seen = BTreeSet::new();
    for version in versions_of::<InitProducerIdRequest>() {
        for _ in 0..2 {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(1_000);
            let response = connection.call(version, &request);
            assert_eq!(error(response.error_code), ErrorCode::None, "{version}");
            assert!(response.producer_id >= ProducerId(0));
            assert_eq!(response.producer_epoch, 0);
            assert!(seen.insert(response.producer_id), "given out twice");
        }
        if version >= IDS_ARE_NAMED_FROM {
            ids_are_named_with_their_epochs(connection, version);
        }
    }
}

fn ids_are_named_with_their_epochs(connection: &mut Connection, version: i16) {
    for (id, epoch, expected) in [
        (7, -1, ErrorCode::InvalidRequest),
        (-1, 0, ErrorCode::InvalidRequest),
        (7, 0, ErrorCode::None),
    ] {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(1_000)
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch);
        let response = connection.call(version, &request);
        let what = format!("version {version}, id {id}, epoch {epoch}");
        assert_eq!(error(response.error_code), expected, "{what}");
        let is_given = expected == ErrorCode::None;
        assert_eq!(response.producer_id >= ProducerId(0), is_given, "{what}");
        assert_eq!(response.producer_epoch, if is_given { 0 } else { -1 });
    }
}
