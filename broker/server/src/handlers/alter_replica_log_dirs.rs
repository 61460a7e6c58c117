//! AlterReplicaLogDirs (34, KIP-113): a replica that is to come is made where it is asked for. One that is here stays
//! where it is. `kafka-reassign-partitions` asks also when it is to go back to what it printed before.

use std::collections::BTreeMap;
use std::path::Path;

use foz_log::TopicPartition;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName,
};
use tracing::warn;

use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let may_alter = context.allows(Operation::Alter, &Resource::Cluster);
    let directories = context.broker.partitions.directories();
    let mut topics: BTreeMap<&TopicName, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
    for directory in &request.dirs {
        let path = Path::new(directory.path.as_str());
        let target = directories.named(path);
        let is_offline = directories.is_offline(path);
        for topic in &directory.topics {
            let outcomes = topics.entry(&topic.name).or_default();
            for index in &topic.partitions {
                let outcome = match (may_alter, target) {
                    (false, _) => ErrorCode::ClusterAuthorizationFailed,
                    (true, _) if is_offline => ErrorCode::KafkaStorageError,
                    (true, None) => ErrorCode::LogDirNotFound,
                    (true, Some(target)) => put(&context, &topic.name, *index, target),
                };
                outcomes.insert(*index, outcome);
            }
        }
    }
    let results = topics.into_iter().map(|(name, outcomes)| {
        let partitions = outcomes.into_iter().map(|(index, outcome)| {
            AlterReplicaLogDirPartitionResult::default()
                .with_partition_index(index)
                .with_error_code(outcome.code())
        });
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(name.clone())
            .with_partitions(partitions.collect())
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}

/// As in Kafka, one that is yet to come is not available, which its tool takes for good: it is made there.
fn put(context: &RequestContext, topic: &str, index: i32, target: usize) -> ErrorCode {
    let image = context.broker.image();
    let Some(topic) = image.topic(topic) else {
        return ErrorCode::UnknownTopicOrPartition;
    };
    let partitions = &context.broker.partitions;
    let directories = partitions.directories();
    match partitions.find(topic, index) {
        Ok(partition) if partition.is_in(&directories.all()[target]) => ErrorCode::None,
        Ok(partition) => {
            warn!(
                partition = partition.name(),
                from = %partition.directory().path().display(),
                to = %directories.all()[target].path().display(),
                "a log that is here is not moved to another data directory: that is not supported yet"
            );
            ErrorCode::KafkaStorageError
        }
        Err(ErrorCode::NotLeaderOrFollower) => {
            directories.want((topic.id, index), target);
            ErrorCode::ReplicaNotAvailable
        }
        Err(error) => {
            // It could not be made where it was tried, or where somebody wanted it before.
            let name = TopicPartition::new(topic.name.to_string(), index);
            if partitions.is_not_made(&name) {
                directories.want((topic.id, index), target);
            }
            error
        }
    }
}
