/// Who commits offsets in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionalProducer {
    /// The producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// How the coordinator of a transaction ends it on a partition of `__consumer_offsets`: what WriteTxnMarkers says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompleteTransaction {
    /// The partition of `__consumer_offsets`.
    pub offsets_partition: i32,
    /// Whose transaction.
    pub producer: TransactionalProducer,
    /// Leader epoch of that coordinator's partition of `__transaction_state`.
    pub coordinator_epoch: i32,
    /// The one that the producer spoke.
    pub transaction_version: i16,
    /// Else it is aborted.
    pub is_commit: bool,
}
