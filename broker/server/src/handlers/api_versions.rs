//! ApiVersions (18): what this broker speaks, to clients that do not know yet; and with KIP-584 the features that it
//! knows and those that are finalised, which is what `kafka-features.sh describe` shows.

use foz_metadata::Image;
use foz_metadata::image::FEATURES;
use foz_protocol::apis;
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::text;
use crate::request::RequestContext;

/// Older versions have no place for features.
const FEATURES_FROM: i16 = 3;
/// Clients that ask by older versions cannot read that a feature may be done without (KAFKA-17492).
const LEAST_LEVEL_0_FROM: i16 = 4;

pub(crate) async fn handle(context: RequestContext, _: ApiVersionsRequest) -> ApiVersionsResponse {
    let response = apis::api_versions_response(ErrorCode::None);
    if context.version < FEATURES_FROM {
        return response;
    }
    with_features(response, context.version, &context.broker.image())
}

fn with_features(
    response: ApiVersionsResponse,
    version: i16,
    image: &Image,
) -> ApiVersionsResponse {
    let told = FEATURES
        .iter()
        .filter(|it| version >= LEAST_LEVEL_0_FROM || it.levels.min > 0);
    let supported = told.map(|feature| {
        SupportedFeatureKey::default()
            .with_name(text(feature.name))
            .with_min_version(level(feature.levels.min))
            .with_max_version(level(feature.levels.max))
    });
    let response = response.with_supported_features(supported.collect());
    // A broker that has just started has not heard yet.
    if image.features().next().is_none() {
        return response;
    }
    let finalized = image.features().filter(|(_, level)| *level > 0);
    let finalized = finalized.map(|(name, finalized)| {
        FinalizedFeatureKey::default()
            .with_name(text(name))
            .with_min_version_level(level(finalized))
            .with_max_version_level(level(finalized))
    });
    response
        .with_finalized_features_epoch(image.offset())
        .with_finalized_features(finalized.collect())
}

fn level(level: i32) -> i16 {
    i16::try_from(level).unwrap_or(i16::MAX)
}

#[cfg(test)]
mod tests {
    use foz_metadata::record::{Batch, Fact, FeatureLevelRecord, Record};
    use foz_metadata::rules::found_cluster;

    use super::*;

    fn finalized(told: &ApiVersionsResponse) -> Vec<(&str, i16, i16)> {
        let finalized = told.finalized_features.iter();
        finalized
            .map(|it| (&*it.name, it.min_version_level, it.max_version_level))
            .collect()
    }

    fn supported(told: &ApiVersionsResponse) -> Vec<(&str, i16, i16)> {
        let supported = told.supported_features.iter();
        supported
            .map(|it| (&*it.name, it.min_version, it.max_version))
            .collect()
    }

    fn after(image: &Image, records: Vec<Record>) -> Image {
        let batch = Batch {
            follows: image.offset(),
            term: 1,
            records,
        };
        image.apply(&batch).unwrap()
    }

    #[test]
    fn what_is_finalised_is_told_once_it_is_known() {
        let image = Image::default();
        let told = with_features(ApiVersionsResponse::default(), 4, &image);
        assert_eq!(supported(&told).len(), 3);
        assert_eq!(told.finalized_features_epoch, -1);
        let image = after(&image, found_cluster(&image, "c").unwrap().records);
        let told = with_features(ApiVersionsResponse::default(), 4, &image);
        assert_eq!(told.finalized_features_epoch, 1);
        let founded = [
            ("foz.version", 1, 1),
            ("group.version", 1, 1),
            ("transaction.version", 2, 2),
        ];
        assert_eq!(finalized(&told), founded);
        // As Kafka, a feature that the cluster does without is not named.
        let zero = Fact::FeatureLevel(FeatureLevelRecord {
            name: "group.version".to_owned(),
            level: 0,
        });
        let image = after(&image, vec![zero.into()]);
        let told = with_features(ApiVersionsResponse::default(), 4, &image);
        assert_eq!(told.finalized_features_epoch, 2);
        assert_eq!(finalized(&told), [founded[0], founded[2]]);
    }

    #[test]
    fn who_cannot_read_that_a_feature_may_be_done_without_is_not_told_that_it_is_known() {
        let image = Image::default();
        let image = after(&image, found_cluster(&image, "c").unwrap().records);
        let told = with_features(ApiVersionsResponse::default(), 3, &image);
        assert_eq!(supported(&told), [("foz.version", 1, 1)]);
        assert_eq!(finalized(&told).len(), 3);
        let told = with_features(ApiVersionsResponse::default(), 4, &image);
        let all = [
            ("foz.version", 1, 1),
            ("group.version", 0, 1),
            ("transaction.version", 0, 2),
        ];
        assert_eq!(supported(&told), all);
    }
}
