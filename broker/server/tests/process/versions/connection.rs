//! One connection that asks in any version, and the requests that many areas need.

use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::RangeInclusive;
use std::time::Instant;

use bytes::Bytes;
use foz_protocol::apis::Api;
use foz_protocol::batch::Batches;
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::frame;
use foz_protocol::record::{BatchBuilder, RecordToWrite, Records, record_bytes};
use foz_records::Message;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreateTopicsRequest, GroupId, ListOffsetsRequest, MetadataRequest,
    ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use uuid::Uuid;

use crate::testbed::{Node, PATIENCE, pause};
pub(crate) use crate::versions::answered::Answered;

/// From this version on Produce and Fetch name topics by their ids.
pub(crate) const TOPIC_IDS_FROM: i16 = 13;

pub(crate) struct Connection<'a> {
    pub(crate) broker: &'a Node,
    pub(crate) answered: &'a Answered,
    stream: TcpStream,
    correlation_id: i32,
}

impl<'a> Connection<'a> {
    pub(crate) fn open(broker: &'a Node, answered: &'a Answered) -> Self {
        Self {
            broker,
            answered,
            stream: broker.connect(),
            correlation_id: 0,
        }
    }

    /// One to the listener of the other nodes.
    pub(crate) fn open_as_node(broker: &'a Node, answered: &'a Answered) -> Self {
        Self {
            broker,
            answered,
            stream: broker.connect_as_node(),
            correlation_id: 0,
        }
    }

    /// Another connection to the same broker.
    pub(crate) fn another(&self) -> Self {
        Self::open(self.broker, self.answered)
    }

