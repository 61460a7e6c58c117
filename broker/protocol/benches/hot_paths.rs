//! Produce and Fetch by hand against `kafka-protocol`: `cargo bench -p foz-protocol`.
//!
//! Prints nanoseconds for one call, the best of several rounds, since noise only ever adds.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::{FetchPartitionResponse, FetchResponse, FetchTopicResponse};
use foz_protocol::frame::encode_response;
use foz_protocol::produce::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse,
};
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use foz_protocol::topic::TopicRef;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    FetchResponse as TheirFetchResponse, ProduceRequest as TheirRequest,
    ProduceResponse as TheirResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

const ROUNDS: usize = 20;
const CALLS: u32 = 5_000;
const PRODUCE: i16 = 11;
const FETCH: i16 = 12;
const PARTITIONS: i32 = 4;

fn measure(name: &str, mut call: impl FnMut()) {
    let round = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed().as_nanos() / u128::from(CALLS)
    };
    let best = (0..ROUNDS)
        .map(|_| round(&mut call))
        .min()
        .unwrap_or_default();
    println!("{name:<48} {best:>7} ns");
}

/// About 16 KiB in 16 records.
fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = [7; 1000];
    (0..16).for_each(|_| {
        builder.push(&RecordToWrite {
            value: Some(&value),
            ..Default::default()
        })
    });
    builder.build().expect("it has records").into()
}

fn main() {
    let name = || StrBytes::from_static_str("orders");
    let batch = batch();
    println!("batch of {} bytes", batch.len());

    let data = PartitionProduceData::default()
        .with_index(3)
        .with_records(Some(batch.clone()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(name()))
        .with_partition_data(vec![data]);
    let mut body = Vec::new();
    TheirRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![topic])
        .encode(&mut body, PRODUCE)
        .expect("it fits the version");
    let body = Bytes::from(body);
    measure("produce request, parse, ours", || {
        black_box(ProduceRequest::parse(PRODUCE, black_box(&body)).is_ok());
    });
    measure("produce request, parse, kafka-protocol", || {
        black_box(TheirRequest::decode(&mut black_box(&body).clone(), PRODUCE).is_ok());
    });

    let ours = ProduceResponse {
        topics: vec![ProduceTopicResponse {
            topic: TopicRef::Name(name()),
            partitions: vec![ProducePartitionResponse::written(3, 100, -1, 0)],
        }],
        ..Default::default()
    };
    let partition = PartitionProduceResponse::default()
        .with_index(3)
        .with_base_offset(100);
    let topic = TopicProduceResponse::default()
        .with_name(TopicName(name()))
        .with_partition_responses(vec![partition]);
    let theirs = TheirResponse::default().with_responses(vec![topic]);
    measure("produce response, encode, ours", || {
        black_box(black_box(&ours).encode(PRODUCE, 1));
    });
    measure("produce response, encode, kafka-protocol", || {
        black_box(encode_response(PRODUCE, 1, black_box(&theirs)).is_ok());
    });

    // Both from the batches to the bytes for the socket.
    measure("fetch response, 4 batches, ours (no copy)", || {
        let partitions = (0..PARTITIONS)
            .map(|it| FetchPartitionResponse::read(it, 100, 0, vec![batch.clone()]))
            .collect();
        let response = FetchResponse {
            throttle_time_ms: 0,
            error: ErrorCode::None,
            session_id: 0,
            topics: vec![FetchTopicResponse {
                topic: TopicRef::Name(name()),
                partitions,
            }],
            node_endpoints: Vec::new(),
        };
        black_box(response.encode(FETCH, 1));
    });
    measure("fetch response, 4 batches, kafka-protocol", || {
        let partitions = (0..PARTITIONS)
            .map(|it| {
                PartitionData::default()
                    .with_partition_index(it)
                    .with_high_watermark(100)
                    .with_records(Some(batch.clone()))
            })
            .collect();
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(name()))
            .with_partitions(partitions);
        let response = TheirFetchResponse::default().with_responses(vec![topic]);
        black_box(encode_response(FETCH, 1, &response).is_ok());
    });
}
