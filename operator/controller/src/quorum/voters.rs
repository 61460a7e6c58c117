//! Changing who votes in the quorum.

use foz_api::v1::{AddVoterRequest, RemoveVoterRequest};

use crate::quorum::{Quorum, QuorumError};

impl Quorum {
    /// Takes a controller out of the quorum. `Some`: the quorum refuses, with a sentence.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`]. The controller may be removed all the same.
    pub async fn remove_voter(&self, node_id: i32) -> Result<Option<String>, QuorumError> {
        let answer = self
            .change(|mut client, operator_epoch| {
                let request = RemoveVoterRequest {
                    node_id,
                    operator_epoch,
                    directory_id: Vec::new(),
                };
                async move { client.remove_voter(request).await }
            })
            .await?;
        let outcome = answer.into_inner().outcome.unwrap_or_default();
        Ok((outcome.kafka_code != 0).then_some(outcome.message))
    }

    /// Lets a controller that was removed come back.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`].
    pub async fn add_voter(&self, node_id: i32) -> Result<(), QuorumError> {
        self.change(|mut client, operator_epoch| {
            let request = AddVoterRequest {
                node_id,
                operator_epoch,
            };
            async move { client.add_voter(request).await }
        })
        .await
        .map(drop)
    }
}
