use kafka_protocol::ResponseError;
use kafka_protocol::messages::ConsumerGroupHeartbeatResponse;
use kafka_protocol::protocol::StrBytes;

use super::timer::TimerChange;

/// Why a heartbeat is refused; the group is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Kafka's code.
    pub error: ResponseError,
    /// For whoever runs the client.
    pub message: String,
    /// To be set all the same: a member that cannot move on is alive.
    pub timers: Vec<TimerChange>,
}

impl Refused {
    pub(crate) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self {
            error,
            message: message.into(),
            timers: Vec::new(),
        }
    }

    /// The answer.
    pub fn response(&self) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse::default()
            .with_error_code(self.error.code())
            .with_error_message(Some(StrBytes::from_string(self.message.clone())))
    }
}
