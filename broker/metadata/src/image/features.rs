//! Features: what the nodes of a cluster do only once all of them can (KIP-584).

use std::collections::BTreeMap;
use std::fmt;

use super::Image;
use crate::record::SupportedFeature;

/// The feature whose level says which records may be in the metadata.
pub const FOZ_VERSION_FEATURE: &str = "foz.version";
/// The level of a new cluster.
pub const FOZ_VERSION: i32 = 1;
/// The highest level that this program can read.
pub const FOZ_VERSION_MAX: i32 = 1;

/// As in Kafka. 1: consumer groups of the protocol of KIP-848 are served.
pub const GROUP_VERSION_FEATURE: &str = "group.version";
/// As in Kafka. 1: what is known of a transaction is written with tagged fields. 2: each transaction has an epoch of its
/// own, and partitions come to it with what is produced (KIP-890).
pub const TRANSACTION_VERSION_FEATURE: &str = "transaction.version";

/// Tests of this crate stand for later versions, too.
const READABLE_MAX: i32 = if cfg!(test) { 9 } else { FOZ_VERSION_MAX };

/// A feature that this program knows.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// Of the cluster's levels.
    pub name: &'static str,
    /// Those that this program can do.
    pub levels: LevelRange,
    /// The level of a new cluster, and of one whose metadata is older than the feature.
    pub founded: i32,
}

/// By name. 0 stands for a cluster without the feature.
pub const FEATURES: [Feature; 3] = [
    Feature {
        name: FOZ_VERSION_FEATURE,
        levels: LevelRange {
            min: 1,
            max: FOZ_VERSION_MAX,
        },
        founded: FOZ_VERSION,
    },
    Feature {
        name: GROUP_VERSION_FEATURE,
        levels: LevelRange { min: 0, max: 1 },
        founded: 1,
    },
    Feature {
        name: TRANSACTION_VERSION_FEATURE,
        levels: LevelRange { min: 0, max: 2 },
        founded: 2,
    },
];

/// Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelRange {
    /// The lowest level.
    pub min: i32,
    /// The highest level.
    pub max: i32,
}

impl LevelRange {
    /// Whether the level is in it.
    #[must_use]
    pub fn contains(self, level: i32) -> bool {
        (self.min..=self.max).contains(&level)
    }
}

impl fmt::Display for LevelRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} to {}", self.min, self.max)
    }
}

/// The levels that a node can do, by feature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SupportedFeatures(BTreeMap<String, LevelRange>);

impl SupportedFeatures {
    /// Those of this program.
    #[must_use]
    pub fn of_this_program() -> Self {
        let features = FEATURES.iter();
        features.map(|it| (it.name.to_owned(), it.levels)).collect()
    }

    /// A node that does not know a feature does without it; `foz.version` began with level 1.
    #[must_use]
    pub fn levels(&self, feature: &str) -> LevelRange {
        let least = i32::from(feature == FOZ_VERSION_FEATURE);
        let without = LevelRange {
            min: least,
            max: least,
        };
        self.0.get(feature).copied().unwrap_or(without)
    }

    /// The highest level of `foz.version` that it can read.
    #[must_use]
    pub fn foz_version_max(&self) -> i32 {
        self.levels(FOZ_VERSION_FEATURE).max
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, LevelRange)> {
        self.0.iter().map(|(name, levels)| (name.as_str(), *levels))
    }

    pub(crate) fn from_records(records: &[SupportedFeature]) -> Self {
        let levels = |it: &SupportedFeature| LevelRange {
            min: it.min_level,
            max: it.max_level,
        };
        let features = records.iter();
        features.map(|it| (it.name.clone(), levels(it))).collect()
    }

    pub(crate) fn to_records(&self) -> Vec<SupportedFeature> {
        self.iter()
            .map(|(name, levels)| SupportedFeature {
                name: name.to_owned(),
                min_level: levels.min,
                max_level: levels.max,
            })
            .collect()
    }
}

impl FromIterator<(String, LevelRange)> for SupportedFeatures {
    fn from_iter<T: IntoIterator<Item = (String, LevelRange)>>(features: T) -> Self {
        Self(features.into_iter().collect())
    }
}

impl Image {
    /// Finalised feature levels, also those that were taken back to 0.
    pub fn features(&self) -> impl Iterator<Item = (&str, i32)> {
        self.features.iter().map(|(name, level)| (&**name, *level))
    }

    /// The finalised level of a feature; `None` while none was ever written.
    #[must_use]
    pub fn feature_level(&self, feature: &str) -> Option<i32> {
        self.features.get(feature).copied()
    }

    /// The finalised level of `transaction.version`; 0 where the metadata is older than it.
    #[must_use]
    pub fn transaction_version(&self) -> i32 {
        self.feature_level(TRANSACTION_VERSION_FEATURE).unwrap_or(0)
    }

    /// The finalised level of `group.version`; 0 where the metadata is older than it.
    #[must_use]
    pub fn group_version(&self) -> i32 {
        self.feature_level(GROUP_VERSION_FEATURE).unwrap_or(0)
    }
}

/// Whether this program can read and do what belongs to the level of the feature. Not only records of kinds that it does
/// not know may follow: those that it knows may mean something else. A feature that it does not know is not its to judge.
pub(super) fn check_readable(name: &str, level: i32) -> Result<(), String> {
    let Some(feature) = FEATURES.iter().find(|it| it.name == name) else {
        return Ok(());
    };
    let max = match name {
        FOZ_VERSION_FEATURE => READABLE_MAX,
        _ => feature.levels.max,
    };
    if level > max {
        return Err(format!(
            "{name} {level} is finalised, and this version knows up to {max}: run a newer one"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_is_founded_with_a_level_that_this_program_can_do() {
        assert!(FEATURES.is_sorted_by_key(|it| it.name));
        for feature in FEATURES {
            assert!(feature.levels.contains(feature.founded), "{feature:?}");
        }
    }

    #[test]
    fn what_a_node_can_do_is_read_as_it_was_written() {
        let features = SupportedFeatures::of_this_program();
        let records = features.to_records();
        assert_eq!(SupportedFeatures::from_records(&records), features);
        assert_eq!(
            features.levels("transaction.version"),
            LevelRange { min: 0, max: 2 }
        );
        assert_eq!(features.levels("none"), LevelRange { min: 0, max: 0 });
        assert_eq!(SupportedFeatures::default().foz_version_max(), 1);
    }

    #[test]
    fn a_level_that_this_program_cannot_do_is_not_passed_over() {
        assert_eq!(check_readable("transaction.version", 2), Ok(()));
        let error = check_readable("transaction.version", 3).unwrap_err();
        assert!(error.contains("knows up to 2"), "{error}");
        assert_eq!(check_readable("of.a.later.version", 3), Ok(()));
    }
}
