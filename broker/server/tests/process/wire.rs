//! Bytes that no client should send: an error or a closed connection, and the broker lives.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use foz_cli::client::{Producer, ProducerConfig};
use foz_cli::message::Message;
use foz_protocol::batch::HEADER_LENGTH;
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::frame;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::testbed::{Testbed, topic};

const MIB: u64 = 1 << 20;

fn closes(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset is a close too.
    stream
        .read_to_end(&mut rest)
        .map_or(true, |_| rest.is_empty())
}

fn header(api_key: i16, version: i16) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend_from_slice(&api_key.to_be_bytes());
    header.extend_from_slice(&version.to_be_bytes());
    header.extend_from_slice(&7i32.to_be_bytes());
    header.extend_from_slice(&(-1i16).to_be_bytes());
    header
}

fn framed(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as i32).to_be_bytes()[..], payload].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_closes_the_connection_and_nothing_else() {
    let testbed = Testbed::start(1, 1);
    let client = testbed.client().await;
    let broker = &testbed.brokers[0];
    let before = broker.resident_bytes();
    let huge_array = [&header(3, 1)[..], &i32::MAX.to_be_bytes()].concat();
    let negative_array = [&header(3, 1)[..], &(-7i32).to_be_bytes()].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a negative length", (-5i32).to_be_bytes().to_vec()),
        ("a length of nothing", 0i32.to_be_bytes().to_vec()),
        ("an oversized length", i32::MAX.to_be_bytes().to_vec()),
        ("text", b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec()),
        ("an unknown API", framed(&header(9_999, 0))),
        ("a negative API", framed(&header(-1, 0))),
        ("an unknown version", framed(&header(3, 99))),
        ("an array of two billion topics", framed(&huge_array)),
        ("an array of minus seven topics", framed(&negative_array)),
        (
            "a header that ends early",
            framed(&[0, 3, 0, 1, 0, 0, 0, 7, 0x7f, 0xff]),
        ),
        (
            "noise",
            (0..4_096u32)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect(),
        ),
    ];
    for (what, bytes) in cases {
        let mut stream = broker.connect();
        stream.write_all(&bytes).unwrap();
        // A broker that was quick has closed already; then there is nothing to shut down.
        if let Err(error) = stream.shutdown(std::net::Shutdown::Write) {
            assert_eq!(error.kind(), ErrorKind::NotConnected, "{what}: {error}");
        }
        assert!(closes(stream), "{what} is answered");
    }
    // Frames that begin and never end hold what has arrived, not what they promise.
    let stalled: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = broker.connect();
            stream.write_all(&(90_i32 << 20).to_be_bytes()).unwrap();
            stream.write_all(&[0; 100]).unwrap();
            stream
        })
        .collect();
    // Everybody else goes on meanwhile.
    client.create_topic(&topic("alive", 1)).await.unwrap();
    let mut producer = Producer::new(client, ProducerConfig::default())
        .await
        .unwrap();
    let sent = async {
        producer.send("alive", Message::of("still")).await.unwrap();
        producer.flush().await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(10), sent)
        .await
        .expect("large frames hold up others");
    drop(stalled);
    let grown = broker.resident_bytes().saturating_sub(before);
    assert!(grown < 32 * MIB, "memory grew by {} MiB", grown / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_of_api_versions_is_answered_with_the_ranges() {
    let testbed = Testbed::start(1, 1);
    let mut stream = testbed.brokers[0].connect();
    stream.write_all(&framed(&header(18, 99))).unwrap();
    let answer = read_frame(&mut stream);
    assert_eq!(&answer[..4], 7i32.to_be_bytes());
    assert_eq!(
        &answer[4..6],
        ErrorCode::UnsupportedVersion.code().to_be_bytes()
    );
    let ranges = i32::from_be_bytes(answer[6..10].try_into().unwrap());
    assert!(ranges > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_lie_are_refused_and_not_stored() {
    let testbed = Testbed::start(1, 1);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 1)).await.unwrap();
    let honest = {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&RecordToWrite {
            timestamp_ms: 1,
            value: Some(b"one"),
            ..Default::default()
        });
        builder.build().unwrap()
    };
    let changed = |at: usize, to: &[u8]| {
        let mut batch = honest.clone();
        batch[at..at + to.len()].copy_from_slice(to);
        // All but the CRC itself are covered by it from byte 21 on.
        let crc = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    };
    let mut wrong_crc = honest.clone();
    wrong_crc[HEADER_LENGTH] ^= 1;
    let cases: Vec<(&str, Vec<u8>, &[ErrorCode])> = vec![
        ("a wrong CRC", wrong_crc, &[ErrorCode::CorruptMessage]),
        (
            "cut off",
            honest[..honest.len() - 1].to_vec(),
            &[ErrorCode::CorruptMessage],
        ),
        (
            "an old magic",
            changed(16, &[1]),
            &[ErrorCode::CorruptMessage, ErrorCode::InvalidRecord],
        ),
        (
            "a negative length",
            changed(8, &(-1i32).to_be_bytes()),
            &[ErrorCode::CorruptMessage],
        ),
        (
            "a record too many",
            changed(57, &5i32.to_be_bytes()),
            &[ErrorCode::InvalidRecord],
        ),
        (
            "no records",
            changed(57, &0i32.to_be_bytes()),
            &[ErrorCode::InvalidRecord],
        ),
        (
            "a control batch",
            changed(21, &0x20i16.to_be_bytes()),
            &[ErrorCode::InvalidRecord],
        ),
        ("nothing", Vec::new(), &[ErrorCode::InvalidRecord]),
    ];
    let mut stream = testbed.brokers[0].connect();
    for (what, batch, expected) in cases {
        let error = produce(&mut stream, &batch);
        assert!(expected.contains(&error), "{what}: {error:?}");
    }
    assert_eq!(produce(&mut stream, &honest), ErrorCode::None);
    assert_eq!(crate::testbed::read_all(&client, "orders").await.len(), 1);
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (!(crc & 1)).wrapping_add(1));
        }
    }
    !crc
}

fn produce(stream: &mut TcpStream, batch: &[u8]) -> ErrorCode {
    let data = PartitionProduceData::default().with_records(Some(Bytes::copy_from_slice(batch)));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("orders")))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(5_000)
        .with_topic_data(vec![topic]);
    let version = 9;
    stream
        .write_all(&frame::encode_request(version, 1, "test", &request).unwrap())
        .unwrap();
    let answer = Bytes::from(read_frame(stream));
    let (_, body) = frame::parse_response(ApiKey::Produce, version, &answer).unwrap();
    let response: ProduceResponse = frame::decode_response(version, body).unwrap();
    let code = response.responses[0].partition_responses[0].error_code;
    ErrorCode::from_code(code).unwrap()
}

pub(crate) fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    frame
}
