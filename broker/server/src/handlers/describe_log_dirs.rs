//! DescribeLogDirs (35, KIP-113, KIP-827): how large the logs in each data directory are, and how much room there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foz_log::TopicPartition;
use foz_protocol::error::ErrorCode;
use foz_records::describe_log_dirs_request::DescribeLogDirsRequest;
use foz_records::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use tracing::warn;

use crate::authorizer::{Operation, Resource};
use crate::blocking::blocking;
use crate::disk_room::{DiskRoom, disk_room};
use crate::partition::DataDirectory;
use crate::request::RequestContext;

/// Before it there is no place for an error of the whole request.
const ERROR_CODE_FROM: i16 = 3;
const ROOM_FROM: i16 = 4;

pub(crate) async fn handle(
    context: RequestContext,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let mut response = DescribeLogDirsResponse::default();
    if !context.allows(Operation::Describe, &Resource::Cluster) {
        if context.version >= ERROR_CODE_FROM {
            response.error_code = ErrorCode::ClusterAuthorizationFailed.code();
        }
        return response;
    }
    // A disk that does not answer holds up nobody else.
    response.results = blocking(move || results(&context, &request)).await;
    response
}

/// Blocks.
fn results(
    context: &RequestContext,
    request: &DescribeLogDirsRequest,
) -> Vec<DescribeLogDirsResult> {
    let partitions = &context.broker.partitions;
    let all = partitions.directories();
    let directories = all.all();
    let rooms: Vec<_> = directories.iter().map(|it| room(it.path())).collect();
    let asked = Asked::of(request);
    // A log that moves is in one of two directories, not in both nor in none.
    let _in_place = partitions.keep_in_place();
    let results = directories.iter().zip(rooms);
    let results = results.map(|(directory, room)| match directory.has_failed() {
        true => unusable(directory.path()),
        false => described(context, &asked, directory, room),
    });
    let offline = all.offline_from_start().iter();
    let offline = offline.map(|it| unusable(&it.path));
    results.chain(offline).collect()
}

/// Where it is, for people.
type Room = (PathBuf, DiskRoom);

fn room(path: &Path) -> Result<Room, String> {
    let absolute = std::path::absolute(path).map_err(|error| error.to_string())?;
    let room = disk_room(path).map_err(|error| error.to_string())?;
    Ok((absolute, room))
}

/// `None`: all.
struct Asked<'a>(Option<BTreeSet<(&'a str, i32)>>);

impl<'a> Asked<'a> {
    fn of(request: &'a DescribeLogDirsRequest) -> Self {
        let topics = request.topics.as_ref().map(|topics| {
            let topics = topics.iter();
            topics
                .flat_map(|topic| {
                    let indexes = topic.partitions.iter();
                    indexes.map(|index| (&*topic.topic, *index))
                })
                .collect()
        });
        Self(topics)
    }

    fn is(&self, topic: &str, index: i32) -> bool {
        self.0
            .as_ref()
            .is_none_or(|it| it.contains(&(topic, index)))
    }
}

fn described(
    context: &RequestContext,
    asked: &Asked<'_>,
    directory: &Arc<DataDirectory>,
    room: Result<Room, String>,
) -> DescribeLogDirsResult {
    match room {
        Ok((path, room)) => {
            let mut result = DescribeLogDirsResult {
                log_dir: path.display().to_string().into(),
                topics: sizes(context, asked, directory),
                ..DescribeLogDirsResult::default()
            };
            if context.version >= ROOM_FROM {
                result.total_bytes = room.bytes_total;
                result.usable_bytes = room.bytes_free;
            }
            result
        }
        Err(reason) => {
            let path = directory.path();
            warn!(path = %path.display(), reason, "the data directory cannot be looked at");
            unusable(path)
        }
    }
}

fn unusable(path: &Path) -> DescribeLogDirsResult {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    DescribeLogDirsResult {
        log_dir: absolute.display().to_string().into(),
        error_code: ErrorCode::KafkaStorageError.code(),
        ..DescribeLogDirsResult::default()
    }
}

/// Of the logs that are asked for and there, and of the copies of logs that are to move here.
fn sizes(
    context: &RequestContext,
    asked: &Asked<'_>,
    directory: &Arc<DataDirectory>,
) -> Vec<DescribeLogDirsTopic> {
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    let partitions = &context.broker.partitions;
    for partition in partitions.all_in(directory) {
        let (topic, index) = partition.topic_and_index();
        if asked.is(topic, index) {
            // No replica lacks what it knows to be committed.
            let described = DescribeLogDirsPartition {
                partition_index: index,
                partition_size: partition.size_bytes(),
                ..DescribeLogDirsPartition::default()
            };
            topics.entry(topic.to_owned()).or_default().push(described);
        }
    }
    for future in directory.logs().futures() {
        let TopicPartition { topic, partition } = future.partition();
        let held = partitions.get(future.topic_id(), *partition);
        // Without its log nobody knows how much it lacks.
        if let Some(held) = held.filter(|_| asked.is(topic, *partition)) {
            let lag = held.log_end_offset() - future.log_end_offset();
            let described = DescribeLogDirsPartition {
                partition_index: *partition,
                partition_size: i64::try_from(future.size_bytes()).unwrap_or(i64::MAX),
                offset_lag: lag.max(0),
                is_future_key: true,
            };
            topics.entry(topic.clone()).or_default().push(described);
        }
    }
    let topics = topics.into_iter().map(|(topic, mut partitions)| {
        partitions.sort_by_key(|it| it.partition_index);
        DescribeLogDirsTopic {
            name: topic.into(),
            partitions,
        }
    });
    topics.collect()
}
