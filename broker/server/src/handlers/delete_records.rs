//! DeleteRecords (21, KIP-107): answered when every replica that is alive has deleted them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foz_protocol::error::ErrorCode;
use futures::future::join_all;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, TopicName};
use tokio::time::Instant;

use super::text;
use crate::authorizer::{Operation, Resource};
use crate::blocking::blocking;
use crate::broker::Broker;
use crate::partition::Partition;
use crate::request::RequestContext;

/// Where there is none.
const NO_LOW_WATERMARK: i64 = -1;

pub(crate) async fn handle(
    context: RequestContext,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let limit = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = Instant::now() + limit;
    let wanted = wanted(&request);
    let broker = Arc::clone(&context.broker);
    // Where logs start is written to the disk.
    let deleted = blocking(move || delete(&context, wanted)).await;
    let broker = &broker;
    let waiting = deleted.into_iter().map(|(topic, partitions)| async move {
        let partitions = partitions
            .into_iter()
            .map(|(index, deleted)| answer(broker, index, deleted, deadline));
        DeleteRecordsTopicResult::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(join_all(partitions).await)
    });
    DeleteRecordsResponse::default().with_topics(join_all(waiting).await)
}

/// Offsets by topic and partition. As in Kafka, of a partition that is named twice the last one counts.
type Wanted = BTreeMap<String, BTreeMap<i32, i64>>;

/// The partition, and the offset before which everything goes.
type Deleted = Result<(Arc<Partition>, i64), ErrorCode>;

fn wanted(request: &DeleteRecordsRequest) -> Wanted {
    let mut wanted = Wanted::new();
    for topic in &request.topics {
        let partitions = wanted.entry(topic.name.to_string()).or_default();
        for partition in &topic.partitions {
            partitions.insert(partition.partition_index, partition.offset);
        }
    }
    wanted
}

fn delete(context: &RequestContext, wanted: Wanted) -> Vec<(String, Vec<(i32, Deleted)>)> {
    let mut touched = Vec::new();
    let mut topics: Vec<(String, Vec<(i32, Deleted)>)> = Vec::with_capacity(wanted.len());
    for (topic, partitions) in wanted {
        let partitions = partitions.into_iter().map(|(index, offset)| {
            let deleted = delete_in(context, &topic, index, offset);
            touched.extend(deleted.iter().map(|(partition, _)| Arc::clone(partition)));
            (index, deleted)
        });
        let partitions = partitions.collect();
        topics.push((topic, partitions));
    }
    let may_come_back = context.broker.partitions.delete_durably(&touched);
    for (_, deleted) in topics.iter_mut().flat_map(|(_, partitions)| partitions) {
        let key = deleted.as_ref().map(|(partition, _)| partition.key());
        if key.is_ok_and(|key| may_come_back.contains(&key)) {
            *deleted = Err(ErrorCode::KafkaStorageError);
        }
    }
    topics
}

fn delete_in(context: &RequestContext, topic: &str, index: i32, offset: i64) -> Deleted {
    if !context.allows(Operation::Delete, &Resource::Topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let image = context.broker.image();
    let known = image
        .topic(topic)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if known.partition(index).is_none() {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    if known.internal {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = context.broker.partitions.find(known, index)?;
    let before = partition.delete_records(offset)?;
    Ok((partition, before))
}

async fn answer(
    broker: &Broker,
    index: i32,
    deleted: Deleted,
    deadline: Instant,
) -> DeleteRecordsPartitionResult {
    let (error, low_watermark) = match deleted {
        Err(error) => (error, NO_LOW_WATERMARK),
        Ok((partition, before)) => {
            match tokio::time::timeout_at(deadline, partition.deleted(broker, before)).await {
                Ok(Ok(low_watermark)) => (ErrorCode::None, low_watermark),
                Ok(Err(error)) => (error, NO_LOW_WATERMARK),
                Err(_) => {
                    let low_watermark = partition.low_watermark(&broker.image());
                    let low_watermark = low_watermark.unwrap_or(NO_LOW_WATERMARK);
                    (ErrorCode::RequestTimedOut, low_watermark)
                }
            }
        }
    };
    DeleteRecordsPartitionResult::default()
        .with_partition_index(index)
        .with_error_code(error.code())
        .with_low_watermark(low_watermark)
}
