use foz_api::v1;
use foz_api::v1::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use foz_metadata::rules::{self, UpgradeType};
use tonic::Status;

use super::as_outcome::as_outcome;
use crate::controller_features::controller_features;
use crate::convert;
use crate::services::calls::Calls;

pub(super) async fn update_features(
    calls: &Calls,
    request: UpdateFeaturesRequest,
) -> Result<UpdateFeaturesResponse, Status> {
    calls.check_active().await?;
    let updates = request.updates.into_iter().map(update);
    let request = rules::UpdateFeatures {
        updates: updates.collect::<Result<_, _>>()?,
        controllers: controller_features(calls).await,
        validate_only: request.validate_only,
        operator_epoch: request.operator_epoch,
    };
    let asked: Vec<String> = request
        .updates
        .iter()
        .map(|it| format!("{}={}", it.name, it.level))
        .collect();
    let (asked, validate_only) = (asked.join(", "), request.validate_only);
    let outcome = calls
        .change(move |image| as_outcome(rules::update_features(image, &request)))
        .await?;
    match &outcome {
        Ok(()) if validate_only => {}
        Ok(()) => tracing::info!(asked, "feature levels are finalised"),
        Err(refusal) => tracing::info!(asked, %refusal, "feature levels are not finalised"),
    }
    Ok(UpdateFeaturesResponse {
        outcome: Some(convert::outcome(&outcome)),
    })
}

fn update(update: v1::FeatureUpdate) -> Result<rules::FeatureUpdate, Status> {
    use v1::feature_update::UpgradeType as Asked;
    let upgrade_type = match update.upgrade_type() {
        Asked::Upgrade => UpgradeType::Upgrade,
        Asked::SafeDowngrade => UpgradeType::SafeDowngrade,
        Asked::UnsafeDowngrade => UpgradeType::UnsafeDowngrade,
        Asked::Unspecified => {
            return Err(Status::invalid_argument(format!(
                "updates.upgrade_type {} of {}: 1 (upgrade), 2 (safe downgrade) or 3 (unsafe downgrade) is right",
                update.upgrade_type, update.name
            )));
        }
    };
    Ok(rules::FeatureUpdate {
        name: update.name,
        level: update.level,
        upgrade_type,
    })
}
