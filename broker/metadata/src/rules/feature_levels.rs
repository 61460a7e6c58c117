//! Which records may be written: `foz.version`.
//!
//! A node that meets a record or a finalised level which it does not know stops: to go on would be another truth than
//! the others have. So a new kind of record, or a new meaning of an old one, belongs to a level, and is written only once
//! that level is finalised, which takes every broker and every controller to know it: see
//! [`update_features`](super::update_features). A rule that would write one asks [`may_write`]; who
//! forgets to ask is told by [`Draft`](super::draft::Draft).

use crate::image::Image;
pub use crate::image::{FOZ_VERSION, FOZ_VERSION_FEATURE, FOZ_VERSION_MAX};
use crate::record::Fact;

/// Of every cluster, also before its first record is written.
const LEVEL_LEAST: i32 = 1;

/// The level of `foz.version` that is finalised.
#[must_use]
pub fn foz_version(image: &Image) -> i32 {
    image
        .feature_level(FOZ_VERSION_FEATURE)
        .unwrap_or(LEVEL_LEAST)
}

/// Whether every node can read what belongs to this level.
pub(super) fn may_write(image: &Image, level: i32) -> bool {
    level <= foz_version(image)
}

/// The level that a record belongs to. Each kind is to be named here when it comes.
pub(super) fn level_of(fact: &Fact) -> i32 {
    match fact {
        #[cfg(test)]
        Fact::FeatureLevel(record) if record.name == tests::OF_LEVEL_2 => 2,
        Fact::Cluster(_)
        | Fact::RegisterBroker(_)
        | Fact::UnregisterBroker(_)
        | Fact::BrokerFence(_)
        | Fact::Topic(_)
        | Fact::Partition(_)
        | Fact::PartitionChange(_)
        | Fact::RemoveTopic(_)
        | Fact::DeleteTopic(_)
        | Fact::RestoreTopic(_)
        | Fact::PurgeDeletedTopic(_)
        | Fact::Config(_)
        | Fact::ProducerIds(_)
        | Fact::OperatorEpoch(_)
        | Fact::Rack(_)
        | Fact::FeatureLevel(_)
        | Fact::RestartGrant(_)
        | Fact::EndRestartGrant(_)
        | Fact::Cordon(_)
        | Fact::Rebalance(_) => LEVEL_LEAST,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::draft::Draft;
    use super::*;
    use crate::record::{Batch, FeatureLevelRecord, Record};

    /// Stands for a kind of record that a later version brings.
    pub(super) const OF_LEVEL_2: &str = "of.level.2";

    fn level(name: &str, level: i32) -> Fact {
        Fact::FeatureLevel(FeatureLevelRecord {
            name: name.to_owned(),
            level,
        })
    }

    fn image_at(foz_version: i32) -> Image {
        let batch = Batch {
            follows: 0,
            term: 1,
            records: vec![level(FOZ_VERSION_FEATURE, foz_version).into()],
        };
        Image::default().apply(&batch).unwrap()
    }

    /// As a rule of version 2 would be.
    pub(in crate::rules) fn rule_of_version_2(image: &Image) -> Vec<Record> {
        let mut draft = Draft::new(image);
        if may_write(draft.image(), 2) {
            draft.write(level(OF_LEVEL_2, 1));
        }
        draft.decide(()).records
    }

    #[test]
    fn what_belongs_to_a_level_is_written_once_that_is_finalised() {
        assert_eq!(foz_version(&Image::default()), 1);
        assert_eq!(rule_of_version_2(&Image::default()), []);
        assert_eq!(rule_of_version_2(&image_at(1)), []);
        assert_eq!(
            rule_of_version_2(&image_at(2)),
            [Record::from(level(OF_LEVEL_2, 1))]
        );
        assert_eq!(rule_of_version_2(&image_at(3)).len(), 1);
    }

    #[test]
    #[should_panic(expected = "level 2")]
    fn a_rule_that_does_not_ask_is_found_out() {
        Draft::new(&image_at(1)).write(level(OF_LEVEL_2, 1));
    }

    /// What a program of version 2 wrote, as one of version 1 reads it.
    #[test]
    fn a_record_of_another_version_is_not_passed_over() {
        // Field 500 of the record, a message of no bytes: protobuf alone would skip it.
        let unknown = [0xa2, 0x1f, 0x00];
        let mut batch = vec![0x1a, u8::try_from(unknown.len()).unwrap()];
        batch.extend(unknown);
        let batch = Batch::decode_from(&batch).unwrap();
        assert_eq!(batch.records, [Record { record: None }]);
        let error = Image::default().apply(&batch).unwrap_err().to_string();
        assert!(error.contains("does not know the record"), "{error}");
    }

    /// Records of a known kind may mean something else there.
    #[test]
    fn a_level_of_another_version_is_not_passed_over() {
        let batch = Batch {
            follows: 0,
            term: 1,
            records: vec![level(FOZ_VERSION_FEATURE, 10).into()],
        };
        let error = Image::default().apply(&batch).unwrap_err().to_string();
        assert!(error.contains("foz.version 10 is finalised"), "{error}");
        // In a snapshot, too.
        let mut image = image_at(9);
        assert_eq!(Image::decode(&image.encode()).unwrap(), image);
        image.features.insert_mut(FOZ_VERSION_FEATURE.into(), 10);
        let error = Image::decode(&image.encode()).unwrap_err().to_string();
        assert!(error.contains("foz.version 10 is finalised"), "{error}");
    }
}
