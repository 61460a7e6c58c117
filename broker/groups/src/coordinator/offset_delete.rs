use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::{Coordinator, Parts, reply};
use crate::append::{Change, Deferred};
use crate::consumer::ConsumerGroup;
use crate::effect::Effect;
use crate::group::Group;
use crate::now::Now;
use crate::offsets::{OffsetChange, OffsetKey};
use crate::record::offset_record;
use crate::request::RequestContext;
use crate::response::Response;

impl Coordinator {
    pub(super) fn offset_delete(
        &mut self,
        context: &RequestContext,
        request: &OffsetDeleteRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Parts {
            groups,
            consumer_groups,
            offsets,
            mut turn,
        } = self.parts(now, effects);
        let group_id = request.group_id.as_str();
        let group = match consumer_groups.get(group_id) {
            Some(group) => Ok(Owner::Consumer(group)),
            None => validate(groups.get(group_id), request).map(Owner::Classic),
        };
        let group_id: Arc<str> = Arc::from(group_id);
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                let response = OffsetDeleteResponse::default().with_error_code(error.code());
                return reply(effects, context, Response::OffsetDelete(response));
            }
        };
        let under_way = turn.appends.offset_keys();
        let mut changes = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let is_subscribed = group.is_subscribed_to(&topic.name);
            let error_code = if is_subscribed {
                ResponseError::GroupSubscribedToTopic.code()
            } else {
                0
            };
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let partition = partition.partition_index;
                partitions.push(
                    OffsetDeleteResponsePartition::default()
                        .with_partition_index(partition)
                        .with_error_code(error_code),
                );
                let key = OffsetKey {
                    group_id: group_id.clone(),
                    topic: Arc::from(topic.name.as_str()),
                    partition,
                };
                let exists = offsets.get(&group_id, &topic.name, partition).is_some()
                    || offsets.pending().contains(&key)
                    || under_way.contains(&key);
                if exists && !is_subscribed {
                    changes.push(OffsetChange { key, value: None });
                }
            }
            topics.push(
                OffsetDeleteResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions),
            );
        }
        let response = OffsetDeleteResponse::default().with_topics(topics);
        let response = Response::OffsetDelete(response);
        if changes.is_empty() {
            return reply(effects, context, response);
        }
        let records = changes.iter().map(offset_record).collect();
        let deferred = Deferred::Reply {
            waiter: context.waiter,
            response,
        };
        turn.append(records, Change::Offsets(changes), vec![deferred]);
    }
}

/// The group whose offsets they are.
enum Owner<'a> {
    Classic(&'a Group),
    Consumer(&'a ConsumerGroup),
}

impl Owner<'_> {
    fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.is_subscribed_to(topic),
        }
    }
}

/// Of a group with members only consumers can be told by topic what is in use.
fn validate<'a>(
    group: Option<&'a Group>,
    request: &OffsetDeleteRequest,
) -> Result<&'a Group, ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let group = group.ok_or(ResponseError::GroupIdNotFound)?;
    if !group.is_empty() && !group.uses_consumer_protocol() {
        return Err(ResponseError::NonEmptyGroup);
    }
    Ok(group)
}
