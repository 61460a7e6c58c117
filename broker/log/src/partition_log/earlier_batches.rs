//! What a producer wrote before the one batch of it that a snapshot holds.
//!
//! A client sends again what it has heard nothing of, up to five batches, and a replica that was restarted or
//! truncated meanwhile may be the leader by then. Its snapshot says of each producer only the last batch; the log
//! holds the others. It is asked when one of them comes, not when it is opened: that is seldom, and dear.
//!
//! Compaction keeps the headers of the last five batches of each producer as the log knew them when the pass began. So
//! one of them is missing here only where a pass came after a restart and before the batch came again. It is refused
//! then as out of order, as by Kafka, whose log keeps one header only; nothing is appended twice for it.

use std::collections::VecDeque;

use foz_protocol::batch::BatchHeader;

use super::PartitionLog;
use crate::error::ReadError;
use crate::producer_state::{AppendedBatch, BATCHES_PER_PRODUCER_MAX};

/// Offsets that are looked through, from the newest on: first a few, then more. Nothing is appended meanwhile, so not
/// all: whoever sends again what is further back is told that it is out of order, as by Kafka.
const LOOK_BACK: [i64; 3] = [1 << 8, 1 << 12, 1 << 16];

impl PartitionLog {
    /// What the producer of `again` wrote in its epoch before `upper_bound_offset`, rising: at least back to the
    /// batch that comes again, if the newest part of the log has it. A client sends the oldest one first.
    pub(super) fn earlier_batches(
        &self,
        again: &BatchHeader,
        upper_bound_offset: i64,
    ) -> Result<VecDeque<AppendedBatch>, ReadError> {
        let mut found = VecDeque::new();
        for look_back in LOOK_BACK {
            let from = upper_bound_offset - look_back;
            found = self.batches_between(again, from, upper_bound_offset)?;
            let is_it = |batch: &AppendedBatch| batch.last_sequence == again.last_sequence();
            if found.iter().any(is_it) || from <= self.first_segment().base_offset {
                break;
            }
        }
        Ok(found)
    }

    fn batches_between(
        &self,
        again: &BatchHeader,
        from: i64,
        upper_bound_offset: i64,
    ) -> Result<VecDeque<AppendedBatch>, ReadError> {
        let mut found = VecDeque::with_capacity(BATCHES_PER_PRODUCER_MAX + 1);
        for segment in self.segments_from(from) {
            let Some(first) = segment.find(from)? else {
                continue;
            };
            let mut scanner = segment.scan(first.position, first.header.base_offset)?;
            while let Some(batch) = scanner.next().map_err(|error| segment.read_error(error))? {
                let header = &batch.header;
                if header.base_offset >= upper_bound_offset {
                    return Ok(found);
                }
                let is_wanted = header.producer_id == again.producer_id
                    && header.producer_epoch == again.producer_epoch
                    && !header.is_control();
                if is_wanted {
                    found.push_back(AppendedBatch::of(header));
                    if found.len() > BATCHES_PER_PRODUCER_MAX {
                        found.pop_front();
                    }
                }
            }
        }
        Ok(found)
    }
}
