//! What the leader of a partition does: counts its followers, moves the high watermark, asks for changes of
//! the ISR.

use std::sync::Arc;

use foz_metadata::Image;
use foz_protocol::error::ErrorCode;
use foz_replication::{
    Assignment, Cluster, Effects, EpochEndOffset, FetchRefused, FollowerFetch, IsrProposal, Leader,
    LocalLog, ProposalOutcome, ReplicaSelector, Settings,
};
use parking_lot::Mutex;
use tracing::{error, info};

use super::reading::{Read, ReadError};
use super::role::{Counted, Leading, Role};
use super::{Key, Located, Partition, Proposed, durable_offset, wall_clock_ms};

/// What a follower asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FollowerRead {
    pub(crate) node_id: i32,
    pub(crate) broker_epoch: i64,
    pub(crate) offset: i64,
    /// The leader epoch that it follows.
    pub(crate) leader_epoch: i32,
    /// Of its last record; -1 for none.
    pub(crate) last_fetched_epoch: i32,
    pub(crate) log_start_offset: i64,
    pub(crate) bytes_max: usize,
    /// The same, if it [catches up](Leader::catches_up): then nothing is read where this is 0.
    pub(crate) catch_up_bytes_max: usize,
    pub(crate) at_least_one: bool,
    /// The fetch is looked at for the first time. Later, while it waits for more, it says nothing new.
    pub(crate) is_new: bool,
    /// It was made after this moment; `None`: nobody knows.
    pub(crate) after_ms: Option<i64>,
}

/// What a follower gets.
#[derive(Debug)]
pub(crate) struct FollowerAnswer {
    pub(crate) read: Read,
    /// Somebody waits for the follower's next fetch: see [`Partition::ask_followers`].
    pub(crate) is_urgent: bool,
    /// Where it [catches up](Leader::catches_up): how many records.
    pub(crate) lacks: Option<i64>,
}

/// The nodes of the cluster, as the metadata has them, to a partition.
pub(crate) struct Nodes<'a> {
    image: &'a Image,
    /// Those that cannot use their replica.
    offline: &'a [i32],
    /// One in sync has room on its disk.
    have_room: bool,
}

impl<'a> Nodes<'a> {
    pub(crate) fn of(image: &'a Image, (topic_id, index): Key, leader: &Leader) -> Self {
        let mut in_sync = leader.isr().iter();
        let topic = image.topic_by_id(topic_id);
        let assigned = topic.and_then(|topic| topic.partition(index));
        Self {
            image,
            offline: assigned.map_or(&[], |assigned| &assigned.offline),
            have_room: in_sync.any(|id| image.can_take_over(*id)),
        }
    }
}

impl Cluster for Nodes<'_> {
    fn may_join(&self, node_id: i32) -> Option<i64> {
        let node = self.image.broker(node_id)?;
        let may_join = match self.have_room {
            true => node.can_take_over(),
            false => node.can_lead(),
        };
        (may_join && self.is_alive(node_id)).then_some(node.epoch)
    }

    fn is_alive(&self, node_id: i32) -> bool {
        self.image.is_alive(node_id) && !self.offline.contains(&node_id)
    }

    fn living_rack(&self, node_id: i32) -> Option<&str> {
        self.is_alive(node_id)
            .then(|| self.image.rack(node_id))
            .flatten()
    }
}

