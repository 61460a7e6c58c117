//! UpdateFeatures (57, KIP-584): passed on to the active controller, which finalises a level once every node knows it. As
//! in Kafka since 4.0 (KIP-1022), all features of a request are updated, or none.

use std::collections::HashSet;

use foz_api::v1::FinalizeFeatureLevelRequest;
use foz_api::v1::admin_client::AdminClient;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::text;
use crate::admin;
use crate::authorizer::{Operation, Resource};
use crate::request::RequestContext;

/// Later versions have one error for all.
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
        Ok(updates) => updates,
        Err((error, message)) => return (error.code(), Some(message)),
    };
    // There is one feature. Where another is named too, its refusal has to come before anything is written.
    let passes: &[bool] = match (request.validate_only, updates.len()) {
        (true, _) => &[true],
        (false, 1) => &[false],
        (false, _) => &[true, false],
    };
    for validate_only in passes {
        for update in &updates {
            let asked = FinalizeFeatureLevelRequest {
                validate_only: *validate_only,
                ..update.clone()
            };
            let (error, message) = finalize(context, request.timeout_ms, asked).await;
            if error != ErrorCode::None.code() {
                let message = message.unwrap_or_default();
                let message = format!(
                    "The update failed for all features since the following feature had an error: {message}"
                );
                return (error, Some(message));
            }
        }
    }
    (ErrorCode::None.code(), None)
}

fn checked(
    version: i16,
    updates: &[FeatureUpdateKey],
) -> Result<Vec<FinalizeFeatureLevelRequest>, (ErrorCode, String)> {
    let mut names = HashSet::new();
    let named_once = updates.iter().all(|it| names.insert(it.feature.as_str()));
    if updates.is_empty() || !named_once {
        let message = "right is to name each feature once, and at least one".to_owned();
        return Err((ErrorCode::InvalidRequest, message));
    }
    let requests = updates.iter().map(|update| {
        let is_downgrade = match update.upgrade_type {
            _ if version < UPGRADE_TYPES_FROM => update.allow_downgrade,
            UPGRADE => false,
            SAFE_DOWNGRADE | UNSAFE_DOWNGRADE => true,
            other => {
                let message = format!(
                    "upgrade type {other} of {}: 1 (upgrade), 2 (safe downgrade) or 3 (unsafe downgrade) is right",
                    update.feature
                );
                return Err((ErrorCode::InvalidUpdateVersion, message));
            }
        };
        Ok(FinalizeFeatureLevelRequest {
            name: update.feature.to_string(),
            level: i32::from(update.max_version_level),
            validate_only: false,
            operator_epoch: 0,
            is_downgrade,
        })
    });
    requests.collect()
}

async fn finalize(
    context: &RequestContext,
    timeout_ms: i32,
    message: FinalizeFeatureLevelRequest,
) -> Outcome {
    let answer = admin::change(&context.broker, timeout_ms, |channel| {
        let message = message.clone();
        async move {
            AdminClient::new(channel)
                .finalize_feature_level(message)
                .await
        }
    })
    .await;
    match answer {
        Ok(answer) => admin::outcome(answer.outcome),
        Err(failed) => (failed.error.code(), Some(failed.message)),
    }
}

fn answered(
    version: i16,
    request: &UpdateFeaturesRequest,
    error: i16,
    message: Option<String>,
) -> UpdateFeaturesResponse {
    let message = message.map(text);
    let response = UpdateFeaturesResponse::default()
        .with_error_code(error)
        .with_error_message(message.clone());
    if version > RESULTS_TO {
        return response;
    }
    let results = request.feature_updates.iter().map(|update| {
        UpdatableFeatureResult::default()
            .with_feature(update.feature.clone())
            .with_error_code(error)
            .with_error_message(message.clone())
    });
    response.with_results(results.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_is_answered_where_there_is_a_place_for_it() {
        let update = FeatureUpdateKey::default().with_feature(text("foz.version"));
        let request = UpdateFeaturesRequest::default().with_feature_updates(vec![update]);
        for (version, results) in [(0, 1), (1, 1), (2, 0)] {
            let response = answered(version, &request, 95, Some("no".to_owned()));
            assert_eq!((response.error_code, response.results.len()), (95, results));
            assert!(response.results.iter().all(|it| it.error_code == 95));
        }
    }

    #[test]
    fn downgrades_are_told_from_upgrades() {
        let update = FeatureUpdateKey::default().with_feature(text("foz.version"));
        let downgrades = |version, update: FeatureUpdateKey| {
            let checked = checked(version, &[update]);
            checked.map(|requests| requests[0].is_downgrade)
        };
        assert_eq!(downgrades(0, update.clone()), Ok(false));
        let allowed = update.clone().with_allow_downgrade(true);
        assert_eq!(downgrades(0, allowed), Ok(true));
        for (upgrade_type, expected) in [(1, false), (2, true), (3, true)] {
            let update = update.clone().with_upgrade_type(upgrade_type);
            assert_eq!(downgrades(1, update), Ok(expected));
        }
        for unknown in [0, 4, -1] {
            let update = update.clone().with_upgrade_type(unknown);
            let (error, _) = downgrades(2, update).unwrap_err();
            assert_eq!(error, ErrorCode::InvalidUpdateVersion);
        }
        let twice = [update.clone(), update];
        let (error, _) = checked(1, &twice).unwrap_err();
        assert_eq!(error, ErrorCode::InvalidRequest);
    }
}
