//! Fetch against `kafka-protocol`'s own encoder and decoder, at every version.

#[path = "support/theirs.rs"]
mod theirs;

use bytes::Bytes;
use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartitionResponse, FetchRequest, FetchResponse,
    FetchTopicResponse, IsolationLevel,
};
use foz_protocol::frame::{LENGTH_BYTES, decode_response, parse_response};
use foz_protocol::leader::{LeaderIdAndEpoch, NodeEndpoint};
use foz_protocol::topic::TopicRef;
use foz_protocol::wire::WireError;
use kafka_protocol::messages::fetch_request::{
    FetchPartition as TheirPartition, FetchTopic as TheirTopic, ForgottenTopic as TheirForgotten,
    ReplicaState,
};
use kafka_protocol::messages::{ApiKey, BrokerId, TopicName};
use kafka_protocol::messages::{FetchRequest as TheirRequest, FetchResponse as TheirResponse};
use kafka_protocol::protocol::StrBytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use theirs::{encode, node_endpoint, node_endpoints, text, topic_ref};

fn their_request() -> impl Strategy<Value = TheirRequest> {
    let partition = (any::<[i32; 4]>(), any::<[i64; 3]>(), any::<u128>()).prop_map(
        |(small, large, directory)| {
            TheirPartition::default()
                .with_partition(small[0])
                .with_current_leader_epoch(small[1])
                .with_last_fetched_epoch(small[2])
                .with_partition_max_bytes(small[3])
                .with_fetch_offset(large[0])
                .with_log_start_offset(large[1])
                .with_high_watermark(large[2])
                .with_replica_directory_id(Uuid::from_u128(directory))
        },
    );
    let topic = (text(), any::<u128>(), vec(partition, 0..4)).prop_map(|(name, id, partitions)| {
        TheirTopic::default()
            .with_topic(TopicName(name))
            .with_topic_id(Uuid::from_u128(id))
            .with_partitions(partitions)
    });
    let forgotten =
        (text(), any::<u128>(), vec(any::<i32>(), 0..4)).prop_map(|(name, id, partitions)| {
            TheirForgotten::default()
                .with_topic(TopicName(name))
                .with_topic_id(Uuid::from_u128(id))
                .with_partitions(partitions)
        });
    let head = (
        any::<[i32; 6]>(),
        any::<bool>(),
        any::<i64>(),
        text(),
        option::of(text()),
    );
    (head, vec(topic, 0..4), vec(forgotten, 0..3)).prop_map(
        |((numbers, committed, replica_epoch, rack, cluster), topics, forgotten)| {
            TheirRequest::default()
                .with_replica_id(BrokerId(numbers[0]))
                .with_replica_state(
                    ReplicaState::default()
                        .with_replica_id(BrokerId(numbers[0]))
                        .with_replica_epoch(replica_epoch),
                )
                .with_max_wait_ms(numbers[1])
                .with_min_bytes(numbers[2])
                .with_max_bytes(numbers[3])
                .with_isolation_level(i8::from(committed))
                .with_session_id(numbers[4])
                .with_session_epoch(numbers[5])
                .with_topics(topics)
                .with_forgotten_topics_data(forgotten)
                .with_rack_id(rack)
                .with_cluster_id(cluster)
        },
    )
}

/// What a version cannot carry is set back to its default, as the encoder asks.
fn fit(mut request: TheirRequest, version: i16) -> TheirRequest {
    if version >= 15 {
        request.replica_id = BrokerId(-1);
    } else {
        request.replica_state = ReplicaState::default();
    }
    if version < 7 {
        request.session_id = 0;
        request.session_epoch = -1;
        request.forgotten_topics_data.clear();
    }
    if version < 11 {
        request.rack_id = StrBytes::new();
    }
    if version < 12 {
        request.cluster_id = None;
    }
    for topic in &mut request.topics {
        for partition in &mut topic.partitions {
            if version < 5 {
                partition.log_start_offset = -1;
            }
            if version < 9 {
                partition.current_leader_epoch = -1;
            }
            if version < 12 {
                partition.last_fetched_epoch = -1;
            }
            if version < 17 {
                partition.replica_directory_id = Uuid::nil();
            }
            if version < 18 {
                partition.high_watermark = i64::MAX;
            }
        }
    }
    request
}