impl Partition {
    /// Leads from now on in the assignment's epoch, or hears of a change while it does.
    pub(super) fn lead(
        self: &Arc<Self>,
        node_id: i32,
        assignment: &Assignment,
        settings: Settings,
        now_ms: i64,
    ) {
        let epoch = assignment.leader_epoch;
        {
            let role = self.role.read();
            if let Some(leading) = role.leading().filter(|it| it.epoch == epoch) {
                let mut leader = leading.leader.lock();
                let effects =
                    leader.assignment_changed(assignment, settings, self.local_log(), now_ms);
                self.carry_out(effects);
                self.wake_up();
                return;
            }
        }
        let _role_change = self.role_change.lock();
        let mut role = self.role.write();
        let log = self.log();
        log.assign_leader_epoch(epoch, wall_clock_ms());
        let leader = Leader::new(
            node_id,
            assignment,
            settings,
            self.local_log(),
            log.high_watermark(),
            now_ms,
        );
        log.set_high_watermark(leader.high_watermark());
        *role = Role::Leads(Leading {
            epoch,
            leader: Mutex::new(Box::new(leader)),
            _counted: Counted::among(&self.reports.led),
        });
        drop(role);
        self.wake_up();
        self.moved.wake();
        self.grown.wake();
    }

    /// Neither leads nor follows; those who wait are told.
    pub(super) fn resign(&self) {
        self.set_role(Role::Idle);
        self.moved.wake();
        self.grown.wake();
    }

    /// Records were appended as the leader.
    pub(super) fn after_append(self: &Arc<Self>, leading: &Leading, located: &Located) {
        located.directory.flusher().appended(&located.log);
        self.grew();
        self.wake_up();
        if !located.log.config().flush_before_acknowledge {
            let mut leader = leading.leader.lock();
            let effects = leader.appended(self.local_log());
            self.carry_out(effects);
        }
        self.grown.wake();
    }

    /// What was appended is on the disk.
    pub(super) fn flushed(self: &Arc<Self>) {
        let role = self.role.read();
        if let Some(leading) = role.leading() {
            let mut leader = leading.leader.lock();
            let effects = leader.appended(self.local_log());
            self.carry_out(effects);
        }
        drop(role);
        // Those who wait for this replica alone.
        self.moved.wake();
    }

