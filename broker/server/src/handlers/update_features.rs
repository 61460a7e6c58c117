//! UpdateFeatures (57, KIP-584): passed on to the active controller, which finalises a level once every node knows it.
//! Levels never go back here, so an update that allows it is one like any other.

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

pub(crate) async fn handle(
    context: RequestContext,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    if !context.allows(Operation::Alter, &Resource::Cluster) {
        let error = ErrorCode::ClusterAuthorizationFailed.code();
        return answered(context.version, &request, error, None);
    }
    let names: Vec<&str> = request
        .feature_updates
        .iter()
        .map(|it| &*it.feature)
        .collect();
    let has_twice = (1..names.len()).any(|at| names[..at].contains(&names[at]));
    if names.is_empty() || has_twice {
        let message = "right is to name each feature once, and at least one".to_owned();
        let error = ErrorCode::InvalidRequest.code();
        return answered(context.version, &request, error, Some(message));
    }
    for update in &request.feature_updates {
        let (error, message) = finalize(&context, &request, update).await;
        if error != ErrorCode::None.code() {
            return answered(context.version, &request, error, message);
        }
    }
    answered(context.version, &request, ErrorCode::None.code(), None)
}

async fn finalize(
    context: &RequestContext,
    request: &UpdateFeaturesRequest,
    update: &FeatureUpdateKey,
) -> (i16, Option<String>) {
    let message = FinalizeFeatureLevelRequest {
        name: update.feature.to_string(),
        level: i32::from(update.max_version_level),
        validate_only: request.validate_only,
        operator_epoch: 0,
    };
    let answer = admin::change(&context.broker, request.timeout_ms, |channel| {
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

/// One feature is all there is: an error of one is an error of all.
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
}