fn assert_same(ours: &FetchRequest, theirs: &TheirRequest, version: i16) {
    let state = &theirs.replica_state;
    let replica = if version >= 15 {
        state.replica_id
    } else {
        theirs.replica_id
    };
    assert_eq!(
        (ours.replica_id, ours.replica_epoch),
        (replica.0, state.replica_epoch)
    );
    assert_eq!(ours.max_wait_ms, theirs.max_wait_ms);
    assert_eq!(
        (ours.min_bytes, ours.max_bytes),
        (theirs.min_bytes, theirs.max_bytes)
    );
    let committed = ours.isolation_level == IsolationLevel::ReadCommitted;
    assert_eq!(i8::from(committed), theirs.isolation_level);
    assert_eq!(
        (ours.session_id, ours.session_epoch),
        (theirs.session_id, theirs.session_epoch)
    );
    assert_eq!(
        (&ours.rack_id, &ours.cluster_id),
        (&theirs.rack_id, &theirs.cluster_id)
    );
    assert_eq!(ours.topics.len(), theirs.topics.len());
    for (ours, theirs) in ours.topics.iter().zip(&theirs.topics) {
        assert_eq!(
            ours.topic,
            topic_ref(&theirs.topic, theirs.topic_id, version)
        );
        assert_eq!(ours.partitions.len(), theirs.partitions.len());
        for (ours, theirs) in ours.partitions.iter().zip(&theirs.partitions) {
            assert_eq!(ours.partition, theirs.partition);
            assert_eq!(ours.current_leader_epoch, theirs.current_leader_epoch);
            assert_eq!(ours.fetch_offset, theirs.fetch_offset);
            assert_eq!(ours.last_fetched_epoch, theirs.last_fetched_epoch);
            assert_eq!(ours.log_start_offset, theirs.log_start_offset);
            assert_eq!(ours.partition_max_bytes, theirs.partition_max_bytes);
            assert_eq!(ours.replica_directory_id, theirs.replica_directory_id);
            assert_eq!(ours.high_watermark, theirs.high_watermark);
        }
    }
    assert_eq!(
        ours.forgotten_topics.len(),
        theirs.forgotten_topics_data.len()
    );
    for (ours, theirs) in ours
        .forgotten_topics
        .iter()
        .zip(&theirs.forgotten_topics_data)
    {
        assert_eq!(
            ours.topic,
            topic_ref(&theirs.topic, theirs.topic_id, version)
        );
        assert_eq!(ours.partitions, theirs.partitions);
    }
}

fn response(version: i16) -> impl Strategy<Value = FetchResponse> {
    let records = vec(vec(any::<u8>(), 0..200).prop_map(Bytes::from), 0..4);
    let aborted =
        (any::<i64>(), any::<i64>()).prop_map(|(producer_id, first_offset)| AbortedTransaction {
            producer_id,
            first_offset,
        });
    let hints = (
        option::of((0i32..9, 0i64..9)),
        option::of((0i32..9, 0i32..9)),
    );
    let partition = (
        (any::<i32>(), 0i16..136, any::<[i64; 3]>(), any::<i32>()),
        hints,
        option::of(vec(aborted, 0..3)),
        records,
    )
        .prop_map(
            |((partition, code, offsets, replica), hints, aborted_transactions, records)| {
                FetchPartitionResponse {
                    partition,
                    error: ErrorCode::from(code),
                    high_watermark: offsets[0],
                    last_stable_offset: offsets[1],
                    log_start_offset: offsets[2],
                    diverging_epoch: hints
                        .0
                        .map(|(epoch, end_offset)| EpochEndOffset { epoch, end_offset }),
                    current_leader: hints.1.map(|(leader_id, leader_epoch)| LeaderIdAndEpoch {
                        leader_id,
                        leader_epoch,
                    }),
                    aborted_transactions,
                    preferred_read_replica: replica,
                    records,
                }
            },
        );
    let topic =
        (text(), any::<u128>(), vec(partition, 0..4)).prop_map(move |(name, id, partitions)| {
            FetchTopicResponse {
                topic: topic_ref(&TopicName(name), Uuid::from_u128(id), version),
                partitions,
            }
        });
    (
        any::<[i32; 2]>(),
        0i16..136,
        vec(topic, 0..4),
        vec(node_endpoint(), 0..3),
    )
        .prop_map(|(numbers, code, topics, node_endpoints)| FetchResponse {
            throttle_time_ms: numbers[0],
            error: ErrorCode::from(code),
            session_id: numbers[1],
            topics,
            node_endpoints,
        })
}

fn assert_same_response(ours: &FetchResponse, theirs: &TheirResponse, version: i16) {
    assert_eq!(ours.throttle_time_ms, theirs.throttle_time_ms);
    if version >= 7 {
        assert_eq!(
            (ours.error.code(), ours.session_id),
            (theirs.error_code, theirs.session_id)
        );
    }
    assert_eq!(ours.topics.len(), theirs.responses.len());
    for (ours, theirs) in ours.topics.iter().zip(&theirs.responses) {
        assert_eq!(
            ours.topic,
            topic_ref(&theirs.topic, theirs.topic_id, version)
        );
        assert_eq!(ours.partitions.len(), theirs.partitions.len());
        for (ours, theirs) in ours.partitions.iter().zip(&theirs.partitions) {
            assert_eq!(ours.partition, theirs.partition_index);
            assert_eq!(ours.error.code(), theirs.error_code);
            assert_eq!(ours.high_watermark, theirs.high_watermark);
            assert_eq!(ours.last_stable_offset, theirs.last_stable_offset);
            let start = if version >= 5 {
                ours.log_start_offset
            } else {
                -1
            };
            assert_eq!(start, theirs.log_start_offset);
            let aborted = theirs.aborted_transactions.as_ref().map(|aborted| {
                let aborted = aborted.iter().map(|aborted| AbortedTransaction {
                    producer_id: aborted.producer_id.0,
                    first_offset: aborted.first_offset,
                });
                aborted.collect::<Vec<_>>()
            });
            assert_eq!(ours.aborted_transactions, aborted);
            let replica = if version >= 11 {
                ours.preferred_read_replica
            } else {
                -1
            };
            assert_eq!(replica, theirs.preferred_read_replica.0);
            assert_eq!(Some(Bytes::from(ours.records.concat())), theirs.records);
            if version >= 12 {
                let epoch = ours
                    .diverging_epoch
                    .map_or((-1, -1), |it| (it.epoch, it.end_offset));
                let their = &theirs.diverging_epoch;
                assert_eq!(epoch, (their.epoch, their.end_offset));
                let leader = ours
                    .current_leader
                    .map_or((-1, -1), |it| (it.leader_id, it.leader_epoch));
                let their = &theirs.current_leader;
                assert_eq!(leader, (their.leader_id.0, their.leader_epoch));
            }
        }
    }
    let endpoints = node_endpoints!(theirs.node_endpoints);
    assert_eq!(
        if version >= 16 {
            &ours.node_endpoints[..]
        } else {
            &[]
        },
        endpoints
    );
}

