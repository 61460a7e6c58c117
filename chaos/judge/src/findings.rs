//! Where the rules put what they find.

use std::collections::BTreeMap;

use crate::anomaly::{Anomaly, Kind};

/// Findings of one kind that are kept with their evidence; the others are only counted.
pub(crate) const KEPT_MAX: u64 = 100;
/// Sentences about what could not be judged.
const INCOMPLETE_MAX: usize = 100;

#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    pub anomalies: Vec<Anomaly>,
    pub counts: BTreeMap<Kind, u64>,
    pub incomplete: Vec<String>,
}

impl Findings {
    /// The sentence is made only for those that are kept.
    pub(crate) fn add(&mut self, kind: Kind, make: impl FnOnce() -> Anomaly) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= KEPT_MAX {
            self.anomalies.push(make());
        }
    }

    pub(crate) fn incomplete(&mut self, says: String) {
        if self.incomplete.len() < INCOMPLETE_MAX {
            self.incomplete.push(says);
        }
    }
}
