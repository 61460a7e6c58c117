//! Produce against `kafka-protocol`'s own encoder and decoder, at every version.

#[path = "support/theirs.rs"]
mod theirs;

use bytes::Bytes;
use foz_protocol::error::ErrorCode;
use foz_protocol::frame::{LENGTH_BYTES, decode_response, encode_request, parse_response};
use foz_protocol::leader::{LeaderIdAndEpoch, NodeEndpoint};
use foz_protocol::produce::{
    PRODUCE_PARTITIONS_MAX, ProducePartitionResponse, ProduceRequest, ProduceResponse,
    ProduceTopicResponse,
};
use foz_protocol::wire::WireError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, TopicName, TransactionalId};
use kafka_protocol::messages::{ProduceRequest as TheirRequest, ProduceResponse as TheirResponse};
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use theirs::{encode, node_endpoint, node_endpoints, text, topic_ref};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn their_topic() -> impl Strategy<Value = TopicProduceData> {
    let partition =
        (any::<i32>(), option::of(bytes()), any::<bool>()).prop_map(|(index, records, tagged)| {
            let data = PartitionProduceData::default()
                .with_index(index)
                .with_records(records);
            if tagged {
                data.with_unknown_tagged_field(7, Bytes::from_static(b"new"))
            } else {
                data
            }
        });
    (text(), any::<u128>(), vec(partition, 0..4)).prop_map(|(name, id, partitions)| {
        TopicProduceData::default()
            .with_name(TopicName(name))
            .with_topic_id(Uuid::from_u128(id))
            .with_partition_data(partitions)
    })
}

fn their_request() -> impl Strategy<Value = TheirRequest> {
    (
        option::of(text()),
        any::<i16>(),
        any::<i32>(),
        vec(their_topic(), 0..4),
    )
        .prop_map(|(transactional_id, acks, timeout_ms, topics)| {
            TheirRequest::default()
                .with_transactional_id(transactional_id.map(TransactionalId))
                .with_acks(acks)
                .with_timeout_ms(timeout_ms)
                .with_topic_data(topics)
        })
}

/// What a version below 9 cannot carry is left out.
fn fit(mut request: TheirRequest, version: i16) -> TheirRequest {
    for topic in &mut request.topic_data {
        if version < 9 {
            topic
                .partition_data
                .iter_mut()
                .for_each(|data| data.unknown_tagged_fields.clear());
        }
    }
    request
}

fn assert_same(ours: &ProduceRequest, theirs: &TheirRequest, version: i16) {
    let id = theirs.transactional_id.as_ref().map(|id| id.0.clone());
    assert_eq!(ours.transactional_id, id);
    assert_eq!(
        (ours.acks, ours.timeout_ms),
        (theirs.acks, theirs.timeout_ms)
    );
    assert_eq!(ours.topics.len(), theirs.topic_data.len());
    for (ours, theirs) in ours.topics.iter().zip(&theirs.topic_data) {
        assert_eq!(
            ours.topic,
            topic_ref(&theirs.name, theirs.topic_id, version)
        );
        assert_eq!(ours.partitions.len(), theirs.partition_data.len());
        for (ours, theirs) in ours.partitions.iter().zip(&theirs.partition_data) {
            assert_eq!((ours.index, &ours.records), (theirs.index, &theirs.records));
        }
    }
}

fn response(version: i16) -> impl Strategy<Value = ProduceResponse> {
    let partition = (
        any::<i32>(),
        0i16..136,
        any::<[i64; 3]>(),
        vec((any::<i32>(), option::of(".{0,20}")), 0..3),
        option::of(".{0,20}"),
        option::of((0i32..9, 0i32..9)),
    )
        .prop_map(
            |(index, code, offsets, record_errors, error_message, leader)| {
                ProducePartitionResponse {
                    index,
                    error: ErrorCode::from(code),
                    base_offset: offsets[0],
                    log_append_time_ms: offsets[1],
                    log_start_offset: offsets[2],
                    record_errors,
                    error_message,
                    current_leader: leader.map(|(leader_id, leader_epoch)| LeaderIdAndEpoch {
                        leader_id,
                        leader_epoch,
                    }),
                }
            },
        );
    let topic =
        (text(), any::<u128>(), vec(partition, 0..4)).prop_map(move |(name, id, partitions)| {
            ProduceTopicResponse {
                topic: topic_ref(&TopicName(name), Uuid::from_u128(id), version),
                partitions,
            }
        });
    (vec(topic, 0..4), any::<i32>(), vec(node_endpoint(), 0..3)).prop_map(
        |(topics, throttle_time_ms, node_endpoints)| ProduceResponse {
            topics,
            throttle_time_ms,
            node_endpoints,
        },
    )
}

