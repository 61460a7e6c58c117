//! A client of a group that has no members: it commits, and asks what was committed.

use anyhow::ensure;
use foz_cli::client::{Client, ClientError, Target};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::TOPIC;

#[derive(Debug)]
pub(super) struct Group {
    client: Client,
    id: StrBytes,
    /// What it commits last, in all its partitions.
    pub(super) offset: i64,
}

impl Group {
    pub(super) fn new(client: &Client, number: usize, offset: i64) -> Self {
        Self {
            client: client.clone(),
            id: StrBytes::from_string(format!("group-{number}")),
            offset,
        }
    }

    /// Asks the brokers that this client knows, over connections of its own.
    pub(super) fn by_way_of(&self, client: &Client) -> Self {
        Self {
            client: client.with_own_connections(),
            id: self.id.clone(),
            offset: self.offset,
        }
    }

    pub(super) fn with_own_connections(&self) -> Self {
        self.by_way_of(&self.client)
    }

    /// The broker that is its coordinator.
    pub(super) async fn coordinator(&self) -> anyhow::Result<i32> {
        let request = FindCoordinatorRequest::default()
            .with_key(self.id.clone())
            .with_key_type(0);
        // From 4 on, keys are in another field.
        let api = ApiKey::FindCoordinator;
        let response = self.client.request(Target::Any, api, 3, &request).await?;
        self.check(response.error_code)?;
        Ok(response.node_id.0)
    }

    /// Whether that is another one than this broker.
    pub(super) async fn has_other_coordinator(&self, broker: i32) -> anyhow::Result<()> {
        let coordinator = self.coordinator().await?;
        ensure!(
            coordinator != broker,
            "{broker} is still named as coordinator"
        );
        Ok(())
    }

    /// The same offset for so many partitions, to its coordinator.
    pub(super) async fn commit(&self, partitions: usize, offset: i64) -> anyhow::Result<()> {
        let partitions = (0..partitions as i32).map(|partition| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(StrBytes::new()))
        });
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name())
            .with_partitions(partitions.collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(self.id.clone()))
            .with_topics(vec![topic]);
        // From 10 on, topics have ids.
        let (target, api) = (self.target().await?, ApiKey::OffsetCommit);
        let response = self.client.request(target, api, 9, &request).await?;
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            self.check(partition.error_code)?;
        }
        Ok(())
    }

    /// The committed offsets of so many partitions, in their order, from its coordinator; -1 where there is none.
    pub(super) async fn committed(&self, partitions: usize) -> anyhow::Result<Vec<i64>> {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(topic_name())
            .with_partition_indexes((0..partitions as i32).collect());
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(self.id.clone()))
            .with_topics(Some(vec![topic]));
        // From 8 on, groups are in another field.
        let (target, api) = (self.target().await?, ApiKey::OffsetFetch);
        let response = self.client.request(target, api, 7, &request).await?;
        self.check(response.error_code)?;
        let mut offsets = Vec::with_capacity(partitions);
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            self.check(partition.error_code)?;
            offsets.push((partition.partition_index, partition.committed_offset));
        }
        offsets.sort_unstable();
        Ok(offsets.into_iter().map(|(_, offset)| offset).collect())
    }

    async fn target(&self) -> anyhow::Result<Target> {
        Ok(Target::Node(self.coordinator().await?))
    }

    fn check(&self, code: i16) -> Result<(), ClientError> {
        match ErrorCode::from(code) {
            ErrorCode::None => Ok(()),
            error => Err(ClientError::Refused {
                what: self.id.to_string(),
                error,
                message: None,
            }),
        }
    }
}

fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}
