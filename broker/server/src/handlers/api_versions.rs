//! ApiVersions (18): what this broker speaks, to clients that do not know yet; and with KIP-584 the features that it
//! knows and those that are finalised, which is what `kafka-features.sh describe` shows.

use foz_metadata::Image;
use foz_metadata::rules::{FOZ_VERSION_FEATURE, FOZ_VERSION_MAX};
use foz_protocol::apis;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::text;
use crate::request::RequestContext;

/// Older versions have no place for features.
const FEATURES_FROM: i16 = 3;
const LEVEL_LEAST: i16 = 1;

pub(crate) async fn handle(context: RequestContext, _: ApiVersionsRequest) -> ApiVersionsResponse {
    let response = apis::api_versions_response(ErrorCode::None);
    if context.version < FEATURES_FROM {
        return response;
    }
    with_features(response, &context.broker.image())
}

fn with_features(response: ApiVersionsResponse, image: &Image) -> ApiVersionsResponse {
    let supported = SupportedFeatureKey::default()
        .with_name(text(FOZ_VERSION_FEATURE))
        .with_min_version(LEVEL_LEAST)
        .with_max_version(level(FOZ_VERSION_MAX));
    let finalized: Vec<_> = image
        .features()
        .map(|(name, finalized)| {
            FinalizedFeatureKey::default()
                .with_name(text(name))
                .with_min_version_level(LEVEL_LEAST)
                .with_max_version_level(level(finalized))
        })
        .collect();
    let response = response.with_supported_features(vec![supported]);
    // A broker that has just started has not heard yet.
    if finalized.is_empty() {
        return response;
    }
    response
        .with_finalized_features_epoch(image.offset())
        .with_finalized_features(finalized)
}

fn level(level: i32) -> i16 {
    i16::try_from(level).unwrap_or(i16::MAX)
}

#[cfg(test)]
mod tests {
    use foz_metadata::record::Batch;
    use foz_metadata::rules::found_cluster;

    use super::*;

    #[test]
    fn what_is_finalised_is_told_once_it_is_known() {
        let empty = Image::default();
        let told = with_features(ApiVersionsResponse::default(), &empty);
        assert_eq!(told.supported_features.len(), 1);
        assert_eq!(told.finalized_features_epoch, -1);
        let batch = Batch {
            follows: 0,
            term: 1,
            records: found_cluster(&empty, "c").unwrap().records,
        };
        let told = with_features(
            ApiVersionsResponse::default(),
            &empty.apply(&batch).unwrap(),
        );
        assert_eq!(told.finalized_features_epoch, 1);
        let [finalized] = told.finalized_features.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!(
            (&*finalized.name, finalized.max_version_level),
            ("foz.version", 1)
        );
    }
}
