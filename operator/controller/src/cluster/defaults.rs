//! Settings that a Cluster gets when nobody says otherwise: three copies of each partition where there
//! are brokers for them, two of which must have what is acknowledged. Pure. The reasons are in
//! `docs/adr/0011-three-copies-by-default.md`.

use std::collections::BTreeMap;

const DEFAULT_REPLICATION_FACTOR: &str = "default.replication.factor";
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// One broker may restart while another one fails. A fourth copy costs more than it saves.
const COPIES_MAX: i32 = 3;
/// With two, no failure of a single broker loses what was acknowledged.
const MIN_INSYNC: i32 = 2;

/// All that is to be set for all brokers of a Cluster that has so many. What `spec` says wins; a key that
/// is set and is not `managed` was set by other means and is left alone.
#[must_use]
pub fn with_defaults(
    spec: &BTreeMap<String, String>,
    brokers: i32,
    managed: &[String],
    live: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut config = spec.clone();
    for (key, value) in defaults(brokers) {
        let of_others = live.contains_key(key) && !managed.iter().any(|ours| ours == key);
        if !of_others {
            config
                .entry(key.to_owned())
                .or_insert_with(|| value.to_string());
        }
    }
    config
}

/// On how many brokers a topic is put that does not say it. `None` when nothing is set, or nothing that is
/// such a number: then it is for the quorum to say.
#[must_use]
pub fn replication_factor(
    spec: &BTreeMap<String, String>,
    brokers: i32,
    managed: &[String],
    live: &BTreeMap<String, String>,
) -> Option<i32> {
    let own = with_defaults(spec, brokers, managed, live);
    let value = own
        .get(DEFAULT_REPLICATION_FACTOR)
        .or_else(|| live.get(DEFAULT_REPLICATION_FACTOR))?;
    value.trim().parse().ok().filter(|factor| *factor > 0)
}

/// None for what is Kafka's default anyway. With two brokers both have everything, and each may be away.
fn defaults(brokers: i32) -> Vec<(&'static str, i32)> {
    let mut defaults = Vec::new();
    if brokers > 1 {
        defaults.push((DEFAULT_REPLICATION_FACTOR, brokers.min(COPIES_MAX)));
    }
    if brokers >= COPIES_MAX {
        defaults.push((MIN_INSYNC_REPLICAS, MIN_INSYNC));
    }
    defaults
}

#[cfg(test)]
mod tests {
    use super::{replication_factor, with_defaults};
    use std::collections::BTreeMap;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_defaults_follow_the_number_of_brokers() {
        let of = |brokers| with_defaults(&map(&[]), brokers, &[], &map(&[]));
        assert_eq!(of(1), map(&[]));
        assert_eq!(of(2), map(&[("default.replication.factor", "2")]));
        let three = map(&[
            ("default.replication.factor", "3"),
            ("min.insync.replicas", "2"),
        ]);
        assert_eq!(of(3), three);
        assert_eq!(of(1000), three);
    }

    #[test]
    fn what_the_spec_or_somebody_else_says_wins() {
        let spec = map(&[("min.insync.replicas", "1"), ("log.retention.ms", "5")]);
        let live = map(&[("default.replication.factor", "2")]);
        assert_eq!(with_defaults(&spec, 3, &[], &live), spec);
        // It was this Cluster that set it, with two brokers.
        let ours = ["default.replication.factor".to_owned()];
        let mut grown = spec.clone();
        grown.insert("default.replication.factor".into(), "3".into());
        assert_eq!(with_defaults(&spec, 3, &ours, &live), grown);
    }

    #[test]
    fn a_topic_that_does_not_say_it_gets_what_will_be_set() {
        let factor = |spec: &[(&str, &str)], brokers, live: &[(&str, &str)]| {
            replication_factor(&map(spec), brokers, &[], &map(live))
        };
        let key = "default.replication.factor";
        assert_eq!(factor(&[], 1, &[]), None);
        assert_eq!(factor(&[], 3, &[]), Some(3));
        assert_eq!(factor(&[(key, "2")], 3, &[]), Some(2));
        assert_eq!(factor(&[], 3, &[(key, "1")]), Some(1));
        for wrong in ["", "0", "-1", "three"] {
            assert_eq!(factor(&[(key, wrong)], 3, &[]), None);
        }
    }
}
