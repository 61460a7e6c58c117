//! UpdateFeatures (57, KIP-584): passed on to the active controller, which finalises a level once every node knows it. As
//! in Kafka since 4.0 (KIP-1022), all features of a request are updated, or none; the tool is `kafka-features.sh`.

use std::collections::HashSet;

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::feature_update::UpgradeType;
use foz_api::v1::{self, FeatureUpdate};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::text;
use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// Later versions have no place for features.
const RESULTS_TO: i16 = 1;
/// Earlier versions say whether a downgrade is allowed.
const UPGRADE_TYPES_FROM: i16 = 1;

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

type Outcome = (i16, Option<String>);

pub(crate) async fn handle(
    context: RequestContext,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    let (error, message) = updated(&context, &request).await;
    answered(context.version, &request, error, message)
}

async fn updated(context: &RequestContext, request: &UpdateFeaturesRequest) -> Outcome {
    if !context.allows(Operation::Alter, &Resource::Cluster) {
        return (ErrorCode::ClusterAuthorizationFailed.code(), None);
    }
    let updates = match checked(context.version, &request.feature_updates) {
        // Kafka has nothing to do then, and says that it is done.
        Ok(updates) if updates.is_empty() => return (ErrorCode::None.code(), None),
        Ok(updates) => updates,
        Err((error, message)) => return (error.code(), Some(message)),
    };
    let asked = v1::UpdateFeaturesRequest {
        updates,
        validate_only: request.validate_only,
        operator_epoch: 0,
    };
    let (error, message) = update(context, request.timeout_ms, asked).await;
    if error != ErrorCode::InvalidUpdateVersion.code() {
        return (error, message);
    }
    let message = format!(
        "The update failed for all features since the following feature had an error: {}",
        message.unwrap_or_default()
    );
    (error, Some(message))
}

fn checked(
    version: i16,
    updates: &[FeatureUpdateKey],
) -> Result<Vec<FeatureUpdate>, (ErrorCode, String)> {
    let mut names = HashSet::new();
    let named_once = updates.iter().all(|it| names.insert(it.feature.as_str()));
    if !named_once {
        let message = "right is to name each feature once".to_owned();
        return Err((ErrorCode::InvalidRequest, message));
    }
    let updates = updates.iter().map(|update| {
        let upgrade_type = match update.upgrade_type {
            _ if version < UPGRADE_TYPES_FROM && update.allow_downgrade => {
                UpgradeType::SafeDowngrade
            }
            _ if version < UPGRADE_TYPES_FROM => UpgradeType::Upgrade,
            UPGRADE => UpgradeType::Upgrade,
            SAFE_DOWNGRADE => UpgradeType::SafeDowngrade,
            UNSAFE_DOWNGRADE => UpgradeType::UnsafeDowngrade,
            other => {
                let message = format!(
                    "upgrade type {other} of {}: 1 (upgrade), 2 (safe downgrade) or 3 (unsafe downgrade) is right",
                    update.feature
                );
                return Err((ErrorCode::InvalidUpdateVersion, message));
            }
        };
        Ok(FeatureUpdate {
            name: update.feature.to_string(),
            level: i32::from(update.max_version_level),
            upgrade_type: upgrade_type.into(),
        })
    });
    updates.collect()
}

async fn update(
    context: &RequestContext,
    timeout_ms: i32,
    message: v1::UpdateFeaturesRequest,
) -> Outcome {
    let answer = admin::change(&context.broker, timeout_ms, |channel| {
        let message = message.clone();
        async move { AdminClient::new(channel).update_features(message).await }
    })
    .await;
    match answer {
        Ok(answer) => admin::outcome(answer.outcome),
        Err(failed) => (failed.error.code(), Some(failed.message)),
    }
}

/// As in Kafka, features are answered for one by one only where all are updated: an error is that of the whole request.
fn answered(
    version: i16,
    request: &UpdateFeaturesRequest,
    error: i16,
    message: Option<String>,
) -> UpdateFeaturesResponse {
    let response = UpdateFeaturesResponse::default()
        .with_error_code(error)
        .with_error_message(message.map(text));
    if version > RESULTS_TO || error != ErrorCode::None.code() {
        return response;
    }
    let updates = request.feature_updates.iter();
    let results = updates.map(|update| {
        UpdatableFeatureResult::default()
            .with_feature(update.feature.clone())
            .with_error_message(None)
    });
    response.with_results(results.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_is_answered_where_it_is_updated_and_there_is_a_place_for_it() {
        let update = FeatureUpdateKey::default().with_feature(text("foz.version"));
        let request = UpdateFeaturesRequest::default().with_feature_updates(vec![update]);
        for (version, results) in [(0, 1), (1, 1), (2, 0)] {
            let response = answered(version, &request, 0, None);
            assert_eq!((response.error_code, response.results.len()), (0, results));
            let mut results = response.results.iter();
            assert!(results.all(|it| it.error_code == 0 && it.error_message.is_none()));
            let response = answered(version, &request, 95, Some("no".to_owned()));
            assert_eq!((response.error_code, response.results.len()), (95, 0));
            assert_eq!(response.error_message.as_deref(), Some("no"));
        }
    }

    #[test]
    fn no_features_are_nothing_to_refuse() {
        assert_eq!(checked(2, &[]), Ok(Vec::new()));
    }

    #[test]
    fn downgrades_are_told_from_upgrades() {
        let update = FeatureUpdateKey::default().with_feature(text("foz.version"));
        let asked = |version, update: FeatureUpdateKey| {
            let checked = checked(version, &[update]);
            checked.map(|updates| updates[0].upgrade_type())
        };
        assert_eq!(asked(0, update.clone()), Ok(UpgradeType::Upgrade));
        let allowed = update.clone().with_allow_downgrade(true);
        assert_eq!(asked(0, allowed), Ok(UpgradeType::SafeDowngrade));
        for (upgrade_type, expected) in [
            (1, UpgradeType::Upgrade),
            (2, UpgradeType::SafeDowngrade),
            (3, UpgradeType::UnsafeDowngrade),
        ] {
            let update = update.clone().with_upgrade_type(upgrade_type);
            assert_eq!(asked(1, update), Ok(expected));
        }
        for unknown in [0, 4, -1] {
            let update = update.clone().with_upgrade_type(unknown);
            let (error, _) = asked(2, update).unwrap_err();
            assert_eq!(error, ErrorCode::InvalidUpdateVersion);
        }
        let twice = [update.clone(), update];
        let (error, _) = checked(1, &twice).unwrap_err();
        assert_eq!(error, ErrorCode::InvalidRequest);
    }
}
