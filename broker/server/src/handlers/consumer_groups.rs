//! The APIs of consumer groups (KIP-848): checked here against ACLs, decided by the coordinator.

use foz_groups::{REGEX_BYTES_MAX, Request, Response};
use foz_metadata::Image;
use foz_protocol::error::ErrorCode;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, GroupId,
};
use kafka_protocol::protocol::StrBytes;

use super::authorized_operations;
use super::groups::ask;
use crate::authorizer::{Operation, Resource};
use crate::blocking::blocking;
use crate::coordinator::compile_regex;
use crate::request::RequestContext;

/// From this level on every broker serves them.
const GROUP_VERSION_OF_CONSUMER_GROUPS: i32 = 1;

pub(crate) async fn consumer_group_heartbeat(
    context: RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if !is_served(&context) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return ConsumerGroupHeartbeatResponse::default().with_error_code(error_code);
    }
    let allowed = context.allows(Operation::Read, &Resource::Group(&request.group_id));
    if allowed {
        let mut names = request.subscribed_topic_names.iter().flatten();
        if !names.all(|name| context.allows(Operation::Describe, &Resource::Topic(name))) {
            let error_code = ErrorCode::TopicAuthorizationFailed.code();
            return ConsumerGroupHeartbeatResponse::default().with_error_code(error_code);
        }
        if let Some(refused) = refuse_regex(request.subscribed_topic_regex.as_ref()).await {
            return refused;
        }
    }
    let request = Request::ConsumerGroupHeartbeat(request);
    match ask(&context, request, allowed).await {
        Response::ConsumerGroupHeartbeat(response) => response,
        other => unreachable!("the coordinator answered {other:?}"),
    }
}

/// Groups that the client may not see are refused one by one, and so are those with topics that it may not see.
pub(crate) async fn consumer_group_describe(
    context: RequestContext,
    mut request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    if !is_served(&context) {
        let error = ResponseError::UnsupportedVersion;
        let groups = request.group_ids.iter();
        let groups = groups.map(|group_id| refused_group(group_id, error));
        return ConsumerGroupDescribeResponse::default().with_groups(groups.collect());
    }
    let mut refused = Vec::new();
    request.group_ids.retain(|group_id| {
        let allowed = context.allows(Operation::Describe, &Resource::Group(group_id));
        if !allowed {
            let error = ResponseError::GroupAuthorizationFailed;
            refused.push(refused_group(group_id, error));
        }
        allowed
    });
    let asked = request.include_authorized_operations;
    let request = Request::ConsumerGroupDescribe(request);
    let mut response = match ask(&context, request, true).await {
        Response::ConsumerGroupDescribe(response) => response,
        other => unreachable!("the coordinator answered {other:?}"),
    };
    for group in &mut response.groups {
        if !may_see_topics(&context, group) {
            let message = "the group has topics that the client is not authorized to describe";
            *group = refused_group(&group.group_id, ResponseError::TopicAuthorizationFailed)
                .with_error_message(Some(StrBytes::from_static_str(message)));
        }
        let is_described = group.error_code == ErrorCode::None.code();
        let resource = Resource::Group(&group.group_id);
        group.authorized_operations =
            authorized_operations::bits(&context, &resource, asked && is_described);
    }
    response.groups.extend(refused);
    response
}

/// Once every broker can, and where Kafka's switch for those who are not to use the protocol yet lets it.
fn is_served(context: &RequestContext) -> bool {
    let protocols = context
        .broker
        .config("group.coordinator.rebalance.protocols");
    protocols.is_some_and(|value| value.items().contains(&"consumer"))
        && is_finalised(&context.broker.image())
}

fn is_finalised(image: &Image) -> bool {
    // A broker that has just started has not heard yet: it coordinates no group, and says that.
    let has_heard = image.features().next().is_some();
    image.group_version() >= GROUP_VERSION_OF_CONSUMER_GROUPS || !has_heard
}

/// One that is too long is refused without a look at it, by the coordinator; an empty one is none.
async fn refuse_regex(regex: Option<&StrBytes>) -> Option<ConsumerGroupHeartbeatResponse> {
    let regex = regex.filter(|regex| (1..=REGEX_BYTES_MAX).contains(&regex.len()))?;
    let regex = regex.to_string();
    // It may take milliseconds.
    let compiled = blocking(move || compile_regex(&regex).map_err(|error| (regex, error)));
    let (regex, error) = compiled.await.err()?;
    let message = format!("SubscribedTopicRegex {regex} is not valid: {error}");
    let error_code = ResponseError::InvalidRegularExpression.code();
    let response = ConsumerGroupHeartbeatResponse::default().with_error_code(error_code);
    Some(response.with_error_message(Some(StrBytes::from_string(message))))
}

fn may_see_topics(context: &RequestContext, group: &DescribedGroup) -> bool {
    let assignments = group
        .members
        .iter()
        .flat_map(|member| [&member.assignment, &member.target_assignment]);
    let mut topics = assignments.flat_map(|assignment| &assignment.topic_partitions);
    topics.all(|topic| context.allows(Operation::Describe, &Resource::Topic(&topic.topic_name)))
}

fn refused_group(group_id: &GroupId, error: ResponseError) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(group_id.clone())
        .with_error_code(error.code())
}

#[cfg(test)]
mod tests {
    use foz_metadata::record::{Batch, Fact, FeatureLevelRecord};
    use foz_metadata::rules::found_cluster;

    use super::*;

    #[test]
    fn the_protocol_is_served_once_its_feature_is_finalised() {
        let after = |image: &Image, records| {
            let batch = Batch {
                follows: image.offset(),
                term: 1,
                records,
            };
            image.apply(&batch).unwrap()
        };
        let empty = Image::default();
        assert!(is_finalised(&empty), "the coordinator is to answer");
        let image = after(&empty, found_cluster(&empty, "c").unwrap().records);
        assert!(is_finalised(&image));
        let level = |name: &str, level| {
            Fact::FeatureLevel(FeatureLevelRecord {
                name: name.to_owned(),
                level,
            })
        };
        let without = after(&image, vec![level("group.version", 0).into()]);
        assert!(!is_finalised(&without));
        let older = after(&empty, vec![level("foz.version", 1).into()]);
        assert!(!is_finalised(&older), "not every broker knows it yet");
    }
}
