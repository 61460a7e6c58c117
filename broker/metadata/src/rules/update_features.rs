//! Levels of features: what belongs to one may be written, or done, from now on.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::named_once::NamedOnce;
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::image::{FEATURES, FOZ_VERSION_FEATURE, Feature, Image, SupportedFeatures};
use crate::record::{Fact, FeatureLevelRecord};

/// The controllers that vote or are about to, by node id, with what each has said to know; `None` for one that did not
/// answer.
pub type ControllerFeatures = BTreeMap<i32, Option<SupportedFeatures>>;

/// What is asked.
#[derive(Debug, Clone)]
pub struct UpdateFeatures {
    /// Each feature once.
    pub updates: Vec<FeatureUpdate>,
    /// Who else has to know.
    pub controllers: ControllerFeatures,
    /// Whether the decision is asked for alone.
    pub validate_only: bool,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
}

/// One feature of a request.
#[derive(Debug, Clone)]
pub struct FeatureUpdate {
    /// Of the feature.
    pub name: String,
    /// From 0, which is a cluster without the feature.
    pub level: i32,
    /// Which way.
    pub upgrade_type: UpgradeType,
}

/// Kafka's, where the two downgrades differ for `metadata.version` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeType {
    /// 1: the level must not go down.
    Upgrade,
    /// 2: the level must not go up, and nothing may be lost by it.
    SafeDowngrade,
    /// 3: the level must not go up.
    UnsafeDowngrade,
}

/// Finalises levels of features: all of them, or none. Refused while any broker that is registered, alive or not, or
/// any controller does not know a level: when it comes back it could not do what belongs to it. Asking for the level that
/// there is changes nothing.
///
/// `foz.version` never goes back: records of its level may be in the metadata. The levels of others say what brokers do
/// from then on, and go both ways, as in Kafka.
pub fn update_features(image: &Image, request: &UpdateFeatures) -> Decided<()> {
    check_operator_epoch(image, request.operator_epoch)?;
    let named_once = NamedOnce::of(request.updates.iter().map(|it| &it.name));
    let mut draft = Draft::new(image);
    for update in &request.updates {
        named_once.check(&&update.name, format_args!("the feature {:?}", update.name))?;
        let known = FEATURES.iter().find(|it| it.name == update.name);
        let Some(feature) = known else {
            let names = FEATURES.map(|it| it.name).join(", ");
            return refused(format!(
                "there is no feature {:?}; there are {names}",
                update.name
            ));
        };
        check_direction(image, update)?;
        check_known_to_all(image, &request.controllers, update)?;
        check_known_here(image, feature, update)?;
        if update.level != finalized(image, &update.name) {
            draft.write(level_record(&update.name, update.level));
        }
    }
    if request.validate_only {
        return Ok(Draft::new(image).decide(()));
    }
    Ok(draft.decide(()))
}

/// Where the metadata is older than a feature, writes the level of a new cluster once every node knows it.
pub fn found_features(image: &Image, controllers: &ControllerFeatures) -> Decided<()> {
    let mut draft = Draft::new(image);
    for feature in unfounded(image) {
        if unable(image, controllers, feature.name, feature.founded).is_empty() {
            draft.write(level_record(feature.name, feature.founded));
        }
    }
    Ok(draft.decide(()))
}

/// Whether [`found_features`] has something to write, as far as brokers are concerned.
#[must_use]
pub fn wants_features(image: &Image) -> bool {
    let nobody = ControllerFeatures::new();
    !image.cluster_id().is_empty()
        && unfounded(image).any(|it| unable(image, &nobody, it.name, it.founded).is_empty())
}

fn unfounded(image: &Image) -> impl Iterator<Item = Feature> {
    let features = FEATURES.into_iter();
    features.filter(|it| image.feature_level(it.name).is_none())
}

fn level_record(name: &str, level: i32) -> Fact {
    Fact::FeatureLevel(FeatureLevelRecord {
        name: name.to_owned(),
        level,
    })
}

fn finalized(image: &Image, name: &str) -> i32 {
    let least = i32::from(name == FOZ_VERSION_FEATURE);
    image.feature_level(name).unwrap_or(least)
}

fn refused<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal::new(ErrorCode::InvalidUpdateVersion, message))
}

fn check_direction(image: &Image, update: &FeatureUpdate) -> Result<(), Refusal> {
    let (name, level) = (update.name.as_str(), update.level);
    let finalized = finalized(image, name);
    let is_upgrade = update.upgrade_type == UpgradeType::Upgrade;
    if level < finalized && name == FOZ_VERSION_FEATURE {
        return refused(format!(
            "{name} is {finalized}, and does not go back to {level}: the metadata may hold what belongs to {finalized}"
        ));
    }
    if level < finalized && is_upgrade {
        return refused(format!(
            "{name} is {finalized}, and goes down to {level} by a downgrade alone, safe or unsafe"
        ));
    }
    if level > finalized && !is_upgrade {
        return refused(format!(
            "{name} is {finalized}, and a downgrade does not go up to {level}"
        ));
    }
    Ok(())
}

fn check_known_to_all(
    image: &Image,
    controllers: &ControllerFeatures,
    update: &FeatureUpdate,
) -> Result<(), Refusal> {
    let unable = unable(image, controllers, &update.name, update.level);
    if unable.is_empty() || update.level == finalized(image, &update.name) {
        return Ok(());
    }
    refused(format!(
        "{} {} is not known to all: {}",
        update.name,
        update.level,
        unable.join(", ")
    ))
}

fn check_known_here(
    image: &Image,
    feature: &Feature,
    update: &FeatureUpdate,
) -> Result<(), Refusal> {
    let (name, levels) = (feature.name, feature.levels);
    if levels.contains(update.level) || update.level == finalized(image, name) {
        return Ok(());
    }
    refused(format!(
        "{name} {} is not known to the active controller, which knows {levels}",
        update.level
    ))
}

/// Who does not know the level.
fn unable(image: &Image, controllers: &ControllerFeatures, name: &str, level: i32) -> Vec<String> {
    let brokers = image.brokers().filter_map(|it| {
        let levels = it.features.levels(name);
        let (node_id, version) = (it.node_id, &it.version);
        (!levels.contains(level))
            .then(|| format!("broker {node_id} (version {version}) knows {levels}"))
    });
    let controllers = controllers.iter().filter_map(|(node_id, features)| {
        let Some(features) = features else {
            return Some(format!("controller {node_id} does not answer"));
        };
        let levels = features.levels(name);
        (!levels.contains(level)).then(|| format!("controller {node_id} knows {levels}"))
    });
    brokers.chain(controllers).collect()
}

#[cfg(test)]
mod tests;
