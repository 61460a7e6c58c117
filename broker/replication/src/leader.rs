//! The leader of a partition in one leader epoch: where its followers are, what is committed, and who is
//! in sync.
//!
//! The rules are those of Kafka's `Partition`. The caller hands in its own log with every call, taken
//! under the same lock, and carries out the [`Effects`].

mod catching_up;
mod confirmation;
mod follower_state;
mod low_watermark;
mod pending_isr;
mod read_replica;
mod rest;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use foz_canary::{Canary, sings};
use foz_protocol::error::ErrorCode;

use self::follower_state::FollowerState;
use self::pending_isr::PendingIsr;
pub use self::read_replica::ReplicaSelector;
use crate::assignment::{Assignment, Cluster, LocalLog, Settings};
use crate::proposal::{IsrProposal, ProposalOutcome};

/// A fetch of a follower that this leader can serve: the leader epoch is right, and
/// `last_fetched_epoch` does not diverge. A fetch that diverges must not come here: its offset is not a
/// position in this leader's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerFetch {
    /// The follower.
    pub node_id: i32,
    /// Its broker epoch.
    pub broker_epoch: i64,
    /// Its log end offset.
    pub fetch_offset: i64,
    /// Its log start offset.
    pub log_start_offset: i64,
}

/// Why a follower's fetch does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FetchRefused {
    /// The node holds no replica, as far as this leader knows.
    #[error("node {node_id} is not a replica")]
    NotReplica {
        /// The node.
        node_id: i32,
    },
    /// An earlier incarnation of the node (KIP-903).
    #[error("node {node_id} fetches with broker epoch {given}, its current one is {current}")]
    StaleBrokerEpoch {
        /// The node.
        node_id: i32,
        /// The epoch in the request.
        given: i64,
        /// The newest epoch known.
        current: i64,
    },
    /// The leader's log does not have the offset.
    #[error(
        "offset {offset} of node {node_id} is outside the leader's log {start_offset}..={end_offset}"
    )]
    OffsetOutOfRange {
        /// The node.
        node_id: i32,
        /// What it asked for.
        offset: i64,
        /// The leader's log start.
        start_offset: i64,
        /// The leader's log end.
        end_offset: i64,
    },
}

impl FetchRefused {
    /// Kafka's error code for it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            // The leader epoch was right, so the follower has seen newer metadata than this leader.
            Self::NotReplica { .. } => ErrorCode::UnknownLeaderEpoch,
            Self::StaleBrokerEpoch { .. } => ErrorCode::NotLeaderOrFollower,
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        }
    }
}

/// What the caller has to do.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// The high watermark moved to here.
    pub high_watermark: Option<i64>,
    /// To be sent to the active controller, and answered by [`Leader::answered`].
    pub propose: Option<IsrProposal>,
}

/// A follower, for metrics and for answers about the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerView {
    /// The follower.
    pub node_id: i32,
    /// In the committed ISR.
    pub in_isr: bool,
    /// Its log end; `None` until it has fetched in this leader epoch.
    pub log_end_offset: Option<i64>,
    /// Its log start; -1 until it said.
    pub log_start_offset: i64,
    /// Its broker epoch; -1 until it said.
    pub broker_epoch: i64,
    /// When it fetched last.
    pub last_fetch_ms: Option<i64>,
    /// The latest time at which it is known to have had all.
    pub last_caught_up_ms: Option<i64>,
}

/// The leader of one partition in one leader epoch.
#[derive(Debug, Clone)]
pub struct Leader {
    node_id: i32,
    leader_epoch: i32,
    partition_epoch: i32,
    /// Where this epoch began: who has less may lack what earlier epochs committed.
    epoch_start_offset: i64,
    settings: Settings,
    replicas: Vec<i32>,
    /// As committed.
    isr: BTreeSet<i32>,
    /// All replicas and members of the ISR but the leader.
    followers: BTreeMap<i32, FollowerState>,
    high_watermark: i64,
    pending: PendingIsr,
    /// The latest moment that somebody waits to have confirmed.
    asked_ms: Option<i64>,
}

impl Leader {
    /// Becomes the leader of the assignment's epoch. Nothing is known of any follower: what they told an
    /// earlier epoch counts for nothing. The high watermark begins at the local one, or further where
    /// the ISR is the leader alone; read it afterwards.
    #[must_use]
    pub fn new(
        node_id: i32,
        assignment: &Assignment,
        settings: Settings,
        local: LocalLog,
        high_watermark: i64,
        now_ms: i64,
    ) -> Self {
        let mut leader = Self {
            node_id,
            leader_epoch: assignment.leader_epoch,
            partition_epoch: assignment.partition_epoch,
            epoch_start_offset: local.end_offset,
            settings,
            replicas: Vec::new(),
            isr: BTreeSet::new(),
            followers: BTreeMap::new(),
            // Not clamp: it panics where start is above end, and a damaged log must not do that here.
            high_watermark: high_watermark.max(local.start_offset).min(local.end_offset),
            pending: PendingIsr::new(),
            asked_ms: None,
        };
        leader.set_replicas(assignment.replicas.clone(), assignment.isr.clone(), now_ms);
        leader.advance(local);
        leader
    }