    /// Serves a follower, and takes in how far it has come.
    pub(crate) fn read_for_follower(
        self: &Arc<Self>,
        wanted: &FollowerRead,
        image: &Image,
        now_ms: i64,
    ) -> Result<FollowerAnswer, ReadError> {
        let role = self.role.read();
        let failed = |error| ReadError {
            error,
            high_watermark: -1,
            log_start_offset: -1,
        };
        if let Some(own) = role.leader_epoch() {
            Self::check_epoch(own, wanted.leader_epoch).map_err(failed)?;
        }
        let leading = role
            .leading()
            .ok_or_else(|| failed(ErrorCode::NotLeaderOrFollower))?;
        let mut leader = leading.leader.lock();
        let bounds = |leader: &Leader, records| Read {
            records,
            high_watermark: leader.high_watermark(),
            // As from Kafka: a follower knows its own.
            last_stable_offset: -1,
            log_start_offset: self.log().log_start_offset(),
            aborted: None,
            diverging_epoch: None,
            preferred_read_replica: None,
        };
        let node_id = wanted.node_id;
        if !leader.followers().any(|it| it.node_id == node_id) {
            let refused = FetchRefused::NotReplica { node_id };
            info!(partition = self.name(), %refused, "a follower's fetch is refused");
            // Without an epoch nobody can say which of the two is behind.
            return Err(failed(if wanted.leader_epoch < 0 {
                ErrorCode::NotLeaderOrFollower
            } else {
                refused.code()
            }));
        }
        if let Some(diverging) = self
            .log()
            .divergence(wanted.last_fetched_epoch, wanted.offset)
        {
            let end = EpochEndOffset {
                epoch: diverging.epoch,
                end_offset: diverging.end_offset,
            };
            let read = Read {
                diverging_epoch: Some(end),
                ..bounds(&leader, Vec::new())
            };
            return Ok(FollowerAnswer {
                read,
                is_urgent: false,
                lacks: None,
            });
        }
        let fetch = FollowerFetch {
            node_id: wanted.node_id,
            broker_epoch: wanted.broker_epoch,
            fetch_offset: wanted.offset,
            log_start_offset: wanted.log_start_offset,
        };
        let local = self.local_log();
        if wanted.offset != local.end_offset {
            self.wake_up();
        }
        let nodes = Nodes::of(image, self.key(), &leader);
        let had_deleted = leader.follower_start_offset(node_id);
        let taken = if wanted.is_new {
            leader.fetched(fetch, local, &nodes, now_ms)
        } else {
            let checked = leader.check_fetch(fetch, local, &nodes);
            checked.map(|()| Effects::default())
        };
        let effects = match taken {
            Ok(effects) => effects,
            Err(refused) => {
                if !matches!(refused, FetchRefused::OffsetOutOfRange { .. }) {
                    info!(partition = self.name(), %refused, "a follower's fetch is refused");
                }
                return Err(ReadError {
                    error: refused.code(),
                    high_watermark: leader.high_watermark(),
                    log_start_offset: local.start_offset,
                });
            }
        };
        self.carry_out(effects);
        if leader.follower_start_offset(node_id) > had_deleted {
            self.moved.wake();
        }
        if let Some(after_ms) = wanted.after_ms
            && wanted.is_new
            && wanted.leader_epoch == leading.epoch
            && leader.fetch_was_made_after(node_id, after_ms)
        {
            self.moved.wake();
        }
        let is_urgent = wanted
            .after_ms
            .is_some_and(|after_ms| leader.waits_for_later_than(after_ms));
        let read = bounds(&leader, Vec::new());
        let epoch = leading.epoch;
        let catches_up = leader.catches_up(node_id, wanted.offset, local);
        drop(leader);
        drop(role);
        let lacks = catches_up.then(|| local.end_offset - wanted.offset);
        let bytes_max = match catches_up {
            true => wanted.bytes_max.min(wanted.catch_up_bytes_max),
            false => wanted.bytes_max,
        };
        if catches_up && bytes_max == 0 {
            return Ok(FollowerAnswer {
                read,
                is_urgent,
                lacks,
            });
        }
        match self.read_records(
            wanted.offset,
            bytes_max,
            local.end_offset,
            wanted.at_least_one,
        ) {
            // Another leader's records, perhaps, which need not follow on what the follower has.
            Ok(_) if self.led() != Some(epoch) => Err(failed(ErrorCode::NotLeaderOrFollower)),
            Ok(bytes) => {
                let records = if bytes.is_empty() {
                    Vec::new()
                } else {
                    vec![bytes]
                };
                Ok(FollowerAnswer {
                    read: Read { records, ..read },
                    is_urgent,
                    lacks,
                })
            }
            Err(read) => {
                let reason = &read.reason;
                error!(partition = self.name(), offset = wanted.offset, %reason, "read for a follower failed");
                self.cannot_read(wanted.offset, &read);
                Err(failed(self.read_failed(&read)))
            }
        }
    }

    /// Lets time pass for the leader, if this broker is one. Unless it [rests](Leader::rests) it is to be called again.
    pub(crate) fn tick(self: &Arc<Self>, image: &Image, now_ms: i64) {
        let role = self.role.read();
        if let Some(leading) = role.leading() {
            let mut leader = leading.leader.lock();
            let nodes = Nodes::of(image, self.key(), &leader);
            let effects = leader.tick(self.local_log(), &nodes, now_ms);
            self.carry_out(effects);
            if !leader.rests(self.local_log()) {
                self.wake_up();
            }
        }
    }

    /// What happens from now on wakes it.
    pub(super) fn forget_awake(&self) {
        self.is_awake.forget();
    }

    /// Time may change something from now on.
    fn wake_up(&self) {
        self.reports.awake.add(&self.is_awake, || self.key());
    }

    /// The controller's word on a change of the ISR.
    pub(crate) fn answered(
        self: &Arc<Self>,
        proposal: &IsrProposal,
        outcome: ProposalOutcome,
        now_ms: i64,
    ) {
        let role = self.role.read();
        if let Some(leading) = role
            .leading()
            .filter(|it| it.epoch == proposal.leader_epoch)
        {
            let mut leader = leading.leader.lock();
            let effects = leader.answered(proposal, outcome, self.local_log(), now_ms);
            self.carry_out(effects);
            self.wake_up();
        }
    }

