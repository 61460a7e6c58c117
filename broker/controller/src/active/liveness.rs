//! What the active controller does about beats, closed streams and leases that end.

use std::time::Duration;

use foz_metadata::Image;
use foz_metadata::rules::{ErrorCode, Refusal, fence_broker, report_space, unfence_broker};

use super::command::NotDone;
use super::{Active, LeaseMessage, LeaseState, Newcomer};
use crate::leases::{Beat, Wish};
use crate::wall_clock::wall_clock_ms;

/// A round of the quorum takes some milliseconds. One that takes longer than this has held beats up.
const QUORUM_SLOW: Duration = Duration::from_millis(250);

/// When the quorum was asked whether this controller leads, and what it said.
pub(super) type Confirmed = (Duration, bool);

impl Active {
    /// As the leases count it.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn hear(&mut self, message: LeaseMessage) {
        let now = self.now();
        match message {
            LeaseMessage::Beat(beat, answer) => {
                // An error: the stream ended meanwhile, which is told by itself.
                let _ = answer.send(self.beat(beat));
            }
            LeaseMessage::Closed(node_id, stream) => {
                let is_observing = self.shared.observers.is_observing(node_id);
                self.leases.closed(node_id, stream, is_observing, now);
                self.shared.applied.remove(node_id);
                self.look_at_leases();
            }
            LeaseMessage::StoppedObserving(node_id) => {
                // Another stream may have been opened while this was on its way.
                if !self.shared.observers.is_observing(node_id) {
                    self.leases.stopped_observing(node_id, now);
                    self.look_at_leases();
                }
            }
        }
    }

    fn beat(&mut self, beat: Beat) -> Result<LeaseState, NotDone> {
        check_registration(&self.pending, beat)?;
        // First: who is unfenced is to lead only what it has room for.
        let space_offset = self.hear_of_space(beat);
        let committed = self.shared.metadata.image();
        let now = self.now();
        let wish = self.leases.beat(beat, committed.offset(), now);
        // Who stops and may not yet serves on in full.
        let has_leave = beat.is_stopping && self.has_grant(beat.node_id);
        match (wish, self.pending.is_alive(beat.node_id)) {
            (Wish::Unfence, false) if !self.is_in_doubt && !has_leave => {
                tracing::info!(node_id = beat.node_id, beat.epoch, "unfencing a broker");
                self.run_own("unfence a broker", |image| {
                    unfence_broker(image, beat.node_id, beat.epoch)
                });
                self.duties.broker_came();
            }
            (Wish::Fence, true) => self.fence(beat.node_id, beat.epoch, "it is stopping"),
            _ => {}
        }
        let denied = self.hear_of_stop(beat, wish);
        if self.pending.is_alive(beat.node_id) {
            self.shared
                .applied
                .update(beat.node_id, beat.applied_offset);
            let has_caught_up = beat.applied_offset >= committed.offset();
            let mut times = self.shared.broker_times.lock();
            times.heard(beat.node_id, has_caught_up, wall_clock_ms());
        }
        let is_fenced = !committed.is_alive(beat.node_id);
        Ok(LeaseState {
            committed_offset: committed.offset(),
            is_fenced,
            space_offset,
            denied,
        })
    }

    /// Up to where that is decided, be it committed or not.
    fn hear_of_space(&mut self, beat: Beat) -> Option<i64> {
        let (node_id, is_short) = (beat.node_id, beat.is_short_of_space);
        let is_known = |image: &Image| {
            let broker = image.broker(node_id);
            broker.is_some_and(|broker| broker.short_of_space == is_short)
        };
        if !self.is_in_doubt && !is_known(&self.pending) {
            self.write_down_space(beat);
        }
        let is_decided = !self.is_in_doubt && is_known(&self.pending);
        is_decided.then(|| self.pending.offset())
    }

    fn write_down_space(&mut self, beat: Beat) {
        let (node_id, is_short) = (beat.node_id, beat.is_short_of_space);
        match is_short {
            true => tracing::warn!(
                node_id,
                "a broker's disk has no room: others lead where they can"
            ),
            false => tracing::info!(node_id, "a broker's disk has room again"),
        }
        self.run_own("write down a broker's room", |image| {
            report_space(image, node_id, beat.epoch, is_short)
        });
    }

    /// Raft tells who answers, and not when.
    pub(super) fn look_at_controllers(&self) {
        let status = self.shared.quorum.status();
        let status = status.borrow();
        let members = &status.members;
        let mut times = self.shared.controller_times.lock();
        times.retain(|raft_id| members.iter().any(|it| it.member.raft_id == *raft_id));
        let now_ms = wall_clock_ms();
        for it in members.iter().filter(|it| it.is_active == Some(true)) {
            let has_caught_up = it.matched.is_some_and(|at| at >= status.committed);
            times.heard(it.member.raft_id, has_caught_up, now_ms);
        }
    }

    /// Before anyone is fenced, the quorum has to answer: beats wait for it too (see `Calls::beat`), so while it
    /// does not, silence is no fault of the brokers.
    pub(super) fn look_at_leases(&mut self) {
        let now = self.now();
        self.leases.cover(alive(&self.pending), now);
        if self.leases.has_expired(now) && self.confirmation.is_none() {
            let quorum = self.shared.quorum.clone();
            self.confirmation = Some(Box::pin(async move {
                let is_leader = quorum.confirm_leadership().await;
                (now, is_leader)
            }));
        }
    }

    /// The quorum answered what was asked at `began`.
    pub(super) fn confirmed(&mut self, (began, is_leader): Confirmed) {
        self.confirmation = None;
        if !is_leader {
            return;
        }
        let now = self.now();
        if now.saturating_sub(began) > QUORUM_SLOW {
            self.leases.renew_connected(now);
        }
        for (node_id, epoch) in self.leases.expired(now) {
            self.fence(node_id, epoch, "its lease has ended");
        }
    }

    /// A process of the node that is known to have died is not waited for: its connection to this controller closed,
    /// or it never came to this controller, and now another one holds the lock of the disk that it wrote to.
    pub(super) fn free_node_id(&mut self, newcomer: Newcomer) {
        let Newcomer {
            node_id,
            incarnation,
            disk_epoch,
        } = newcomer;
        let Some(broker) = self.pending.broker(node_id) else {
            return;
        };
        let observers = &self.shared.observers;
        if broker.fenced || observers.is_another_observing(node_id, incarnation) {
            return;
        }
        let epoch = broker.epoch;
        if self.leases.is_disconnected(node_id) {
            let why = "its connection closed and the node registers anew";
            self.fence(node_id, epoch, why);
        } else if disk_epoch == epoch && self.leases.has_not_come(node_id, self.now()) {
            let why = "it is not heard of and another process has its disk";
            self.fence(node_id, epoch, why);
        }
    }

    fn fence(&mut self, node_id: i32, epoch: i64, why: &'static str) {
        self.shared.applied.remove(node_id);
        let is_known = self
            .pending
            .broker(node_id)
            .is_some_and(|broker| broker.epoch == epoch);
        if is_known && self.pending.is_alive(node_id) && !self.is_in_doubt {
            tracing::info!(node_id, epoch, why, "fencing a broker");
            self.run_own("fence a broker", |image| {
                fence_broker(image, node_id, epoch)
            });
            self.duties.broker_went();
        }
    }
}

/// (node id, epoch)
pub(super) fn alive(image: &Image) -> impl Iterator<Item = (i32, i64)> {
    image
        .alive_brokers()
        .map(|broker| (broker.node_id, broker.epoch))
}

fn check_registration(image: &Image, beat: Beat) -> Result<(), NotDone> {
    let refuse = |code, message| Err(NotDone::Refused(Refusal::new(code, message)));
    match image.broker(beat.node_id) {
        Some(broker) if broker.epoch == beat.epoch => Ok(()),
        Some(broker) => refuse(
            ErrorCode::StaleBrokerEpoch,
            format!(
                "broker {} beats with epoch {}, but is registered with epoch {}",
                beat.node_id, beat.epoch, broker.epoch
            ),
        ),
        None => refuse(
            ErrorCode::BrokerIdNotRegistered,
            format!("broker {} is not registered", beat.node_id),
        ),
    }
}
