use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foz_protocol::apis::Api;
use foz_protocol::frame;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::board::Board;

pub(super) const TOPIC: &str = "orders";
pub(super) const HEARTBEAT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy)]
pub(super) enum Protocol {
    Classic,
    Consumer,
}

/// One of the group, and its connection to the coordinator.
pub(super) struct Member {
    pub(super) group: Arc<str>,
    pub(super) index: usize,
    pub(super) board: Arc<Board>,
    commits: bool,
    port: watch::Receiver<u16>,
    stream: Option<TcpStream>,
}

impl Member {
    pub(super) fn new(
        group: Arc<str>,
        index: usize,
        port: watch::Receiver<u16>,
        board: Arc<Board>,
        commits: bool,
    ) -> Self {
        Self {
            group,
            index,
            board,
            commits,
            port,
            stream: None,
        }
    }

    /// `None`: the connection broke, and nobody knows what became of the request.
    pub(super) async fn ask<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Option<R::Response> {
        let answer = self.try_ask(version, request).await;
        if answer.is_err() {
            self.stream = None;
            self.pause().await;
        }
        answer.ok()
    }

    /// Before what failed is tried again.
    pub(super) async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    pub(super) fn group_id(&self) -> GroupId {
        GroupId(name(&self.group))
    }

    /// Commits one more of each of its partitions. Members that are not of the current generation are refused, and
    /// hear of it elsewhere.
    pub(super) async fn commit(&mut self, id: &StrBytes, generation: i32, owned: &[i32]) {
        const VERSION: i16 = 9;
        if !self.commits || owned.is_empty() {
            return;
        }
        let partitions = owned.iter().map(|partition| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(self.board.next_offset(*partition))
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(name(TOPIC)))
            .with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group_id())
            .with_member_id(id.clone())
            .with_generation_id_or_member_epoch(generation)
            .with_topics(vec![topic]);
        let Some(answer) = self.ask(VERSION, &request).await else {
            return;
        };
        let tried = &request.topics[0].partitions;
        for (tried, answer) in tried.iter().zip(&answer.topics[0].partitions) {
            assert_eq!(tried.partition_index, answer.partition_index);
            let (partition, offset) = (tried.partition_index, tried.committed_offset);
            self.board.is_answered(partition, offset, answer.error_code);
        }
    }

    async fn try_ask<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> std::io::Result<R::Response> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let port = *self.port.borrow();
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                stream.set_nodelay(true)?;
                self.stream.insert(stream)
            }
        };
        let frame = frame::encode_request(version, 1, "member", request).unwrap();
        stream.write_all(&frame).await?;
        let length = stream.read_u32().await?;
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await?;
        let key = Api::of(R::KEY).unwrap().key;
        let (_, body) = frame::parse_response(key, version, &Bytes::from(frame)).unwrap();
        Ok(frame::decode_response(version, body).unwrap())
    }
}

pub(super) fn name(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
