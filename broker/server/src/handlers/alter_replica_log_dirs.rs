//! AlterReplicaLogDirs (34, KIP-113): a broker has one directory, so every replica is where it is asked for, or that
//! directory is not there. `kafka-reassign-partitions` asks when it is to go back to what it printed before.

use std::collections::BTreeMap;

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName,
};

use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let may_alter = context.allows(Operation::Alter, &Resource::Cluster);
    let here = std::path::absolute(context.broker.partitions.directory().path()).ok();
    let mut topics: BTreeMap<&TopicName, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
    for directory in &request.dirs {
        let is_here = here
            .as_ref()
            .is_some_and(|here| here.as_os_str() == directory.path.as_str());
        for topic in &directory.topics {
            let outcomes = topics.entry(&topic.name).or_default();
            for index in &topic.partitions {
                let outcome = match (may_alter, is_here) {
                    (false, _) => ErrorCode::ClusterAuthorizationFailed,
                    (true, false) => ErrorCode::LogDirNotFound,
                    (true, true) => held(&context, &topic.name, *index),
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

/// As in Kafka, one that is yet to come is not available, which its tool takes for good.
fn held(context: &RequestContext, topic: &str, index: i32) -> ErrorCode {
    let image = context.broker.image();
    let Some(topic) = image.topic(topic) else {
        return ErrorCode::UnknownTopicOrPartition;
    };
    match context.broker.partitions.find(topic, index) {
        Ok(_) => ErrorCode::None,
        Err(ErrorCode::NotLeaderOrFollower) => ErrorCode::ReplicaNotAvailable,
        Err(error) => error,
    }
}
