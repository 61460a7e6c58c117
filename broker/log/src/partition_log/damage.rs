//! Damage that somebody came upon while the log was in service, in what had been checked or never needed to be.
//!
//! As long as it is there the checkpoint of what was checked stays before it: the next start checks from there and finds it
//! again, however the process ends. So a clean stop needs not be doubted for it.

use std::sync::atomic::Ordering;

use super::{NO_DAMAGE, PartitionLog};

impl PartitionLog {
    /// From this offset on the log is not what was written.
    pub fn found_damage(&self, from_offset: i64) {
        self.damaged_from.fetch_min(from_offset, Ordering::AcqRel);
    }

    /// See [`Self::found_damage`]; `None` where nothing was found, or a cut has taken it.
    #[must_use]
    pub fn damaged_from(&self) -> Option<i64> {
        let from = self.damaged_from.load(Ordering::Acquire);
        (from != NO_DAMAGE).then_some(from)
    }

    /// It is not there any more.
    pub fn forget_damage(&self) {
        self.damaged_from.store(NO_DAMAGE, Ordering::Release);
    }

    /// The log ends at `offset`.
    pub(super) fn cut_damage_at(&self, offset: i64) {
        let is_cut = |from| (from >= offset).then_some(NO_DAMAGE);
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = self.damaged_from.fetch_update(success, failure, is_cut);
    }
}
