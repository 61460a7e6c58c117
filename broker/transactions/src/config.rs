/// What Kafka configures of transactions, with Kafka's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`: the longest timeout that a producer may ask for.
    pub transaction_max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`: how long a transactional id that has no transaction open is kept
    /// after its last change.
    pub transactional_id_expiration_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`: how often transactions that are over
    /// their timeout are looked for.
    pub transaction_abort_timed_out_transaction_cleanup_interval_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`: how often expired ids are looked for.
    pub transaction_remove_expired_transaction_cleanup_interval_ms: i64,
    /// `request.timeout.ms`: how long a reply waits for its record to be committed.
    pub request_timeout_ms: i64,
    /// The finalised level of the feature `transaction.version`. It rules what the coordinator does of its own
    /// accord and the version of its records; a client's own requests say themselves which level they follow.
    pub transaction_version: i16,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            transaction_max_timeout_ms: 15 * 60 * 1_000,
            transactional_id_expiration_ms: 7 * 24 * 60 * 60 * 1_000,
            transaction_abort_timed_out_transaction_cleanup_interval_ms: 10_000,
            transaction_remove_expired_transaction_cleanup_interval_ms: 60 * 60 * 1_000,
            request_timeout_ms: 30_000,
            transaction_version: 2,
        }
    }
}
