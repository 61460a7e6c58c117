use std::cmp::Reverse;
use std::collections::BTreeSet;

use foz_api::v1::list_deleted_topics_response::DeletedTopic;
use foz_api::v1::{ListDeletedTopicsRequest, ListDeletedTopicsResponse};
use foz_metadata::Image;
use tonic::Status;

use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn list_deleted_topics(
    calls: &Calls,
    request: ListDeletedTopicsRequest,
) -> Result<ListDeletedTopicsResponse, Status> {
    calls.check_active().await?;
    let names: BTreeSet<String> = request.names.into_iter().collect();
    Ok(ListDeletedTopicsResponse {
        topics: deleted_topics(&calls.shared.metadata.image(), &names),
    })
}

fn deleted_topics(image: &Image, names: &BTreeSet<String>) -> Vec<DeletedTopic> {
    let mut topics: Vec<_> = image.deleted_topics().collect();
    topics.retain(|it| names.is_empty() || names.contains(&*it.topic.name));
    topics.sort_by_key(|it| (it.topic.name.clone(), Reverse(it.deleted_at_ms)));
    let topics = topics.into_iter().map(|deleted| DeletedTopic {
        name: deleted.topic.name.to_string(),
        id: deleted.topic.id.as_bytes().to_vec(),
        partitions: convert::count(deleted.topic.partitions.len()),
        deleted_at_ms: deleted.deleted_at_ms,
        grace_ends_at_ms: deleted.grace_ends_at_ms,
        by_operator: deleted.operator_epoch > 0,
        lost_partition: deleted.check_has_data().err().unwrap_or(-1),
    });
    topics.collect()
}
