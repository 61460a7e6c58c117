//! AlterReplicaLogDirs (34, KIP-113): a log moves to another data directory, and one that is to come is made where it is
//! asked for. The directory that the log is in cancels a move, another one begins it anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use foz_log::TopicPartition;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName,
};

use crate::authorizer::{Operation, Resource};
use crate::blocking::blocking;
use crate::broker::Broker;
use crate::request::RequestContext;

pub(crate) async fn handle(
    context: RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let may_alter = context.allows(Operation::Alter, &Resource::Cluster);
    // Of several of one replica the last one counts, as in Kafka.
    let mut asked: BTreeMap<(TopicName, i32), PathBuf> = BTreeMap::new();
    for directory in request.dirs {
        for topic in directory.topics {
            for index in topic.partitions {
                let path = PathBuf::from(directory.path.as_str());
                asked.insert((topic.name.clone(), index), path);
            }
        }
    }
    let broker = context.broker;
    let put = move |((name, index), path): ((TopicName, i32), PathBuf)| {
        let outcome = match may_alter {
            true => put(&broker, &name, index, &path),
            false => Err(ErrorCode::ClusterAuthorizationFailed),
        };
        let result = AlterReplicaLogDirPartitionResult::default()
            .with_partition_index(index)
            .with_error_code(outcome.err().unwrap_or(ErrorCode::None).code());
        (name, result)
    };
    // A move that is given up comes to its end first.
    let outcomes = blocking(move || asked.into_iter().map(put).collect::<Vec<_>>()).await;
    let results = outcomes.chunk_by(|(one, _), (other, _)| one == other);
    let results = results.map(|of_topic| {
        let partitions = of_topic.iter().map(|(_, result)| result.clone());
        AlterReplicaLogDirTopicResult::default()
            .with_topic_name(of_topic[0].0.clone())
            .with_partitions(partitions.collect())
    });
    AlterReplicaLogDirsResponse::default().with_results(results.collect())
}

/// As in Kafka, one that is yet to come is not available, which its tool takes for good: it is made there.
fn put(broker: &Broker, topic: &str, index: i32, path: &Path) -> Result<(), ErrorCode> {
    let partitions = &broker.partitions;
    let directories = partitions.directories();
    if directories.is_offline(path) {
        return Err(ErrorCode::KafkaStorageError);
    }
    let target = directories.named(path).ok_or(ErrorCode::LogDirNotFound)?;
    let image = broker.image();
    let topic = (image.topic(topic)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    match partitions.find(topic, index) {
        Ok(partition) => partitions.move_log(&partition, &directories.all()[target]),
        Err(ErrorCode::NotLeaderOrFollower) => {
            directories.want((topic.id, index), target);
            Err(ErrorCode::ReplicaNotAvailable)
        }
        Err(error) => {
            // It could not be made where it was tried, or where somebody wanted it before.
            let name = TopicPartition::new(topic.name.to_string(), index);
            if partitions.is_not_made(&name) {
                directories.want((topic.id, index), target);
            }
            Err(error)
        }
    }
}