    /// Metadata or settings changed while the leader epoch stayed. An older partition epoch than the
    /// leader knows from an answer changes nothing; another leader epoch is for [`Self::new`], or the end.
    pub fn assignment_changed(
        &mut self,
        assignment: &Assignment,
        settings: Settings,
        local: LocalLog,
        now_ms: i64,
    ) -> Effects {
        if assignment.leader_epoch != self.leader_epoch {
            return Effects::default();
        }
        self.settings = settings;
        if assignment.partition_epoch > self.partition_epoch {
            self.partition_epoch = assignment.partition_epoch;
            self.pending.settled();
            self.set_replicas(assignment.replicas.clone(), assignment.isr.clone(), now_ms);
        }
        self.moved(local)
    }

    /// The log end or the durable offset moved.
    pub fn appended(&mut self, local: LocalLog) -> Effects {
        self.moved(local)
    }

    /// A follower asks for records, and thereby says what it has.
    ///
    /// # Errors
    /// [`FetchRefused`]: answer its code; the fetch does not count.
    pub fn fetched(
        &mut self,
        fetch: FollowerFetch,
        local: LocalLog,
        cluster: &dyn Cluster,
        now_ms: i64,
    ) -> Result<Effects, FetchRefused> {
        let FollowerFetch {
            node_id,
            broker_epoch,
            fetch_offset,
            log_start_offset,
        } = fetch;
        let checked = self.check_fetch(fetch, local, cluster);
        let Some(state) = self.followers.get_mut(&node_id) else {
            return Err(FetchRefused::NotReplica { node_id });
        };
        if let Err(refused) = checked {
            let is_out_of_range = matches!(refused, FetchRefused::OffsetOutOfRange { .. });
            if is_out_of_range && fetch_offset < self.high_watermark {
                // It does not have what is committed. The next tick proposes its removal.
                state.end_offset = Some(fetch_offset);
                state.last_caught_up_ms = None;
                state.awaited = false;
            }
            return Err(refused);
        }

        let went_back = state.end_offset.is_some_and(|end| fetch_offset < end);
        state.fetched(
            fetch_offset,
            log_start_offset,
            broker_epoch,
            local.end_offset,
            now_ms,
        );
        if sings(Canary::HighWatermarkAhead) {
            state.end_offset = Some(local.end_offset);
        }
        if went_back && fetch_offset < self.high_watermark {
            // An older disk: that it was caught up once says nothing about now.
            state.last_caught_up_ms = None;
        }
        let is_caught_up =
            state.is_caught_up(local.end_offset, self.settings.lag_time_max_ms, now_ms);
        let in_isr = self.isr.contains(&node_id);
        let may_join = cluster.may_join(node_id) == Some(broker_epoch);
        state.awaited = !in_isr && is_caught_up && may_join;

        let high_watermark = self.advance(local);
        let changes_isr = if in_isr {
            fetch_offset < self.high_watermark
        } else {
            self.joins(node_id, cluster)
        };
        Ok(Effects {
            high_watermark,
            propose: if changes_isr {
                self.propose(local, cluster, false, now_ms)
            } else {
                None
            },
        })
    }

    /// Whether a fetch can be served, without taking in what it says: for one that was taken in and waits for
    /// more. By now it may be older than others of the same follower.
    ///
    /// # Errors
    /// As [`fetched`](Self::fetched).
    pub fn check_fetch(
        &self,
        fetch: FollowerFetch,
        local: LocalLog,
        cluster: &dyn Cluster,
    ) -> Result<(), FetchRefused> {
        let FollowerFetch {
            node_id,
            broker_epoch: given,
            fetch_offset: offset,
            ..
        } = fetch;
        let LocalLog {
            start_offset,
            end_offset,
            ..
        } = local;
        let state = self.followers.get(&node_id);
        let state = state.ok_or(FetchRefused::NotReplica { node_id })?;
        let current = state
            .broker_epoch
            .max(cluster.may_join(node_id).unwrap_or(-1));
        if given < current {
            return Err(FetchRefused::StaleBrokerEpoch {
                node_id,
                given,
                current,
            });
        }
        if offset < start_offset || offset > end_offset {
            return Err(FetchRefused::OffsetOutOfRange {
                node_id,
                offset,
                start_offset,
                end_offset,
            });
        }
        Ok(())
    }