#[test]
fn records_are_not_copied() {
    let batches = [
        Bytes::from(vec![1; 1000]),
        Bytes::new(),
        Bytes::from(vec![2; 500]),
    ];
    let partition = FetchPartitionResponse::read(0, 10, 0, batches.to_vec());
    let topic = FetchTopicResponse {
        topic: TopicRef::Name(StrBytes::from_static_str("t")),
        partitions: vec![partition],
    };
    for (version, count) in [(4, 3), (12, 4)] {
        let response = FetchResponse {
            throttle_time_ms: 0,
            error: ErrorCode::None,
            session_id: 0,
            topics: vec![topic.clone()],
            node_endpoints: vec![],
        };
        let segments = response.encode(version, 1);
        assert_eq!(segments.len(), count, "version {version}");
        assert_eq!(segments[1].as_ptr(), batches[0].as_ptr());
        assert_eq!(segments[2].as_ptr(), batches[2].as_ptr());
    }
}

#[test]
fn numbers_without_a_meaning_and_lengths_that_lie_are_named() {
    let parse = |version, body: &[u8]| FetchRequest::parse(version, &Bytes::copy_from_slice(body));
    let mut head = vec![0xff; 4];
    head.extend_from_slice(&[0; 12]);
    let error = parse(4, &[&head[..], &[2, 0, 0, 0, 0]].concat()).unwrap_err();
    assert!(matches!(
        error,
        WireError::Value {
            field: "isolation_level",
            value: 2,
            ..
        }
    ));
    let error = parse(4, &[&head[..], &[0, 0x7f, 0xff, 0xff, 0xff]].concat()).unwrap_err();
    assert!(matches!(
        error,
        WireError::Length {
            field: "topics",
            ..
        }
    ));
    let error = parse(4, &[&head[..], &[0, 0xff, 0xff, 0xff, 0xff]].concat()).unwrap_err();
    assert_eq!(error, WireError::Null { field: "topics" });
    assert!(
        parse(4, &[&head[..], &[0, 0, 0, 0, 0]].concat())
            .unwrap()
            .topics
            .is_empty()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn requests_are_read_as_kafka_protocol_writes_them(request in their_request()) {
        for version in 4..=18 {
            let request = fit(request.clone(), version);
            let body = encode(&request, version);
            assert_same(&FetchRequest::parse(version, &body).unwrap(), &request, version);
        }
    }

    #[test]
    fn cut_and_garbled_requests_are_errors_and_nothing_worse(
        request in their_request(),
        garbage in vec(any::<u8>(), 0..80),
        at: prop::sample::Index,
    ) {
        for version in 4..=18 {
            let body = encode(&fit(request.clone(), version), version);
            let at = at.index(body.len());
            prop_assert!(FetchRequest::parse(version, &body.slice(..at)).is_err());
            let mut bent = body.to_vec();
            let end = (at + garbage.len()).min(bent.len());
            bent[at..end].copy_from_slice(&garbage[..end - at]);
            for body in [Bytes::from(bent), Bytes::from(garbage.clone())] {
                std::hint::black_box(FetchRequest::parse(version, &body).is_ok());
            }
        }
    }

    #[test]
    fn responses_are_written_as_kafka_protocol_reads_them(
        (version, response) in (4i16..=18).prop_flat_map(|version| {
            (Just(version), response(version))
        }),
    ) {
        let segments = response.clone().encode(version, 77);
        prop_assert!(segments.iter().all(|segment| !segment.is_empty()));
        let frame = Bytes::from(segments.concat());
        let length = i32::from_be_bytes(frame[..LENGTH_BYTES].try_into().unwrap());
        prop_assert_eq!(length as usize, frame.len() - LENGTH_BYTES);
        let frame = frame.slice(LENGTH_BYTES..);
        let (correlation_id, body) = parse_response(ApiKey::Fetch, version, &frame).unwrap();
        prop_assert_eq!(correlation_id, 77);
        let theirs: TheirResponse = decode_response(version, body).unwrap();
        assert_same_response(&response, &theirs, version);
    }
}
