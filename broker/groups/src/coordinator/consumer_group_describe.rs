use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId,
};

use super::Coordinator;
use crate::effect::{AppendToken, Effect};
use crate::request::RequestContext;
use crate::response::{Response, wire};

impl Coordinator {
    /// `authorized_operations` is for the caller to fill in.
    pub(super) fn consumer_group_describe(
        &mut self,
        context: &RequestContext,
        request: &ConsumerGroupDescribeRequest,
        effects: &mut Vec<Effect>,
    ) {
        let mut last_change = None;
        let mut groups = Vec::with_capacity(request.group_ids.len());
        for group_id in &request.group_ids {
            // A deletion, too.
            let change = self
                .appends
                .last_on_consumer_group(group_id, AppendToken::MAX);
            last_change = last_change.max(change);
            let group = self.consumer_groups.get(group_id.as_str());
            groups.push(match group {
                Some(group) => {
                    let config = self.config.consumer_of(group_id);
                    group.describe(&self.topics, config)
                }
                None => self.not_a_consumer_group(group_id),
            });
        }
        let response = ConsumerGroupDescribeResponse::default().with_groups(groups);
        let response = Response::ConsumerGroupDescribe(response);
        self.reply_after(last_change, context.waiter, response, effects);
    }

    fn not_a_consumer_group(&self, group_id: &GroupId) -> DescribedGroup {
        let id = group_id.as_str();
        if id.is_empty() {
            return DescribedGroup::default()
                .with_error_code(ResponseError::InvalidGroupId.code())
                .with_error_message(Some(wire("GroupId is empty")));
        }
        let message = if self.groups.contains_key(id) {
            format!("Group {id} is not a consumer group.")
        } else {
            format!("Group {id} not found.")
        };
        DescribedGroup::default()
            .with_group_id(group_id.clone())
            .with_error_code(ResponseError::GroupIdNotFound.code())
            .with_error_message(Some(wire(&message)))
    }
}
