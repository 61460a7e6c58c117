//! DescribeLogDirs (35, KIP-113, KIP-827): how large the logs on this broker are, and how much room there is. A broker
//! has one directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use tracing::warn;

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::disk_room::{DiskRoom, disk_room};
use crate::request::RequestContext;

/// Before it there is no place for an error of the whole request.
const ERROR_CODE_FROM: i16 = 3;
const ROOM_FROM: i16 = 4;

pub(crate) async fn handle(
    context: RequestContext,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let response = DescribeLogDirsResponse::default();
    if !context.allows(Operation::Describe, &Resource::Cluster) {
        return if context.version >= ERROR_CODE_FROM {
            response.with_error_code(ErrorCode::ClusterAuthorizationFailed.code())
        } else {
            response
        };
    }
    let path = context.broker.partitions.directory().path().to_owned();
    // A disk that does not answer holds up nobody else.
    let room = tokio::task::spawn_blocking(move || room(&path)).await;
    let room = room.unwrap_or_else(|error| Err(error.to_string()));
    response.with_results(vec![described(&context, &request, room)])
}

/// Where it is, for people.
type Room = (PathBuf, DiskRoom);

fn room(path: &Path) -> Result<Room, String> {
    let absolute = std::path::absolute(path).map_err(|error| error.to_string())?;
    let room = disk_room(path).map_err(|error| error.to_string())?;
    Ok((absolute, room))
}

fn described(
    context: &RequestContext,
    request: &DescribeLogDirsRequest,
    room: Result<Room, String>,
) -> DescribeLogDirsResult {
    let result = DescribeLogDirsResult::default();
    match room {
        Ok((path, room)) => {
            let result = result
                .with_log_dir(text(path.display().to_string()))
                .with_topics(sizes(context, request));
            if context.version < ROOM_FROM {
                return result;
            }
            result
                .with_total_bytes(room.bytes_total)
                .with_usable_bytes(room.bytes_free)
        }
        Err(reason) => {
            let path = context.broker.partitions.directory().path();
            warn!(path = %path.display(), reason, "the data directory cannot be looked at");
            result
                .with_log_dir(text(path.display().to_string()))
                .with_error_code(ErrorCode::KafkaStorageError.code())
        }
    }
}

/// Of the logs that are asked for and here.
fn sizes(context: &RequestContext, request: &DescribeLogDirsRequest) -> Vec<DescribeLogDirsTopic> {
    let asked: Option<BTreeSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let topics = topics.iter();
        topics
            .flat_map(|topic| {
                let indexes = topic.partitions.iter();
                indexes.map(|index| (topic.topic.as_str(), *index))
            })
            .collect()
    });
    let mut topics: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for partition in context.broker.partitions.all() {
        let (topic, index) = partition.topic_and_index();
        let is_asked = asked.as_ref().is_none_or(|it| it.contains(&(topic, index)));
        if is_asked {
            let sizes = topics.entry(topic.to_owned()).or_default();
            sizes.insert(index, partition.size_bytes());
        }
    }
    let topics = topics.into_iter().map(|(topic, sizes)| {
        // No replica lacks what it knows to be committed, and none is on its way to another directory.
        let partitions = sizes.into_iter().map(|(index, size)| {
            DescribeLogDirsPartition::default()
                .with_partition_index(index)
                .with_partition_size(size)
        });
        DescribeLogDirsTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(partitions.collect())
    });
    topics.collect()
}
