//! The few Kafka requests that the runner makes itself: one connection for each, short time-outs, no
//! retries. What it sees must be what one broker says now.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use foz_protocol::error::ErrorCode;
use foz_protocol::frame::{decode_response, encode_request, parse_response};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, DescribeQuorumRequest, MetadataRequest, MetadataResponse,
    TopicName,
};
use kafka_protocol::protocol::{Message, Request, StrBytes};

/// A response above this is not one.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// A topic to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) replicas: i16,
    pub(crate) configs: Vec<(&'static str, String)>,
}

/// Asks one broker about these topics.
pub(crate) fn metadata(
    broker: SocketAddr,
    topics: &[String],
    limit: Duration,
) -> Result<MetadataResponse> {
    let topics = topics.iter().map(|name| {
        MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from(name.clone()))))
    });
    let request = MetadataRequest::default()
        .with_topics(Some(topics.collect()))
        .with_allow_auto_topic_creation(false);
    call(broker, ApiKey::Metadata, 12, &request, limit)
}

/// Makes a topic; one that is there already is fine.
pub(crate) fn create_topic(broker: SocketAddr, topic: &NewTopic, limit: Duration) -> Result<()> {
    let configs = topic.configs.iter().map(|(key, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(key))
            .with_value(Some(StrBytes::from(value.clone())))
    });
    let creatable = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from(topic.name.clone())))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replicas)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![creatable])
        .with_timeout_ms(limit.as_millis() as i32);
    let response = call(broker, ApiKey::CreateTopics, 7, &request, limit)?;
    for result in response.topics {
        let error = ErrorCode::from(result.error_code);
        ensure!(
            matches!(error, ErrorCode::None | ErrorCode::TopicAlreadyExists),
            "creating {}: {} {}",
            topic.name,
            error.name(),
            result.error_message.unwrap_or_default()
        );
    }
    Ok(())
}

/// The node id of the metadata quorum's leader, as Apache Kafka tells it.
pub(crate) fn quorum_leader(broker: SocketAddr, limit: Duration) -> Result<i32> {
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str("__cluster_metadata")))
        .with_partitions(vec![PartitionData::default()]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let response = call(broker, ApiKey::DescribeQuorum, 1, &request, limit)?;
    let topic = response.topics.first().context("no topic in the answer")?;
    let partition = topic
        .partitions
        .first()
        .context("no partition in the answer")?;
    Ok(partition.leader_id.0)
}

/// The start of an answer to `GET path`.
pub(crate) fn http_get(address: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    let mut stream = connect(address, limit)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: chaos\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// An address of ours.
pub(crate) fn socket(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

fn call<T: Request>(
    broker: SocketAddr,
    api: ApiKey,
    version: i16,
    request: &T,
    limit: Duration,
) -> Result<T::Response>
where
    T::Response: Message,
{
    const CORRELATION_ID: i32 = 7;
    let mut stream = connect(broker, limit)?;
    let frame = encode_request(version, CORRELATION_ID, "foz-chaos", request)?;
    stream.write_all(&frame)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!(length <= RESPONSE_BYTES_MAX, "a response of {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    let (correlation_id, body) = parse_response(api, version, &Bytes::from(answer))?;
    ensure!(
        correlation_id == CORRELATION_ID,
        "the answer to another request"
    );
    Ok(decode_response(version, body)?)
}

fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}
