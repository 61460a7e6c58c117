//! The client against a broker that misbehaves on purpose.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use foz_cli::client::{Client, ClientConfig, ClientError, Producer, ProducerConfig};
use foz_cli::message::Message;
use foz_protocol::apis::api_versions_response;
use foz_protocol::batch::BatchHeader;
use foz_protocol::error::ErrorCode;
use foz_protocol::frame::{
    LENGTH_BYTES, Request, decode_body, encode_response, encode_unsupported_api_versions,
};
use foz_protocol::produce::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProducerId,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the broker does with the next Produce request.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Code(ErrorCode),
    /// Takes the batch and closes the connection: the answer is lost.
    WriteAndClose,
}

#[derive(Debug, Default)]
struct State {
    /// Before these are used up, all is well.
    answers: Mutex<VecDeque<Answer>>,
    /// Header and partition of every batch that came, also of those that were refused.
    batches: Mutex<Vec<(i32, BatchHeader)>>,
    /// ApiVersions is known in version 0 only.
    is_old: bool,
}

/// A broker with topic `t` of two partitions; returns its address.
async fn start(state: State) -> (String, Arc<State>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let state = Arc::new(state);
    let shared = Arc::clone(&state);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, address.port(), Arc::clone(&shared)));
        }
    });
    (address.to_string(), state)
}

async fn serve(mut stream: TcpStream, port: u16, state: Arc<State>) -> Option<()> {
    loop {
        let length = stream.read_i32().await.ok()?;
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await.ok()?;
        let answer = answer(&Bytes::from(frame), port, &state)?;
        stream.write_all(&answer).await.ok()?;
    }
}

fn answer(frame: &Bytes, port: u16, state: &State) -> Option<Bytes> {
    let Ok(Request::Known { header, body }) = Request::parse(frame) else {
        panic!("the client sends what nobody knows");
    };
    let (version, id) = (header.version, header.correlation_id);
    let answer = match header.api.key {
        ApiKey::ApiVersions if state.is_old && version > 0 => {
            return Some(encode_unsupported_api_versions(id));
        }
        ApiKey::ApiVersions => {
            encode_response(version, id, &api_versions_response(ErrorCode::None))
        }
        ApiKey::Metadata => {
            let request: MetadataRequest = decode_body(version, body).expect("it decodes");
            encode_response(version, id, &metadata(&request, port))
        }
        ApiKey::InitProducerId => {
            let response = InitProducerIdResponse::default().with_producer_id(ProducerId(7));
            encode_response(version, id, &response)
        }
        ApiKey::Produce => return produce(version, id, &body, state),
        other => panic!("no test needs {other:?}"),
    };
    Some(answer.expect("it fits the version"))
}

fn metadata(request: &MetadataRequest, port: u16) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(i32::from(port));
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(1))
    };
    let asked = request
        .topics
        .iter()
        .flatten()
        .filter_map(|topic| topic.name.clone());
    let topics = asked.map(|name| {
        let topic = MetadataResponseTopic::default().with_name(Some(name.clone()));
        if name == TopicName(StrBytes::from_static_str("t")) {
            topic.with_partitions(vec![partition(0), partition(1)])
        } else {
            topic.with_error_code(ErrorCode::UnknownTopicOrPartition.code())
        }
    });
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_topics(topics.collect())
}

fn produce(version: i16, id: i32, body: &Bytes, state: &State) -> Option<Bytes> {
    let request = ProduceRequest::parse(version, body).expect("it parses");
    assert_eq!(request.acks, -1);
    let mut topics = Vec::new();
    let mut is_closed = false;
    for topic in request.topics {
        let mut partitions = Vec::new();
        for partition in topic.partitions {
            let records = partition.records.expect("there are records");
            let header = BatchHeader::parse(&records).expect("it is a batch");
            header.check_crc(&records).expect("its CRC is right");
            header
                .check_produced()
                .expect("it contradicts itself nowhere");
            state
                .batches
                .lock()
                .expect("no panic")
                .push((partition.index, header));
            let code = match state.answers.lock().expect("no panic").pop_front() {
                None => ErrorCode::None,
                Some(Answer::Code(code)) => code,
                Some(Answer::WriteAndClose) => {
                    is_closed = true;
                    ErrorCode::None
                }
            };
            partitions.push(match code {
                ErrorCode::None => ProducePartitionResponse::written(partition.index, 5, -1, 0),
                code => ProducePartitionResponse::failed(partition.index, code, None),
            });
        }
        topics.push(ProduceTopicResponse {
            topic: topic.topic,
            partitions,
        });
    }
    let response = ProduceResponse {
        topics,
        ..Default::default()
    };
    (!is_closed).then(|| response.encode(version, id))
}

async fn producer(answers: &[Answer]) -> (Producer, Arc<State>) {
    let state = State {
        answers: Mutex::new(answers.iter().copied().collect()),
        ..State::default()
    };
    let (address, state) = start(state).await;
    let client = Client::connect(ClientConfig::new([address]))
        .await
        .expect("it answers");
    let config = ProducerConfig {
        delivery_timeout: Duration::from_millis(600),
        ..Default::default()
    };
    (
        Producer::new(client, config).await.expect("it gets an id"),
        state,
    )
}

