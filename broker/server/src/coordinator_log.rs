//! The partition that a coordinator keeps its state in.

mod load_times;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use foz_log::{AppendError, TransactionMarker, VerificationGuard};
use foz_metadata::Image;
use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::record::{BatchBuilder, RecordToWrite};
use tracing::error;
use uuid::Uuid;

use crate::partition::{Partition, ProduceError, Produced, Replayed, ReplayedLog, wall_clock_ms};
pub(crate) use load_times::LoadTimes;

/// What is part of a transaction has no sequence, since its producer did not number it.
const NO_SEQUENCE: i32 = -1;

/// What a coordinator may write to: the partition, in the leader epoch that it coordinates for. After it, another
/// coordinator may have loaded what is there, so nothing may be added.
#[derive(Debug, Clone)]
pub(crate) struct CoordinatorLog {
    pub(crate) partition: Arc<Partition>,
    pub(crate) leader_epoch: i32,
}

/// Why records are not in the log, or may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotWritten {
    /// This broker does not lead in that epoch, or the log has failed: what was appended may come back, or not, and only
    /// the coordinator of the next leader epoch can tell.
    Lost,
    /// Nothing was appended: too few replicas, or no room.
    NotAvailable,
    /// Nothing was appended, and never would be: the batch is larger than the topic allows, or the log knows its producer, or
    /// the coordinator of its transaction, to be another one by now.
    Refused(ErrorCode),
}

/// Whose transaction records are part of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InTransaction {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    /// Where it begins in this partition, what [`Partition::begin_verification`] gave.
    pub(crate) guard: Option<VerificationGuard>,
}

/// The topic's id, which is another one after an earlier topic of the name was restored, and the leader epoch.
pub(crate) type Led = (Uuid, i32);

/// The partitions of the topic that this broker leads.
pub(crate) fn led_partitions(image: &Image, topic: &str, node_id: i32) -> BTreeMap<i32, Led> {
    let Some(topic) = image.topic(topic) else {
        return BTreeMap::new();
    };
    topic
        .indexed_partitions()
        .filter(|(_, partition)| partition.leader == node_id)
        .map(|(index, partition)| (index, (topic.id, partition.leader_epoch)))
        .collect()
}

impl CoordinatorLog {
    /// Gives every record and marker up to the end of the log, and whether it is committed, until `take` refuses one. To wait
    /// until all is committed could take for ever: too few replicas may be in sync. Returns what there was.
    pub(crate) fn replay<E: Display>(
        &self,
        mut take: impl FnMut(Replayed<'_>) -> Result<(), E>,
    ) -> Result<ReplayedLog, String> {
        self.partition.replay(self.leader_epoch, |record| {
            take(record).map_err(|error| {
                let offset = record.offset;
                format!("the record at offset {offset} cannot be read: {error}")
            })
        })
    }

    /// Appends keys and values as one batch, in order with other calls.
    pub(crate) fn append(
        &self,
        records: &[(Bytes, Option<Bytes>)],
        transaction: Option<InTransaction>,
    ) -> Result<Produced, NotWritten> {
        let batch = batch_of(records, transaction)?;
        let (partition, epoch) = (&self.partition, self.leader_epoch);
        let produced = match transaction {
            None => partition.append_in_epoch(epoch, batch),
            Some(InTransaction { guard, .. }) => {
                partition.append_transactional_in_epoch(epoch, guard, batch)
            }
        };
        produced.map_err(|error| not_written(&error))
    }

    /// Ends a transaction that has records here.
    pub(crate) fn append_marker(
        &self,
        marker: TransactionMarker,
        transaction_version: i16,
    ) -> Result<Produced, NotWritten> {
        let partition = &self.partition;
        let produced =
            partition.append_marker_in_epoch(self.leader_epoch, marker, transaction_version);
        produced.map_err(|error| not_written(&error))
    }

    /// Waits until what was appended is committed; without a limit of its own: until then, or until the leadership is lost,
    /// its outcome is open.
    pub(crate) fn committed(
        &self,
        produced: Produced,
    ) -> impl Future<Output = Result<(), NotWritten>> + Send + 'static {
        let partition = Arc::clone(&self.partition);
        async move {
            match partition.acknowledged(&produced).await {
                // Committed, with as many replicas as it takes; some of them have left since.
                Ok(()) | Err(ErrorCode::NotEnoughReplicasAfterAppend) => Ok(()),
                Err(_) => Err(NotWritten::Lost),
            }
        }
    }

    /// Waits until everything is committed that is there by now.
    pub(crate) fn all_committed(
        &self,
    ) -> impl Future<Output = Result<(), NotWritten>> + Send + 'static {
        let Self {
            partition,
            leader_epoch,
        } = self.clone();
        async move {
            let committed = partition.all_acknowledged(leader_epoch).await;
            committed.map_err(|_| NotWritten::Lost)
        }
    }
}

/// How many records of which types were passed over, for who reads the log of the broker.
pub(crate) fn by_type(skipped: &BTreeMap<i16, usize>) -> String {
    let counts = skipped.iter();
    let counts = counts.map(|(record_type, count)| format!("{count} of type {record_type}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn batch_of(
    records: &[(Bytes, Option<Bytes>)],
    transaction: Option<InTransaction>,
) -> Result<BytesMut, NotWritten> {
    let timestamp_ms = wall_clock_ms();
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some(producer) = transaction {
        let (id, epoch) = (producer.producer_id, producer.producer_epoch);
        builder = builder.idempotent(id, epoch, NO_SEQUENCE).transactional();
    }
    for (key, value) in records {
        builder.push(&RecordToWrite {
            timestamp_ms,
            key: Some(key),
            value: value.as_deref(),
            headers: &[],
        });
    }
    let built = builder.build().map_err(|error| {
        error!(%error, "records of a coordinator make no batch");
        NotWritten::Refused(ErrorCode::MessageTooLarge)
    })?;
    Ok(BytesMut::from(built.as_slice()))
}

fn not_written(error: &ProduceError) -> NotWritten {
    match error {
        ProduceError::NotLeader => NotWritten::Lost,
        ProduceError::Acks(_) | ProduceError::NoRoom | ProduceError::TooFewHaveRoom => {
            NotWritten::NotAvailable
        }
        ProduceError::Append { error, .. } => match error {
            AppendError::Storage(storage) if storage.is_passing() => NotWritten::NotAvailable,
            AppendError::Storage(_)
            | AppendError::Unusable(..)
            | AppendError::StaleLeaderEpoch { .. } => NotWritten::Lost,
            refused => NotWritten::Refused(refused.error_code()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_over_is_told_by_type() {
        let skipped = BTreeMap::from([(10, 2), (3, 1)]);
        assert_eq!(by_type(&skipped), "1 of type 3, 2 of type 10");
    }
}
