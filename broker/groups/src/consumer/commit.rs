use kafka_protocol::ResponseError;
use uuid::Uuid;

use super::group::ConsumerGroup;
use super::member::CurrentAssignment;

/// The first version of OffsetCommit that knows member epochs.
const MEMBER_EPOCH_VERSION: i16 = 9;

/// Which request commits offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitApi {
    /// OffsetCommit, at that version.
    OffsetCommit(i16),
    /// TxnOffsetCommit, at any: a producer may leave out the member that it commits for.
    TxnOffsetCommit,
}

/// Which partitions a request may commit offsets of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitRule<'a> {
    /// All.
    Any,
    /// Those that the member has had since that epoch, or longer (KIP-1251).
    HeldSince {
        /// Of the member.
        current: &'a CurrentAssignment,
        /// As the request says.
        epoch: i32,
        /// What is told of all others: members that speak the classic protocol call their epoch a generation.
        error: ResponseError,
    },
}

impl CommitRule<'_> {
    /// Says why the offset of a partition is not to be committed.
    pub fn check(&self, topic_id: &Uuid, partition: i32) -> Result<(), ResponseError> {
        let Self::HeldSince {
            current,
            epoch,
            error,
        } = self
        else {
            return Ok(());
        };
        let maps = [&current.assigned, &current.pending_revocation];
        let mut held = maps
            .into_iter()
            .filter_map(|partitions| partitions.get(topic_id));
        let since = held.find_map(|partitions| partitions.get(&partition));
        match since {
            Some(since) if epoch >= since => Ok(()),
            _ => Err(*error),
        }
    }
}

impl ConsumerGroup {
    /// Whether a commit is taken. Without an epoch (-1) it comes from a tool or from a consumer that assigns
    /// itself, and the group has to be empty.
    pub fn check_commit(
        &self,
        api: CommitApi,
        member_id: &str,
        instance_id: Option<&str>,
        epoch: i32,
    ) -> Result<CommitRule<'_>, ResponseError> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(CommitRule::Any);
        }
        let names_nobody = epoch == -1 && member_id.is_empty() && instance_id.is_none();
        if api == CommitApi::TxnOffsetCommit && names_nobody {
            return Ok(CommitRule::Any);
        }
        let member = self.members.get(member_id);
        let member = member.ok_or(ResponseError::UnknownMemberId)?;
        let current = &member.current;
        let is_classic = member.metadata.classic.is_some();
        if !is_classic && matches!(api, CommitApi::OffsetCommit(..MEMBER_EPOCH_VERSION)) {
            return Err(ResponseError::UnsupportedVersion);
        }
        let error = stale(is_classic);
        match epoch.cmp(&current.epoch) {
            std::cmp::Ordering::Equal => Ok(CommitRule::Any),
            std::cmp::Ordering::Greater => Err(error),
            std::cmp::Ordering::Less => Ok(CommitRule::HeldSince {
                current,
                epoch,
                error,
            }),
        }
    }

    /// Whether an OffsetFetch is answered; without a member it comes from a tool. The answer goes out once all
    /// changes before are committed. Unlike Kafka, which asks by the epoch that is committed at the time of the
    /// request: where that of a member waits to be committed, the one before is stale at once, and the client
    /// asks again with the new one when it has heard of it.
    pub fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ResponseError> {
        let Some(member_id) = member_id else {
            return match epoch {
                ..0 => Ok(()),
                _ => Err(ResponseError::UnknownMemberId),
            };
        };
        match self.members.get(member_id) {
            None => Err(ResponseError::UnknownMemberId),
            Some(member) if member.current.epoch != epoch => {
                Err(stale(member.metadata.classic.is_some()))
            }
            Some(_) => Ok(()),
        }
    }
}

/// An epoch that is not that of the member.
fn stale(is_classic: bool) -> ResponseError {
    if is_classic {
        ResponseError::IllegalGeneration
    } else {
        ResponseError::StaleMemberEpoch
    }
}
