//! Which config keys to set and which to delete, on a topic or on the brokers. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// The difference between what an object says and what is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigDiff {
    /// Keys to set, with their values.
    pub set: BTreeMap<String, String>,
    /// Keys to delete: this object set them, and does not say them any more.
    pub delete: BTreeSet<String>,
}

impl ConfigDiff {
    /// Nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.delete.is_empty()
    }

    /// Every key that it touches.
    #[must_use]
    pub fn keys(&self) -> String {
        let keys: Vec<&str> = self
            .set
            .keys()
            .chain(&self.delete)
            .map(String::as_str)
            .collect();
        keys.join(", ")
    }
}

/// `managed` are the keys that this object has set before: others are left alone.
#[must_use]
pub fn diff(
    spec: &BTreeMap<String, String>,
    managed: &[String],
    live: &BTreeMap<String, String>,
) -> ConfigDiff {
    let differs = |(key, value): &(&String, &String)| live.get(*key) != Some(*value);
    let set = spec
        .iter()
        .filter(differs)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let left = |key: &&String| !spec.contains_key(*key) && live.contains_key(*key);
    ConfigDiff {
        set,
        delete: managed.iter().filter(left).cloned().collect(),
    }
}

/// The keys that the object answers for from now on: those it says, and those it set that are still
/// there. Recorded before they are set: a crash in between then loses none.
#[must_use]
pub fn managed(
    spec: &BTreeMap<String, String>,
    managed: &[String],
    live: &BTreeMap<String, String>,
) -> Vec<String> {
    let still_there = managed.iter().filter(|key| live.contains_key(*key));
    let keys: BTreeSet<&String> = spec.keys().chain(still_there).collect();
    keys.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::{diff, managed};
    use std::collections::BTreeMap;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn only_differences_are_set_and_only_own_keys_deleted() {
        let spec = map(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let live = map(&[("a", "1"), ("b", "0"), ("mine", "9"), ("foreign", "9")]);
        let own = ["a".to_owned(), "mine".to_owned(), "gone".to_owned()];
        let found = diff(&spec, &own, &live);
        assert_eq!(found.set, map(&[("b", "2"), ("c", "3")]));
        assert_eq!(found.delete.into_iter().collect::<Vec<_>>(), ["mine"]);
        assert_eq!(managed(&spec, &own, &live), ["a", "b", "c", "mine"]);
    }

    #[test]
    fn a_world_as_it_should_be_needs_nothing() {
        let spec = map(&[("a", "1")]);
        let live = map(&[("a", "1"), ("foreign", "9")]);
        assert!(diff(&spec, &["a".to_owned()], &live).is_empty());
        assert_eq!(managed(&spec, &["a".to_owned()], &live), ["a"]);
    }
}
