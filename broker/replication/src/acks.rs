//! What a produce waits for, and what it is answered.

use foz_canary::{Canary, sings};
use foz_protocol::error::ErrorCode;

/// What has to happen before a produce is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// acks=0: nothing, and no answer is sent.
    Nothing,
    /// acks=1: the leader vouches for it, which where the partition flushes before it acknowledges
    /// means that it is flushed.
    Leader,
    /// acks=all: the high watermark passes it.
    HighWatermark,
}

/// Decides before anything is appended. `has_min_insync` is
/// [`Leader::has_min_insync`](crate::Leader::has_min_insync).
///
/// # Errors
/// INVALID_REQUIRED_ACKS; NOT_ENOUGH_REPLICAS for acks=all while the ISR is below min.insync.replicas:
/// then nothing may be appended.
pub fn required(acks: i16, has_min_insync: bool) -> Result<Required, ErrorCode> {
    match acks {
        0 => Ok(Required::Nothing),
        1 => Ok(Required::Leader),
        -1 if has_min_insync => Ok(Required::HighWatermark),
        -1 => Err(ErrorCode::NotEnoughReplicas),
        _ => Err(ErrorCode::InvalidRequiredAcks),
    }
}

/// Where the leader is while a produce waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// What the leader itself vouches for ([`LocalLog::durable_offset`](crate::LocalLog)).
    pub durable_offset: i64,
    /// The high watermark.
    pub high_watermark: i64,
    /// The ISR is large enough now.
    pub has_min_insync: bool,
}

/// The answer to a produce whose last record ends at `end_offset` (its offset + 1); `None`: wait on.
///
/// NOT_ENOUGH_REPLICAS_AFTER_APPEND: it was committed, but by now the ISR is below min.insync.replicas.
#[must_use]
pub fn acknowledged(
    required: Required,
    end_offset: i64,
    reached: &Reached,
) -> Option<Result<(), ErrorCode>> {
    if sings(Canary::AcknowledgeBeforeReplicate) && required == Required::HighWatermark {
        return Some(Ok(()));
    }
    match required {
        Required::Nothing => Some(Ok(())),
        Required::Leader => (reached.durable_offset >= end_offset).then_some(Ok(())),
        Required::HighWatermark if reached.high_watermark < end_offset => None,
        Required::HighWatermark if reached.has_min_insync => Some(Ok(())),
        Required::HighWatermark => Some(Err(ErrorCode::NotEnoughReplicasAfterAppend)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACHED: Reached = Reached {
        durable_offset: 20,
        high_watermark: 10,
        has_min_insync: true,
    };

    #[test]
    fn only_acks_all_asks_for_min_insync() {
        assert_eq!(required(0, false), Ok(Required::Nothing));
        assert_eq!(required(1, false), Ok(Required::Leader));
        assert_eq!(required(-1, true), Ok(Required::HighWatermark));
        assert_eq!(required(-1, false), Err(ErrorCode::NotEnoughReplicas));
        for acks in [2, -2, i16::MAX, i16::MIN] {
            assert_eq!(required(acks, true), Err(ErrorCode::InvalidRequiredAcks));
        }
    }

    #[test]
    fn acks_all_waits_for_the_high_watermark_to_pass_the_last_record() {
        let at = |end_offset| acknowledged(Required::HighWatermark, end_offset, &REACHED);
        assert_eq!(at(10), Some(Ok(())));
        assert_eq!(at(11), None);
    }

    #[test]
    fn acks_one_waits_for_the_leader_alone() {
        let at = |end_offset| acknowledged(Required::Leader, end_offset, &REACHED);
        assert_eq!(at(20), Some(Ok(())));
        assert_eq!(at(21), None);
        assert_eq!(acknowledged(Required::Nothing, 99, &REACHED), Some(Ok(())));
    }

    #[test]
    fn an_isr_that_shrank_meanwhile_is_told_once_the_record_is_committed() {
        let shrunk = Reached {
            has_min_insync: false,
            ..REACHED
        };
        let at = |end_offset| acknowledged(Required::HighWatermark, end_offset, &shrunk);
        assert_eq!(at(11), None);
        assert_eq!(at(10), Some(Err(ErrorCode::NotEnoughReplicasAfterAppend)));
        assert_eq!(
            acknowledged(Required::Leader, 10, &shrunk),
            Some(Ok(())),
            "acks=1 does not care"
        );
    }
}