    /// The replica that a consumer in `rack` should rather read from.
    pub(super) fn preferred_read_replica(
        &self,
        selector: ReplicaSelector,
        rack: &str,
        offset: i64,
        image: &Image,
    ) -> Option<i32> {
        let role = self.role.read();
        let leading = role.leading()?;
        let leader = leading.leader.lock();
        leader.preferred_read_replica(
            selector,
            rack,
            offset,
            &Nodes::of(image, self.key(), &leader),
        )
    }

    /// As the leader: the high watermark has come as far as this leader epoch began.
    pub(super) fn knows_what_is_committed(&self) -> bool {
        let role = self.role.read();
        role.leading().is_some_and(|leading| {
            let leader = leading.leader.lock();
            leader.high_watermark() >= leader.epoch_start_offset()
        })
    }

    /// Whether it is known that nobody led in a newer epoch at this moment: [`Leader::led_at`]. `None`: this
    /// broker itself does not lead in this epoch any more.
    pub(crate) fn led_at(&self, leader_epoch: i32, moment_ms: i64) -> Option<bool> {
        let role = self.role.read();
        let leading = role.leading().filter(|it| it.epoch == leader_epoch)?;
        Some(leading.leader.lock().led_at(moment_ms))
    }

    /// Nobody else can be elected but by its own proposal.
    pub(crate) fn is_alone_in_sync(&self) -> bool {
        let role = self.role.read();
        role.leading().is_some_and(|leading| {
            let leader = leading.leader.lock();
            leader.maximal_isr().iter().eq([&leader.node_id()])
        })
    }

    /// Has the followers fetch anew, so that [`led_at`](Self::led_at) may hold for this moment soon. `moved`
    /// is woken when it does.
    pub(crate) fn ask_followers(&self, moment_ms: i64) {
        let role = self.role.read();
        if let Some(leading) = role.leading() {
            leading.leader.lock().ask(moment_ms);
        }
        drop(role);
        self.grown.wake();
    }

    /// The leader waits for the answer to this proposal.
    pub(crate) fn proposes(&self, proposal: &IsrProposal) -> bool {
        let role = self.role.read();
        role.leading()
            .is_some_and(|leading| leading.leader.lock().proposal_in_flight() == Some(proposal))
    }

    /// Records were appended.
    pub(super) fn grew(&self) {
        self.reports.to_write.add(&self.has_grown, || self.key());
    }

    /// What is appended from now on is another growth.
    pub(super) fn forget_growth(&self) {
        self.has_grown.forget();
    }

    /// Whether the partition, led here, has fewer in sync than replicas; and fewer than
    /// `min.insync.replicas`.
    pub(crate) fn lacks(&self) -> Option<(bool, bool)> {
        let role = self.role.read();
        let leader = role.leading()?.leader.lock();
        let is_under_replicated = leader.isr().len() < leader.replicas().len();
        Some((is_under_replicated, !leader.has_min_insync()))
    }

    /// Under the leader's lock, so that the high watermark of the log never goes back.
    fn carry_out(self: &Arc<Self>, effects: Effects) {
        if let Some(high_watermark) = effects.high_watermark {
            self.log().set_high_watermark(high_watermark);
            self.moved.wake();
        }
        if let Some(proposal) = effects.propose {
            // An error: the broker is stopping.
            let _ = self.reports.proposals.send(Proposed {
                partition: Arc::clone(self),
                proposal,
            });
        }
    }

    fn local_log(&self) -> LocalLog {
        // The end last: it only grows, and nothing may be beyond it.
        let log = self.log();
        let start_offset = log.log_start_offset();
        let durable_offset = durable_offset(&log);
        LocalLog {
            start_offset,
            durable_offset,
            end_offset: log.log_end_offset(),
        }
    }
}
