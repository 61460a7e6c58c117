use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::Coordinator;
use crate::response::{Response, wire, wire_group_id};

/// The type of every group here (KIP-848 names the types).
const CLASSIC: &str = "classic";

impl Coordinator {
    /// An empty filter lets everything pass, one that names nothing known lets nothing pass.
    pub(super) fn list_groups(&self, request: &ListGroupsRequest) -> Response {
        let states = &request.states_filter;
        let types = &request.types_filter;
        let is_listed_type =
            types.is_empty() || types.iter().any(|name| name.eq_ignore_ascii_case(CLASSIC));
        let listed = self.groups.values().filter(|group| {
            let state = group.state.name();
            is_listed_type
                && (states.is_empty()
                    || states
                        .iter()
                        .any(|name| name.trim().eq_ignore_ascii_case(state)))
        });
        let listed = listed.map(|group| {
            ListedGroup::default()
                .with_group_id(wire_group_id(&group.id))
                .with_protocol_type(wire(group.protocol_type.as_deref().unwrap_or("")))
                .with_group_state(wire(group.state.name()))
                .with_group_type(wire(CLASSIC))
        });
        Response::ListGroups(ListGroupsResponse::default().with_groups(listed.collect()))
    }
}
