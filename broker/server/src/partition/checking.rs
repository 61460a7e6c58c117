//! Checking what the start after a crash has put off.

use foz_log::{Checked, ReadError as LogReadError};
use tracing::error;

use super::Partition;

impl Partition {
    /// There is something left to check, or it is damaged.
    pub(crate) fn has_unchecked_batches(&self) -> bool {
        self.log().has_unchecked_batches()
    }

    /// Checks the next batches, until that were `max_bytes`. Damage is left to the caller to [tell](Self::found_damage). Blocks.
    pub(crate) fn check_next(&self, max_bytes: u64) -> Result<Checked, LogReadError> {
        let checked = self.log().check_next(max_bytes);
        if let Err(reason @ LogReadError::Corrupt { offset, .. }) = &checked
            && self.is_new_damage(*offset)
        {
            error!(partition = self.name(), offset, %reason, "found while checking after a crash");
        }
        checked
    }
}