    /// Asks and waits for the answer.
    #[track_caller]
    pub(crate) fn call<R: Request + Debug>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version)
    }

    pub(crate) fn send<R: Request + Debug>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let frame = frame::encode_request(version, self.correlation_id, "test", request)
            .unwrap_or_else(|error| panic!("{error}: {request:?}"));
        self.stream.write_all(&frame).unwrap();
    }

    /// As [`call`](Self::call), where the broker may close the connection instead.
    #[track_caller]
    pub(crate) fn try_call<R: Request + Debug>(
        &mut self,
        version: i16,
        request: &R,
    ) -> std::io::Result<R::Response> {
        self.send(version, request);
        let frame = self.frame()?;
        Ok(self.decode::<R>(version, &frame))
    }

    /// Of the last request that was sent.
    pub(crate) fn correlation_id(&self) -> i32 {
        self.correlation_id
    }

    /// The answer to an earlier request.
    pub(crate) fn receive_of<R: Request>(&mut self, version: i16, sent: i32) -> R::Response {
        let last = std::mem::replace(&mut self.correlation_id, sent);
        let response = self.receive::<R>(version);
        self.correlation_id = last;
        response
    }

    /// The answer to the last request that was sent.
    #[track_caller]
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let name = Api::of(R::KEY).unwrap().name;
        let frame = self
            .frame()
            .unwrap_or_else(|error| panic!("{name} {version} is not answered: {error}"));
        self.decode::<R>(version, &frame)
    }

    #[track_caller]
    fn decode<R: Request>(&mut self, version: i16, frame: &Bytes) -> R::Response {
        let api = Api::of(R::KEY).unwrap();
        let name = api.name;
        let (correlation_id, body) = frame::parse_response(api.key, version, frame).unwrap();
        assert_eq!(correlation_id, self.correlation_id, "{name} {version}");
        let response = frame::decode_response(version, body)
            .unwrap_or_else(|error| panic!("{name} {version}: {error}"));
        self.answered.add(R::KEY, version);
        response
    }

    /// As [`call`](Self::call), in a version that `kafka-protocol` lacks.
    #[track_caller]
    pub(crate) fn call_newer<Request: Message, Response: Message>(
        &mut self,
        key: ApiKey,
        version: i16,
        request: &Request,
    ) -> Response {
        self.correlation_id += 1;
        let mut frame = vec![0; frame::LENGTH_BYTES];
        frame.extend((key as i16).to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(self.correlation_id.to_be_bytes());
        // No client id, no tagged fields.
        frame.extend([0xff, 0xff, 0]);
        frame.extend(request.encode(version).unwrap());
        let length = i32::try_from(frame.len() - frame::LENGTH_BYTES).unwrap();
        frame[..frame::LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).unwrap();
        let name = Request::NAME;
        let frame = self
            .frame()
            .unwrap_or_else(|error| panic!("{name} {version} is not answered: {error}"));
        let (correlation_id, body) = frame::parse_response(key, version, &frame).unwrap();
        assert_eq!(correlation_id, self.correlation_id, "{name} {version}");
        let response = Response::decode(version, &body).unwrap();
        self.answered.add(key as i16, version);
        response
    }

    /// The answer to the request before the last one.
    pub(crate) fn skip<R: Request>(&mut self, version: i16) {
        let frame = self.frame().unwrap();
        let (correlation_id, _) =
            frame::parse_response(Api::of(R::KEY).unwrap().key, version, &frame).unwrap();
        assert_eq!(correlation_id, self.correlation_id - 1);
    }

    /// A request that no encoder makes: its header alone.
    pub(crate) fn send_header(&mut self, key: i16, version: i16) {
        let header = [key.to_be_bytes(), version.to_be_bytes()].concat();
        let rest = [0, 0, 0, 7, 0xff, 0xff];
        let length = (header.len() + rest.len()) as i32;
        self.stream
            .write_all(&[&length.to_be_bytes()[..], &header, &rest].concat())
            .unwrap();
    }

    /// The broker closes the connection instead of answering; silence is not that.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.frame().is_err_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            )
        })
    }

    /// The broker did not even take this connection: it closes it before anything is asked.
    pub(crate) fn is_closed_at_once(&mut self) -> bool {
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        let frame = frame::encode_request(12, 1, "test", &request).unwrap();
        self.stream.write_all(&frame).is_err() || self.is_closed()
    }

    fn frame(&mut self) -> std::io::Result<Bytes> {
        let mut length = [0; frame::LENGTH_BYTES];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }

    /// Makes a topic and waits until its partitions are led.
    pub(crate) fn create_topic(&mut self, name: &str, partitions: i32) -> Topic {
        let topic = CreatableTopic::default()
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let topic = self.create(name, topic);
        for partition in 0..partitions {
            eventually(|| {
                self.latest_offset(name, partition)
                    .map_err(|error| format!("{name}-{partition}: {error}"))
            });
        }
        topic
    }

    /// Makes a topic with so many replicas of each partition.
    pub(crate) fn create_replicated_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replicas: i16,
    ) -> Topic {
        let topic = CreatableTopic::default()
            .with_num_partitions(partitions)
            .with_replication_factor(replicas);
        self.create(name, topic)
    }

    /// Makes a topic of one partition on these brokers.
    pub(crate) fn create_on(
        &mut self,
        name: &str,
        replicas: &[i32],
        configs: &[(&str, &str)],
    ) -> Topic {
        let assignment = CreatableReplicaAssignment::default()
            .with_broker_ids(replicas.iter().copied().map(BrokerId).collect());
        let configs = configs.iter().map(|(key, value)| config(key, value));
        let topic = CreatableTopic::default()
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![assignment])
            .with_configs(configs.collect());
        self.create(name, topic)
    }

    /// The records of tests have timestamps of 1970: what they were written for must not be deleted for it.
    fn create(&mut self, name: &str, mut topic: CreatableTopic) -> Topic {
        topic.name = topic_name(name);
        topic.configs.push(config("retention.ms", "-1"));
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(10_000);
        let response = self.call(7, &request);
        let created = &response.topics[0];
        assert_eq!(error(created.error_code), ErrorCode::None, "{created:?}");
        Topic {
            name: name.to_owned(),
            id: response.topics[0].topic_id,
        }
    }

    /// A topic as this broker shows it.
    pub(crate) fn topic(&mut self, version: i16, name: &str) -> MetadataResponseTopic {
        let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![wanted]))
            .with_allow_auto_topic_creation(version < 4);
        self.call(version, &request).topics.remove(0)
    }

    /// Waits until this broker shows the first partition of a topic as it should be.
    pub(crate) fn await_partition(
        &mut self,
        topic: &str,
        fits: impl Fn(&MetadataResponsePartition) -> bool,
    ) -> MetadataResponsePartition {
        eventually(|| {
            let found = self.topic(13, topic);
            match found.partitions.first() {
                Some(partition) if fits(partition) => Ok(partition.clone()),
                _ => Err(found),
            }
        })
    }

    pub(crate) fn latest_offset(&mut self, topic: &str, partition: i32) -> Result<i64, ErrorCode> {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic]);
        let response = self.call(7, &request);
        let found = &response.topics[0].partitions[0];
        match error(found.error_code) {
            ErrorCode::None => Ok(found.offset),
            error => Err(error),
        }
    }

    /// Writes one batch that holds these values; returns its base offset.
    pub(crate) fn produce(&mut self, topic: &Topic, partition: i32, records: Bytes) -> i64 {
        let request = produce_request(9, topic, -1, &[(partition, Some(records))]);
        let response = self.call(9, &request);
        let written = &response.responses[0].partition_responses[0];
        assert_eq!(error(written.error_code), ErrorCode::None);
        written.base_offset
    }
}

