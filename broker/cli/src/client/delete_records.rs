//! Deleting the oldest records of partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::{ApiKey, DeleteRecordsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::error::check;
use super::offsets::no_leader;
use super::{Client, ClientError, Target};

/// How long the replicas may take.
const DELETE_TIMEOUT: Duration = Duration::from_secs(15);
/// All that consumers see.
pub const DELETE_ALL: i64 = -1;

impl Client {
    /// Deletes what is before these offsets, by partition, of one topic; [`DELETE_ALL`] is everything. Returns where each
    /// partition begins now. Doing it again does no harm. The metadata of the topic must be known.
    ///
    /// # Errors
    /// [`ClientError`] of the first partition that fails; retriable where a leader is about to change. Others may be done.
    pub async fn delete_records(
        &self,
        topic: &str,
        before: &BTreeMap<i32, i64>,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let cluster = self.cluster();
        let mut by_leader: BTreeMap<i32, Vec<DeleteRecordsPartition>> = BTreeMap::new();
        for (&partition, &offset) in before {
            let Some(leader) = cluster.leader(topic, partition) else {
                return Err(no_leader(topic, partition));
            };
            let entry = DeleteRecordsPartition::default()
                .with_partition_index(partition)
                .with_offset(offset);
            by_leader.entry(leader).or_default().push(entry);
        }
        let mut starts = BTreeMap::new();
        for (leader, partitions) in by_leader {
            let topics = DeleteRecordsTopic::default()
                .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
                .with_partitions(partitions);
            let request = DeleteRecordsRequest::default()
                .with_timeout_ms(DELETE_TIMEOUT.as_millis() as i32)
                .with_topics(vec![topics]);
            let response = self
                .request(
                    Target::Node(leader),
                    ApiKey::DeleteRecords,
                    i16::MAX,
                    &request,
                )
                .await?;
            for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
                let index = partition.partition_index;
                check(partition.error_code, None, || {
                    format!("deleting records of {topic}-{index}")
                })?;
                starts.insert(index, partition.low_watermark);
            }
        }
        Ok(starts)
    }
}
