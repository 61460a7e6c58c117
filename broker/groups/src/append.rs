use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::OffsetFetchRequest;

use crate::consumer::{ConsumerGroup, Undo};
use crate::coordinator::{Deleted, Inherited};
use crate::effect::{AppendToken, WaiterId};
use crate::group::Group;
use crate::member::{Member, Waiter};
use crate::offsets::{OffsetChange, OffsetKey};
use crate::response::Response;

/// Why a batch is not in the log. It must be certain that it never will be: when that is open
/// (the broker lost the partition, the outcome is unknown), let the coordinator resign instead and
/// load it again. A batch that only takes long has no outcome yet.
///
/// All but [`Self::NotCoordinator`] are known at once, and told before a later batch is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// This broker does not lead the partition, or its storage failed.
    #[error("this broker cannot write to the partition")]
    NotCoordinator,
    /// The partition cannot take the batch now (too few replicas).
    #[error("the partition is not available")]
    NotAvailable,
    /// The batch is larger than the topic allows.
    #[error("the batch is too large")]
    TooLarge,
    /// What the log says of the producer of a transaction, or of a marker.
    #[error("the log refuses it: {0:?}")]
    Refused(ResponseError),
}

impl AppendError {
    pub(crate) fn response_error(self) -> ResponseError {
        match self {
            Self::NotCoordinator => ResponseError::NotCoordinator,
            Self::NotAvailable => ResponseError::CoordinatorNotAvailable,
            Self::TooLarge => ResponseError::UnknownServerError,
            Self::Refused(error) => error,
        }
    }
}

/// What becomes true once the batch is confirmed, and what is undone when it is not.
#[derive(Debug)]
pub(crate) enum Change {
    /// Offsets are set or removed.
    Offsets(Vec<OffsetChange>),
    /// Offsets are set once the transaction of this producer is committed.
    Pending {
        producer_id: i64,
        offsets: Vec<OffsetChange>,
    },
    /// The transaction of this producer has ended.
    Completion { producer_id: i64, is_commit: bool },
    /// Groups go, with their offsets; they were taken out when the batch was handed out.
    Delete {
        offsets: Vec<OffsetChange>,
        groups: Vec<Deleted>,
    },
    /// A consumer group has changed, in force already.
    ConsumerGroup {
        group_id: Arc<str>,
        undo: Undo,
        /// The classic group that had the name before.
        replaced: Option<Box<Group>>,
    },
    /// A group of KIP-848 is a classic one, since none of its members speaks KIP-848 any more.
    Downgraded {
        /// As it was with the change that has brought this about.
        group: Box<ConsumerGroup>,
        undo: Undo,
    },
    /// An empty consumer group has made room for a classic one of its name.
    EndedConsumerGroup(Box<ConsumerGroup>),
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
    /// What the log held already when the coordinator was loaded, above the high watermark.
    Inherited(Inherited),
    /// It took too long and was undone, but the batch may be committed yet. A restart then finds it, as it would
    /// had this coordinator died before it could answer; what comes later in the log replaces it.
    GivenUp,
}

impl Change {
    /// It has changed a consumer group.
    pub(crate) fn is_of_consumer_group(&self) -> bool {
        match self {
            Self::ConsumerGroup { .. } | Self::EndedConsumerGroup(_) | Self::Downgraded { .. } => {
                true
            }
            Self::Delete { groups, .. } => groups.iter().any(Deleted::is_of_consumers),
            _ => false,
        }
    }
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
    /// When those who wait are told that it takes too long. Those handed out later have later ones, or are told
    /// together with it, where `offsets.commit.timeout.ms` was lowered.
    deadline_ms: i64,
    is_committed: bool,
}

/// What waited for a batch until its time was over.
#[derive(Debug)]
pub(crate) struct TimedOut {
    pub(crate) token: AppendToken,
    /// What is to be undone. [`Change::GivenUp`] where the change still takes effect, once the batch is committed.
    pub(crate) undone: Change,
    pub(crate) deferred: Vec<Deferred>,
}

