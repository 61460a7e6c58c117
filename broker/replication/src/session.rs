//! Incremental fetch sessions (KIP-227): both sides remember what is fetched, so requests carry only what
//! changed and answers only what is new. A node that follows a thousand idle partitions sends a few bytes.
//!
//! The rules are those of Kafka's `FetchSession` and `FetchSessionHandler`.

mod cache;
mod client;
mod partitions;

pub use cache::{Begun, SessionCache, SessionKind, SessionLimits};
pub use client::{SessionClient, SessionProblem, SessionRequest, TopicIdPartition};

/// The session id of a request without a session, and of an answer that opens none.
pub const NO_SESSION: i32 = 0;
/// The epoch of a request that asks for a session; with an id, that one is closed first.
pub const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants no session; with an id, that one is closed.
pub const FINAL_EPOCH: i32 = -1;

/// The epoch of the request after one of this epoch. After the largest comes 1: 0 and -1 have a meaning.
#[must_use]
pub fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        ..0 => FINAL_EPOCH,
        i32::MAX => 1,
        _ => epoch + 1,
    }
}

fn is_full(epoch: i32) -> bool {
    epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_skip_those_that_have_a_meaning() {
        assert_eq!(next_epoch(INITIAL_EPOCH), 1);
        assert_eq!(next_epoch(1), 2);
        assert_eq!(next_epoch(i32::MAX), 1);
        assert_eq!(next_epoch(FINAL_EPOCH), FINAL_EPOCH);
        assert_eq!(next_epoch(i32::MIN), FINAL_EPOCH);
    }
}
