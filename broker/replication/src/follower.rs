//! What a follower does with the leader's answer to its fetch.
//!
//! Kafka's `AbstractFetcherThread` with truncation on fetch (KIP-595): the follower names the epoch of
//! its last record, the leader answers where that epoch leaves its own log, and the follower cuts there.
//! One cut may not be enough: it then asks again and gets the next.

use foz_protocol::error::ErrorCode;
use foz_protocol::fetch::EpochEndOffset;

/// The follower's own log, taken when the answer is handled and not when the request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerLog {
    /// The leader epoch that it follows by now.
    pub leader_epoch: i32,
    /// The first offset there is.
    pub start_offset: i64,
    /// The offset after the last record.
    pub end_offset: i64,
    /// What it knows to be committed.
    pub high_watermark: i64,
}

/// The answer for one partition, and what was asked.
///
/// It is the answer to the last request that was sent: one at a time to each leader, and whatever comes
/// after the request was given up is dropped with its connection. Epoch and offset alone do not tell: a
/// follower that cut its log and fetched again may be at the same offset with other records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The leader epoch that the request named.
    pub request_leader_epoch: i32,
    /// The offset that the request asked for.
    pub request_offset: i64,
    /// The error.
    pub error: ErrorCode,
    /// The leader's high watermark; -1 with most errors.
    pub high_watermark: i64,
    /// The leader's log start; -1 with most errors. A leader names it to a follower with
    /// OFFSET_OUT_OF_RANGE too: there is no ListOffsets between nodes.
    pub log_start_offset: i64,
    /// Where the follower's last epoch leaves the leader's log.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// The epoch of the leader that the answer points to instead; -1 for none.
    pub current_leader_epoch: i32,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Append the records, if there are any, then do as [`progress_after_append`] says.
    Append,
    /// Cut the log so that it ends at `to`, epochs that begin there included (an epoch without records
    /// may be all that differs), then fetch again. The answer's high watermark does not count.
    Truncate {
        /// The new end, at most the old one.
        to: i64,
    },
    /// Throw everything away and begin anew and empty at `to`, then fetch again.
    Reset {
        /// The new start and end.
        to: i64,
    },
    /// Fetch again after `replica.fetch.backoff.ms`; a stale answer too.
    Retry,
    /// Nothing to be had from this leader until metadata names another or a newer epoch.
    WaitForMetadata,
    /// Stop following in this leader epoch and say why: going on could lose data or never end.
    Failed(FailReason),
}

/// Why a follower gives up on a leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// The leader ends before the follower, and no epoch says where they part.
    #[error(
        "the leader's log, from {leader_start_offset} with high watermark {leader_high_watermark}, does \
         not have offset {end_offset}, and no leader epoch says where to cut: the own log, committed to \
         {high_watermark}, is kept as it is"
    )]
    BeyondLeaderWithoutEpoch {
        /// The own end.
        end_offset: i64,
        /// The own high watermark.
        high_watermark: i64,
        /// The leader's start.
        leader_start_offset: i64,
        /// The leader's high watermark.
        leader_high_watermark: i64,
    },
    /// OFFSET_OUT_OF_RANGE that does not say where the leader's log starts.
    #[error("the leader does not have offset {end_offset} and does not say where its log starts")]
    LeaderStartUnknown {
        /// The own end.
        end_offset: i64,
    },
    /// A diverging epoch without an offset, or with one below any.
    #[error("the leader names epoch {epoch} with end offset {end_offset} as diverging")]
    BadDivergence {
        /// The epoch.
        epoch: i32,
        /// The offset.
        end_offset: i64,
    },
    /// The leader ends below what it said to be committed in the same epoch.
    #[error(
        "the leader of epoch {epoch} ends it at {end_offset}, below {high_watermark}, which it committed: \
         it has lost data, and the own log is kept as it is"
    )]
    LeaderLostData {
        /// The epoch that is followed.
        epoch: i32,
        /// The leader's end.
        end_offset: i64,
        /// The own high watermark.
        high_watermark: i64,
    },
    /// The records are on tiered storage, which this broker does not have.
    #[error("the leader moved the offset to tiered storage")]
    TieredStorage,
}