    /// Time has passed: followers that lag leave the ISR, and what failed is tried again. To be called
    /// every `replica.lag.time.max.ms` / 2 or more often; proposals that failed wait for it.
    pub fn tick(&mut self, local: LocalLog, cluster: &dyn Cluster, now_ms: i64) -> Effects {
        let lag_time_max_ms = self.settings.lag_time_max_ms;
        self.pending.tick(lag_time_max_ms, now_ms);
        for (&node_id, state) in &mut self.followers {
            if sings(Canary::IsrShrinkWithoutController)
                && !state.is_caught_up(local.end_offset, 1_000, now_ms)
            {
                state.end_offset = Some(i64::MAX);
            }
            state.awaited = state.awaited
                && !self.isr.contains(&node_id)
                && state.is_caught_up(local.end_offset, lag_time_max_ms, now_ms)
                && cluster.may_join(node_id) == Some(state.broker_epoch);
        }
        let high_watermark = self.advance(local);
        let settles = self.pending.has_unsettled();
        Effects {
            high_watermark,
            propose: self.propose(local, cluster, settles, now_ms),
        }
    }

    /// The outcome of a proposal. Metadata may have overtaken it: then it says nothing new.
    pub fn answered(
        &mut self,
        proposal: &IsrProposal,
        outcome: ProposalOutcome,
        local: LocalLog,
        now_ms: i64,
    ) -> Effects {
        let was = self.pending.take(proposal);
        match (outcome, was) {
            (
                ProposalOutcome::Committed {
                    leader_epoch,
                    partition_epoch,
                    isr,
                },
                _,
            ) if leader_epoch == self.leader_epoch && partition_epoch > self.partition_epoch => {
                self.partition_epoch = partition_epoch;
                self.pending.settled();
                let replicas = std::mem::take(&mut self.replicas);
                self.set_replicas(replicas, isr, now_ms);
            }
            (_, None) => {}
            (
                ProposalOutcome::Committed {
                    leader_epoch,
                    partition_epoch,
                    ..
                },
                Some(was),
            ) => {
                if leader_epoch > self.leader_epoch {
                    self.pending.superseded(was, now_ms);
                } else if (leader_epoch, partition_epoch)
                    == (self.leader_epoch, self.partition_epoch)
                {
                    let lag_time_max_ms = self.settings.lag_time_max_ms;
                    self.pending.not_applied(&was, lag_time_max_ms);
                } else {
                    // Older than what the proposal was made against: no sound controller says that.
                    self.pending.unknown(was, now_ms);
                }
            }
            (ProposalOutcome::NotApplied, Some(was)) => {
                let lag_time_max_ms = self.settings.lag_time_max_ms;
                self.pending.not_applied(&was, lag_time_max_ms);
            }
            (ProposalOutcome::NotDecided, Some(_)) => self.pending.not_decided(),
            (ProposalOutcome::Superseded, Some(was)) => self.pending.superseded(was, now_ms),
            (ProposalOutcome::Unknown, Some(was)) => self.pending.unknown(was, now_ms),
        }
        self.moved(local)
    }

    /// All below it is committed.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The leader's node.
    #[must_use]
    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    /// The epoch that it leads.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// The newest state of the partition that it knows.
    #[must_use]
    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    /// Where the log ended when this epoch began.
    #[must_use]
    pub fn epoch_start_offset(&self) -> i64 {
        self.epoch_start_offset
    }

    /// All replicas, in the assignment's order.
    #[must_use]
    pub fn replicas(&self) -> &[i32] {
        &self.replicas
    }

    /// The ISR, as committed.
    #[must_use]
    pub fn isr(&self) -> &BTreeSet<i32> {
        &self.isr
    }

    /// The committed ISR and whoever a proposal may have added to it: what the high watermark waits for.
    #[must_use]
    pub fn maximal_isr(&self) -> BTreeSet<i32> {
        let added = self
            .followers
            .keys()
            .filter(|&&node_id| self.pending.may_have_added(node_id));
        self.isr.iter().chain(added).copied().collect()
    }

    /// The committed ISR has min.insync.replicas members.
    #[must_use]
    pub fn has_min_insync(&self) -> bool {
        self.has_min_insync_of(|_| true)
    }

    /// As above, where only these members count.
    pub fn has_min_insync_of(&self, counts: impl Fn(i32) -> bool) -> bool {
        let members = self.isr.iter().filter(|&&node_id| counts(node_id));
        members.count() >= self.settings.min_insync
    }

    /// The proposal that waits for its answer.
    #[must_use]
    pub fn proposal_in_flight(&self) -> Option<&IsrProposal> {
        self.pending.in_flight()
    }

