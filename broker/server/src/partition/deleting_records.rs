//! DeleteRecords (KIP-107): the log begins later, here at once, on followers when they hear of it.

use std::sync::Arc;

use foz_metadata::Image;
use foz_protocol::error::ErrorCode;
use foz_replication::delete_before;
use tokio::sync::Notify;
use tracing::info;

use super::Partition;
use super::leading::Nodes;
use crate::broker::Broker;

impl Partition {
    /// As the leader: everything before this offset goes, -1 is all that is committed. Returns the offset. A crash may
    /// bring it back until [`Partitions::delete_durably`](super::Partitions::delete_durably).
    ///
    /// # Errors
    /// NOT_LEADER_OR_FOLLOWER, POLICY_VIOLATION, OFFSET_OUT_OF_RANGE, KAFKA_STORAGE_ERROR.
    pub(crate) fn delete_records(&self, asked: i64) -> Result<i64, ErrorCode> {
        let role = self.role.read();
        if role.leading().is_none() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let log = self.log();
        let policy_deletes = log.config().cleanup_delete;
        let before = delete_before(asked, policy_deletes, self.high_watermark())?;
        let from = log.log_start_offset();
        if before <= from {
            return Ok(before);
        }
        log.advance_log_start_offset(before)
            .map_err(|reason| reason.error_code())?;
        drop(role);
        info!(
            partition = self.name(),
            from, before, "records deleted on request"
        );
        // Consumers that are before the start now, and followers that have to hear of it.
        self.moved.wake();
        self.grown.wake();
        Ok(before)
    }

    /// As the leader: below it every replica that is alive has deleted everything, so that no crash brings it back; -1
    /// while that is unknown of one. `None`: this broker does not lead.
    pub(crate) fn low_watermark(&self, image: &Image) -> Option<i64> {
        let role = self.role.read();
        let leader = role.leading()?.leader.lock();
        let start_offset = self.log().durable_log_start_offset();
        Some(leader.low_watermark(start_offset, &Nodes::of(image, self.key(), &leader)))
    }

    /// Waits until every replica that is alive has deleted what is before this offset. Returns the low watermark.
    ///
    /// # Errors
    /// NOT_LEADER_OR_FOLLOWER when the leadership ends first: the new leader may have deleted it or not.
    pub(crate) async fn deleted(&self, broker: &Broker, before: i64) -> Result<i64, ErrorCode> {
        let mut metadata = broker.applied_offset.subscribe();
        loop {
            let waiter = Arc::new(Notify::new());
            self.moved.register(&waiter);
            metadata.mark_unchanged();
            match self.low_watermark(&broker.image()) {
                None => return Err(ErrorCode::NotLeaderOrFollower),
                Some(low_watermark) if low_watermark >= before => return Ok(low_watermark),
                Some(_) => {}
            }
            // A replica that is not alive any more is not waited for.
            tokio::select! {
                () = waiter.notified() => {}
                _ = metadata.changed() => {}
            }
        }
    }
}