fn sequences(state: &State) -> Vec<(i32, i32)> {
    let batches = state.batches.lock().expect("no panic");
    batches
        .iter()
        .map(|(_, header)| (header.base_sequence, header.record_count))
        .collect()
}

fn to_partition_0(value: &'static str) -> Message {
    Message {
        partition: Some(0),
        ..Message::of(value)
    }
}

#[tokio::test]
async fn a_refused_batch_is_sent_again_with_its_sequence() {
    let refused = [ErrorCode::NotLeaderOrFollower, ErrorCode::NotEnoughReplicas];
    let (mut producer, state) = producer(&refused.map(Answer::Code)).await;
    for value in ["a", "b"] {
        producer.send("t", to_partition_0(value)).await.unwrap();
    }
    producer.flush().await.unwrap();
    producer.send("t", to_partition_0("c")).await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(sequences(&state), [(0, 2), (0, 2), (0, 2), (2, 1)]);
    assert_eq!(producer.acknowledged(), 3);
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_written_once() {
    let answers = [
        Answer::WriteAndClose,
        Answer::Code(ErrorCode::DuplicateSequenceNumber),
    ];
    let (mut producer, state) = producer(&answers).await;
    producer.send("t", to_partition_0("a")).await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(
        sequences(&state),
        [(0, 1), (0, 1)],
        "the same sequence: the broker knows it"
    );
    assert_eq!(producer.acknowledged(), 1);
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_in_halves() {
    let (mut producer, state) = producer(&[Answer::Code(ErrorCode::MessageTooLarge)]).await;
    for value in ["a", "b", "c"] {
        producer.send("t", to_partition_0(value)).await.unwrap();
    }
    producer.flush().await.unwrap();
    assert_eq!(sequences(&state), [(0, 3), (0, 1), (1, 2)]);
    assert_eq!(producer.acknowledged(), 3);
}

#[tokio::test]
async fn what_cannot_be_retried_ends_at_once() {
    let (mut producer, state) = producer(&[Answer::Code(ErrorCode::InvalidRecord)]).await;
    producer.send("t", to_partition_0("a")).await.unwrap();
    let error = producer.flush().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidRecord));
    assert!(error.to_string().starts_with("writing to t-0: "), "{error}");
    assert_eq!((sequences(&state).len(), producer.acknowledged()), (1, 0));
}

#[tokio::test]
async fn trying_again_ends_with_the_delivery_timeout() {
    let (mut producer, state) = producer(&[Answer::Code(ErrorCode::NotLeaderOrFollower); 50]).await;
    producer.send("t", to_partition_0("a")).await.unwrap();
    let error = producer.flush().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NotLeaderOrFollower));
    assert!(sequences(&state).len() > 2, "it tried more than twice");
}

#[tokio::test]
async fn topics_and_partitions_that_are_not_there_are_named() {
    let (mut producer, _state) = producer(&[]).await;
    let error = producer.send("typo", Message::of("a")).await.unwrap_err();
    assert!(
        error.to_string().contains("foz topics create typo"),
        "{error}"
    );
    let message = Message {
        partition: Some(2),
        ..Message::of("a")
    };
    let error = producer.send("t", message).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "topic t has no partition 2: it has 2, 0 to 1"
    );
}

#[tokio::test]
async fn keys_go_where_java_puts_them() {
    let (mut producer, state) = producer(&[]).await;
    producer.send("t", Message::keyed("21", "x")).await.unwrap();
    producer.flush().await.unwrap();
    let expected = foz_cli::partitioner::partition_of_key(b"21", 2);
    assert_eq!(state.batches.lock().unwrap()[0].0, expected);
}

#[tokio::test]
async fn a_broker_that_knows_only_version_0_of_api_versions_is_understood() {
    let (address, _state) = start(State {
        is_old: true,
        ..State::default()
    })
    .await;
    let client = Client::connect(ClientConfig::new([address.clone()]))
        .await
        .unwrap();
    assert_eq!(client.cluster().brokers[&1], address);
}

#[tokio::test]
async fn the_second_bootstrap_server_helps_when_the_first_is_gone() {
    let (address, _state) = start(State::default()).await;
    Client::connect(ClientConfig::new([free_address().await, address]))
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_at_the_address_is_one_sentence_that_says_what_to_do() {
    let address = free_address().await;
    let error = Client::connect(ClientConfig::new([address.clone()]))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Bootstrap { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&address) && text.contains("connection refused"),
        "{text}"
    );
    assert!(text.contains("--bootstrap"), "{text}");
}

#[tokio::test]
async fn a_web_server_is_no_kafka() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        stream.read_u8().await.ok();
    });
    let error = Client::connect(ClientConfig::new([address]))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::NotKafka { .. }), "{error}");
    assert!(error.to_string().contains("HTTP"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_worth_another_try() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut prefix = [0; LENGTH_BYTES];
        stream.read_exact(&mut prefix).await.unwrap();
        stream.write_all(&[0, 0, 1, 0, 42]).await.unwrap();
    });
    let error = Client::connect(ClientConfig::new([address]))
        .await
        .unwrap_err();
    assert!(error.is_retriable(), "{error}");
}

/// An address that nobody listens at.
async fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}
