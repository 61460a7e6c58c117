//! Finalising feature levels.

use foz_api::v1::feature_update::UpgradeType;
use foz_api::v1::{FeatureUpdate, UpdateFeaturesRequest};

use crate::quorum::{Quorum, QuorumError};

impl Quorum {
    /// Says that every node knows a level. `Some`: the quorum knows better, with a sentence.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`]. The level may be finalised all the same.
    pub async fn finalize_feature_level(
        &self,
        name: &str,
        level: i32,
    ) -> Result<Option<String>, QuorumError> {
        let answer = self
            .change(|mut client, operator_epoch| {
                let request = UpdateFeaturesRequest {
                    updates: vec![FeatureUpdate {
                        name: name.to_owned(),
                        level,
                        upgrade_type: UpgradeType::Upgrade.into(),
                    }],
                    validate_only: false,
                    operator_epoch,
                };
                async move { client.update_features(request).await }
            })
            .await?;
        let outcome = answer.into_inner().outcome.unwrap_or_default();
        Ok((outcome.kafka_code != 0).then_some(outcome.message))
    }
}
