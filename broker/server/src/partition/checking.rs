//! Checking what the start after a crash has put off.

use foz_log::{Checked, ReadError};
use tracing::error;

use super::{FailedRead, Partition};

impl Partition {
    /// There is something left to check, or it is damaged.
    pub(crate) fn has_unchecked_batches(&self) -> bool {
        self.log().has_unchecked_batches()
    }

    /// Checks the next batches, until that were `max_bytes`. Damage is left to the caller to [tell](Self::found_damage). Blocks.
    pub(crate) fn check_next(&self, max_bytes: u64) -> Result<Checked, FailedRead> {
        let located = self.located.load_full();
        let checked = located.log.check_next(max_bytes);
        if let Err(reason @ ReadError::Corrupt { offset, .. }) = &checked
            && self.is_new_damage(*offset)
        {
            error!(partition = self.name(), offset, %reason, "found while checking after a crash");
        }
        checked.map_err(|reason| FailedRead { located, reason })
    }
}
