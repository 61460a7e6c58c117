//! Finding a topic that may have been made a moment ago.

use std::time::Duration;

use foz_protocol::error::ErrorCode;

use super::error::check;
use super::retry::Retry;
use super::{Client, ClientError};

/// How long a topic may be unknown: a broker may lag half a second behind the one that made it.
pub const UNKNOWN_TOPIC_GRACE: Duration = Duration::from_secs(1);

impl Client {
    /// The partitions of a topic; asks again for as long as `grace` while the topic is not there,
    /// because a broker may lag behind the one that made it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with `UNKNOWN_TOPIC_OR_PARTITION` when it does not exist.
    pub async fn partitions_of(
        &self,
        topic: &str,
        grace: Duration,
    ) -> Result<Vec<i32>, ClientError> {
        Retry::within(grace)
            .run(async || {
                let cluster = self.refresh(Some(&[topic])).await?;
                let Some(known) = cluster.topics.get(topic) else {
                    return Err(unknown_topic(topic));
                };
                match known.error {
                    ErrorCode::None => Ok(known.partitions.keys().copied().collect()),
                    ErrorCode::UnknownTopicOrPartition => Err(unknown_topic(topic)),
                    error => {
                        Err(
                            check(error.code(), None, || format!("looking for topic {topic}"))
                                .expect_err("the code is an error"),
                        )
                    }
                }
            })
            .await
    }
}

fn unknown_topic(topic: &str) -> ClientError {
    ClientError::Refused {
        what: format!("looking for topic {topic}"),
        error: ErrorCode::UnknownTopicOrPartition,
        message: Some(format!(
            "there is none of this name; make it with: foz topics create {topic}"
        )),
    }
}
