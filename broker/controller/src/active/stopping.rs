//! Brokers whose processes were asked to end: each waits for a restart grant, serving on, and hands over with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foz_metadata::Image;
use foz_metadata::rules::{
    AcquireRestart, Answer, QuorumHealth, Unavailable, acquire_restart, stop_broker,
};
use tokio::time::Instant;

use super::command::NotDone;
use super::liveness::alive;
use super::{Active, split};
use crate::handovers::Handover;
use crate::leases::{Beat, Wish};
use crate::quorum_health;
use crate::stop_wishes::StopWishes;

/// The reason of a grant that a process itself asked for.
pub(crate) const ASKED_TO_END: &str = "the process was asked to end";
/// The same, of all at once.
pub(crate) const ALL_ASKED_TO_END: &str = "all processes were asked to end";

/// Each decision looks at all partitions, and a broker beats with every change of the metadata.
const DECIDE_EVERY: Duration = Duration::from_millis(100);

/// What this term knows of brokers that want to stop.
#[derive(Debug, Default)]
pub(super) struct Stops {
    wishes: StopWishes,
    denials: BTreeMap<i32, Denial>,
    /// Those with a grant, by node id.
    decided: BTreeMap<i32, Stop>,
}

/// What was decided for a broker that wants to stop.
#[derive(Debug, Clone, Copy)]
struct Stop {
    /// Of its registration.
    epoch: i64,
    /// The pending image afterwards. In a later one, more may be possible.
    offset: i64,
    /// Partitions that it still leads.
    leads: usize,
}

#[derive(Debug)]
struct Denial {
    /// Of its registration.
    epoch: i64,
    /// The pending image in which it was so.
    offset: i64,
    at: Instant,
    message: Arc<str>,
}

impl Stops {
    /// The pending image begins again from what is committed: what was decided for them may be lost.
    pub(super) fn image_replaced(&mut self) {
        self.decided.clear();
        self.denials.clear();
    }
}

impl Active {
    /// Whether the registered process of the broker has a restart grant.
    pub(super) fn has_grant(&self, node_id: i32) -> bool {
        has_grant(&self.pending, node_id)
    }

    /// What a beat says of stopping; why that may not be, if it may not.
    pub(super) fn hear_of_stop(&mut self, beat: Beat, wish: Wish) -> Option<Arc<str>> {
        let node_id = beat.node_id;
        if !beat.is_stopping {
            // A goodbye takes no wish back.
            if !beat.is_leaving {
                self.stops.wishes.stays(node_id);
                self.stops.denials.remove(&node_id);
            }
            return None;
        }
        let now = Instant::now();
        self.stops.wishes.asks(node_id, beat.epoch, now);
        if !self.has_grant(node_id)
            && let Some(denied) = self.is_denied(beat, wish, now)
        {
            return Some(denied);
        }
        self.hand_over(node_id, beat.epoch);
        None
    }