impl PendingAppend {
    /// Those that are in force, or pending, once it is committed, or are removed.
    fn offset_changes(&self) -> &[OffsetChange] {
        match &self.change {
            Change::Offsets(offsets)
            | Change::Pending { offsets, .. }
            | Change::Delete { offsets, .. } => offsets,
            Change::Inherited(tail) => &tail.touched,
            // What it touches is pending, and is looked at there.
            Change::Completion { .. }
            | Change::EmptyGroup
            | Change::Assignment { .. }
            | Change::StaticMember(_)
            | Change::ConsumerGroup { .. }
            | Change::EndedConsumerGroup(_)
            | Change::Downgraded { .. }
            | Change::GivenUp => &[],
        }
    }

    fn changes_consumer_group(&self, group_id: &str) -> bool {
        match &self.change {
            Change::ConsumerGroup {
                group_id: changed, ..
            } => **changed == *group_id,
            Change::EndedConsumerGroup(ended) => **ended.id() == *group_id,
            Change::Downgraded { group, .. } => **group.id() == *group_id,
            Change::Delete { groups, .. } => {
                let mut groups = groups.iter();
                groups.any(|group| group.is_of_consumers() && group.id() == group_id)
            }
            _ => false,
        }
    }
}

/// A batch that is not settled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnderWay {
    pub(crate) token: AppendToken,
    /// Whoever waited for it was told that it takes too long.
    pub(crate) is_timed_out: bool,
}

/// The batches under way, in log order.
#[derive(Debug, Default)]
pub(crate) struct Appends {
    next_token: u64,
    queue: VecDeque<PendingAppend>,
    /// So many in front are waited for by nobody any more.
    timed_out: usize,
}

impl Appends {
    pub(crate) fn push(
        &mut self,
        change: Change,
        deferred: Vec<Deferred>,
        deadline_ms: i64,
    ) -> AppendToken {
        let token = AppendToken(self.next_token);
        self.next_token += 1;
        self.queue.push_back(PendingAppend {
            token,
            change,
            deferred,
            deadline_ms,
            is_committed: false,
        });
        token
    }

    /// The first in the queue: nothing was appended yet. Nobody waits for it.
    pub(crate) fn inherit(&mut self, tail: Inherited) -> AppendToken {
        debug_assert!(self.queue.is_empty(), "changes take effect in log order");
        self.timed_out = 1;
        self.push(Change::Inherited(tail), Vec::new(), i64::MAX)
    }

    pub(crate) fn defer(&mut self, token: AppendToken, reply: Deferred) {
        let found = self.queue.iter_mut().find(|pending| pending.token == token);
        found
            .expect("replies are deferred to a batch that was just pushed")
            .deferred
            .push(reply);
    }

    /// The batch is committed; a token that is not under way is ignored.
    pub(crate) fn confirm(&mut self, token: AppendToken) {
        if let Some(pending) = self.queue.iter_mut().find(|pending| pending.token == token) {
            pending.is_committed = true;
        }
    }

    /// The oldest batch when it is committed: changes take effect in log order.
    pub(crate) fn pop_confirmed(&mut self) -> Option<PendingAppend> {
        self.queue.front().filter(|pending| pending.is_committed)?;
        self.take(0)
    }

    /// A batch that failed. It is in no log, so it need not wait for those before it.
    pub(crate) fn take_failed(&mut self, token: AppendToken) -> Option<PendingAppend> {
        let is_failed = |pending: &PendingAppend| pending.token == token && !pending.is_committed;
        self.take(self.queue.iter().position(is_failed)?)
    }

    /// The newest batch that is built on one that failed, and so is not to be appended.
    pub(crate) fn take_built_on(&mut self, failed: &PendingAppend) -> Option<PendingAppend> {
        let Change::ConsumerGroup { group_id, .. } = &failed.change else {
            return None;
        };
        let is_built_on = |pending: &PendingAppend| {
            pending.token > failed.token && pending.changes_consumer_group(group_id)
        };
        self.take(self.queue.iter().rposition(is_built_on)?)
    }

