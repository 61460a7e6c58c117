//! A change of the ISR that the leader asks the controller for (AlterPartition, KIP-497, KIP-903).

use foz_protocol::error::ErrorCode;

/// The wish of a leader. Whoever carries it answers each one exactly once, by
/// [`Leader::answered`](crate::Leader::answered), or drops it unsent when the leader does not wait for it any
/// more ([`Leader::proposal_in_flight`](crate::Leader::proposal_in_flight)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrProposal {
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// The state that it changes: the controller refuses when it has moved on.
    pub partition_epoch: i32,
    /// The nodes of the new ISR in order, each with the broker epoch that the leader knows it by; -1
    /// for unknown.
    pub new_isr: Vec<(i32, i64)>,
    /// Counts the proposals of this leader, so that an old answer is not taken for that to a repeated
    /// proposal. Not sent.
    pub attempt: u64,
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProposalOutcome {
    /// The partition as the controller has it now.
    Committed {
        /// A newer one than the leader's: it leads no more.
        leader_epoch: i32,
        /// The same one as before when the proposal changed nothing.
        partition_epoch: i32,
        /// The ISR, as committed.
        isr: Vec<i32>,
    },
    /// The controller knows another state than the leader does: metadata on its way will tell. An
    /// earlier attempt may have been applied.
    Superseded,
    /// Not applied, and the leader's partition epoch is the controller's.
    NotApplied,
    /// This attempt was not applied: whoever was asked is behind the leader. Another controller may have
    /// applied an earlier one.
    NotDecided,
    /// Nobody knows: no answer, a broken connection, no active controller.
    Unknown,
}

impl ProposalOutcome {
    /// What an error of the controller means. As in Kafka's `Partition`, only INELIGIBLE_REPLICA and
    /// OPERATION_NOT_ATTEMPTED say that the partition epoch was right and nothing happened.
    #[must_use]
    pub fn refused(code: ErrorCode) -> Self {
        match code {
            ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted => Self::NotApplied,
            // For one partition. (A request that no active controller took in has no answer at all.)
            ErrorCode::NotController => Self::NotDecided,
            ErrorCode::FencedLeaderEpoch
            | ErrorCode::InvalidUpdateVersion
            | ErrorCode::InvalidRequest
            | ErrorCode::NewLeaderElected
            | ErrorCode::UnknownTopicId
            | ErrorCode::UnknownTopicOrPartition => Self::Superseded,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_codes_say_that_nothing_happened() {
        for &code in ErrorCode::ALL {
            let sure = ProposalOutcome::refused(code) == ProposalOutcome::NotApplied;
            assert_eq!(
                sure,
                matches!(
                    code,
                    ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted
                ),
                "{code}"
            );
        }
    }

    #[test]
    fn a_controller_that_lags_or_is_away_is_asked_again() {
        for code in [
            ErrorCode::StaleBrokerEpoch,
            ErrorCode::RequestTimedOut,
            ErrorCode::UnknownServerError,
        ] {
            assert_eq!(ProposalOutcome::refused(code), ProposalOutcome::Unknown);
        }
        let behind = ProposalOutcome::refused(ErrorCode::NotController);
        assert_eq!(behind, ProposalOutcome::NotDecided);
    }
}
