//! Why a command changes nothing.

use uuid::Uuid;

use crate::config::ConfigError;
use crate::topic_name::TopicNameError;

/// A refusal in Kafka's terms. The message is a sentence for a person: it names the field, the value
/// and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// For a broker: those of its directories that it must not use now, by their ids. Without them it may register.
    pub older_directories: Vec<Uuid>,
}

/// The kinds of refusal that rules give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "Kafka's own names: https://kafka.apache.org/protocol#protocol_error_codes"
)]
pub enum ErrorCode {
    UnknownServerError,
    UnknownTopicOrPartition,
    InvalidTopic,
    TopicAlreadyExists,
    InvalidPartitions,
    InvalidReplicationFactor,
    InvalidReplicaAssignment,
    InvalidConfig,
    InvalidRequest,
    PolicyViolation,
    TopicDeletionDisabled,
    FencedLeaderEpoch,
    NotController,
    PreferredLeaderNotAvailable,
    EligibleLeadersNotAvailable,
    ElectionNotNeeded,
    NoReassignmentInProgress,
    InvalidUpdateVersion,
    IneligibleReplica,
    StaleBrokerEpoch,
    UnknownTopicId,
    DuplicateBrokerRegistration,
    BrokerIdNotRegistered,
    InconsistentClusterId,
    InvalidRegistration,
    VoterNotFound,
    /// Not Kafka's: an older operator called. Kafka clients never see it.
    StaleOperatorEpoch,
}

impl ErrorCode {
    /// The number in Kafka's protocol.
    #[must_use]
    pub fn kafka_code(self) -> i16 {
        match self {
            Self::UnknownServerError => -1,
            Self::UnknownTopicOrPartition => 3,
            Self::InvalidTopic => 17,
            Self::TopicAlreadyExists => 36,
            Self::InvalidPartitions => 37,
            Self::InvalidReplicationFactor => 38,
            Self::InvalidReplicaAssignment => 39,
            Self::InvalidConfig => 40,
            Self::NotController => 41,
            Self::InvalidRequest => 42,
            Self::PolicyViolation => 44,
            // OPERATION_NOT_ATTEMPTED.
            Self::StaleOperatorEpoch => 55,
            Self::TopicDeletionDisabled => 73,
            Self::FencedLeaderEpoch => 74,
            Self::StaleBrokerEpoch => 77,
            Self::PreferredLeaderNotAvailable => 80,
            Self::EligibleLeadersNotAvailable => 83,
            Self::ElectionNotNeeded => 84,
            Self::NoReassignmentInProgress => 85,
            Self::InvalidUpdateVersion => 95,
            Self::UnknownTopicId => 100,
            Self::DuplicateBrokerRegistration => 101,
            Self::BrokerIdNotRegistered => 102,
            Self::InconsistentClusterId => 104,
            Self::IneligibleReplica => 107,
            Self::InvalidRegistration => 119,
            Self::VoterNotFound => 127,
        }
    }
}

impl Refusal {
    /// Of everything that was asked for.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            older_directories: Vec::new(),
        }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorCode::InvalidConfig, error.to_string())
    }
}

impl From<TopicNameError> for Refusal {
    fn from(error: TopicNameError) -> Self {
        Self::new(ErrorCode::InvalidTopic, error.to_string())
    }
}