    /// Acquires the grant, unless that is denied.
    fn is_denied(&mut self, beat: Beat, wish: Wish, now: Instant) -> Option<Arc<str>> {
        let Beat { node_id, epoch, .. } = beat;
        if self.is_in_doubt {
            return Some("the metadata quorum is in the middle of a change".into());
        }
        let health = self.quorum_health();
        let is_with_all = self.are_all_stopping(&health, now);
        let insist = beat.is_insisting || is_with_all;
        if !insist {
            if wish == Wish::Nothing && !self.pending.is_alive(node_id) {
                return Some(
                    format!("broker {node_id} is fenced, and catches up with the metadata first")
                        .into(),
                );
            }
            let known = self.stops.denials.get(&node_id);
            let known = known.filter(|denial| denial.epoch == epoch);
            if let Some(denial) = known
                && (denial.offset == self.pending.offset() || now < denial.at + DECIDE_EVERY)
            {
                return Some(denial.message.clone());
            }
        }
        let reason = if is_with_all {
            ALL_ASKED_TO_END
        } else {
            ASKED_TO_END
        };
        let broker = self.pending.broker(node_id);
        let broker = broker.expect("its registration was checked");
        let request = AcquireRestart {
            node_id,
            incarnation: broker.incarnation,
            reason: reason.to_owned(),
            operator_epoch: 0,
            unavailable: Unavailable::Allow,
            insist,
        };
        let answer = self.run_own("grant a restart", |image| {
            acquire_restart(image, &request, &health)
        });
        match answer {
            Some(Answer::Granted {
                grant_epoch,
                unprotected,
            }) if self.has_grant(node_id) => {
                if beat.is_insisting && !is_with_all && !unprotected.is_empty() {
                    tracing::warn!(
                        node_id,
                        grant_epoch,
                        ?unprotected,
                        "a broker stops all the same at the end of its grace period: these have too few in-sync replicas"
                    );
                } else {
                    tracing::info!(
                        node_id,
                        grant_epoch,
                        reason,
                        ?unprotected,
                        "a restart is granted"
                    );
                }
                self.stops.denials.remove(&node_id);
                None
            }
            Some(Answer::Denied { message, .. }) => {
                let message: Arc<str> = message.into();
                let denial = Denial {
                    epoch,
                    offset: self.pending.offset(),
                    at: now,
                    message: message.clone(),
                };
                self.stops.denials.insert(node_id, denial);
                Some(message)
            }
            // The quorum takes no more for now.
            Some(Answer::Granted { .. }) | None => {
                Some("the metadata quorum could not write the grant".into())
            }
        }
    }

    fn quorum_health(&self) -> QuorumHealth {
        let status = self.shared.quorum.status();
        quorum_health::of(&status.borrow(), self.shared.config.node_id)
    }

    /// The cluster is being stopped: all brokers are asking, or all controllers are, without which no broker could
    /// ask any more.
    fn are_all_stopping(&self, health: &QuorumHealth, now: Instant) -> bool {
        let fenced = self.pending.brokers().filter(|broker| broker.fenced);
        let away = fenced.map(|broker| broker.node_id);
        let wishes = &self.stops.wishes;
        wishes.are_of_all(alive(&self.pending), away, now)
            || quorum_health::are_all_asking(health, &self.shared.controllers_asking.borrow(), now)
    }

    /// Takes leadership from a broker that may stop: once, and again when something has changed since that may
    /// let another lead what is left.
    fn hand_over(&mut self, node_id: i32, epoch: i64) {
        let before = self.stops.decided.get(&node_id);
        let before = before.filter(|stop| stop.epoch == epoch).copied();
        let is_done = before.is_some_and(|stop| {
            !self.pending.can_lead(node_id)
                && (stop.leads == 0 || stop.offset == self.pending.offset())
        });
        if is_done || self.is_in_doubt {
            return;
        }
        let decision = match stop_broker(&self.pending, node_id, epoch) {
            Ok(decision) => decision,
            Err(refusal) => {
                tracing::error!(node_id, %refusal, "could not take leadership from a broker");
                return;
            }
        };
        let leads = decision.answer.leads;
        if before.is_none() || !decision.records.is_empty() {
            tracing::info!(node_id, epoch, leads, "a broker that stops hands over");
            let shared = self.shared.clone();
            let number = shared.handovers.begin(node_id);
            let done = move |outcome: Result<i64, NotDone>| match outcome {
                Ok(offset) => {
                    let handover = Handover { epoch, offset };
                    shared.handovers.committed(node_id, number, handover);
                }
                Err(error) => tracing::warn!(node_id, %error, "could not hand over"),
            };
            self.propose(split(&decision.records), Box::new(done));
        }
        let offset = self.pending.offset();
        let stop = Stop {
            epoch,
            offset,
            leads,
        };
        self.stops.decided.insert(node_id, stop);
    }
}

fn has_grant(image: &Image, node_id: i32) -> bool {
    let grant = image.grant(node_id);
    grant.is_some_and(|grant| image.is_granted_incarnation(grant))
}
