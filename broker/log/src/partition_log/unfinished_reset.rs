//! A reset that had no room for its last step, the checkpoints: until these are written, and the mark is gone, what was
//! appended would be taken away by the next start.

use std::sync::atomic::Ordering;

use super::{CHANGE_FAILED, FLUSH_FAILED, PartitionLog, RESET_UNFINISHED, USABLE};
use crate::error::StorageError;
use crate::reset;

impl PartitionLog {
    /// Its mark is there. It takes no records until [`Self::finish_reset`].
    pub(crate) fn leave_reset_unfinished(&self) {
        self.replace_usability(USABLE, RESET_UNFINISHED);
    }

    pub(crate) fn has_unfinished_reset(&self) -> bool {
        self.usability.load(Ordering::Acquire) == RESET_UNFINISHED
    }

    /// The checkpoints speak of the log as it is now.
    ///
    /// # Errors
    /// A [shortage](StorageError::is_shortage) is to be tried again. After any other the log stops: the mark may come
    /// back, and would take away what was appended meanwhile.
    pub(crate) fn finish_reset(&self) -> Result<(), StorageError> {
        let _flushing = self.flushing.lock();
        let _writer = self.writer.lock();
        if self.has_unfinished_reset() {
            reset::remove_mark(&self.directory).inspect_err(|error| {
                if !error.is_shortage() {
                    let stopped = match error.is_failed_flush() {
                        true => FLUSH_FAILED,
                        false => CHANGE_FAILED,
                    };
                    self.replace_usability(RESET_UNFINISHED, stopped);
                }
            })?;
            self.replace_usability(RESET_UNFINISHED, USABLE);
        }
        Ok(())
    }

    /// Unless it was closed or deleted meanwhile.
    fn replace_usability(&self, from: u8, to: u8) {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = self.usability.compare_exchange(from, to, success, failure);
    }
}
