//! The topics that brokers make for themselves.

/// Committed offsets and the groups that commit them.
pub(crate) const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// Transactional ids, and where their transactions are.
pub(crate) const TRANSACTION_STATE: &str = "__transaction_state";

/// Clients are told, so that they leave these topics out of patterns.
pub(crate) fn is_internal(name: &str) -> bool {
    [CONSUMER_OFFSETS, TRANSACTION_STATE].contains(&name)
}
