use foz_records::STRING_BYTES_MAX;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

use super::config::ConsumerGroupConfig;
use super::refused::Refused;
use super::{JOIN_EPOCH, LEAVE_EPOCH, LEAVE_FOR_A_WHILE_EPOCH};
use crate::assignor::Assignor;

/// From this version on members make their ids themselves (KIP-1082).
const MEMBER_ID_OF_CLIENT_VERSION: i16 = 1;

/// Longest regular expression that is taken.
pub const REGEX_BYTES_MAX: usize = 4_096;

/// What can be said of a heartbeat without looking at the group; gives the assignor that it asks for.
pub(crate) fn validate(
    config: &ConsumerGroupConfig,
    api_version: i16,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<Option<Assignor>, Refused> {
    let invalid = |message: String| Err(Refused::new(ResponseError::InvalidRequest, message));
    let epoch = request.member_epoch;
    let needs_member_id =
        api_version >= MEMBER_ID_OF_CLIENT_VERSION || epoch > JOIN_EPOCH || epoch == LEAVE_EPOCH;
    let texts = [
        ("GroupId", Some(&*request.group_id.0)),
        (
            "MemberId",
            Some(&*request.member_id).filter(|id| needs_member_id || !id.is_empty()),
        ),
        ("InstanceId", request.instance_id.as_deref()),
        ("RackId", request.rack_id.as_deref()),
    ];
    for (field, text) in texts {
        let length = text.map(str::len);
        if length == Some(0) {
            return invalid(format!("{field} is empty"));
        }
        if length > Some(STRING_BYTES_MAX) {
            return invalid(format!("{field} is longer than {STRING_BYTES_MAX} bytes"));
        }
    }
    let names = request.subscribed_topic_names.iter().flatten();
    let longest_name = names.map(|name| name.len()).max();
    if longest_name > Some(STRING_BYTES_MAX) {
        return invalid(format!(
            "SubscribedTopicNames has a name of more than {STRING_BYTES_MAX} bytes"
        ));
    }
    if epoch < LEAVE_FOR_A_WHILE_EPOCH {
        return invalid(format!(
            "MemberEpoch is {epoch}; it is {JOIN_EPOCH} to join, {LEAVE_EPOCH} or \
             {LEAVE_FOR_A_WHILE_EPOCH} to leave, else what the last answer said"
        ));
    }
    if epoch == LEAVE_FOR_A_WHILE_EPOCH && request.instance_id.is_none() {
        return invalid(format!(
            "MemberEpoch {epoch} is for static members: InstanceId is null"
        ));
    }
    if request.rebalance_timeout_ms < -1 {
        return invalid(format!(
            "RebalanceTimeoutMs is {}; it is 0 or more, or -1 where it is as before",
            request.rebalance_timeout_ms
        ));
    }
    if epoch == JOIN_EPOCH {
        if request.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs is -1 in a request to join".to_owned());
        }
        if request
            .topic_partitions
            .as_ref()
            .is_none_or(|owned| !owned.is_empty())
        {
            return invalid("TopicPartitions is not empty in a request to join".to_owned());
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return invalid(
                "SubscribedTopicNames and SubscribedTopicRegex are both null in a request to join"
                    .to_owned(),
            );
        }
    }
    let regex = request.subscribed_topic_regex.as_deref().unwrap_or("");
    if regex.len() > REGEX_BYTES_MAX {
        return Err(Refused::new(
            ResponseError::InvalidRegularExpression,
            format!("SubscribedTopicRegex is longer than {REGEX_BYTES_MAX} bytes"),
        ));
    }
    let Some(name) = request.server_assignor.as_deref() else {
        return Ok(None);
    };
    let assignor = Assignor::by_name(name).filter(|assignor| config.assignors.contains(assignor));
    if assignor.is_none() {
        let served = Vec::from_iter(config.assignors.iter().map(|assignor| assignor.name()));
        return Err(Refused::new(
            ResponseError::UnsupportedAssignor,
            format!("ServerAssignor is {name}; served are {}", served.join(", ")),
        ));
    }
    Ok(assignor)
}