fn assert_same_response(ours: &ProduceResponse, theirs: &TheirResponse, version: i16) {
    assert_eq!(ours.throttle_time_ms, theirs.throttle_time_ms);
    assert_eq!(ours.topics.len(), theirs.responses.len());
    for (ours, theirs) in ours.topics.iter().zip(&theirs.responses) {
        assert_eq!(
            ours.topic,
            topic_ref(&theirs.name, theirs.topic_id, version)
        );
        assert_eq!(ours.partitions.len(), theirs.partition_responses.len());
        for (ours, theirs) in ours.partitions.iter().zip(&theirs.partition_responses) {
            assert_eq!(ours.index, theirs.index);
            assert_eq!(ours.error.code(), theirs.error_code);
            assert_eq!(ours.base_offset, theirs.base_offset);
            assert_eq!(ours.log_append_time_ms, theirs.log_append_time_ms);
            let start = if version >= 5 {
                ours.log_start_offset
            } else {
                -1
            };
            assert_eq!(start, theirs.log_start_offset);
            let text = |text: &Option<StrBytes>| text.as_ref().map(ToString::to_string);
            if version >= 8 {
                let errors = theirs.record_errors.iter();
                let errors: Vec<_> = errors
                    .map(|error| (error.batch_index, text(&error.batch_index_error_message)))
                    .collect();
                assert_eq!(ours.record_errors, errors);
                assert_eq!(ours.error_message, text(&theirs.error_message));
            }
            if version >= 10 {
                let leader = ours
                    .current_leader
                    .map_or((-1, -1), |leader| (leader.leader_id, leader.leader_epoch));
                let theirs = &theirs.current_leader;
                assert_eq!(leader, (theirs.leader_id.0, theirs.leader_epoch));
            }
        }
    }
    let endpoints = node_endpoints!(theirs.node_endpoints);
    assert_eq!(
        if version >= 10 {
            &ours.node_endpoints[..]
        } else {
            &[]
        },
        endpoints
    );
}

#[test]
fn records_are_slices_of_the_frame() {
    let records = Bytes::from(vec![7; 100]);
    let data = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default().with_partition_data(vec![data]);
    let body = encode(&TheirRequest::default().with_topic_data(vec![topic]), 11);
    let request = ProduceRequest::parse(11, &body).unwrap();
    let records = request.topics[0].partitions[0].records.as_ref().unwrap();
    assert!(body.as_ptr_range().contains(&records.as_ptr()));
}

#[test]
fn lengths_that_lie_are_named() {
    let parse = |version, body: &[u8]| {
        ProduceRequest::parse(version, &Bytes::copy_from_slice(body)).unwrap_err()
    };
    let head = [0xff, 0xff, 0, 1, 0, 0, 0, 0];
    let error = parse(3, &[&head[..], &[0x7f, 0xff, 0xff, 0xff]].concat());
    assert!(
        matches!(
            error,
            WireError::Length {
                field: "topic_data",
                ..
            }
        ),
        "{error}"
    );
    let error = parse(3, &[&head[..], &[0xff, 0xff, 0xff, 0xff]].concat());
    assert_eq!(
        error,
        WireError::Null {
            field: "topic_data"
        }
    );
    let topic = [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1];
    let error = parse(
        3,
        &[&head[..], &topic, &[0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]].concat(),
    );
    assert!(
        matches!(
            error,
            WireError::Truncated {
                field: "records",
                ..
            }
        ),
        "{error}"
    );
    let error = parse(
        3,
        &[&head[..], &topic, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]].concat(),
    );
    assert!(
        matches!(
            error,
            WireError::Length {
                field: "records",
                length: -2,
                ..
            }
        ),
        "{error}"
    );
    let error = parse(9, &[0, 0, 1, 0, 0, 0, 0, 2, 3, 0xff, 0xfe, 1, 0, 0]);
    assert_eq!(error, WireError::Utf8 { field: "name" });
}

#[test]
fn a_request_names_no_more_partitions_than_a_cluster_can_have() {
    let count = PRODUCE_PARTITIONS_MAX as i32 + 1;
    let mut body = vec![0xff, 0xff, 0, 1, 0, 0, 0, 0];
    body.extend_from_slice(&count.to_be_bytes());
    body.resize(body.len() + 6 * count as usize, 0);
    let error = ProduceRequest::parse(3, &Bytes::from(body)).unwrap_err();
    assert!(matches!(
        error,
        WireError::Length {
            field: "topic_data",
            length: 250_001,
            ..
        }
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn requests_are_read_as_kafka_protocol_writes_them(request in their_request()) {
        for version in 3..=13 {
            let request = fit(request.clone(), version);
            let body = encode(&request, version);
            assert_same(&ProduceRequest::parse(version, &body).unwrap(), &request, version);
            let frame = encode_request(version, 9, "me", &request).unwrap();
            prop_assert!(frame.ends_with(&body));
        }
    }

    #[test]
    fn cut_and_garbled_requests_are_errors_and_nothing_worse(
        request in their_request(),
        garbage in vec(any::<u8>(), 0..80),
        at: prop::sample::Index,
    ) {
        for version in 3..=13 {
            let body = encode(&fit(request.clone(), version), version);
            let at = at.index(body.len());
            prop_assert!(ProduceRequest::parse(version, &body.slice(..at)).is_err());
            let mut bent = body.to_vec();
            let end = (at + garbage.len()).min(bent.len());
            bent[at..end].copy_from_slice(&garbage[..end - at]);
            for body in [Bytes::from(bent), Bytes::from(garbage.clone())] {
                std::hint::black_box(ProduceRequest::parse(version, &body).is_ok());
            }
        }
    }

    #[test]
    fn responses_are_written_as_kafka_protocol_reads_them(
        (version, response) in (3i16..=13).prop_flat_map(|version| {
            (Just(version), response(version))
        }),
    ) {
        let frame = response.encode(version, 77);
        let length = i32::from_be_bytes(frame[..LENGTH_BYTES].try_into().unwrap());
        prop_assert_eq!(length as usize, frame.len() - LENGTH_BYTES);
        let frame = frame.slice(LENGTH_BYTES..);
        let (correlation_id, body) = parse_response(ApiKey::Produce, version, &frame).unwrap();
        prop_assert_eq!(correlation_id, 77);
        let theirs: TheirResponse = decode_response(version, body.clone()).unwrap();
        assert_same_response(&response, &theirs, version);
        // Their form is not shorter: nothing of ours is left over.
        let mut again = Vec::new();
        theirs.encode(&mut again, version).unwrap();
        prop_assert!(again.len() >= body.len());
    }
}
