use std::sync::Arc;

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::Coordinator;
use crate::group::CONSUMER_PROTOCOL_TYPE;
use crate::response::{Response, wire, wire_group_id};

/// The types of groups (KIP-848).
const CLASSIC: &str = "classic";
const CONSUMER: &str = "consumer";

impl Coordinator {
    /// An empty filter lets everything pass, one that names nothing known lets nothing pass.
    pub(super) fn list_groups(&self, request: &ListGroupsRequest) -> Response {
        let classic = self.groups.values().map(|group| {
            let protocol_type = group.protocol_type.as_deref().unwrap_or("");
            listed(&group.id, protocol_type, group.state.name(), CLASSIC)
        });
        let consumer = self.consumer_groups.values().map(|group| {
            let state = group.state().name();
            listed(group.id(), CONSUMER_PROTOCOL_TYPE, state, CONSUMER)
        });
        let passes = |filter: &[StrBytes], value: &str| {
            let mut names = filter.iter();
            filter.is_empty() || names.any(|name| name.trim().eq_ignore_ascii_case(value))
        };
        let groups = classic.chain(consumer).filter(|group| {
            passes(&request.types_filter, &group.group_type)
                && passes(&request.states_filter, &group.group_state)
        });
        Response::ListGroups(ListGroupsResponse::default().with_groups(groups.collect()))
    }
}

fn listed(id: &Arc<str>, protocol_type: &str, state: &str, group_type: &str) -> ListedGroup {
    ListedGroup::default()
        .with_group_id(wire_group_id(id))
        .with_protocol_type(wire(protocol_type))
        .with_group_state(wire(state))
        .with_group_type(wire(group_type))
}
