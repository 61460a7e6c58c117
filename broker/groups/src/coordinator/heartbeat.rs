use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::{Coordinator, Parts};
use crate::group::{Group, GroupState};
use crate::now::Now;
use crate::response::Response;

impl Coordinator {
    pub(super) fn heartbeat(&mut self, request: &HeartbeatRequest, now: Now) -> Response {
        let error_code = match self.beat(request, now) {
            Ok(()) => 0,
            Err(error) => error.code(),
        };
        Response::Heartbeat(HeartbeatResponse::default().with_error_code(error_code))
    }

    fn beat(&mut self, request: &HeartbeatRequest, now: Now) -> Result<(), ResponseError> {
        if request.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        if self.consumer_groups.contains_key(request.group_id.as_str()) {
            let group_id = Arc::from(request.group_id.as_str());
            return self.beat_classic_member(&group_id, request, now);
        }
        let mut effects = Vec::new();
        let Parts {
            groups, mut turn, ..
        } = self.parts(now, &mut effects);
        let group = groups
            .get(request.group_id.as_str())
            .ok_or(ResponseError::UnknownMemberId)?;
        validate(group, request)?;
        turn.schedule_session(group, &Arc::from(request.member_id.as_str()));
        match group.state {
            GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }
}

fn validate(group: &Group, request: &HeartbeatRequest) -> Result<(), ResponseError> {
    group.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation {
        return Err(ResponseError::IllegalGeneration);
    }
    Ok(())
}
