//! Where partitions begin and end.

use std::collections::BTreeMap;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ApiKey, BrokerId, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::error::check;
use super::{Client, ClientError, Target};

/// Which offset of a partition is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first.
    Earliest,
    /// The one after the last that consumers see.
    Latest,
    /// The one after the last that consumers of committed records see.
    LatestStable,
    /// The first whose timestamp is at least this, in ms; the latest when there is none.
    Timestamp(i64),
}

impl OffsetAt {
    fn on_the_wire(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest | Self::LatestStable => -1,
            Self::Timestamp(ms) => ms,
        }
    }
}

impl Client {
    /// Offsets of partitions of one topic. The metadata of the topic must be known.
    ///
    /// # Errors
    /// [`ClientError`]; retriable where a leader is about to change.
    pub async fn offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        at: OffsetAt,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let cluster = self.cluster();
        let mut by_leader: BTreeMap<i32, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for &partition in partitions {
            let Some(leader) = cluster.leader(topic, partition) else {
                return Err(no_leader(topic, partition));
            };
            let entry = ListOffsetsPartition::default()
                .with_partition_index(partition)
                .with_current_leader_epoch(cluster.leader_epoch(topic, partition))
                .with_timestamp(at.on_the_wire());
            by_leader.entry(leader).or_default().push(entry);
        }
        let mut offsets = BTreeMap::new();
        for (leader, partitions) in by_leader {
            let name = TopicName(StrBytes::from_string(topic.to_owned()));
            let topics = ListOffsetsTopic::default()
                .with_name(name)
                .with_partitions(partitions);
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_isolation_level(i8::from(at == OffsetAt::LatestStable))
                .with_topics(vec![topics]);
            // Above 9 there are only limits for remote storage.
            let response = self
                .request(Target::Node(leader), ApiKey::ListOffsets, 9, &request)
                .await?;
            for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
                let index = partition.partition_index;
                check(partition.error_code, None, || {
                    format!("asking for offsets of {topic}-{index}")
                })?;
                offsets.insert(index, partition.offset);
            }
        }
        if let OffsetAt::Timestamp(_) = at {
            let none: Vec<i32> = offsets
                .iter()
                .filter(|(_, offset)| **offset < 0)
                .map(|(&it, _)| it)
                .collect();
            if !none.is_empty() {
                offsets.extend(Box::pin(self.offsets(topic, &none, OffsetAt::Latest)).await?);
            }
        }
        Ok(offsets)
    }
}

pub(crate) fn no_leader(topic: &str, partition: i32) -> ClientError {
    ClientError::Refused {
        what: format!("looking for the leader of {topic}-{partition}"),
        error: foz_protocol::error::ErrorCode::LeaderNotAvailable,
        message: None,
    }
}
