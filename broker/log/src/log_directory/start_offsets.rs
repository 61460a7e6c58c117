//! Where logs start, made durable: what DeleteRecords deleted does not come back after a crash.

use std::sync::Arc;

use super::{Checkpoints, LogDirectory};
use crate::checkpoint::{LOG_START_OFFSET_FILE, Offsets, write_offsets};
use crate::error::StorageError;
use crate::names::TopicPartition;
use crate::partition_log::PartitionLog;

impl LogDirectory {
    /// Makes durable where every log starts now. Kafka writes this checkpoint once a minute, and answers DeleteRecords
    /// before. Calls at the same time share what was written; it blocks.
    ///
    /// # Errors
    /// [`StorageError`]: the starts hold, but a crash may move them back.
    pub fn checkpoint_log_starts(&self) -> Result<(), StorageError> {
        let mut written = self.written.lock();
        let starts = self.start_offsets();
        let now = self.gather(&written.log_start_offsets).log_start_offsets;
        if written.log_start_offsets != now {
            written.fingerprint = None;
            write_offsets(&self.path.join(LOG_START_OFFSET_FILE), &now)?;
            written.log_start_offsets = now;
        }
        starts.are_durable();
        Ok(())
    }

    /// To be taken before what is written is gathered: a start only grows meanwhile.
    pub(super) fn start_offsets(&self) -> StartOffsets {
        let logs = self.logs_and_copies().into_iter();
        StartOffsets(logs.map(|log| (log.log_start_offset(), log)).collect())
    }
}

/// Of all logs at one moment.
pub(super) struct StartOffsets(Vec<(i64, Arc<PartitionLog>)>);

impl StartOffsets {
    /// The checkpoint was written.
    pub(super) fn are_durable(self) {
        for (start, log) in self.0 {
            log.log_start_is_durable(start);
        }
    }
}

impl Checkpoints {
    /// The files say something about a partition of that name.
    pub(super) fn speak_of(&self, partition: &TopicPartition) -> bool {
        self.recovery_points.contains_key(partition)
            || self.log_start_offsets.contains_key(partition)
    }

    /// As Kafka: where the files themselves do not tell. A power failure may bring removed segments back, and then it is
    /// the checkpoint alone that tells: so it has every start that is not durable otherwise, and keeps what it has.
    pub(super) fn add_start(&mut self, log: &PartitionLog, written: &Offsets) {
        let (start, first_base) = (log.log_start_offset(), log.first_base_offset());
        let may_come_back = start > log.durable_log_start_offset();
        if start > first_base
            || (start > 0 && (may_come_back || written.contains_key(log.partition())))
        {
            self.log_start_offsets
                .insert(log.partition().clone(), start);
        }
    }
}