/// Decides what an answer means. `end_offset_for_epoch` looks into the follower's own epochs: the
/// largest epoch at most as large as the given one, and where it ends; `None` when there is none.
#[must_use]
pub fn next_step(
    local: &FollowerLog,
    answer: &FetchedPartition,
    end_offset_for_epoch: impl FnOnce(i32) -> Option<EpochEndOffset>,
) -> Step {
    if answer.request_leader_epoch != local.leader_epoch
        || answer.request_offset != local.end_offset
    {
        // To a question that nobody asks any more: an earlier leader's, or from before a cut.
        return Step::Retry;
    }
    match answer.error {
        ErrorCode::None => match answer.diverging_epoch {
            Some(leader) => cut(local, leader, end_offset_for_epoch),
            None => Step::Append,
        },
        ErrorCode::OffsetOutOfRange => out_of_range(local, answer),
        // The leader is of a newer epoch. (A stale broker epoch is another thing: the node may have registered
        // anew since, and no metadata tells it about a partition in which nothing changed.)
        ErrorCode::FencedLeaderEpoch => Step::WaitForMetadata,
        ErrorCode::NotLeaderOrFollower if answer.current_leader_epoch > local.leader_epoch => {
            Step::WaitForMetadata
        }
        ErrorCode::OffsetMovedToTieredStorage => Step::Failed(FailReason::TieredStorage),
        // UNKNOWN_LEADER_EPOCH, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, INCONSISTENT_TOPIC_ID,
        // NOT_LEADER_OR_FOLLOWER: the other node's metadata is behind. KAFKA_STORAGE_ERROR,
        // CORRUPT_MESSAGE and the rest: it may recover, or metadata will name another.
        _ => Step::Retry,
    }
}

/// Where a follower stands after an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Its high watermark: the leader's, as far as its own log goes. Never back: what an earlier leader
    /// said to be committed stays so, though a new leader may not know it yet.
    pub high_watermark: i64,
    /// Its log start: what the leader deleted goes here too.
    pub log_start_offset: i64,
}

/// What holds once the records of an answer are in the log; `local` as it is then.
#[must_use]
pub fn progress_after_append(local: &FollowerLog, answer: &FetchedPartition) -> Progress {
    let high_watermark = local
        .high_watermark
        .max(answer.high_watermark.min(local.end_offset));
    Progress {
        high_watermark,
        // Deletion never runs ahead of the high watermark, on no replica.
        log_start_offset: local
            .start_offset
            .max(answer.log_start_offset.min(high_watermark)),
    }
}

/// KIP-101 and KIP-279: both logs agree up to the end of the last epoch that both have. Where the leader
/// names an epoch that the follower does not have, the follower's own records of later epochs go, and
/// the next fetch asks with the epoch before.
fn cut(
    local: &FollowerLog,
    leader: EpochEndOffset,
    end_offset_for_epoch: impl FnOnce(i32) -> Option<EpochEndOffset>,
) -> Step {
    if leader.end_offset < 0 || leader.epoch < 0 {
        return Step::Failed(FailReason::BadDivergence {
            epoch: leader.epoch,
            end_offset: leader.end_offset,
        });
    }
    // An older leader may be cut below that after an unclean election. The one that is followed may not have
    // lost what it committed itself, unless it leads with a disk that it should not lead with.
    if leader.epoch == local.leader_epoch && leader.end_offset < local.high_watermark {
        return Step::Failed(FailReason::LeaderLostData {
            epoch: leader.epoch,
            end_offset: leader.end_offset,
            high_watermark: local.high_watermark,
        });
    }
    let to = match end_offset_for_epoch(leader.epoch) {
        Some(own) if own.epoch == leader.epoch => own.end_offset.min(leader.end_offset),
        // An epoch that only the leader has: what comes after the own one before it goes.
        Some(own) => own.end_offset,
        // All of the own records are of later epochs than the leader's last common one.
        None => local.start_offset.min(leader.end_offset),
    }
    .min(local.end_offset);
    if to < local.start_offset {
        Step::Reset { to }
    } else {
        Step::Truncate { to }
    }
}

fn out_of_range(local: &FollowerLog, answer: &FetchedPartition) -> Step {
    let end_offset = local.end_offset;
    if answer.log_start_offset < 0 {
        Step::Failed(FailReason::LeaderStartUnknown { end_offset })
    } else if end_offset < answer.log_start_offset {
        // All that the follower has is deleted on the leader.
        Step::Reset {
            to: answer.log_start_offset,
        }
    } else if end_offset <= answer.high_watermark {
        // The leader has it by now.
        Step::Retry
    } else if local.start_offset == end_offset {
        // Nothing to lose: an empty log that was begun at an offset which an unclean leader never had.
        Step::Reset {
            to: answer.log_start_offset,
        }
    } else {
        Step::Failed(FailReason::BeyondLeaderWithoutEpoch {
            end_offset,
            high_watermark: local.high_watermark,
            leader_start_offset: answer.log_start_offset,
            leader_high_watermark: answer.high_watermark,
        })
    }
}

#[cfg(test)]
mod tests;
