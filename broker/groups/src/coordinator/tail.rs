//! What the log held above its high watermark when the coordinator was loaded.
//!
//! A former coordinator may have acknowledged it, or may not: until the high watermark passes it, neither the
//! state before it nor the state after it can be told. Its groups are still being loaded; all others are served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Coordinator;
use super::load::group_of;
use crate::effect::Effect;
use crate::group::Group;
use crate::now::Now;
use crate::offsets::{OffsetChange, OffsetKey};
use crate::record::Entry;

/// Only the last record of each key, so it is no larger than the state itself.
#[derive(Debug, Default)]
pub(super) struct Tail {
    offsets: BTreeMap<OffsetKey, OffsetChange>,
    groups: BTreeMap<Arc<str>, Option<Group>>,
}

/// A [`Tail`] that waits to be committed.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) offsets: Vec<OffsetChange>,
    groups: BTreeMap<Arc<str>, Option<Group>>,
}

impl Tail {
    pub(super) fn replay(&mut self, entry: Entry) {
        match entry {
            Entry::Offset(change) => {
                self.offsets.insert(change.key.clone(), change);
            }
            Entry::Group { group_id, value } => {
                let group = value.map(|value| group_of(group_id.clone(), value));
                self.groups.insert(group_id, group);
            }
        }
    }

    pub(super) fn group_ids(&self) -> BTreeSet<Arc<str>> {
        let of_offsets = self.offsets.keys().map(|key| &key.group_id);
        of_offsets.chain(self.groups.keys()).cloned().collect()
    }

    pub(super) fn into_inherited(self) -> Inherited {
        Inherited {
            offsets: self.offsets.into_values().collect(),
            groups: self.groups,
        }
    }
}

impl Coordinator {
    /// It is committed: its groups are loaded now.
    pub(super) fn take_over(&mut self, tail: Inherited, now: Now, effects: &mut Vec<Effect>) {
        for change in tail.offsets {
            self.offsets.apply(change);
        }
        for (group_id, group) in tail.groups {
            match group {
                Some(group) => self.groups.insert(group_id, group),
                None => self.groups.remove(&group_id),
            };
        }
        let loaded = Vec::from_iter(std::mem::take(&mut self.loading));
        self.add_simple_groups(&loaded, now);
        self.begin(&loaded, now, effects);
    }
}
