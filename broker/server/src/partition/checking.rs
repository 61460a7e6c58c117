//! Checking what the start after a crash has put off.

use foz_log::{Checked, ReadError as LogReadError};
use tracing::error;

use super::Partition;

impl Partition {
    /// Checks the next batches, until that were `max_bytes`; damage is seen to. Blocks.
    pub(crate) fn check_next(&self, max_bytes: u64) -> Result<Checked, LogReadError> {
        let checked = self.log.check_next(max_bytes);
        if let Err(reason @ LogReadError::Corrupt { offset, .. }) = &checked {
            error!(partition = self.name(), offset, %reason, "found while checking after a crash");
            self.found_damage(*offset);
        }
        checked
    }
}
