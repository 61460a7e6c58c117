//! A log with a mark, of a reset or of a burial: until the checkpoints are written, and the mark is gone, the next start
//! would go by the mark, and what was appended would be taken away or doubted.

use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering;

use super::{CHANGE_FAILED, FLUSH_FAILED, PartitionLog, USABLE, WAITS_FOR_CHECKPOINT};
use crate::burial_mark::BurialMark;
use crate::error::StorageError;
use crate::reset;

impl PartitionLog {
    /// Its mark is there. It takes no records until [`Self::remove_marks`].
    pub(crate) fn wait_for_checkpoint(&self) {
        self.replace_usability(USABLE, WAITS_FOR_CHECKPOINT);
    }

    pub(crate) fn waits_for_checkpoint(&self) -> bool {
        self.usability.load(Ordering::Acquire) == WAITS_FOR_CHECKPOINT
    }

    /// The checkpoints speak of the log as it is now.
    ///
    /// # Errors
    /// A [shortage](StorageError::is_shortage) is to be tried again. After any other the log stops: the mark may come
    /// back, and would take away what was appended meanwhile.
    pub(crate) fn remove_marks(&self) -> Result<(), StorageError> {
        let _flushing = self.flushing.lock();
        let _writer = self.writer.lock();
        if self.waits_for_checkpoint() {
            BurialMark::remove(&self.directory)
                .and_then(|()| reset::remove_mark(&self.directory))
                .inspect_err(|error| {
                    if !error.is_shortage() {
                        let stopped = match error.is_failed_flush() {
                            true => FLUSH_FAILED,
                            false => CHANGE_FAILED,
                        };
                        self.replace_usability(WAITS_FOR_CHECKPOINT, stopped);
                    }
                })?;
            self.replace_usability(WAITS_FOR_CHECKPOINT, USABLE);
        }
        Ok(())
    }

    /// Everything that the checkpoints have of it.
    pub(crate) fn hash_checkpointed(&self, hasher: &mut impl Hasher) {
        (&self.partition.topic, self.partition.partition).hash(hasher);
        self.checked_offset().hash(hasher);
        for offset in [
            self.flushed_offset(),
            self.high_watermark().min(self.log_end_offset()),
            self.log_start_offset(),
            self.durable_log_start_offset(),
            self.first_base_offset(),
            self.compacted_offset(),
        ] {
            offset.hash(hasher);
        }
    }

    /// Unless it was closed or deleted meanwhile.
    pub(super) fn replace_usability(&self, from: u8, to: u8) {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = self.usability.compare_exchange(from, to, success, failure);
    }
}
