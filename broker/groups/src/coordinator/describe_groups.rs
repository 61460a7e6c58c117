use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::Coordinator;
use crate::group::{Group, GroupState};
use crate::response::{Response, describe_missing, wire, wire_group_id};

impl Coordinator {
    /// `authorized_operations` is for the caller to fill in.
    pub(super) fn describe_groups(
        &self,
        api_version: i16,
        request: &DescribeGroupsRequest,
    ) -> Response {
        let groups = request
            .groups
            .iter()
            .map(|group_id| match self.groups.get(&***group_id) {
                Some(group) => describe(group),
                None => {
                    let missing = describe_missing(api_version, group_id);
                    let is_consumer = self.consumer_groups.contains_key(&***group_id);
                    match missing.error_message {
                        Some(_) if is_consumer => missing.with_error_message(Some(wire(&format!(
                            "Group {} is not a classic group.",
                            &***group_id
                        )))),
                        _ => missing,
                    }
                }
            });
        Response::DescribeGroups(DescribeGroupsResponse::default().with_groups(groups.collect()))
    }
}

/// Protocol and metadata are told of a Stable group only: in between they are about to change.
fn describe(group: &Group) -> DescribedGroup {
    let protocol_name = match group.state {
        GroupState::Stable => group.protocol_name.as_deref(),
        _ => None,
    };
    let members = group.members.values().map(|member| {
        let metadata = protocol_name
            .map(|name| member.metadata(name))
            .unwrap_or_default();
        DescribedGroupMember::default()
            .with_member_id(wire(&member.id))
            .with_group_instance_id(member.instance_id.as_deref().map(wire))
            .with_client_id(wire(&member.client_id))
            .with_client_host(wire(&member.client_host))
            .with_member_metadata(metadata)
            .with_member_assignment(member.assignment.clone())
    });
    DescribedGroup::default()
        .with_group_id(wire_group_id(&group.id))
        .with_group_state(wire(group.state.name()))
        .with_protocol_type(wire(group.protocol_type.as_deref().unwrap_or("")))
        .with_protocol_data(wire(protocol_name.unwrap_or("")))
        .with_members(members.collect())
}
