//! What can go wrong, said so that a person knows what to do.

use std::time::Duration;

use foz_protocol::error::ErrorCode;

/// An error of the client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// `host:port`.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// None of the bootstrap servers answers.
    #[error(
        "no broker answers at {addresses} ({last}); is it running, and is this its address? \
         Name another one with --bootstrap HOST:PORT or FOZ_BOOTSTRAP"
    )]
    Bootstrap {
        /// All that were tried.
        addresses: String,
        /// What the last one said.
        last: Box<Self>,
    },
    /// The connection broke.
    #[error("the connection to {address} broke: {reason}")]
    Broken {
        /// `host:port`.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// What came is not Kafka's protocol.
    #[error("{address} does not speak Kafka's protocol ({reason}); is it the port of a listener?")]
    NotKafka {
        /// `host:port`.
        address: String,
        /// What was strange.
        reason: String,
    },
    /// The broker is too old or too new.
    #[error("{address} offers {broker} of {api}, this client needs one of the versions {ours}")]
    NoCommonVersion {
        /// `host:port`.
        address: String,
        /// Which API.
        api: &'static str,
        /// What the broker offers.
        broker: String,
        /// What we know.
        ours: String,
    },
    /// No answer in time.
    #[error("{what} took longer than {}", human(*.after))]
    TimedOut {
        /// What was tried.
        what: String,
        /// The limit.
        after: Duration,
    },
    /// The broker refused.
    #[error("{what}: {}", refusal(*.error, .message.as_deref()))]
    Refused {
        /// What was tried.
        what: String,
        /// The code.
        error: ErrorCode,
        /// What the broker adds.
        message: Option<String>,
    },
    /// The request cannot be made.
    #[error("{0}")]
    Invalid(String),
}

impl ClientError {
    /// The code, when the broker refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { error, .. } => Some(*error),
            _ => None,
        }
    }

    /// The same may work a moment later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Bootstrap { .. }
            | Self::Broken { .. }
            | Self::TimedOut { .. } => true,
            Self::Refused { error, .. } => error.is_retriable(),
            Self::NotKafka { .. } | Self::NoCommonVersion { .. } | Self::Invalid(_) => false,
        }
    }
}

/// `Ok` for no error, else a refusal of `what`.
pub(crate) fn check(
    code: i16,
    message: Option<&str>,
    what: impl FnOnce() -> String,
) -> Result<(), ClientError> {
    match ErrorCode::from(code) {
        ErrorCode::None => Ok(()),
        error => Err(ClientError::Refused {
            what: what(),
            error,
            message: message.filter(|text| !text.is_empty()).map(str::to_owned),
        }),
    }
}

fn refusal(error: ErrorCode, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("{} ({})", message.trim_end_matches('.'), error.name()),
        None => format!("{} ({})", error.message(), error.name()),
    }
}

fn human(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}