    /// All followers, by node id.
    pub fn followers(&self) -> impl Iterator<Item = FollowerView> + '_ {
        self.followers.iter().map(|(&node_id, state)| FollowerView {
            node_id,
            in_isr: self.isr.contains(&node_id),
            log_end_offset: state.end_offset,
            log_start_offset: state.log_start_offset,
            broker_epoch: state.broker_epoch,
            last_fetch_ms: state.last_fetch_ms,
            last_caught_up_ms: state.last_caught_up_ms,
        })
    }

    fn moved(&mut self, local: LocalLog) -> Effects {
        Effects {
            high_watermark: self.advance(local),
            propose: None,
        }
    }

    fn set_replicas(&mut self, replicas: Vec<i32>, isr: Vec<i32>, now_ms: i64) {
        let isr: BTreeSet<i32> = isr.into_iter().collect();
        let everyone: BTreeSet<i32> = replicas
            .iter()
            .chain(&isr)
            .copied()
            .filter(|&node_id| node_id != self.node_id)
            .collect();
        self.followers
            .retain(|node_id, _| everyone.contains(node_id));
        for node_id in everyone {
            let in_isr = isr.contains(&node_id);
            let state = self
                .followers
                .entry(node_id)
                .or_insert_with(|| FollowerState::unheard(in_isr, now_ms));
            if in_isr && !self.isr.contains(&node_id) {
                // A new member gets the lag time to catch up with the end: it joined at the high watermark.
                state.last_caught_up_ms = state.last_caught_up_ms.max(Some(now_ms));
            }
            state.awaited &= !in_isr;
        }
        self.replicas = replicas;
        self.isr = isr;
    }

    /// Moves the high watermark as far as every replica that could be elected vouches for.
    fn advance(&mut self, local: LocalLog) -> Option<i64> {
        if !self.has_min_insync() {
            return None;
        }
        let mut covered = local.durable_offset.min(local.end_offset);
        for (&node_id, state) in &self.followers {
            if state.awaited || self.isr.contains(&node_id) || self.pending.may_have_added(node_id)
            {
                covered = covered.min(state.end_offset?);
            }
        }
        if covered <= self.high_watermark {
            return None;
        }
        self.high_watermark = covered;
        Some(covered)
    }

    /// The follower is fit for the ISR. With less than where the epoch began it could lack records that
    /// an earlier epoch committed and this leader does not know to be committed yet.
    fn joins(&self, node_id: i32, cluster: &dyn Cluster) -> bool {
        self.followers.get(&node_id).is_some_and(|state| {
            state
                .end_offset
                .is_some_and(|end| end >= self.high_watermark && end >= self.epoch_start_offset)
                && state.broker_epoch >= 0
                && cluster.may_join(node_id) == Some(state.broker_epoch)
        })
    }

    /// The member may stay: it has what is committed, and had all within the lag time.
    fn stays(&self, node_id: i32, local: LocalLog, now_ms: i64) -> bool {
        self.followers.get(&node_id).is_some_and(|state| {
            state
                .end_offset
                .is_none_or(|end| end >= self.high_watermark)
                && state.is_caught_up(local.end_offset, self.settings.lag_time_max_ms, now_ms)
        })
    }

    fn wanted_isr(&self, local: LocalLog, cluster: &dyn Cluster, now_ms: i64) -> BTreeSet<i32> {
        let fit = self.followers.keys().copied().filter(|&node_id| {
            if self.isr.contains(&node_id) {
                self.stays(node_id, local, now_ms)
            } else {
                self.joins(node_id, cluster)
            }
        });
        std::iter::once(self.node_id).chain(fit).collect()
    }

    /// `settles`: also a proposal that changes nothing: the controller gives the partition a new epoch for it,
    /// after which none of the earlier ones can be applied.
    fn propose(
        &mut self,
        local: LocalLog,
        cluster: &dyn Cluster,
        settles: bool,
        now_ms: i64,
    ) -> Option<IsrProposal> {
        if !self.pending.is_free() {
            return None;
        }
        let wanted = self.wanted_isr(local, cluster, now_ms);
        if wanted == self.isr && !settles {
            return None;
        }
        let new_isr = wanted
            .into_iter()
            .map(|node_id| (node_id, self.broker_epoch(node_id, cluster)))
            .collect();
        let proposal = IsrProposal {
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            new_isr,
            attempt: self.pending.next_attempt(),
        };
        self.pending.sent(proposal.clone(), &self.isr, now_ms);
        Some(proposal)
    }

    /// The epoch that the leader knows the node by. Not the newest one of the metadata: the controller
    /// compares, and so learns when the leader speaks of an incarnation that is gone (KIP-903).
    fn broker_epoch(&self, node_id: i32, cluster: &dyn Cluster) -> i64 {
        match self.followers.get(&node_id) {
            Some(state) => state.broker_epoch,
            None => cluster.may_join(node_id).unwrap_or(-1),
        }
    }
}
