use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::OffsetFetchRequest;

use crate::effect::{AppendToken, WaiterId};
use crate::group::Group;
use crate::member::{Member, Waiter};
use crate::offsets::{OffsetChange, OffsetKey};
use crate::response::Response;

/// Why a batch is not in the log. It must be certain that it never will be: when that is open
/// (the broker lost the partition, the outcome is unknown), let the coordinator resign instead and
/// load it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// This broker does not lead the partition, or its storage failed.
    #[error("this broker cannot write to the partition")]
    NotCoordinator,
    /// The partition cannot take the batch now (too few replicas, too slow).
    #[error("the partition is not available")]
    NotAvailable,
    /// The batch is larger than the topic allows.
    #[error("the batch is too large")]
    TooLarge,
}

impl AppendError {
    pub(crate) fn response_error(self) -> ResponseError {
        match self {
            Self::NotCoordinator => ResponseError::NotCoordinator,
            Self::NotAvailable => ResponseError::CoordinatorNotAvailable,
            Self::TooLarge => ResponseError::UnknownServerError,
        }
    }
}

/// What becomes true once the batch is confirmed, and what is undone when it is not.
#[derive(Debug)]
pub(crate) enum Change {
    /// Offsets are set or removed.
    Offsets(Vec<OffsetChange>),
    /// Groups go, with their offsets; they were taken out when the batch was handed out.
    Delete {
        offsets: Vec<OffsetChange>,
        groups: Vec<Group>,
    },
    /// A group has lost its last member. Its state has moved already: if this record is missing,
    /// the members of the previous generation come back after a restart, and time out.
    EmptyGroup,
    /// The leader's assignment; the group is Stable with it.
    Assignment {
        group_id: Arc<str>,
        assignments: BTreeMap<Arc<str>, Bytes>,
    },
    /// A static member came back under a new member id without a rebalance.
    StaticMember(Box<StaticMemberChange>),
}

#[derive(Debug)]
pub(crate) struct StaticMemberChange {
    pub(crate) group_id: Arc<str>,
    pub(crate) instance_id: Arc<str>,
    pub(crate) new_member_id: Arc<str>,
    pub(crate) generation: i32,
    /// The member as it was, waiting for nothing.
    pub(crate) old: Member,
    pub(crate) old_leader: Option<Arc<str>>,
}

/// A reply held back until the batch before it is settled.
#[derive(Debug)]
pub(crate) enum Deferred {
    /// Sent as it is when the batch is confirmed, turned into an error when not.
    Reply {
        waiter: WaiterId,
        response: Response,
    },
    /// Computed then, whatever became of the batch.
    OffsetFetch {
        waiter: Waiter,
        request: OffsetFetchRequest,
    },
}

/// A batch that was handed out and not settled yet.
#[derive(Debug)]
pub(crate) struct PendingAppend {
    pub(crate) token: AppendToken,
    pub(crate) change: Change,
    pub(crate) deferred: Vec<Deferred>,
    outcome: Option<Result<(), AppendError>>,
}

impl PendingAppend {
    fn offset_changes(&self) -> &[OffsetChange] {
        match &self.change {
            Change::Offsets(offsets) | Change::Delete { offsets, .. } => offsets,
            Change::EmptyGroup | Change::Assignment { .. } | Change::StaticMember(_) => &[],
        }
    }
}

/// The batches under way, in log order.
#[derive(Debug, Default)]
pub(crate) struct Appends {
    next_token: u64,
    queue: VecDeque<PendingAppend>,
}

impl Appends {
    pub(crate) fn push(&mut self, change: Change, deferred: Vec<Deferred>) -> AppendToken {
        let token = AppendToken(self.next_token);
        self.next_token += 1;
        self.queue.push_back(PendingAppend {
            token,
            change,
            deferred,
            outcome: None,
        });
        token
    }

    pub(crate) fn defer(&mut self, token: AppendToken, reply: Deferred) {
        let found = self.queue.iter_mut().find(|pending| pending.token == token);
        found
            .expect("replies are deferred to a batch that was just pushed")
            .deferred
            .push(reply);
    }

    /// Notes the outcome; a token that is not under way is ignored.
    pub(crate) fn settle(&mut self, token: AppendToken, outcome: Result<(), AppendError>) {
        if let Some(pending) = self.queue.iter_mut().find(|pending| pending.token == token) {
            pending.outcome.get_or_insert(outcome);
        }
    }

    /// The oldest batch when it is settled: changes take effect in log order.
    pub(crate) fn pop_settled(&mut self) -> Option<(PendingAppend, Result<(), AppendError>)> {
        let outcome = self.queue.front()?.outcome?;
        Some((self.queue.pop_front()?, outcome))
    }

    /// The last batch under way that touches offsets of the group.
    pub(crate) fn last_on_offsets_of(&self, group_id: &str) -> Option<AppendToken> {
        let touches = |pending: &&PendingAppend| {
            pending
                .offset_changes()
                .iter()
                .any(|change| *change.key.group_id == *group_id)
        };
        self.queue
            .iter()
            .rev()
            .find(touches)
            .map(|pending| pending.token)
    }

    pub(crate) fn offset_keys(&self) -> BTreeSet<OffsetKey> {
        let changes = self.queue.iter().flat_map(PendingAppend::offset_changes);
        changes.map(|change| change.key.clone()).collect()
    }

    pub(crate) fn deletes_group(&self, group_id: &str) -> bool {
        self.queue.iter().any(|pending| match &pending.change {
            Change::Delete { groups, .. } => groups.iter().any(|group| *group.id == *group_id),
            _ => false,
        })
    }

    pub(crate) fn into_deferred(self) -> impl Iterator<Item = Deferred> {
        self.queue.into_iter().flat_map(|pending| pending.deferred)
    }
}