    pub(crate) fn contains(&self, token: AppendToken) -> bool {
        self.queue.iter().any(|pending| pending.token == token)
    }

    fn take(&mut self, index: usize) -> Option<PendingAppend> {
        if index < self.timed_out {
            self.timed_out -= 1;
        }
        self.queue.remove(index)
    }

    /// When [`Self::time_out`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        let first = self.queue.get(self.timed_out)?;
        Some(first.deadline_ms)
    }

    /// Lets go of all who have waited long enough. The batches stay: their outcome is open.
    pub(crate) fn time_out(&mut self, now_ms: i64) -> Vec<TimedOut> {
        let waited_for = self.queue.iter_mut().skip(self.timed_out);
        let due = waited_for.take_while(|pending| pending.deadline_ms <= now_ms);
        let timed_out = due.map(|pending| {
            let undone = match &mut pending.change {
                change @ (Change::Assignment { .. } | Change::StaticMember(_)) => {
                    std::mem::replace(change, Change::GivenUp)
                }
                _ => Change::GivenUp,
            };
            TimedOut {
                token: pending.token,
                undone,
                deferred: std::mem::take(&mut pending.deferred),
            }
        });
        let timed_out: Vec<TimedOut> = timed_out.collect();
        self.timed_out += timed_out.len();
        timed_out
    }

    /// The last batch under way that touches offsets of the group, of those that may still be waited for and
    /// were handed out before this one.
    pub(crate) fn last_on_offsets_of(
        &self,
        group_id: &str,
        before: AppendToken,
    ) -> Option<AppendToken> {
        let touches = |pending: &&PendingAppend| {
            pending
                .offset_changes()
                .iter()
                .any(|change| *change.key.group_id == *group_id)
        };
        self.queue
            .iter()
            .skip(self.timed_out)
            .rev()
            .skip_while(|pending| pending.token >= before)
            .find(touches)
            .map(|pending| pending.token)
    }

    /// Offsets of a group that are being committed in transactions.
    pub(crate) fn pending_keys_of(&self, group_id: &str) -> impl Iterator<Item = &OffsetKey> {
        let changes = self.queue.iter().flat_map(|pending| match &pending.change {
            Change::Pending { offsets, .. } => offsets.as_slice(),
            _ => &[],
        });
        let keys = changes.map(|change| &change.key);
        keys.filter(move |key| *key.group_id == *group_id)
    }

    pub(crate) fn offset_keys(&self) -> BTreeSet<OffsetKey> {
        let changes = self.queue.iter().flat_map(PendingAppend::offset_changes);
        changes.map(|change| change.key.clone()).collect()
    }

    /// The topics that offsets are being set for.
    pub(crate) fn topics_set(&self) -> impl Iterator<Item = &str> {
        let changes = self.queue.iter().flat_map(PendingAppend::offset_changes);
        let set = changes.filter(|change| change.value.is_some());
        set.map(|change| &*change.key.topic)
    }

    pub(crate) fn deletes_group(&self, group_id: &str) -> bool {
        self.queue.iter().any(|pending| match &pending.change {
            Change::Delete { groups, .. } => groups.iter().any(|group| group.id() == group_id),
            _ => false,
        })
    }

    /// The last batch under way that changes a consumer group, of those handed out before this one.
    pub(crate) fn last_on_consumer_group(
        &self,
        group_id: &str,
        before: AppendToken,
    ) -> Option<UnderWay> {
        let mut queue = self.queue.iter().enumerate().rev();
        let (index, pending) = queue.find(|(_, pending)| {
            pending.token < before && pending.changes_consumer_group(group_id)
        })?;
        Some(UnderWay {
            token: pending.token,
            is_timed_out: index < self.timed_out,
        })
    }

    pub(crate) fn into_deferred(self) -> impl Iterator<Item = Deferred> {
        self.queue.into_iter().flat_map(|pending| pending.deferred)
    }
}