/// A topic as both kinds of versions name it.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
}

impl Topic {
    /// One that nobody has made.
    pub(crate) fn unknown() -> Self {
        Self {
            name: "nowhere".to_owned(),
            id: Uuid::from_u128(42),
        }
    }

    /// How Produce and Fetch of this version say that they do not know it.
    pub(crate) fn unknown_error(version: i16) -> ErrorCode {
        if version >= TOPIC_IDS_FROM {
            ErrorCode::UnknownTopicId
        } else {
            ErrorCode::UnknownTopicOrPartition
        }
    }
}

fn config(key: &str, value: &str) -> CreatableTopicConfig {
    CreatableTopicConfig::default()
        .with_name(text(key))
        .with_value(Some(text(value)))
}

/// Produces to these partitions of one topic.
pub(crate) fn produce_request(
    version: i16,
    topic: &Topic,
    acks: i16,
    partitions: &[(i32, Option<Bytes>)],
) -> ProduceRequest {
    let data = partitions.iter().map(|(index, records)| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(records.clone())
    });
    let data = TopicProduceData::default().with_partition_data(data.collect());
    let data = if version >= TOPIC_IDS_FROM {
        data.with_topic_id(topic.id)
    } else {
        data.with_name(topic_name(&topic.name))
    };
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![data])
}

/// The versions of an API that are answered, but for those that `kafka-protocol` lacks.
pub(crate) fn versions_of<R: Request>() -> RangeInclusive<i16> {
    let api = Api::of(R::KEY).unwrap();
    api.min..=api.max.min(api.key.valid_versions().max)
}

/// The version of an API that is nearest to `version`.
pub(crate) fn nearest<R: Request>(version: i16) -> i16 {
    let versions = versions_of::<R>();
    version.clamp(*versions.start(), *versions.end())
}

pub(crate) fn error(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or_else(|| panic!("{code} is no error code"))
}

/// A batch of these values, all of one timestamp.
pub(crate) fn batch(timestamp_ms: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(&RecordToWrite {
            timestamp_ms,
            value: Some(value.as_bytes()),
            ..RecordToWrite::default()
        });
    }
    Bytes::from(builder.build().unwrap())
}

/// Offsets and values of fetched batches.
pub(crate) fn values(records: Option<&Bytes>) -> Vec<(i64, String)> {
    let mut values = Vec::new();
    for batch in Batches::new(records.map_or(&[], |records| &records[..])) {
        let (header, batch) = batch.unwrap();
        header.check_crc(batch).unwrap();
        let bytes = record_bytes(&header, batch, 1 << 20).unwrap();
        for record in Records::new(&header, &bytes) {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            values.push((record.offset(&header), value));
        }
    }
    values
}

/// What [`values`] gives for these, from an offset on.
pub(crate) fn from_offset(base_offset: i64, values: &[&str]) -> Vec<(i64, String)> {
    (base_offset..)
        .zip(values.iter().map(ToString::to_string))
        .collect()
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

/// Tries until it works; a broker may learn a moment later what a controller has decided.
pub(crate) fn eventually<T, E: Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        pause();
    }
}
