//! Where a broker's properties file says something that does not count.

use std::collections::BTreeMap;

use super::Scope;
use crate::image::{Image, Resource};

/// Keys by which the controllers decide, so that what a broker's own file says of them is not asked: the
/// metadata counts, or where that says nothing a controller's file. Of the size of a topic that a client's
/// Metadata request makes in passing a broker's file comes before the controller's, but not before the metadata.
pub const DECIDED_BY_CONTROLLERS: &[&str] = &[
    "auto.leader.rebalance.enable",
    "default.replication.factor",
    "delete.topic.enable",
    "foz.delete.grace.ms",
    "foz.delete.keep.free.percent",
    "leader.imbalance.check.interval.seconds",
    MIN_INSYNC_REPLICAS,
    "num.partitions",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "unclean.leader.election.enable",
];

/// A controller's file is metadata here, from when it became active on: what the metadata does not say,
/// nobody says.
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// A key of a broker's file that has another value in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// One of [`DECIDED_BY_CONTROLLERS`].
    pub key: &'static str,
    /// What the file says, and what does not count.
    pub in_file: String,
    /// What counts.
    pub in_metadata: String,
}

/// What `properties`, a broker's own, say otherwise than the metadata. A key is left out of which the metadata
/// says nothing: the broker cannot know the files of the controllers.
#[must_use]
pub fn contradictions(image: &Image, properties: &BTreeMap<String, String>) -> Vec<Contradiction> {
    let mut found = Vec::new();
    for key in DECIDED_BY_CONTROLLERS {
        let Some(in_file) = properties.get(*key) else {
            continue;
        };
        let default = (*key == MIN_INSYNC_REPLICAS)
            .then(|| Scope::Broker.key(key)?.default)
            .flatten();
        let Some(in_metadata) = image.config(&Resource::DefaultBroker, key).or(default) else {
            continue;
        };
        let (in_file, in_metadata) = (in_file.trim(), in_metadata.trim());
        if !in_file.eq_ignore_ascii_case(in_metadata) {
            found.push(Contradiction {
                key,
                in_file: in_file.to_owned(),
                in_metadata: in_metadata.to_owned(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batch, ConfigRecord, Fact, ResourceKind};

    fn image(configs: &[(&str, &str, &str)]) -> Image {
        let records = configs.iter().map(|(name, key, value)| {
            Fact::Config(ConfigRecord {
                kind: ResourceKind::Broker.into(),
                name: (*name).to_owned(),
                key: (*key).to_owned(),
                value: Some((*value).to_owned()),
            })
            .into()
        });
        let batch = Batch {
            follows: 0,
            term: 1,
            records: records.collect(),
        };
        Image::default().apply(&batch).unwrap()
    }

    fn found(image: &Image, properties: &[(&str, &str)]) -> Vec<(&'static str, String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        contradictions(image, &properties.iter().map(owned).collect())
            .into_iter()
            .map(|it| (it.key, it.in_file, it.in_metadata))
            .collect()
    }

    fn differs(
        key: &'static str,
        in_file: &str,
        in_metadata: &str,
    ) -> (&'static str, String, String) {
        (key, in_file.to_owned(), in_metadata.to_owned())
    }

    #[test]
    fn each_key_is_one_of_brokers() {
        for key in DECIDED_BY_CONTROLLERS {
            assert!(Scope::Broker.key(key).is_some(), "{key}");
        }
    }

    #[test]
    fn what_the_file_says_otherwise_is_named_with_both_values() {
        let image = image(&[
            ("", "min.insync.replicas", "2"),
            ("", "unclean.leader.election.enable", "false"),
            ("", "num.partitions", "6"),
            ("0", "default.replication.factor", "3"),
        ]);
        let file = [
            ("min.insync.replicas", "1"),
            ("unclean.leader.election.enable", "true"),
            // The same.
            ("num.partitions", " 6 "),
            // Set on one broker, which is not where the controllers look.
            ("default.replication.factor", "2"),
            // Not theirs to decide.
            ("log.retention.ms", "1"),
        ];
        assert_eq!(
            found(&image, &file),
            [
                differs("min.insync.replicas", "1", "2"),
                differs("unclean.leader.election.enable", "true", "false"),
            ]
        );
        assert_eq!(found(&image, &[]), []);
        let same = [("unclean.leader.election.enable", "FALSE")];
        assert_eq!(found(&image, &same), []);
    }

    #[test]
    fn a_minimum_of_which_the_metadata_says_nothing_is_the_default() {
        let file = [("min.insync.replicas", "2"), ("num.partitions", "9")];
        let expected = [differs("min.insync.replicas", "2", "1")];
        assert_eq!(found(&Image::default(), &file), expected);
        let file = [("min.insync.replicas", "1")];
        assert_eq!(found(&Image::default(), &file), []);
    }
}
