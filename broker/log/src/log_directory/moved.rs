//! Logs that somebody moved to another data directory while the broker was stopped.

use super::LogDirectory;
use crate::partition_log::PartitionLog;

impl LogDirectory {
    /// `log`, which is in another data directory, is the one that is missing here: it keeps its start and what is committed,
    /// which the checkpoints tell here and not there. Durable with that one's next
    /// [`checkpoint_log_starts`](Self::checkpoint_log_starts).
    pub fn tell_of_moved(&self, log: &PartitionLog) {
        if let Some(state) = self.missing.read().get(log.partition()) {
            log.set_high_watermark(state.high_watermark);
            log.advance_log_start_offset_to(state.log_start_offset);
        }
    }
}
